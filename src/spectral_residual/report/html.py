"""The report as one HTML page that needs no other file, no network and no script."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from .figures import loss_figure
from .page import Picture, descriptions, gallery, plot, scroller, write_page
from .summary import COLUMNS, MISSING, Column, RunSummary, check_runs, known

_COLUMNS = (*COLUMNS, Column("images/s", 1, lambda run: run.images_per_second))


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
        sections["Skeletons"] = gallery(pictures)
    if filters:
        sections["Learnt filters"] = filter_section(filters)
    if details:
        sections["Details"] = descriptions(details)
    return write_page(path, title, lead, sections)


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
    return f"""{scroller("Table of results", table)}
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
    return plot(
        loss_figure(runs),
        f"Two line charts: training loss and validation AP. Last values: {ends}.",
        "Training loss on a logarithmic scale (left) and AP on the validation images in percent "
        "(right).",
    )


def _curve_ends(run: RunSummary) -> str:
    loss = f"{run.losses[-1][1]:.3g}" if run.losses else MISSING
    ap = known(run.validation[-1][1]) if run.validation else math.nan
    return f"{run.name}: loss {loss}, AP {MISSING if math.isnan(ap) else f'{100 * ap:.1f} %'}"


def filter_section(filters: Mapping[str, bytes]) -> str:
    """HTML of learnt filters: figures from `filter_figure`, PNG, by name of the model.

    Raises
    ------
    ValueError
        If a figure is not PNG.
    """
    parts = []
    for name, png in filters.items():
        parts.append(
            plot(
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
