"""The report as one HTML page that needs no other file, no network and no script."""

from __future__ import annotations

import base64
import math
import os
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from .figures import loss_figure
from .style import STYLE
from .summary import COLUMNS, MISSING, Column, RunSummary, check_runs, known

_COLUMNS = (*COLUMNS, Column("images/s", 1, lambda run: run.images_per_second))
_JPEG_QUALITY = 90
_SMALLEST_PLOT = 0.42
_SMALLEST_PICTURE = 640
_PNG_START = b"\x89PNG\r\n\x1a\n"
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture of the report.

    Parameters
    ----------
    title : str
        Heading, also the alternative text.
    caption : str
        What is to be seen.
    image : ndarray
        (H, W, 3) uint8 RGB, H and W positive.

    Raises
    ------
    ValueError
        If the image has another shape or dtype.
    """

    title: str
    caption: str
    image: NDArray[np.uint8]

    def __post_init__(self) -> None:
        shape, dtype = self.image.shape, self.image.dtype
        if len(shape) != 3 or shape[2] != 3 or self.image.size == 0 or dtype != np.uint8:
            raise ValueError(
                f"picture {self.title!r}: image: got shape {shape} and dtype {dtype}, expected "
                "(H, W, 3) and uint8"
            )


def write_report(
    path: str | Path,
    *,
    title: str,
    lead: str,
    runs: Sequence[RunSummary],
    filters: Mapping[str, bytes],
    pictures: Sequence[Picture],
    details: Mapping[str, str],
) -> Path:
    """Write a page that compares trained models, in one step: no reader sees half of it.

    The page has the table of results, the curves, skeletons, learnt filters and details; a
    section with nothing in it is left out. Texts are shown as they are: markup in them is
    escaped.

    Parameters
    ----------
    path : str or Path
        File to create or replace; missing parent folders are created.
    title : str
        Heading of the page.
    lead : str
        What was compared and what came out, in a few sentences; line breaks are kept.
    runs : sequence of RunSummary
        The models; differences are taken to the first.
    filters : mapping
        Figures from `filter_figure`, PNG, by name of the model.
    pictures : sequence of Picture
        Pictures of skeletons, embedded as JPEG.
    details : mapping
        Texts by what they describe: configuration, data, device, versions. Texts of several
        lines keep them.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    ValueError
        If there are no runs, two runs have one name, or a filter figure is not PNG.
    """
    check_runs(runs)
    sections = {"Results": _result_table(runs)}
    if any(run.losses or run.validation for run in runs):
        sections["Training"] = _curves(runs)
    if pictures:
        sections["Skeletons"] = _gallery(pictures)
    if filters:
        sections["Learnt filters"] = _filters(filters)
    if details:
        sections["Details"] = _details(details)
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    try:
        temporary.write_text(_page(title, lead, sections), encoding="utf-8", errors="replace")
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
    return target


def _page(title: str, lead: str, sections: Mapping[str, str]) -> str:
    anchors = {heading: heading.lower().replace(" ", "-") for heading in sections}
    links = "\n".join(f'<a href="#{anchors[h]}">{h}</a>' for h in sections)
    body = "\n".join(
        f'<section id="{anchors[heading]}">\n<h2>{heading}</h2>\n{content}\n</section>'
        for heading, content in sections.items()
    )
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escape(title)}</title>
<style>{STYLE}</style>
</head>
<body>
<header>
<h1>{escape(title)}</h1>
<p class="lead">{escape(lead)}</p>
<nav aria-label="Sections">
{links}
</nav>
</header>
<main>
{body}
</main>
</body>
</html>
"""


def _result_table(runs: Sequence[RunSummary]) -> str:
    headers = "".join(f'<th scope="col">{escape(column.header)}</th>' for column in _COLUMNS)
    rows = "\n".join(_table_row(run, runs[0], len(runs) > 1) for run in runs)
    compared = f" Small print: difference to {escape(runs[0].name)}." if len(runs) > 1 else ""
    table = f"""<table>
<thead><tr><th scope="col">model</th>{headers}</tr></thead>
<tbody>
{rows}
</tbody>
</table>"""
    return f"""{_scroller("Table of results", table)}
<p class="note">AP, AP50, AP75 and AR are the COCO keypoint metrics and PCK the share of correct
keypoints, all in percent. GFLOPs are 2<sup>30</sup> multiply-accumulates of one image by the
accounting of Chi et al. (2019).{compared}</p>"""


def _table_row(run: RunSummary, reference: RunSummary, compare: bool) -> str:
    small = "<small>reference</small>" if compare and run is reference else ""
    cells = [f'<th scope="row">{escape(run.name)}{small}</th>']
    for column in _COLUMNS:
        small = ""
        if compare and run is not reference:
            difference = column.difference(run, reference)
            small = "" if difference == MISSING else f"<small>{difference}</small>"
        cells.append(f"<td>{column.text(run)}{small}</td>")
    return f"<tr>{''.join(cells)}</tr>"


def _curves(runs: Sequence[RunSummary]) -> str:
    ends = "; ".join(_curve_ends(run) for run in runs)
    return _plot(
        loss_figure(runs),
        f"Two line charts: training loss and validation AP. Last values: {ends}.",
        "Training loss on a logarithmic scale (left) and AP on the validation images in percent "
        "(right).",
    )


def _curve_ends(run: RunSummary) -> str:
    loss = f"{run.losses[-1][1]:.3g}" if run.losses else MISSING
    ap = known(run.validation[-1][1]) if run.validation else math.nan
    return f"{run.name}: loss {loss}, AP {MISSING if math.isnan(ap) else f'{100 * ap:.1f} %'}"


def _filters(filters: Mapping[str, bytes]) -> str:
    parts = []
    for name, png in filters.items():
        if not png.startswith(_PNG_START):
            raise ValueError(f"filters[{name!r}]: got {png[:8]!r}..., expected a PNG file")
        parts.append(
            _plot(
                png,
                f"Colour maps of the spectral weights W and biases B of {name}, one pair for "
                "each block.",
                f"{name}: weight W and bias B for every frequency, one pair for each block.",
            )
        )
    parts.append(
        '<p class="note">The neutral colour marks the values before training, W = 1 and '
        "B = 0; red is above and blue below, and each panel has its own scale. Frequencies of "
        "the Fourier transform are in cycles per pixel of the feature map: zero is in the middle "
        "of the left edge, vertical frequencies grow downwards as in the map, and the left half "
        "of the spectrum, a mirror image, is not stored. Other transforms are shown in the order "
        "of their indices, from coarse to fine where they have one.</p>"
    )
    return "\n".join(parts)


def _plot(png: bytes, alt: str, caption: str) -> str:
    width, height = (int.from_bytes(png[at : at + 4], "big") for at in (16, 20))
    image = (
        f'<img src="{_data_address("png", png)}" alt="{escape(alt)}" width="{width // 2}" '
        f'height="{height // 2}" style="min-width:{round(_SMALLEST_PLOT * width)}px">'
    )
    return f"""<figure class="plot">
{_scroller(caption, image)}
<figcaption>{escape(caption)}</figcaption>
</figure>"""


def _scroller(label: str, content: str) -> str:
    """Box that scrolls sideways where the screen is too narrow for `content`."""
    return (
        f'<div class="scroll" role="region" aria-label="{escape(label)}" tabindex="0">\n'
        f"{content}\n</div>"
    )


def _gallery(pictures: Sequence[Picture]) -> str:
    figures = "\n".join(_picture(picture) for picture in pictures)
    return f'<div class="gallery">\n{figures}\n</div>'


def _picture(picture: Picture) -> str:
    height, width = picture.image.shape[:2]
    smallest = min(width, _SMALLEST_PICTURE)
    image = (
        f'<img src="{_data_address("jpeg", _jpeg(picture.image))}" alt="{escape(picture.title)}" '
        f'width="{width}" height="{height}" style="min-width:{smallest}px">'
    )
    return f"""<figure style="width:{width}px">
{_scroller(picture.title, image)}
<figcaption><strong>{escape(picture.title)}</strong> {escape(picture.caption)}</figcaption>
</figure>"""


def _details(details: Mapping[str, str]) -> str:
    entries = []
    for label, text in details.items():
        opening = '<dd class="lines">' if "\n" in text.strip() else "<dd>"
        entries.append(f"<dt>{escape(label)}</dt>\n{opening}{escape(text)}</dd>")
    return "<dl>\n" + "\n".join(entries) + "\n</dl>"


def _jpeg(image: NDArray[np.uint8]) -> bytes:
    options = [
        *(cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY),
        *(cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444),
    ]
    done, content = cv2.imencode(".jpg", np.ascontiguousarray(image[:, :, ::-1]), options)
    if not done:
        raise ValueError(f"could not encode an image of shape {image.shape} as JPEG")
    return content.tobytes()


def _data_address(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"
