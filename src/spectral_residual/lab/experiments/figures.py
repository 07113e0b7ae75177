"""Curves over epochs, and accuracy against the measured time that blocks add."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ...report.figures import COLOURS, plain, render
from .summary import Row, Summary

_STYLES = ("-", "--", ":", "-.", (0, (7, 2, 1, 2, 1, 2)), (0, (1, 4)))
_LEGEND_ROWS = 14


def metric_curves(summary: Summary) -> bytes | None:
    """Draw the first metric of the validations during training, in percent, as PNG.

    For every run the mean over seeds, and in a pale shade their range; None if no run has a
    validation.
    """
    name = summary.metric
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
    for entry in (entry for record in row.records.values() for entry in record["history"]):
        if entry["metrics"].get(metric) is not None:
            values.setdefault(entry["epoch"] + 1, []).append(100 * entry["metrics"][metric])
    points = [(e, min(v), sum(v) / len(v), max(v)) for e, v in sorted(values.items())]
    return np.asarray(points, dtype=np.float64).reshape(-1, 4)


def read_times(path: Path) -> dict[str, float]:
    """Time by that of the network without blocks, by name, from ``srl bench networks --json``.

    Raises
    ------
    FileNotFoundError, ValueError
        If there is no such file, or it is of something else.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no such file: {path}")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["kind"] != "networks":
            raise ValueError(f"{path}: expected times of networks, got {content['kind']!r}")
        return {row["name"]: float(row["ratio"]["median"]) for row in content["rows"]}
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path}: expected a file written by srl bench networks --json: {error!r}"
        ) from error


def pareto_figure(summary: Summary, times: dict[str, float]) -> bytes:
    """Draw the first metric of all runs that have a time, mean and range of the seeds, as PNG.

    A line joins the runs that no other beats in both. The network without blocks is the run
    ``base`` and has the time ``none``.

    Raises
    ------
    ValueError
        If no run has a result and a time.
    """
    name = summary.experiment.name
    points: list[tuple[float, float, list[float], str]] = []
    for row in summary.rows:
        time = times.get("none" if row.name == "base" else row.name)
        values = [100 * value for value in row.values(summary.metric).values()]
        if time is not None and values:
            points.append((100 * (time - 1), sum(values) / len(values), values, row.name))
    if not points:
        raise ValueError(f"{name}: no run has both a result and a time")
    points.sort()
    figure = Figure(figsize=(8.5, 4.8), layout="constrained")
    axes = figure.subplots()
    best = [point for i, point in enumerate(points) if all(p[1] < point[1] for p in points[:i])]
    axes.plot([p[0] for p in best], [p[1] for p in best], color="#999999", linewidth=1, zorder=1)
    wide = 0.17 * (points[-1][0] - points[0][0])
    high_as_text = 0.06 * (max(p[1] for p in points) - min(p[1] for p in points))
    upper = 0.0
    for index, (time, mean, values, run) in enumerate(points):
        colour = COLOURS[1] if run == "srl" else COLOURS[0]
        axes.plot([time, time], [min(values), max(values)], color=colour, linewidth=1.2)
        axes.plot(time, mean, "o", color=colour, markersize=6)
        beside = index > 0 and time - points[index - 1][0] < wide
        near = beside and abs(mean - upper) < high_as_text
        upper = mean if not near else upper
        text = axes.annotate(
            f"{run} ({len(values)})", (time, mean), (6, -12 if near else 4),
            textcoords="offset points", fontsize=9, color=colour,
        )  # fmt: skip
        text.set_parse_math(False)
    axes.set_title(f"{name}: {summary.metric} against time", loc="left")
    axes.set_xlabel("time that the blocks add to a training step (%)")
    axes.set_ylabel(f"{summary.metric} (%); number of seeds in brackets")
    plain(axes)
    axes.margins(x=0.12, y=0.1)
    return render(figure)
