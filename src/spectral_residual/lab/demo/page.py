"""The report as one HTML page that needs no other file, no network and no script."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from markupsafe import Markup

from ...report.page import Picture, descriptions, gallery, join, note, plot, table, write_page
from ..viz.figures import loss_figure
from ..viz.page import filter_section
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
    sections: dict[str, Markup] = {"Results": _result_table(runs)}
    if any(run.losses or run.validation for run in runs):
        sections["Training"] = _curves(runs)
    if pictures:
        sections["Skeletons"] = gallery(pictures)
    if filters:
        sections["Learnt filters"] = filter_section(filters)
    if details:
        sections["Details"] = descriptions(details)
    return write_page(path, title, lead, sections)


def _result_table(runs: Sequence[RunSummary]) -> Markup:
    reference, compare = runs[0], len(runs) > 1
    rows: list[list[str | tuple[str, str]]] = []
    for run in runs:
        rows.append([(run.name, "reference" if compare and run is reference else "")])
        for column in _COLUMNS:
            small = ""
            if compare and run is not reference:
                difference = column.difference(run, reference)
                small = "" if difference == MISSING else difference
            rows[-1].append((column.text(run), small))
    header = ["model", *(column.header for column in _COLUMNS)]
    text = Markup(
        "AP, AP50, AP75 and AR are the COCO keypoint metrics and PCK the share of correct "
        "keypoints, all in percent. GFLOPs are 2<sup>30</sup> multiply-accumulates of one image "
        "by the accounting of Chi et al. (2019)."
    )
    if compare:
        text += f" Small print: difference to {reference.name}."
    return join([table("Table of results", header, rows), note(text)])


def _curves(runs: Sequence[RunSummary]) -> Markup:
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
