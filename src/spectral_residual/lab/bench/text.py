"""Tables of a benchmark for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ...report.table import format_table
from .measure import Spread
from .report import BenchReport, Growth, Ratio, base_ratios, by_group, growth, pair_ratios
from .rows import PLAIN
from .steps import COPY

MODE_TITLES = {
    "inference": "forward",
    "training": "forward + backward",
    "step": "training step",
}

Cells = Mapping[tuple[str, str], tuple[str, ...]]
"""Name of a row and mode to the numbers of both."""


def to_text(report: BenchReport) -> str:
    """Tables for the terminal: for each input its rows and their ratios, then the growth."""
    base, meaning = (COPY, "that of copying the input once")
    if report.kind == "networks":
        base, meaning = (PLAIN, "that of the network without blocks")
    details = [report.device_name, f"torch {report.torch_version}", report.dtype]
    parts = [
        f"{', '.join(filter(None, details))}, {report.threads} thread(s), "
        f"{report.rounds} rounds in {report.seconds:.0f} s\n"
        f"ms: median (quartiles) of one call; x {base}: time by {meaning};\n"
        "MiB: peak memory beyond input and parameters; ratios: median (quartiles) of the rounds'"
    ]
    pairs = by_group(pair_ratios(report.rows, report.pairs))
    for group, ratios in by_group(base_ratios(report.rows)).items():
        title, cells = group, {}
        for ratio in ratios:
            m = ratio.above
            ms, mebibytes = _spread(m.milliseconds), f"{m.peak_bytes / 2**20:.1f}"
            if m.mode == COPY:
                title += f": input {mebibytes} MiB, copy {ms} ms"
            else:
                cells[m.row.name, m.mode] = (ms, _digits(ratio.time.median), mebibytes)
        table = _table(report.kind.removesuffix("s"), ("ms", f"x {base}", "MiB"), cells)
        parts.append(f"{title}\n{table}")
        if group in pairs:
            parts.append(_ratio_table("ratio", {(r.label, r.above.mode): r for r in pairs[group]}))
    grown: dict[str, dict[tuple[str, str], Ratio]] = {}
    for ratio in growth(report.rows):
        grown.setdefault(_growth_title(ratio), {})[ratio.small.name, ratio.below.mode] = ratio
    for title, found in grown.items():
        copy = found.pop((COPY, COPY), None)
        title += "" if copy is None else f": copy {_spread(copy.time)}"
        parts.append(f"{title}\n{_ratio_table('growth', found)}" if found else title)
    return "\n\n".join(parts)


def _growth_title(growth: Growth) -> str:
    smaller, larger = (
        f"{row.size} channels last" if row.channels_last else row.size
        for row in (growth.small, growth.large)
    )
    return (
        f"growth from {smaller} to {larger}, 4 times the positions, "
        f"{growth.small.channels} channels, batch {growth.small.batch}"
    )


def _ratio_table(title: str, ratios: dict[tuple[str, str], Ratio]) -> str:
    cells: Cells = {key: (_spread(r.time), _digits(r.memory)) for key, r in ratios.items()}
    return _table(title, ("time", "memory"), cells)


def _table(title: str, columns: Sequence[str], cells: Cells) -> str:
    """A line for every name, with these columns for every mode, the modes side by side."""
    modes = dict.fromkeys(mode for _, mode in cells)
    header = [title]
    for mode in modes:
        header += [f"{MODE_TITLES[mode]} {columns[0]}", *columns[1:]]
    blank = ("",) * len(columns)
    rows = [
        [name, *(cell for mode in modes for cell in cells.get((name, mode), blank))]
        for name in dict.fromkeys(name for name, _ in cells)
    ]
    return format_table(header, rows)


def _spread(spread: Spread) -> str:
    return f"{_digits(spread.median)} ({_digits(spread.q1)}-{_digits(spread.q3)})"


def _digits(value: float) -> str:
    """Three digits or so, without an exponent."""
    decimals = 3 if value < 1 else 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:.{decimals}f}"
