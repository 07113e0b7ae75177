"""Parts of HTML pages that need no other file, no network and no script."""

from __future__ import annotations

import base64
import os
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from .style import STYLE

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


def write_page(path: str | Path, title: str, lead: str, sections: Mapping[str, str]) -> Path:
    """Write a page in one step: no reader sees half of it.

    Parameters
    ----------
    path : str or Path
        File to create or replace; missing parent folders are created.
    title, lead : str
        Heading of the page and what follows it; plain text, line breaks of the lead are kept.
    sections : mapping
        HTML by plain headings, in their order.

    Returns
    -------
    Path
        The file.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    try:
        temporary.write_text(_page(title, lead, sections), encoding="utf-8", errors="replace")
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
    return target


def note(text: str) -> str:
    """A paragraph in small print; plain text."""
    return f'<p class="note">{escape(text)}</p>'


def table(label: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of plain texts, the first column being the names of the rows."""
    top = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in header)
    body = "\n".join(
        f'<tr><th scope="row">{escape(first)}</th>'
        + "".join(f"<td>{escape(cell)}</td>" for cell in cells)
        + "</tr>"
        for first, *cells in rows
    )
    content = f"<table>\n<thead><tr>{top}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>"
    return scroller(label, content)


def plot(png: bytes, alt: str, caption: str) -> str:
    """A drawing on white, which dark pages invert.

    Raises
    ------
    ValueError
        If the bytes are not those of a PNG file.
    """
    if not png.startswith(_PNG_START):
        raise ValueError(f"{alt!r}: got {png[:8]!r}..., expected a PNG file")
    width, height = (int.from_bytes(png[at : at + 4], "big") for at in (16, 20))
    image = (
        f'<img src="{_data_address("png", png)}" alt="{escape(alt)}" width="{width // 2}" '
        f'height="{height // 2}" style="min-width:{round(_SMALLEST_PLOT * width)}px">'
    )
    return f"""<figure class="plot">
{scroller(caption, image)}
<figcaption>{escape(caption)}</figcaption>
</figure>"""


def scroller(label: str, content: str) -> str:
    """Box that scrolls sideways where the screen is too narrow for `content`."""
    return (
        f'<div class="scroll" role="region" aria-label="{escape(label)}" tabindex="0">\n'
        f"{content}\n</div>"
    )


def gallery(pictures: Sequence[Picture]) -> str:
    """Pictures, embedded as JPEG."""
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
{scroller(picture.title, image)}
<figcaption><strong>{escape(picture.title)}</strong> {escape(picture.caption)}</figcaption>
</figure>"""


def descriptions(details: Mapping[str, str]) -> str:
    """Texts by what they describe; those of several lines keep them."""
    entries = []
    for label, text in details.items():
        opening = '<dd class="lines">' if "\n" in text.strip() else "<dd>"
        entries.append(f"<dt>{escape(label)}</dt>\n{opening}{escape(text)}</dd>")
    return "<dl>\n" + "\n".join(entries) + "\n</dl>"


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
