"""Plot of a benchmark: time and memory as ratios to the input, on logarithmic axes."""

from __future__ import annotations

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from ...report.figures import COLOURS, MARKERS, save_figure
from .measure import COPY, Measurement
from .report import BenchReport
from .text import MODE_TITLES

_SPREAD_OF_INPUTS = 0.68


def plot_report(report: BenchReport, path: Path) -> None:
    """Draw a row of dots for every block: one column for each mode, time above memory.

    Inputs differ in colour and marker, and lie a little apart. Whiskers are quartiles.

    Parameters
    ----------
    report : BenchReport
        What to draw.
    path : Path
        File to write, of a format that matplotlib knows by its suffix.
    """
    blocks = [m for m in report.rows if m.mode != COPY]
    modes = list(dict.fromkeys(m.mode for m in blocks))
    names = list(dict.fromkeys(m.row.name for m in blocks))
    inputs = list(dict.fromkeys(m.row.group for m in blocks))
    height = 0.5 + 0.38 * len(names)
    figure = Figure(figsize=(1.6 + 4.4 * len(modes), 1.8 + 2 * height), layout="constrained")
    axes = figure.subplots(2, len(modes), squeeze=False, sharex="row", sharey=True)
    for column, mode in enumerate(modes):
        shown = [m for m in blocks if m.mode == mode]
        for panel, memory in ((axes[0, column], False), (axes[1, column], True)):
            _draw(panel, shown, names, inputs, memory=memory)
        axes[0, column].set_title(MODE_TITLES[mode], fontweight="bold")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    figure.suptitle(
        f"{report.device_name}, {report.dtype}, {report.threads} thread(s), "
        f"torch {report.torch_version}, {report.rounds} rounds",
        fontsize="small",
    )
    save_figure(path, figure)


def _draw(
    axes: Axes,
    shown: list[Measurement],
    names: list[str],
    inputs: list[str],
    *,
    memory: bool,
) -> None:
    step = _SPREAD_OF_INPUTS / max(1, len(inputs) - 1)
    for index, group in enumerate(inputs):
        found = [m for m in shown if m.row.group == group]
        if memory:
            x = [m.peak_ratio for m in found]
            whiskers = None
        else:
            x = [m.ratio.median for m in found]
            whiskers = (
                [m.ratio.median - m.ratio.q1 for m in found],
                [m.ratio.q3 - m.ratio.median for m in found],
            )
        offset = step * (index - (len(inputs) - 1) / 2)
        axes.errorbar(
            x,
            [names.index(m.row.name) + offset for m in found],
            xerr=whiskers,
            linestyle="none",
            elinewidth=1,
            markersize=4,
            color=COLOURS[index % len(COLOURS)],
            marker=MARKERS[index % len(MARKERS)],
            label=group,
        )
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    for boundary in range(1, len(names)):
        axes.axhline(boundary - 0.5, color="0.9", linewidth=0.8, zorder=0)
    axes.grid(axis="x", color="0.85", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlabel("peak memory / size of the input" if memory else "time / copying the input")
