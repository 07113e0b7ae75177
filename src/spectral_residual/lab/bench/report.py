"""Report of a benchmark: ratios, JSON, and comparison with a stored one.

Ratios of two measurements divide times of the same round and take the median over rounds.
"""

from __future__ import annotations

import json
import platform
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch

from ...errors import unknown_name
from .measure import MEMORY_METHODS, Measurement, Spread
from .rows import NetworkRow, Row, group_rows
from .steps import COPY

Pair = tuple[str, str]
"""Names of two rows: numerator and denominator."""


@dataclass(frozen=True)
class Ratio:
    """What one row takes by what another takes.

    Attributes
    ----------
    above, below : Measurement
        Numerator and denominator, of the same rounds.
    """

    above: Measurement
    below: Measurement

    @property
    def time(self) -> Spread:
        """Ratio of the times of one call: what was measured in one round belongs together."""
        rounds = zip(self.above.per_round, self.below.per_round, strict=True)
        return Spread.of([a / b for a, b in rounds])

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


@dataclass(frozen=True, kw_only=True)
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

    kind: str = "blocks"
    device: str = "cpu"
    device_name: str
    dtype: str | None
    torch_version: str = torch.__version__
    threads: int = field(default_factory=torch.get_num_threads)
    rounds: int
    seconds: float
    pairs: list[Pair] = field(default_factory=list)
    rows: list[Measurement]

    def to_json(self) -> str:
        """One JSON object.

        The fields of a row stand beside its measurements and their ratios to the base.
        ``ratios`` holds those of `pairs`, and ``growth`` that with the input.
        """
        values: dict[str, Any] = {
            **vars(self),
            "rows": [_flat(ratio) for ratio in base_ratios(self.rows)],
            "memory": MEMORY_METHODS[self.device],
            "ratios": [ratio.as_json() for ratio in pair_ratios(self.rows, self.pairs)],
            "growth": [ratio.as_json() for ratio in growth(self.rows)],
        }
        lines = [f"{json.dumps(name)}: {_one_a_line(value)}" for name, value in values.items()]
        return "{\n " + ",\n ".join(lines) + "\n}\n"


def read_report(path: Path) -> BenchReport:
    """Read what `BenchReport.to_json` has written; ratios are made anew.

    Raises
    ------
    ValueError
        If it is no such report.
    """
    text = path.read_text(encoding="utf-8")
    try:
        values = json.loads(text)
        for name in ("memory", "ratios", "growth"):
            del values[name]
        row_type = Row if values["kind"] == "blocks" else NetworkRow
        values["rows"] = [_measurement(row, row_type) for row in values["rows"]]
        values["pairs"] = [(numerator, denominator) for numerator, denominator in values["pairs"]]
        return BenchReport(**values)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path} was not written by this version of 'srl bench --json': {error!r}"
        ) from error


def choose_pairs(
    asked: Sequence[str] | None, default: Sequence[str], rows: Sequence[Row | NetworkRow]
) -> list[Pair]:
    """Pairs that are asked for as ``NUMERATOR/DENOMINATOR``; if None, those by default.

    Of the latter only those that a group of rows has both of.

    Raises
    ------
    ValueError
        If a text is not of this form, a name is that of no row, or no group has both rows.
    """
    known = dict.fromkeys(row.name for row in rows)
    groups = [{row.name for row in group} for group in group_rows(rows)]
    pairs = []
    for text in default if asked is None else asked:
        numerator, _, denominator = (part.strip() for part in text.partition("/"))
        found = any({numerator, denominator} <= names for names in groups)
        if asked is not None:
            if not (numerator and denominator) or "/" in denominator:
                raise ValueError(
                    f"--ratio must be NUMERATOR/DENOMINATOR, two names of rows, got {text!r}"
                )
            for name in (numerator, denominator):
                if name not in known:
                    raise unknown_name("row of --ratio", name, known)
            if not found:
                raise ValueError(f"--ratio {numerator}/{denominator}: no input has both rows")
        if found:
            pairs.append((numerator, denominator))
    return pairs


def base_ratios(measurements: Sequence[Measurement]) -> list[Ratio]:
    """Ratio of each measurement to the base, which is the first one of its group."""
    bases: dict[str, Measurement] = {}
    return [Ratio(m, bases.setdefault(m.row.group, m)) for m in measurements]


def by_group(ratios: Iterable[Ratio]) -> dict[str, list[Ratio]]:
    """Ratios by the group of their numerators, in the order of the first of each."""
    groups: dict[str, list[Ratio]] = {}
    for ratio in ratios:
        groups.setdefault(ratio.above.row.group, []).append(ratio)
    return groups


def pair_ratios(measurements: Sequence[Measurement], pairs: Sequence[Pair]) -> list[Ratio]:
    """Ratios of all pairs in all groups and modes that have both rows, in this order."""
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
        doubled = (*frames, 2 * height, 2 * width)
        for above, large in blocks:
            same = replace(small, shape=doubled, channels_last=large.channels_last)
            if (large, above.mode) == (same, below.mode):
                found.append(Growth(above, below, large, small))
    return found


class Change(NamedTuple):
    """A ratio of a row to its base, or of a pair, beside the stored one.

    The label names row or pair, input, mode, and whether the ratio is that of time or memory.
    """

    label: str
    stored: float
    now: float
    worse: bool


def compare(report: BenchReport, stored: BenchReport, tolerance: float) -> list[Change]:
    """Compare time and memory of all rows, and pairs of rows, that both reports have.

    The pairs are those of the new report. A ratio is worse if it is greater than
    ``(1 + tolerance)`` times the stored one. ValueError if the reports have no row in common.
    """
    old = _compared(stored, report.pairs)
    new = _compared(report, report.pairs)
    common = [(*key, old[key], now) for key, now in new.items() if key in old]
    if not common:
        raise ValueError("the stored benchmark has none of the rows that were measured")
    changes = []
    for name, *_, was, now in common:
        for what, before, value in (
            ("time", was.time.median, now.time.median),
            ("memory", was.memory, now.memory),
        ):
            label = f"{name}, {now.above.row.group}, {now.above.mode}, {what}"
            changes.append(Change(label, before, value, value > before * (1 + tolerance)))
    return changes


def _compared(report: BenchReport, pairs: Sequence[Pair]) -> dict[tuple[Any, ...], Ratio]:
    """Ratios of rows to their base and of pairs, by name, rows and mode."""
    bases = [r for r in base_ratios(report.rows) if r.above.mode != COPY]
    found: dict[tuple[Any, ...], Ratio] = {
        (r.above.row.name, r.above.row, r.above.mode): r for r in bases
    }
    for r in pair_ratios(report.rows, pairs):
        found[r.label, r.above.row, r.below.row, r.above.mode] = r
    return found


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
    text = information.read_text(encoding="utf-8") if information.is_file() else ""
    found = re.search(r"^model name\s*:\s*(.*\S)", text, re.MULTILINE)
    return found[1] if found else platform.processor() or platform.machine()


def _one_a_line(value: object) -> str:
    """JSON; of a list every item on a line of its own."""
    if not isinstance(value, list):
        return json.dumps(value)
    return "[" + ",".join(f"\n  {json.dumps(item)}" for item in value) + "]"


def _flat(ratio: Ratio) -> dict[str, Any]:
    m = ratio.above
    return {
        **asdict(m.row),
        "mode": m.mode,
        "milliseconds": asdict(m.milliseconds),
        "ratio": asdict(ratio.time),
        "peak_bytes": m.peak_bytes,
        "peak_ratio": ratio.memory,
        "per_round": m.per_round,
    }


def _measurement(values: dict[str, Any], row_type: type[Row] | type[NetworkRow]) -> Measurement:
    values = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
    row = row_type(**{found.name: values[found.name] for found in fields(row_type)})
    return Measurement(row, values["mode"], values["peak_bytes"], values["per_round"])
