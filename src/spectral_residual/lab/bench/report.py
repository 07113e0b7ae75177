"""Report of a benchmark: ratios, JSON, and comparison with a stored one.

Ratios of two measurements divide times of the same round and take the median over rounds.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch

from ...errors import unknown_name
from .measure import MEMORY_METHODS, Measurement, Spread
from .rows import NetworkRow, Row, group_rows
from .steps import COPY

Pair = tuple[str, str]
"""Names of two rows: numerator and denominator."""

_ROWS: dict[str, type[Row] | type[NetworkRow]] = {"blocks": Row, "networks": NetworkRow}


@dataclass(frozen=True)
class Ratio:
    """What one row takes by what another takes in the same mode.

    Attributes
    ----------
    above, below : Measurement
        Numerator and denominator, of the same rounds.
    """

    above: Measurement
    below: Measurement

    @property
    def time(self) -> Spread:
        """Ratio of the times of one call, round by round."""
        return Spread.of_ratio(self.above.per_round, self.below.per_round)

    @property
    def memory(self) -> float:
        """Ratio of the peak memory."""
        return self.above.peak_bytes / self.below.peak_bytes

    @property
    def label(self) -> str:
        """Names of both rows, as in ``--ratio``."""
        return f"{self.above.row.name}/{self.below.row.name}"

    def as_json(self) -> dict[str, Any]:
        """What is divided, and both ratios."""
        names = {"numerator": self.above.row.name, "denominator": self.below.row.name}
        return {**names, "group": self.above.row.group, **self._numbers()}

    def _numbers(self) -> dict[str, Any]:
        return {"mode": self.above.mode, "time": asdict(self.time), "memory": self.memory}


@dataclass(frozen=True)
class Growth(Ratio):
    """What a block takes on a map of twice the height and width by what it takes on the map.

    Attributes
    ----------
    large, small : Row
        The rows of `above` and `below`.
    """

    large: Row
    small: Row

    def as_json(self) -> dict[str, Any]:
        """What is divided, and both ratios."""
        row = self.small
        inputs = {"name": row.name, "channels": row.channels, "batch": row.batch}
        return {**inputs, "smaller": row.size, "larger": self.large.size, **self._numbers()}


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
        rows: list[Measurement],
        *,
        seconds: float,
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
            rounds=len(rows[0].per_round),
            seconds=seconds,
            pairs=list(pairs),
            rows=rows,
        )

    def to_json(self) -> str:
        """One JSON object.

        The fields of a row stand beside its measurements. ``ratios`` holds the ratios of
        `pairs`, see `Ratio`, and ``growth`` that with the input, see `Growth`.
        """
        rows = [asdict(measurement) for measurement in self.rows]
        values: dict[str, Any] = {
            **vars(self),
            "memory": MEMORY_METHODS[self.device],
            "ratios": [ratio.as_json() for ratio in pair_ratios(self.rows, self.pairs)],
            "growth": [ratio.as_json() for ratio in growth(self.rows)],
            "rows": [{**row.pop("row"), **row} for row in rows],
        }
        lines = [f"{json.dumps(name)}: {_one_a_line(value)}" for name, value in values.items()]
        return "{\n " + ",\n ".join(lines) + "\n}\n"


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
        rows = [_measurement(row, _ROWS[values["kind"]]) for row in values.pop("rows")]
        pairs = [(numerator, denominator) for numerator, denominator in values.pop("pairs")]
        return BenchReport(**values, pairs=pairs, rows=rows)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path} was not written by this version of 'srl bench --json': {error!r}"
        ) from error


def choose_pairs(
    asked: Sequence[str] | None, default: Sequence[Pair], rows: Sequence[Row | NetworkRow]
) -> list[Pair]:
    """Pairs of rows whose ratios are told.

    Parameters
    ----------
    asked : sequence of str or None
        ``NUMERATOR/DENOMINATOR``, two names of rows each.
    default : sequence of (str, str)
        Names to take instead if None are asked for, where a group has both.
    rows : sequence of Row or of NetworkRow
        What is measured.

    Raises
    ------
    ValueError
        If a text is not of this form, a name is that of no row, or no group has both rows.
    """
    groups = [{row.name for row in group} for group in group_rows(rows)]
    if asked is None:
        return [pair for pair in default if any(names.issuperset(pair) for names in groups)]
    known = dict.fromkeys(row.name for row in rows)
    pairs = []
    for text in asked:
        numerator, _, denominator = (part.strip() for part in text.partition("/"))
        if not (numerator and denominator) or "/" in denominator:
            raise ValueError(
                f"--ratio must be NUMERATOR/DENOMINATOR, two names of rows, got {text!r}"
            )
        for name in (numerator, denominator):
            if name not in known:
                raise unknown_name("row of --ratio", name, known)
        if not any(names.issuperset((numerator, denominator)) for names in groups):
            raise ValueError(f"--ratio {numerator}/{denominator}: no input has both rows")
        pairs.append((numerator, denominator))
    return pairs


def pair_ratios(measurements: Sequence[Measurement], pairs: Sequence[Pair]) -> list[Ratio]:
    """Ratios of all pairs in all groups and modes that have both rows, in this order.

    Parameters
    ----------
    measurements : sequence of Measurement
        Of one run.
    pairs : sequence of (str, str)
        Names of numerator and denominator.
    """
    places: dict[tuple[str, str], dict[str, Measurement]] = {}
    for m in measurements:
        places.setdefault((m.row.group, m.mode), {})[m.row.name] = m
    return [
        Ratio(found[numerator], found[denominator])
        for numerator, denominator in pairs
        for found in places.values()
        if numerator in found and denominator in found
    ]


def growth(measurements: Sequence[Measurement]) -> list[Growth]:
    """Growth between all inputs of which one has twice the height and width of the other.

    Channels, frames, batch size, block, options and mode are the same; the map has four times
    the positions. Networks have none.
    """
    blocks = [(m, m.row) for m in measurements if isinstance(m.row, Row)]
    found = []
    for below, small in blocks:
        *frames, height, width = small.shape
        for above, large in blocks:
            doubled = large.shape == (*frames, 2 * height, 2 * width)
            if doubled and _identity(large, above.mode) == _identity(small, below.mode):
                found.append(Growth(above, below, large, small))
    return found


def _identity(row: Row, mode: str) -> tuple[object, ...]:
    return (row.name, row.block, row.channels, row.batch, row.options, mode)


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
    common = [(m, old[_key(m)]) for m in report.rows if _key(m) in old]
    if all(m.mode == COPY for m, _ in common):
        raise ValueError("the stored benchmark has none of the rows that were measured")
    found = [
        (m.row.name, m, (before.ratio, m.ratio), (before.peak_ratio, m.peak_ratio))
        for m, before in common
        if m.mode != COPY
    ]
    ratios, ratios_before = (pair_ratios(rows, report.pairs) for rows in zip(*common, strict=True))
    found += [
        (r.label, r.above, (before.time, r.time), (before.memory, r.memory))
        for r, before in zip(ratios, ratios_before, strict=True)
    ]
    changes = []
    for name, m, (time_before, time), (memory_before, memory) in found:
        for what, was, now in (
            ("time", time_before.median, time.median),
            ("memory", memory_before, memory),
        ):
            label = f"{name}, {m.row.group}, {m.mode}, {what}"
            changes.append(Change(label, was, now, now > was * (1 + tolerance)))
    return changes


def check_comparable(stored: BenchReport, kind: str, device: str, dtype: str | None) -> None:
    """Raise ValueError if the stored report is of another kind, type of device, or dtype."""
    for label, now in (("kind", kind), ("device", device), ("dtype", dtype)):
        was = getattr(stored, label)
        if was != now:
            raise ValueError(f"the stored benchmark has {label} {was!r}, this one has {now!r}")


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


def _one_a_line(value: object) -> str:
    """JSON; of a list every item on a line of its own."""
    if not isinstance(value, list):
        return json.dumps(value)
    return "[" + ",".join(f"\n  {json.dumps(item)}" for item in value) + "]"


def _measurement(values: dict[str, Any], row_type: type[Row] | type[NetworkRow]) -> Measurement:
    values = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
    row = row_type(**{field.name: values.pop(field.name) for field in fields(row_type)})
    for name in ("milliseconds", "ratio"):
        values[name] = Spread(**values[name])
    return Measurement(row=row, **values)


def _key(measurement: Measurement) -> str:
    return json.dumps([asdict(measurement.row), measurement.mode], sort_keys=True)
