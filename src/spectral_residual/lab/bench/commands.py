"""``srl bench``: time and peak memory of all blocks, or of whole networks, side by side."""

from __future__ import annotations

import importlib
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from ...report.files import write_file
from .measure import FEWEST_ROUNDS, Job, measure
from .report import (
    BenchReport,
    check_comparable,
    choose_pairs,
    compare,
    device_name,
    read_report,
)
from .rows import PLAIN, NetworkRow, Row, load_rows, select_rows, with_batch
from .steps import MODES, block_jobs, network_jobs
from .text import to_text

_PAIRS = {
    "blocks": ["srl/a2", "srl/srl-fft", "srl-fft/a2", "srl-fft/non-local"],
    "networks": ["srl/none", "srl/a2", "srl/srl-fft", "srl-fft/none", "srl-fft/a2"],
}


@dataclass(frozen=True)
class Options:
    """Options of the benchmarks of blocks and of networks.

    Parameters
    ----------
    blocks : str, optional
        Only rows of these names, separated by commas; of networks those without blocks too.
    sizes : str, optional
        Only these sizes of inputs, e.g. 64x48,4x28x28.
    rows : Path, optional
        File with rows to measure; by default those of the package.
    device : str
        Where.
    threads : int, optional
        CPU threads; by default as PyTorch chooses.
    rounds : int
        At most as many rounds.
    budget : float
        Start no further round once as many seconds are used up, but run 3.
    ratio : list of str, optional
        ROW/ROW: tell the ratio of the first row to the second on every input that has both:
        time, as the median (quartiles) of the rounds' ratios, and peak memory. May be repeated.
        Default, where there are such rows: srl/a2, srl/srl-fft, srl-fft/a2; of blocks
        srl-fft/non-local too, of networks srl/none and srl-fft/none.
    json_ : str, optional
        Write a JSON object into this file; '-' prints it instead of the tables.
    compare : Path, optional
        Compare all ratios but growth with those of a file that --json has written.
    tolerance : float
        A ratio is worse if it exceeds (1 + tolerance) times the stored one.
    """

    blocks: str | None = None
    sizes: str | None = None
    rows: Path | None = None
    device: Literal["cpu", "cuda"] = "cpu"
    threads: int | None = None
    rounds: int = 20
    budget: float = 150.0
    ratio: list[tuple[str]] | None = None
    json_: str | None = None
    compare: Path | None = None
    tolerance: float = 0.25

    def __post_init__(self) -> None:
        _check_positive("threads", self.threads)
        if self.rounds < FEWEST_ROUNDS:
            raise ValueError(f"--rounds must be {FEWEST_ROUNDS} or more, got {self.rounds}")
        if not self.budget > 0:
            raise ValueError(f"--budget must be a positive number of seconds, got {self.budget}")
        if not 0 <= self.tolerance < math.inf:
            raise ValueError(f"--tolerance must be a number from 0, got {self.tolerance}")
        if self.device == "cuda" and not torch.cuda.is_available():
            raise ValueError("--device cuda: PyTorch finds no CUDA device here; use --device cpu")


def blocks(
    *,
    options: Options,
    batch: int | None = None,
    mode: Literal["inference", "training", "both"] = "both",
    dtype: Literal["float32", "bfloat16", "float16"] = "float32",
    plot: Path | None = None,
) -> int:
    """Milliseconds and peak memory of every block, side by side in interleaved rounds.

    Forward, and forward + backward. Each is told as a ratio too: to copying the input once, to
    other blocks (--ratio), and to the same block on a quarter of the positions (growth). Exits
    with 1 if --compare finds a ratio that is worse.

    See also: srl bench networks --help, srl bench show --help

    Parameters
    ----------
    batch : int, optional
        Batch size of all rows; by default as in the rows.
    mode : str
        What is measured.
    dtype : str
        Type of weights and input.
    plot : Path, optional
        Draw the ratios to copying into bench.png, say.
    """
    _check_positive("batch", batch)
    rows = load_rows(Row, options.rows)
    rows = select_rows(rows, _names(options.blocks), _names(options.sizes))
    if batch is not None:
        rows = with_batch(rows, batch)
    if plot is not None:
        _check_plot(plot)
    modes = MODES if mode == "both" else (mode,)
    jobs = partial(block_jobs, rows, dtype=getattr(torch, dtype), modes=modes)
    report, code = _bench("blocks", rows, jobs, options, dtype)
    if plot is not None:
        from .plot import plot_report

        plot_report(report, plot)
    return code


def networks(*, options: Options) -> int:
    """Milliseconds and peak memory of pose networks with blocks and without, side by side.

    In interleaved rounds. SimpleBaseline-ResNet-50 at 384x288: forward. A ResNet-18 cut after
    res3 at 128x96, batches of 32, in float32 and with bfloat16 autocast: a training step, which
    is forward, loss, backward and optimiser. Each is told as a ratio too: to the network without
    blocks, and to other blocks (--ratio). Exits with 1 if --compare finds a ratio that is worse.
    """
    names = _names(options.blocks)
    rows = load_rows(NetworkRow, options.rows)
    rows = select_rows(rows, [*names, PLAIN] if names else [], _names(options.sizes))
    jobs = partial(network_jobs, rows)
    return _bench("networks", rows, jobs, options, None)[1]


def show(files: list[Path], *, markdown: Path | None = None) -> None:
    """Print stored benchmarks as they were printed when they were measured, or write a page.

    Parameters
    ----------
    files : list of Path
        Written by --json.
    markdown : Path, optional
        Write this page instead of printing.
    """
    texts = [to_text(read_report(path)) for path in files]
    if markdown is None:
        print("\n\n".join(texts))
        return
    command = f"srl bench show {' '.join(map(str, files))} --markdown {markdown}"
    parts = [f"# Benchmarks\n\nWritten by `{command}`.\n"]
    for path, text in zip(files, texts, strict=True):
        parts.append(f"## {path.name}\n\n```text\n{text}\n```\n")
    write_file(markdown, "\n".join(parts))


def _bench(
    kind: str,
    rows: Sequence[Row | NetworkRow],
    jobs: Callable[..., list[list[Job]]],
    options: Options,
    dtype: str | None,
) -> tuple[BenchReport, int]:
    """Measure, print and write the report, and compare it with the stored one: the exit code."""
    device = torch.device(options.device)
    asked = None if options.ratio is None else [text for (text,) in options.ratio]
    pairs = choose_pairs(asked, _PAIRS[kind], rows)
    stored = None
    if options.compare is not None:
        stored = read_report(options.compare)
        check_comparable(stored, kind, device.type, dtype)
    file = None if options.json_ in (None, "-") else Path(options.json_)
    if file is not None:
        _check_folder(file)
    with _measuring(options.threads) as progress:
        groups = jobs(device=device)
        start = time.perf_counter()
        measured = measure(
            groups, device=device, rounds=options.rounds, budget=options.budget, progress=progress
        )
        report = BenchReport(
            kind=kind,
            device=device.type,
            device_name=device_name(device),
            dtype=dtype,
            rounds=len(measured[0].per_round),
            seconds=time.perf_counter() - start,
            pairs=pairs,
            rows=measured,
        )
    if options.json_ == "-":
        sys.stdout.write(report.to_json())
    else:
        print(to_text(report))
    if file is not None:
        write_file(file, report.to_json())
    return report, 0 if stored is None else _verdict(report, stored, options.tolerance)


@contextmanager
def _measuring(threads: int | None) -> Iterator[Callable[[float], None]]:
    """Set the number of threads for a while, and give what moves a progress bar."""
    before = torch.get_num_threads()
    columns = (TextColumn("measuring"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    try:
        torch.set_num_threads(threads or before)
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("measuring", total=1.0)
            yield lambda done: bar.update(task, completed=done)
    finally:
        torch.set_num_threads(before)


def _verdict(report: BenchReport, stored: BenchReport, tolerance: float) -> int:
    """Print which ratios are worse than the stored ones: 1 if one is."""
    changes = compare(report, stored, tolerance)
    worse = [change for change in changes if change.worse]
    lines = [f"WORSE  {c.label}: {c.stored:.3g} -> {c.now:.3g}" for c in worse]
    for label in ("device_name", "threads", "torch_version"):
        was, now = getattr(stored, label), getattr(report, label)
        if was != now:
            lines.append(f"note: {label.replace('_', ' ')} was {was}, is {now}")
    lines.append(
        f"{len(worse)} of {len(changes)} ratios are worse than the stored ones by more than "
        f"{tolerance:.0%}"
    )
    print("\n".join(lines), file=sys.stderr)
    return int(bool(worse))


def _check_positive(name: str, value: int | None) -> None:
    if value is not None and value < 1:
        raise ValueError(f"--{name} must be positive, got {value}")


def _names(text: str | None) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()] if text else []


def _check_folder(path: Path) -> None:
    """Raise now what would otherwise be raised after minutes of measuring."""
    if not path.parent.is_dir():
        raise FileNotFoundError(f"no such folder for {path.name}: {path.parent}")


def _check_plot(path: Path) -> None:
    _check_folder(path)
    importlib.import_module("matplotlib")  # an error now, not after minutes
    if path.suffix not in (".png", ".pdf", ".svg"):
        raise ValueError(f"--plot needs a file .png, .pdf or .svg, got {path}")
