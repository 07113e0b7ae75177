"""Report of a benchmark: text, JSON, and comparison with a stored one."""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from .measure import COPY, Measurement, Measurements, Spread, group_rows
from .memory import METHODS
from .rows import Row

MODE_TITLES = {"inference": "forward", "training": "forward + backward"}

Key = tuple[Any, ...]


@dataclass(frozen=True)
class BenchReport:
    """Measurements, and where they were made.

    Attributes
    ----------
    device : str
        ``"cpu"`` or ``"cuda"``.
    device_name : str
        Name of the processor or GPU.
    dtype : str
        Type of weights and input.
    torch_version : str
        Version of PyTorch.
    threads : int
        CPU threads of PyTorch.
    rounds : int
        Rounds that medians and quartiles are taken over.
    seconds : float
        What the run has taken.
    rows : list of Measurement
        The copies (``mode`` is ``"copy"``) and the blocks.
    """

    device: str
    device_name: str
    dtype: str
    torch_version: str
    threads: int
    rounds: int
    seconds: float
    rows: list[Measurement]

    @classmethod
    def here(cls, device: torch.device, dtype: str, measured: Measurements) -> BenchReport:
        """Report of what was just measured in this process."""
        return cls(
            device=device.type,
            device_name=device_name(device),
            dtype=dtype,
            torch_version=torch.__version__,
            threads=torch.get_num_threads(),
            rounds=measured.rounds,
            seconds=measured.seconds,
            rows=measured.rows,
        )

    def to_json(self) -> str:
        """One JSON object; the fields of a row stand beside its measurements."""
        values = {**vars(self), "memory": METHODS[self.device]}
        values["rows"] = [_flat(row) for row in self.rows]
        return json.dumps(values, indent=1) + "\n"

    def to_text(self) -> str:
        """Table for the terminal, one block of lines for each input."""
        lines = [
            f"{self.device_name}, torch {self.torch_version}, {self.dtype}, "
            f"{self.threads} thread(s), {self.rounds} rounds in {self.seconds:.0f} s",
            "ms: median (quartiles) of one call; x copy: time by that of copying the input once;",
            "MiB: peak memory beyond input and parameters",
        ]
        for rows in group_rows([m.row for m in self.rows]):
            lines += [
                "",
                *_table([m for m in self.rows if m.row.input_shape == rows[0].input_shape]),
            ]
        return "\n".join(lines)


@dataclass(frozen=True)
class Change:
    """A ratio beside the stored one.

    Attributes
    ----------
    label : str
        Row, mode, and which ratio: ``"time"`` or ``"memory"``.
    stored, now : float
        Ratio to copying the input (time) or to its size (memory).
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
    """Compare the ratios of rows that both reports have.

    Parameters
    ----------
    report, stored : BenchReport
        New and old.
    tolerance : float
        A ratio is worse if it is greater than ``(1 + tolerance)`` times the stored one.

    Returns
    -------
    list of Change
        Time and memory of every common row, in the order of `report`.

    Raises
    ------
    ValueError
        If the devices' types or the dtypes differ, or no row is in both.
    """
    check_comparable(stored, report.device, report.dtype)
    old = {_key(row): row for row in stored.rows}
    changes: list[Change] = []
    for row in report.rows:
        before = old.get(_key(row))
        if row.mode == COPY or before is None:
            continue
        label = f"{row.row.name}, {row.row.channels} channels at {row.row.size}, {row.mode}"
        for kind, was, now in (
            ("time", before.ratio.median, row.ratio.median),
            ("memory", before.peak_ratio, row.peak_ratio),
        ):
            changes.append(Change(f"{label}, {kind}", was, now, now > was * (1 + tolerance)))
    if not changes:
        raise ValueError("the stored benchmark has none of the rows that were measured")
    return changes


def check_comparable(stored: BenchReport, device: str, dtype: str) -> None:
    """Raise ValueError if the stored report is of another type of device, or another dtype."""
    for label, was, now in (("device", stored.device, device), ("dtype", stored.dtype, dtype)):
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
        rows = [_unflatten(row) for row in values.pop("rows")]
        del values["memory"]
        return BenchReport(**values, rows=rows)
    except (json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} was not written by 'srl bench --json': {error!r}") from error


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


def _table(measurements: Sequence[Measurement]) -> list[str]:
    """Lines for the measurements of one input, the copy first."""
    copy, *blocks = measurements
    modes = list(dict.fromkeys(m.mode for m in blocks))
    by_name: dict[str, dict[str, Measurement]] = {}
    for m in blocks:
        by_name.setdefault(m.row.name, {})[m.mode] = m
    width = max(len("block"), *map(len, by_name))
    head = f"{'block':{width}}"
    for mode in modes:
        head += f"  {MODE_TITLES[mode] + ' ms':>21}  {'x copy':>6}  {'MiB':>6}"
    lines = [
        f"{copy.row.channels} channels at {copy.row.size}, batch {copy.row.batch}: "
        f"input {_mebibytes(copy.peak_bytes / copy.peak_ratio)} MiB, "
        f"copy {_milliseconds(copy.milliseconds)} ms",
        head,
    ]
    for name, found in by_name.items():
        line = f"{name:{width}}"
        for mode in modes:
            m = found[mode]
            line += f"  {_milliseconds(m.milliseconds):>21}  {_digits(m.ratio.median):>6}"
            line += f"  {_mebibytes(m.peak_bytes):>6}"
        lines.append(line)
    return lines


def _milliseconds(spread: Spread) -> str:
    return f"{_digits(spread.median)} ({_digits(spread.q1)}-{_digits(spread.q3)})"


def _mebibytes(size: float) -> str:
    return f"{size / 2**20:.1f}"


def _digits(value: float) -> str:
    """Three digits or so, without an exponent."""
    decimals = 3 if value < 1 else 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:.{decimals}f}"


def _flat(measurement: Measurement) -> dict[str, Any]:
    values = asdict(measurement)
    return {**values.pop("row"), **values}


def _unflatten(values: dict[str, Any]) -> Measurement:
    row = {name: values.pop(name) for name in ("name", "block", "channels", "batch", "options")}
    return Measurement(
        row=Row(shape=tuple(values.pop("shape")), **row),
        milliseconds=Spread(**values.pop("milliseconds")),
        ratio=Spread(**values.pop("ratio")),
        **values,
    )


def _key(measurement: Measurement) -> Key:
    row = measurement.row
    options = json.dumps(row.options, sort_keys=True)
    return (row.name, row.block, row.input_shape, options, measurement.mode)
