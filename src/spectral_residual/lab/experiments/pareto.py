"""Accuracy against the measured time that blocks add, without matplotlib's global state."""

from __future__ import annotations

import json
from pathlib import Path

from matplotlib.figure import Figure

from ...report.figures import COLOURS, plain, render
from .summary import Summary

_PLAIN, _BASE = "none", "base"


def read_times(path: Path) -> dict[str, float]:
    """Time by that of the network without blocks, by the names of the rows of a benchmark.

    Parameters
    ----------
    path : Path
        File written by ``srl bench networks --json``.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not such a file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no such file: {path}")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["kind"] != "networks":
            raise ValueError(f"{path}: expected times of networks, got {content['kind']!r}")
        times = {row["name"]: float(row["ratio"]["median"]) for row in content["rows"]}
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path}: expected a file written by srl bench networks --json: {error!r}"
        ) from error
    return times


def pareto_figure(summary: Summary, times: dict[str, float]) -> bytes:
    """Draw the first metric of all runs that have a time, mean and range of the seeds.

    Parameters
    ----------
    summary : Summary
        Results; the run ``base`` is the network without blocks.
    times : dict of str to float
        By names of runs; ``none`` is the network without blocks.

    Returns
    -------
    bytes
        PNG. A line joins the runs that no other beats in both.

    Raises
    ------
    ValueError
        If no run has a result and a time.
    """
    metric = summary.experiment.metrics[0]
    points: list[tuple[float, float, float, float, str]] = []
    for row in summary.rows:
        time = times.get(_PLAIN if row.name == _BASE else row.name)
        values = [100 * r["metrics"][metric] for r in row.records.values()]
        if time is not None and values:
            mean = sum(values) / len(values)
            label = f"{row.name} ({len(values)})"
            points.append((100 * (time - 1), mean, min(values), max(values), label))
    if not points:
        raise ValueError(f"{summary.experiment.name}: no run has both a result and a time")
    points.sort()
    figure = Figure(figsize=(8.5, 4.8), layout="constrained")
    axes = figure.subplots()
    best = [point for i, point in enumerate(points) if all(p[1] < point[1] for p in points[:i])]
    axes.plot([p[0] for p in best], [p[1] for p in best], color="#999999", linewidth=1, zorder=1)
    wide = 0.17 * (points[-1][0] - points[0][0])
    high_as_text = 0.06 * (max(p[1] for p in points) - min(p[1] for p in points))
    upper = 0.0
    for index, (time, mean, low, high, label) in enumerate(points):
        name = label.split(" ")[0]
        colour = COLOURS[1] if name == "srl" else COLOURS[0]
        axes.plot([time, time], [low, high], color=colour, linewidth=1.2)
        axes.plot(time, mean, "o", color=colour, markersize=6)
        beside = index > 0 and time - points[index - 1][0] < wide
        near = beside and abs(mean - upper) < high_as_text
        upper = mean if not near else upper
        place = (6, -12) if near else (6, 4)
        text = axes.annotate(
            label, (time, mean), place, textcoords="offset points", fontsize=9, color=colour
        )
        text.set_parse_math(False)
    axes.set_title(f"{summary.experiment.name}: {metric} against time", loc="left")
    axes.set_xlabel("time that the blocks add to a training step (%)")
    axes.set_ylabel(f"{metric} (%); number of seeds in brackets")
    plain(axes)
    axes.margins(x=0.12, y=0.1)
    return render(figure)
