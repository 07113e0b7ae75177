"""``srl bench``: time and peak memory of all blocks, side by side."""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import math
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from .measure import DTYPES, FEWEST_ROUNDS, MODES, measure_blocks
from .report import BenchReport, Change, check_comparable, compare, read_report
from .rows import Row, load_rows, select_rows

_DESCRIPTION = """Milliseconds and peak memory of every block, side by side in interleaved rounds:
forward, and forward + backward, each as a ratio to copying the input once. Exits with 1 if
--compare finds a ratio that is worse."""


def main(arguments: list[str]) -> int:
    """Run ``srl bench``.

    Parameters
    ----------
    arguments : list of str
        Arguments after ``srl bench``.

    Returns
    -------
    int
        0, or 1 if a ratio is worse than the stored one by more than the tolerance.

    Raises
    ------
    ValueError, FileNotFoundError
        For values that no run can be made with; before anything is measured.
    """
    options = _parser().parse_args(arguments)
    _check_numbers(options)
    device = _device(options.device)
    rows = select_rows(load_rows(options.rows), _names(options.blocks), _names(options.sizes))
    if options.batch is not None:
        rows = [dataclasses.replace(row, batch=options.batch) for row in rows]
    stored = None if options.compare is None else read_report(options.compare)
    if stored is not None:
        check_comparable(stored, device.type, options.dtype)
    _check_outputs(options)

    report = _measure(rows, device, options)
    if options.json == "-":
        sys.stdout.write(report.to_json())
    else:
        print(report.to_text())
    if options.json not in (None, "-"):
        Path(options.json).write_text(report.to_json(), encoding="utf-8")
    if options.plot is not None:
        from .plot import plot_report

        plot_report(report, options.plot)
    if stored is None:
        return 0
    changes = compare(report, stored, options.tolerance)
    print(_verdict(changes, report, stored, options.tolerance), file=sys.stderr)
    return int(any(change.worse for change in changes))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="srl bench", description=_DESCRIPTION)
    add = parser.add_argument
    add("--device", choices=("cpu", "cuda"), default="cpu", help="default: cpu")
    add("--dtype", choices=tuple(DTYPES), default="float32", help="default: float32")
    add("--mode", choices=(*MODES, "both"), default="both", help="default: both")
    add("--threads", type=int, metavar="N", help="CPU threads (default: as PyTorch chooses)")
    add("--rounds", type=int, default=20, metavar="N", help="at most N rounds (default: 20)")
    add(
        "--budget",
        type=float,
        default=150.0,
        metavar="SECONDS",
        help=f"start no further round once this time is used up, but run {FEWEST_ROUNDS} "
        "(default: 150)",
    )
    add("--blocks", metavar="NAMES", help="only rows of these names, separated by commas")
    add("--sizes", metavar="SIZES", help="only these sizes, e.g. 64x48,4x28x28")
    add("--batch", type=int, metavar="N", help="batch size of all rows (default: as in the rows)")
    add("--rows", type=Path, metavar="FILE", help="rows to measure (default: the package's)")
    add("--json", metavar="FILE", help="write a JSON object; '-' prints it instead of the table")
    add("--plot", type=Path, metavar="FILE", help="draw the ratios, e.g. into bench.png")
    add("--compare", type=Path, metavar="FILE", help="compare with what --json has written once")
    add(
        "--tolerance",
        type=float,
        default=0.25,
        metavar="T",
        help="a ratio is worse if it exceeds (1 + T) times the stored one (default: 0.25)",
    )
    return parser


def _check_numbers(options: argparse.Namespace) -> None:
    if options.rounds < FEWEST_ROUNDS:
        raise ValueError(f"--rounds must be {FEWEST_ROUNDS} or more, got {options.rounds}")
    for name in ("threads", "batch"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise ValueError(f"--{name} must be positive, got {value}")
    if not options.budget > 0:
        raise ValueError(f"--budget must be a positive number of seconds, got {options.budget}")
    if not 0 <= options.tolerance < math.inf:
        raise ValueError(f"--tolerance must be a number from 0, got {options.tolerance}")


def _device(name: str) -> torch.device:
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("--device cuda: PyTorch finds no CUDA device here; use --device cpu")
    return torch.device(name)


def _names(text: str | None) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()] if text else []


def _check_outputs(options: argparse.Namespace) -> None:
    """Raise now what would otherwise be raised after minutes of measuring."""
    files = [options.plot, Path(options.json) if options.json not in (None, "-") else None]
    for path in files:
        if path is not None and not path.parent.is_dir():
            raise FileNotFoundError(f"no such folder for {path.name}: {path.parent}")
    if options.plot is None:
        return
    if importlib.util.find_spec("matplotlib") is None:
        raise ValueError("--plot needs matplotlib: pip install matplotlib")
    if options.plot.suffix not in (".png", ".pdf", ".svg"):
        raise ValueError(f"--plot needs a file .png, .pdf or .svg, got {options.plot}")


def _measure(rows: Sequence[Row], device: torch.device, options: argparse.Namespace) -> BenchReport:
    threads = torch.get_num_threads()
    columns = (TextColumn("measuring"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    try:
        if options.threads is not None:
            torch.set_num_threads(options.threads)
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("measuring", total=1.0)
            measured = measure_blocks(
                rows,
                device=device,
                dtype=DTYPES[options.dtype],
                modes=MODES if options.mode == "both" else (options.mode,),
                rounds=options.rounds,
                budget=options.budget,
                progress=lambda done: bar.update(task, completed=done),
            )
        return BenchReport.here(device, options.dtype, measured)
    finally:
        torch.set_num_threads(threads)


def _verdict(
    changes: Sequence[Change], report: BenchReport, stored: BenchReport, tolerance: float
) -> str:
    worse = [change for change in changes if change.worse]
    lines = [str(change) for change in worse]
    for label in ("device_name", "threads", "torch_version"):
        was, now = getattr(stored, label), getattr(report, label)
        if was != now:
            lines.append(f"note: {label.replace('_', ' ')} was {was}, is {now}")
    lines.append(
        f"{len(worse)} of {len(changes)} ratios are worse than the stored ones by more than "
        f"{tolerance:.0%}"
    )
    return "\n".join(lines)
