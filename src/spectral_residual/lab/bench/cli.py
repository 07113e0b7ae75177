"""``srl bench``: time and peak memory of all blocks, or of whole networks, side by side."""

from __future__ import annotations

import argparse
import importlib.util
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from .measure import DTYPES, MODES, Measurements, measure_blocks
from .network_rows import PLAIN, load_networks
from .networks import measure_networks
from .ratios import Pair, check_pairs, known_pairs, parse_pair
from .report import BenchReport, Change, check_comparable, compare, read_report
from .rounds import FEWEST_ROUNDS
from .rows import Named, load_rows, select_rows, with_batch
from .text import to_text

_BLOCKS = """Milliseconds and peak memory of every block, side by side in interleaved rounds:
forward, and forward + backward. Each is told as a ratio too: to copying the input once, to other
blocks (--ratio), and to the same block on a quarter of the positions (growth). Exits with 1 if
--compare finds a ratio that is worse."""

_MORE = "See also: srl bench networks --help, srl bench show --help"

_SHOW = """Print stored benchmarks as they were printed when they were measured, or write a page."""

_NETWORKS = """Milliseconds and peak memory of pose networks with blocks and without, side by side
in interleaved rounds. SimpleBaseline-ResNet-50 at 384x288: forward. A ResNet-18 cut after res3 at
128x96, batches of 32, in float32 and with bfloat16 autocast: a training step, which is forward,
loss, backward and optimiser. Each is told as a ratio too: to the network without blocks, and to
other blocks (--ratio). Exits with 1 if --compare finds a ratio that is worse."""

_BLOCK_PAIRS = [("srl", "a2"), ("srl", "srl-fft"), ("srl-fft", "a2"), ("srl-fft", "non-local")]
_NETWORK_PAIRS = [
    *(("srl", other) for other in (PLAIN, "a2", "srl-fft")),
    *(("srl-fft", other) for other in (PLAIN, "a2")),
]

Show = Callable[[float], None]


def main(arguments: list[str]) -> int:
    """Run ``srl bench``, ``srl bench networks`` or ``srl bench show``.

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
    if arguments[:1] == ["networks"]:
        return _networks(_network_parser().parse_args(arguments[1:]))
    if arguments[:1] == ["show"]:
        return _show(_show_parser().parse_args(arguments[1:]))
    return _blocks(_block_parser().parse_args(arguments))


def _show(options: argparse.Namespace) -> int:
    reports = [(path, to_text(read_report(path))) for path in options.files]
    if options.markdown is None:
        print("\n\n".join(text for _, text in reports))
        return 0
    files = " ".join(map(str, options.files))
    page = f"# Benchmarks\n\nWritten by `srl bench show {files} --markdown {options.markdown}`.\n"
    for path, text in reports:
        page += f"\n## {path.name}\n\n```\n{text.rstrip()}\n```\n"
    options.markdown.write_text(page, encoding="utf-8")
    return 0


def _blocks(options: argparse.Namespace) -> int:
    _check_numbers(options)
    device = _device(options.device)
    rows = select_rows(load_rows(options.rows), _names(options.blocks), _names(options.sizes))
    if options.batch is not None:
        rows = with_batch(rows, options.batch)
    pairs = _pairs(options.ratio, _BLOCK_PAIRS, rows)
    stored = _stored(options.compare, "blocks", device, options.dtype)
    _check_folder(options.json)
    _check_plot(options.plot)
    report = _measure(
        "blocks",
        lambda show: measure_blocks(
            rows,
            device=device,
            dtype=DTYPES[options.dtype],
            modes=MODES if options.mode == "both" else (options.mode,),
            rounds=options.rounds,
            budget=options.budget,
            progress=show,
        ),
        device=device,
        dtype=options.dtype,
        threads=options.threads,
        pairs=pairs,
    )
    code = _finish(report, stored, options)
    if options.plot is not None:
        from .plot import plot_report

        plot_report(report, options.plot)
    return code


def _networks(options: argparse.Namespace) -> int:
    _check_numbers(options)
    device = _device(options.device)
    names = _names(options.blocks)
    rows = select_rows(
        load_networks(options.rows), [*names, PLAIN] if names else [], _names(options.sizes)
    )
    pairs = _pairs(options.ratio, _NETWORK_PAIRS, rows)
    stored = _stored(options.compare, "networks", device, None)
    _check_folder(options.json)
    report = _measure(
        "networks",
        lambda show: measure_networks(
            rows, device=device, rounds=options.rounds, budget=options.budget, progress=show
        ),
        device=device,
        dtype=None,
        threads=options.threads,
        pairs=pairs,
    )
    return _finish(report, stored, options)


def _show_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(allow_abbrev=False, prog="srl bench show", description=_SHOW)
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="written by --json")
    parser.add_argument(
        "--markdown", type=Path, metavar="PAGE", help="write this page instead of printing"
    )
    return parser


def _block_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        allow_abbrev=False, prog="srl bench", description=_BLOCKS, epilog=_MORE
    )
    add = parser.add_argument
    add("--blocks", metavar="NAMES", help="only rows of these names, separated by commas")
    add("--sizes", metavar="SIZES", help="only these sizes, e.g. 64x48,4x28x28")
    add("--batch", type=int, metavar="N", help="batch size of all rows (default: as in the rows)")
    add("--mode", choices=(*MODES, "both"), default="both", help="default: both")
    add("--dtype", choices=tuple(DTYPES), default="float32", help="default: float32")
    _add_common(parser, _BLOCK_PAIRS)
    add("--plot", type=Path, metavar="FILE", help="draw the ratios to copying into bench.png, say")
    return parser


def _network_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        allow_abbrev=False, prog="srl bench networks", description=_NETWORKS
    )
    add = parser.add_argument
    add(
        "--blocks",
        metavar="NAMES",
        help="only the networks without blocks and with these, separated by commas",
    )
    add("--sizes", metavar="SIZES", help="only these input sizes, e.g. 128x96")
    _add_common(parser, _NETWORK_PAIRS)
    return parser


def _add_common(parser: argparse.ArgumentParser, pairs: Sequence[Pair]) -> None:
    add = parser.add_argument
    add("--rows", type=Path, metavar="FILE", help="rows to measure (default: the package's)")
    add("--device", choices=("cpu", "cuda"), default="cpu", help="default: cpu")
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
    add(
        "--ratio",
        action="append",
        metavar="ROW/ROW",
        help="tell the ratio of the first row to the second on every input that has both: time, "
        "as the median (quartiles) of the rounds' ratios, and peak memory; may be repeated "
        f"(default, where there are such rows: {', '.join(map('/'.join, pairs))})",
    )
    add("--json", metavar="FILE", help="write a JSON object; '-' prints it instead of the tables")
    add(
        "--compare",
        type=Path,
        metavar="FILE",
        help="compare all ratios but growth with those of a file that --json has written",
    )
    add(
        "--tolerance",
        type=float,
        default=0.25,
        metavar="T",
        help="a ratio is worse if it exceeds (1 + T) times the stored one (default: 0.25)",
    )


def _check_numbers(options: argparse.Namespace) -> None:
    if options.rounds < FEWEST_ROUNDS:
        raise ValueError(f"--rounds must be {FEWEST_ROUNDS} or more, got {options.rounds}")
    for name in ("threads", "batch"):
        value = getattr(options, name, None)
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


def _pairs(asked: list[str] | None, default: Sequence[Pair], rows: Sequence[Named]) -> list[Pair]:
    if asked is None:
        return known_pairs(default, rows)
    pairs = [parse_pair(text) for text in asked]
    check_pairs(pairs, rows)
    return pairs


def _stored(
    path: Path | None, kind: str, device: torch.device, dtype: str | None
) -> BenchReport | None:
    if path is None:
        return None
    stored = read_report(path)
    check_comparable(stored, kind, device.type, dtype)
    return stored


def _check_folder(path: str | Path | None) -> None:
    """Raise now what would otherwise be raised after minutes of measuring."""
    if path not in (None, "-") and not Path(path).parent.is_dir():
        raise FileNotFoundError(f"no such folder for {Path(path).name}: {Path(path).parent}")


def _check_plot(path: Path | None) -> None:
    if path is None:
        return
    _check_folder(path)
    if importlib.util.find_spec("matplotlib") is None:
        raise ValueError("--plot needs matplotlib: pip install matplotlib")
    if path.suffix not in (".png", ".pdf", ".svg"):
        raise ValueError(f"--plot needs a file .png, .pdf or .svg, got {path}")


def _measure(
    kind: str,
    measure: Callable[[Show], Measurements],
    *,
    device: torch.device,
    dtype: str | None,
    threads: int | None,
    pairs: Sequence[Pair],
) -> BenchReport:
    """Measure with a number of threads and a progress bar, which `measure` gets as a function."""
    before = torch.get_num_threads()
    columns = (TextColumn("measuring"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    try:
        if threads is not None:
            torch.set_num_threads(threads)
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("measuring", total=1.0)
            measured = measure(lambda done: bar.update(task, completed=done))
        return BenchReport.here(device, dtype, measured, kind=kind, pairs=pairs)
    finally:
        torch.set_num_threads(before)


def _finish(report: BenchReport, stored: BenchReport | None, options: argparse.Namespace) -> int:
    """Print and write the report, compare it with the stored one, and return the exit code."""
    if options.json == "-":
        sys.stdout.write(report.to_json())
    else:
        print(to_text(report))
    if options.json not in (None, "-"):
        Path(options.json).write_text(report.to_json(), encoding="utf-8")
    if stored is None:
        return 0
    changes = compare(report, stored, options.tolerance)
    print(_verdict(changes, report, stored, options.tolerance), file=sys.stderr)
    return int(any(change.worse for change in changes))


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
