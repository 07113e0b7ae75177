"""Curves over epochs, drawn by matplotlib without its global state."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ...report.figures import COLOURS, plain, render
from .summary import Row, Summary

_STYLES = ("-", "--", ":", "-.", (0, (7, 2, 1, 2, 1, 2)), (0, (1, 4)))
_LEGEND_ROWS = 14


def metric_curves(summary: Summary) -> bytes | None:
    """Draw the first metric of the validations during training, in percent.

    Returns
    -------
    bytes or None
        PNG: for every run the mean over seeds, and in a pale shade the range of the seeds; None
        if no run has a validation.
    """
    name = summary.experiment.metrics[0]
    curves = {row.name: _curve(row, name) for row in summary.rows}
    curves = {label: points for label, points in curves.items() if len(points)}
    if not curves:
        return None
    columns = -(-len(curves) // _LEGEND_ROWS)
    figure = Figure(figsize=(7.0 + 2.2 * columns, 4.8), layout="constrained")
    axes = figure.subplots()
    for index, (label, points) in enumerate(curves.items()):
        colour = COLOURS[index % len(COLOURS)]
        style = _STYLES[index // len(COLOURS) % len(_STYLES)]
        epochs, low, mean, high = points.T
        axes.fill_between(epochs, low, high, color=colour, alpha=0.2, linewidth=0)
        axes.plot(epochs, mean, linestyle=style, color=colour, linewidth=1.8, label=label)
    axes.set_title(f"{summary.experiment.name}: {name} of the validation", loc="left")
    axes.set_xlabel("epoch")
    axes.set_ylabel(f"{name} (%)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    plain(axes)
    legend = figure.legend(
        loc="outside right upper", ncols=columns, frameon=False, fontsize=9, handlelength=3
    )
    for text in legend.get_texts():
        text.set_parse_math(False)
    return render(figure)


def _curve(row: Row, metric: str) -> np.ndarray:
    """(epochs, 4): epoch from 1, least, mean and greatest value of the seeds that have it."""
    values: dict[int, list[float]] = {}
    for record in row.records.values():
        for entry in record["history"]:
            value = entry["metrics"].get(metric)
            if value is not None:
                values.setdefault(entry["epoch"] + 1, []).append(100 * value)
    points = [(e, min(v), sum(v) / len(v), max(v)) for e, v in sorted(values.items())]
    return np.asarray(points, dtype=np.float64).reshape(-1, 4)
