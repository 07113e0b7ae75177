"""Report of a benchmark: JSON, and comparison with a stored one."""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch

from .measure import COPY, Measurement, Measurements
from .memory import METHODS
from .network_rows import NetworkRow
from .ratios import Pair, growth, pair_ratios
from .rounds import Spread
from .rows import Row

_ROWS: dict[str, type[Row] | type[NetworkRow]] = {"blocks": Row, "networks": NetworkRow}


@dataclass(frozen=True)
class BenchReport:
    """Measurements, and where they were made.

    Attributes
    ----------
    kind : str
        ``"blocks"`` or ``"networks"``.
    device : str
        ``"cpu"`` or ``"cuda"``.
    device_name : str
        Name of the processor or GPU.
    dtype : str or None
        Type of weights and input of blocks; None for networks, whose rows say their precision.
    torch_version : str
        Version of PyTorch.
    threads : int
        CPU threads of PyTorch.
    rounds : int
        Rounds that medians and quartiles are taken over.
    seconds : float
        What the run has taken.
    pairs : list of (str, str)
        Rows whose ratios are told: names of numerator and denominator.
    rows : list of Measurement
        In the order of their groups, the base first in each: the copy (``mode`` is ``"copy"``)
        or the network without blocks.
    """

    kind: str
    device: str
    device_name: str
    dtype: str | None
    torch_version: str
    threads: int
    rounds: int
    seconds: float
    pairs: list[Pair]
    rows: list[Measurement]

    @classmethod
    def here(
        cls,
        device: torch.device,
        dtype: str | None,
        measured: Measurements,
        *,
        kind: str = "blocks",
        pairs: Sequence[Pair] = (),
    ) -> BenchReport:
        """Report of what was just measured in this process."""
        return cls(
            kind=kind,
            device=device.type,
            device_name=device_name(device),
            dtype=dtype,
            torch_version=torch.__version__,
            threads=torch.get_num_threads(),
            rounds=measured.rounds,
            seconds=measured.seconds,
            pairs=list(pairs),
            rows=measured.rows,
        )

    def to_json(self) -> str:
        """One JSON object.

        The fields of a row stand beside its measurements. ``ratios`` holds the ratios of
        `pairs`, see `PairRatio`, and ``growth`` that with the input, see `Growth`.
        """
        values: dict[str, Any] = {
            **vars(self),
            "memory": METHODS[self.device],
            "ratios": [asdict(ratio) for ratio in pair_ratios(self.rows, self.pairs)],
            "growth": [asdict(value) for value in growth(self.rows)],
            "rows": [_flat(row) for row in self.rows],
        }
        lines = [f"{json.dumps(name)}: {_one_a_line(value)}" for name, value in values.items()]
        return "{\n " + ",\n ".join(lines) + "\n}\n"


@dataclass(frozen=True)
class Change:
    """A ratio beside the stored one.

    Attributes
    ----------
    label : str
        Row or pair of rows, input, mode, and which ratio: ``"time"`` or ``"memory"``.
    stored, now : float
        Ratio of a row to its base (copying the input, or the network without blocks), or of a
        pair.
    worse : bool
        Whether it has grown by more than the tolerance.
    """

    label: str
    stored: float
    now: float
    worse: bool

    def __str__(self) -> str:
        verdict = "WORSE" if self.worse else "ok"
        return f"{verdict:5}  {self.label}: {self.stored:.3g} -> {self.now:.3g}"


def compare(report: BenchReport, stored: BenchReport, tolerance: float) -> list[Change]:
    """Compare the ratios of rows, and of pairs of rows, that both reports have.

    Parameters
    ----------
    report, stored : BenchReport
        New and old; the pairs are those of the new one.
    tolerance : float
        A ratio is worse if it is greater than ``(1 + tolerance)`` times the stored one.

    Returns
    -------
    list of Change
        Time and memory of every common row, in the order of `report`, then of every pair of
        common rows.

    Raises
    ------
    ValueError
        If the reports are of another kind, of another type of device or of another dtype, or
        have no row in common.
    """
    check_comparable(stored, report.kind, report.device, report.dtype)
    old = {_key(m): m for m in stored.rows}
    common = [m for m in report.rows if _key(m) in old]
    if all(m.mode == COPY for m in common):
        raise ValueError("the stored benchmark has none of the rows that were measured")
    changes = []
    for row in common:
        if row.mode != COPY:
            before = old[_key(row)]
            label = f"{row.row.name}, {row.row.group}, {row.mode}"
            was = before.ratio.median, before.peak_ratio
            changes += _changes(label, was, (row.ratio.median, row.peak_ratio), tolerance)
    ratios = pair_ratios(common, report.pairs)
    ratios_before = pair_ratios([old[_key(m)] for m in common], report.pairs)
    for ratio, ratio_before in zip(ratios, ratios_before, strict=True):
        label = f"{ratio.numerator}/{ratio.denominator}, {ratio.group}, {ratio.mode}"
        was = ratio_before.time.median, ratio_before.memory
        changes += _changes(label, was, (ratio.time.median, ratio.memory), tolerance)
    return changes


def check_comparable(stored: BenchReport, kind: str, device: str, dtype: str | None) -> None:
    """Raise ValueError if the stored report is of another kind, type of device, or dtype."""
    for label, was, now in (
        ("kind", stored.kind, kind),
        ("device", stored.device, device),
        ("dtype", stored.dtype, dtype),
    ):
        if was != now:
            raise ValueError(f"the stored benchmark has {label} {was!r}, this one has {now!r}")


def read_report(path: Path) -> BenchReport:
    """Read what `BenchReport.to_json` has written.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is no such report.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no such stored benchmark: {path}")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        for name in ("memory", "ratios", "growth"):
            del values[name]
        rows = [_unflatten(row, _ROWS[values["kind"]]) for row in values.pop("rows")]
        pairs = [(numerator, denominator) for numerator, denominator in values.pop("pairs")]
        return BenchReport(**values, pairs=pairs, rows=rows)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path} was not written by this version of 'srl bench --json': {error!r}"
        ) from error


def device_name(device: torch.device) -> str:
    """Name of a GPU or of this machine's processor, as far as the system tells it."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    information = Path("/proc/cpuinfo")
    if information.is_file():
        for line in information.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _changes(
    label: str, stored: tuple[float, float], now: tuple[float, float], tolerance: float
) -> list[Change]:
    """Changes of time and of memory."""
    return [
        Change(f"{label}, {kind}", was, new, new > was * (1 + tolerance))
        for kind, was, new in zip(("time", "memory"), stored, now, strict=True)
    ]


def _one_a_line(value: object) -> str:
    """JSON; of a list every item on a line of its own."""
    if not isinstance(value, list):
        return json.dumps(value)
    return "[" + ",".join(f"\n  {json.dumps(item)}" for item in value) + "]"


def _flat(measurement: Measurement) -> dict[str, Any]:
    values = asdict(measurement)
    return {**values.pop("row"), **values}


def _unflatten(values: dict[str, Any], row_type: type[Row] | type[NetworkRow]) -> Measurement:
    values = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
    row = {field.name: values.pop(field.name) for field in fields(row_type)}
    return Measurement(
        row=row_type(**row),
        milliseconds=Spread(**values.pop("milliseconds")),
        ratio=Spread(**values.pop("ratio")),
        **values,
    )


def _key(measurement: Measurement) -> str:
    return json.dumps([asdict(measurement.row), measurement.mode], sort_keys=True)
