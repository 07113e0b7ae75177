"""Tables of a benchmark for the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from .measure import COPY, Measurement
from .network_rows import PLAIN
from .ratios import Growth, PairRatio, growth, pair_ratios
from .report import BenchReport
from .rounds import Spread
from .rows import group_rows

MODE_TITLES = {
    "inference": "forward",
    "training": "forward + backward",
    "step": "training step",
}

Cells = tuple[str, str, str]

_NAME_WIDTH = len("global-context/srl-fft-3d")
_COLUMNS = "  {:>19}  {:>6}  {:>6}"  # 19: a median and its quartiles, 0.123 (0.123-0.123)


def to_text(report: BenchReport) -> str:
    """Tables for the terminal: for each input its rows and their ratios, then the growth."""
    base, meaning = (COPY, "that of copying the input once")
    if report.kind == "networks":
        base, meaning = (PLAIN, "that of the network without blocks")
    details = [report.device_name, f"torch {report.torch_version}", report.dtype]
    lines = [
        f"{', '.join(filter(None, details))}, {report.threads} thread(s), "
        f"{report.rounds} rounds in {report.seconds:.0f} s",
        f"ms: median (quartiles) of one call; x {base}: time by {meaning};",
        "MiB: peak memory beyond input and parameters; ratios: median (quartiles) of the rounds'",
    ]
    ratios = pair_ratios(report.rows, report.pairs)
    for rows in group_rows([m.row for m in report.rows]):
        group = rows[0].group
        measured = [m for m in report.rows if m.row.group == group]
        lines += ["", *_row_table(measured, base)]
        lines += _ratio_lines([ratio for ratio in ratios if ratio.group == group])
    found = growth(report.rows)
    for inputs in dict.fromkeys((g.channels, g.batch, g.smaller, g.larger) for g in found):
        here = [g for g in found if (g.channels, g.batch, g.smaller, g.larger) == inputs]
        lines += ["", *_growth_table(here)]
    return "\n".join(lines)


def _row_table(measured: Sequence[Measurement], base: str) -> list[str]:
    """Lines for the rows of one input, the base first; modes side by side."""
    first, *others = measured
    title = first.row.group
    if first.mode == COPY:
        title += f": input {_mebibytes(first.peak_bytes)} MiB, "
        title += f"copy {_spread(first.milliseconds)} ms"
    else:
        others = [first, *others]
    cells: dict[str, list[Cells]] = {}
    for m in others:
        numbers = (_spread(m.milliseconds), _digits(m.ratio.median), _mebibytes(m.peak_bytes))
        cells.setdefault(m.row.name, []).append(numbers)
    modes = dict.fromkeys(m.mode for m in others)
    return [title, _mode_line(list(modes)), *_lines("", ("ms", f"x {base}", "MiB"), cells)]


def _ratio_lines(ratios: Sequence[PairRatio]) -> list[str]:
    """Lines for the ratios of one input, modes side by side as in its table."""
    cells: dict[str, list[Cells]] = {}
    for ratio in ratios:
        numbers = (_spread(ratio.time), "", _digits(ratio.memory))
        cells.setdefault(f"{ratio.numerator}/{ratio.denominator}", []).append(numbers)
    return _lines("ratio", ("time", "", "memory"), cells)


def _growth_table(found: Sequence[Growth]) -> list[str]:
    """Lines for the growth from one size to another, modes side by side."""
    first = found[0]
    title = (
        f"growth from {first.smaller} to {first.larger}, 4 times the positions, "
        f"{first.channels} channels, batch {first.batch}"
    )
    cells: dict[str, list[Cells]] = {}
    modes: dict[str, None] = {}
    for g in found:
        if g.mode == COPY:
            title += f": copy {_spread(g.time)}"
        else:
            modes[g.mode] = None
            cells.setdefault(g.name, []).append((_spread(g.time), "", _digits(g.memory)))
    return [title, _mode_line(list(modes)), *_lines("", ("time", "", "memory"), cells)]


def _mode_line(modes: Sequence[str]) -> str:
    return " " * _NAME_WIDTH + "".join(f"  {MODE_TITLES[mode]:>35}" for mode in modes)


def _lines(title: str, heads: Cells, cells: dict[str, list[Cells]]) -> list[str]:
    """A line of heads, and one for every name with three cells for every mode."""
    if not cells:
        return []
    number = len(next(iter(cells.values())))
    lines = [f"{title:{_NAME_WIDTH}}" + _COLUMNS.format(*heads) * number]
    for name, row in cells.items():
        lines.append(f"{name:{_NAME_WIDTH}}" + "".join(_COLUMNS.format(*cell) for cell in row))
    return lines


def _spread(spread: Spread) -> str:
    return f"{_digits(spread.median)} ({_digits(spread.q1)}-{_digits(spread.q3)})"


def _mebibytes(size: float) -> str:
    return f"{size / 2**20:.1f}"


def _digits(value: float) -> str:
    """Three digits or so, without an exponent."""
    decimals = 3 if value < 1 else 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:.{decimals}f}"
