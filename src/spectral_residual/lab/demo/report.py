"""The report of ``srl demo pose``: a table for the terminal, and one HTML page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ...report.figures import COLOURS, MARKERS, plain, render
from ...report.page import Picture, descriptions, gallery, join, note, plot, table, write_page
from ...report.table import format_table
from ..viz.page import filter_section

TITLE = "Spectral residual learning: pose demo"
LEAD = (
    "A SimpleBaseline with a short receptive field (ResNet-18 cut after res3, one deconvolution), "
    "trained from scratch on generated people, without and with spectral blocks in res3 and after "
    "the deconvolution. People are seen from all sides, so that left and right must be told apart "
    "by context. AP and AR are COCO's keypoint metrics on the validation images, with annotated "
    "boxes and flip test; one short run each, so small differences mean nothing."
)

_METRICS = ("AP", "AP50", "AP75", "AR", "PCK")
# Digits after the point by column.
_COSTS = {"parameters (M)": 3, "GFLOPs": 3, "ms/image": 2, "images/s": 1}
_DECIMALS = dict.fromkeys(_METRICS, 1) | _COSTS
_UNKNOWN = "-"
_MARKERS_PER_CURVE = 16
_LEGEND_CHARACTERS = 140


@dataclass(frozen=True)
class Run:
    """Results of one trained network.

    Attributes
    ----------
    name : str
        Name of the network.
    metrics : mapping
        Fractions in [0, 1]; a metric that is missing, NaN or COCO's -1 is not known.
    parameters : int
        Number of parameters.
    gflops : float
        2^30 multiply-accumulates of one image, by the paper's accounting.
    milliseconds : float
        Inference time of one image.
    images_per_second : float
        Training speed.
    losses, validation : list of (float, float)
        Training loss and AP, each after its epoch.
    """

    name: str
    metrics: Mapping[str, float]
    parameters: int
    gflops: float
    milliseconds: float
    images_per_second: float
    losses: list[tuple[float, float]]
    validation: list[tuple[float, float]]

    def numbers(self) -> list[float]:
        """Columns of the table, NaN for what is not known."""
        metrics = [_percent(self.metrics.get(name, math.nan)) for name in _METRICS]
        costs = [self.parameters / 1e6, self.gflops, self.milliseconds, self.images_per_second]
        return metrics + costs


def summary_table(runs: Sequence[Run]) -> str:
    """Results as plain text, all columns but the training speed."""
    names = list(_DECIMALS)[:-1]
    rows = [[run.name, *_texts(run.numbers()[:-1])] for run in runs]
    return format_table(["model", *names], rows)


def write_report(
    path: Path,
    *,
    runs: Sequence[Run],
    filters: Mapping[str, bytes],
    pictures: Sequence[Picture],
    details: Mapping[str, str],
) -> Path:
    """Write a page with results, curves, skeletons, learnt filters and details.

    Parameters
    ----------
    path : Path
        File to create or replace.
    runs : sequence of Run
        The networks; differences are taken to the first.
    filters : mapping
        Figures from `filter_figure`, PNG, by name of the network.
    pictures : sequence of Picture
        Skeletons.
    details : mapping
        Texts by what they describe.

    Returns
    -------
    Path
        The file.
    """
    sections = {"Results": _result_table(runs), "Training": _curves(runs)}
    sections["Skeletons"] = gallery(pictures)
    if filters:
        sections["Learnt filters"] = filter_section(filters)
    sections["Details"] = descriptions(details)
    return write_page(path, TITLE, LEAD, sections)


def _result_table(runs: Sequence[Run]) -> Markup:
    reference, *others = runs
    rows: list[list[str | tuple[str, str]]] = [
        [(reference.name, "reference" if others else ""), *_texts(reference.numbers())]
    ]
    for run in others:
        below = _differences(run.numbers(), reference.numbers())
        rows.append([run.name, *zip(_texts(run.numbers()), below, strict=True)])
    text = Markup(
        "AP, AP50, AP75 and AR are the COCO keypoint metrics and PCK the share of correct "
        "keypoints, all in percent. GFLOPs are 2<sup>30</sup> multiply-accumulates of one image "
        "by the accounting of Chi et al. (2019)."
    )
    if others:
        text += f" Small print: difference to {reference.name}."
    return join([table("Table of results", ["model", *_DECIMALS], rows), note(text)])


def _texts(numbers: Sequence[float]) -> list[str]:
    """Cells of the first columns."""
    return [
        _UNKNOWN if math.isnan(number) else f"{number:.{decimals}f}"
        for number, decimals in zip(numbers, _DECIMALS.values(), strict=False)
    ]


def _differences(numbers: Sequence[float], reference: Sequence[float]) -> list[str]:
    """Signed differences, rounded after subtracting; empty where one is not known."""
    values = [a - b for a, b in zip(numbers, reference, strict=True)]
    digits = _texts([abs(value) for value in values])
    signs = ["−" if value < 0 else "+" for value in values]
    return [
        "" if text == _UNKNOWN else ("±" if float(text) == 0 else sign) + text
        for sign, text in zip(signs, digits, strict=True)
    ]


def _percent(fraction: float) -> float:
    """A metric in percent; NaN in place of COCO's -1."""
    return math.nan if fraction == -1 else 100 * fraction


def _curves(runs: Sequence[Run]) -> Markup:
    ends = []
    for run in runs:
        loss = f"{run.losses[-1][1]:.3g}" if run.losses else _UNKNOWN
        ap = _percent(run.validation[-1][1]) if run.validation else math.nan
        ends.append(f"{run.name}: loss {loss}, AP {_UNKNOWN if math.isnan(ap) else f'{ap:.1f} %'}")
    return plot(
        loss_figure(runs),
        f"Two line charts: training loss and validation AP. Last values: {'; '.join(ends)}.",
        "Training loss on a logarithmic scale (left) and AP on the validation images in percent "
        "(right).",
    )


def loss_figure(runs: Sequence[Run]) -> bytes:
    """Draw training loss (logarithmic) and validation AP, side by side.

    Parameters
    ----------
    runs : sequence of Run
        One curve each; a curve without points is left out.

    Returns
    -------
    bytes
        PNG.
    """
    figure = Figure(figsize=(13, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    losses = [[(x, y if y > 0 else math.nan) for x, y in run.losses] for run in runs]
    _draw_curves(left, losses, "Training loss", "training loss (log scale)")
    left.set_yscale("log")
    aps = [[(x, _percent(y)) for x, y in run.validation] for run in runs]
    _draw_curves(right, aps, "Validation AP", "AP (%)")
    names = [run.name for run in runs]
    columns = max(1, min(len(runs), _LEGEND_CHARACTERS // (max(map(len, names)) + 9)))
    figure.legend(
        left.get_lines(), names, loc="outside lower center", frameon=False, ncols=columns,
        fontsize=11,
    )  # fmt: skip
    return render(figure)


def _draw_curves(
    axes: Axes, curves: Sequence[Sequence[tuple[float, float]]], title: str, unit: str
) -> None:
    """Draw one line per curve over epochs, also for empty ones, so that the legend has all."""
    for index, curve in enumerate(curves):
        points = np.asarray(curve, dtype=np.float64).reshape(-1, 2)
        axes.plot(
            points[:, 0],
            points[:, 1],
            color=COLOURS[index % len(COLOURS)],
            marker=MARKERS[index % len(MARKERS)],
            markevery=-(-len(points) // _MARKERS_PER_CURVE) or 1,
            markersize=5,
            linewidth=1.8,
        )
    if not any(np.isfinite(line.get_ydata()).any() for line in axes.get_lines()):
        axes.text(0.5, 0.5, "not recorded", transform=axes.transAxes, ha="center", fontsize=11)
        axes.tick_params(which="both", length=0, labelbottom=False, labelleft=False)
    axes.set_title(title, fontsize=13, loc="left")
    axes.set_xlabel("epoch", fontsize=11)
    axes.set_ylabel(unit, fontsize=11)
    axes.xaxis.set_major_locator(
        MaxNLocator(nbins=8, integer=True, steps=(1, 2, 5, 10), min_n_ticks=1)
    )
    axes.tick_params(labelsize=10)
    plain(axes)
