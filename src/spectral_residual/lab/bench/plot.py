"""Plot of a benchmark: time and memory as ratios to the input, on logarithmic axes."""

from __future__ import annotations

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from ...report.figures import COLOURS, MARKERS, plain, save_figure
from .report import BenchReport, Ratio, base_ratios, by_group
from .steps import COPY
from .text import MODE_TITLES

_SPREAD_OF_INPUTS = 0.68


def plot_report(report: BenchReport, path: Path) -> None:
    """Draw a row of dots for every block: one column for each mode, time above memory.

    Inputs differ in colour and marker, and lie a little apart. Whiskers are quartiles. The file
    is of a format that matplotlib knows by its suffix.
    """
    ratios = [ratio for ratio in base_ratios(report.rows) if ratio.above.mode != COPY]
    modes = list(dict.fromkeys(ratio.above.mode for ratio in ratios))
    names = list(dict.fromkeys(ratio.above.row.name for ratio in ratios))
    height = 0.5 + 0.38 * len(names)
    figure = Figure(figsize=(1.6 + 4.4 * len(modes), 1.8 + 2 * height), layout="constrained")
    panels = figure.subplots(2, len(modes), squeeze=False, sharex="row", sharey=True)
    for mode, (above, below) in zip(modes, panels.T, strict=True):
        by_input = by_group(ratio for ratio in ratios if ratio.above.mode == mode)
        _draw(above, by_input, names, memory=False)
        _draw(below, by_input, names, memory=True)
        above.set_title(MODE_TITLES[mode], fontweight="bold")
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    figure.suptitle(
        f"{report.device_name}, {report.dtype}, {report.threads} thread(s), "
        f"torch {report.torch_version}, {report.rounds} rounds",
        fontsize="small",
    )
    save_figure(path, figure)


def _draw(axes: Axes, by_input: dict[str, list[Ratio]], names: list[str], *, memory: bool) -> None:
    step = _SPREAD_OF_INPUTS / max(1, len(by_input) - 1)
    for index, (group, found) in enumerate(by_input.items()):
        offset = step * (index - (len(by_input) - 1) / 2)
        times = [ratio.time for ratio in found]
        quartiles = [[t.median - t.q1 for t in times], [t.q3 - t.median for t in times]]
        axes.errorbar(
            [ratio.memory for ratio in found] if memory else [t.median for t in times],
            [names.index(ratio.above.row.name) + offset for ratio in found],
            xerr=None if memory else quartiles,
            linestyle="none",
            elinewidth=1,
            markersize=4,
            color=COLOURS[index % len(COLOURS)],
            marker=MARKERS[index % len(MARKERS)],
            label=group,
        )
    plain(axes)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")
    for boundary in range(1, len(names)):
        axes.axhline(boundary - 0.5, color="0.9", linewidth=0.8, zorder=0)
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("peak memory / size of the input" if memory else "time / copying the input")
