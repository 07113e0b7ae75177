"""What a report knows of a trained model, and the table of several."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ...errors import unknown_name
from ...pose.coco import KEYPOINT_METRICS
from ...report.table import format_table

METRICS = (*KEYPOINT_METRICS, "PCK")
"""Names of the metrics that a run may have."""

MISSING = "-"
"""Stands in tables for a value that is not known."""


@dataclass(frozen=True)
class RunSummary:
    """Results of one trained model.

    Parameters
    ----------
    name : str
        Name of the model, one printable line.
    metrics : mapping
        Fractions in [0, 1] by names of `METRICS`; a metric that is missing, NaN or COCO's -1 is
        not known.
    parameters : int
        Number of parameters.
    gflops : float
        Operations of one forward pass of one image in units of 2^30 multiply-accumulates, by the
        paper's accounting (`spectral_residual.cost`).
    milliseconds : float
        Time per image in milliseconds.
    images_per_second : float
        Throughput.
    losses : sequence of (float, float)
        (epoch or step, training loss); losses that are not finite or not positive are not drawn.
    validation : sequence of (float, float)
        (epoch, AP); AP as in `metrics`.

    Raises
    ------
    ValueError
        If a metric is unknown or no fraction, a number is negative or not finite, a curve is not
        made of pairs, or the name is blank or not printable.
    """

    name: str
    metrics: Mapping[str, float]
    parameters: int
    gflops: float
    milliseconds: float
    images_per_second: float
    losses: Sequence[tuple[float, float]]
    validation: Sequence[tuple[float, float]]

    def __post_init__(self) -> None:
        if not self.name.strip() or not self.name.isprintable():
            raise ValueError(f"name: got {self.name!r}, expected one printable line")
        for metric, value in self.metrics.items():
            if metric not in METRICS:
                raise unknown_name(f"metric of run {self.name!r}", metric, METRICS)
            _check_fraction(value, f"run {self.name!r}: metrics[{metric!r}]")
        for label in ("parameters", "gflops", "milliseconds", "images_per_second"):
            number = getattr(self, label)
            if not (math.isfinite(number) and number >= 0):
                raise ValueError(
                    f"run {self.name!r}: {label}: got {number}, expected a finite number, 0 or more"
                )
        for label, curve in (("losses", self.losses), ("validation", self.validation)):
            for index, point in enumerate(curve):
                if len(point) != 2 or not math.isfinite(point[0]):
                    raise ValueError(
                        f"run {self.name!r}: {label}[{index}]: got {point!r}, expected two "
                        "numbers, the first of them finite"
                    )
        for index, (_, ap) in enumerate(self.validation):
            _check_fraction(ap, f"run {self.name!r}: validation[{index}]")


@dataclass(frozen=True)
class Column:
    """One column of numbers in the table of runs.

    Parameters
    ----------
    header : str
        Heading.
    decimals : int
        Digits after the point.
    value : callable
        Maps a run to the number shown, in the unit of the heading; NaN if it is not known.
    """

    header: str
    decimals: int
    value: Callable[[RunSummary], float]

    def text(self, run: RunSummary) -> str:
        """The cell of `run`."""
        value = self.value(run)
        return MISSING if math.isnan(value) else f"{value:.{self.decimals}f}"

    def difference(self, run: RunSummary, reference: RunSummary) -> str:
        """Signed difference of two runs, rounded after subtracting; MISSING if either is."""
        value = self.value(run) - self.value(reference)
        if math.isnan(value):
            return MISSING
        digits = f"{abs(value):.{self.decimals}f}"
        sign = "±" if float(digits) == 0 else "+" if value > 0 else "−"
        return sign + digits


def known(fraction: float) -> float:
    """Return a metric, with NaN in place of COCO's -1."""
    return math.nan if fraction == -1 else float(fraction)


def _metric(name: str) -> Column:
    return Column(name, 1, lambda run: 100 * known(run.metrics.get(name, math.nan)))


COLUMNS = (
    *(_metric(name) for name in ("AP", "AP50", "AP75", "AR", "PCK")),
    Column("parameters (M)", 3, lambda run: run.parameters / 1e6),
    Column("GFLOPs", 3, lambda run: run.gflops),
    Column("ms/image", 2, lambda run: run.milliseconds),
)
"""Columns of `summary_table`, after the model's name."""


def summary_table(runs: Sequence[RunSummary]) -> str:
    """Lay out runs as an aligned table of plain text, which is also valid Markdown.

    Parameters
    ----------
    runs : sequence of RunSummary
        One line each, in this order.

    Returns
    -------
    str
        Model, AP, AP50, AP75, AR and PCK in percent, parameters in millions (1e6), GFLOPs (2^30
        multiply-accumulates, the paper's accounting) and milliseconds per image; ``-`` for a
        metric that is not known.

    Raises
    ------
    ValueError
        If there are no runs, or two of one name.
    """
    check_runs(runs)
    header = ["model", *(column.header for column in COLUMNS)]
    rows = [[run.name, *(column.text(run) for column in COLUMNS)] for run in runs]
    return format_table(header, rows)


def check_runs(runs: Sequence[RunSummary]) -> None:
    """Raise ValueError if there are no runs, or two of one name."""
    if not runs:
        raise ValueError("runs: got none, expected at least one")
    names = [run.name for run in runs]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"runs: got {names.count(name)} of the name {name!r}, expected one")


def _check_fraction(value: float, where: str) -> None:
    if not (0 <= value <= 1 or value == -1 or math.isnan(value)):
        raise ValueError(f"{where}: got {value}, expected a fraction in [0, 1], -1 or NaN")
