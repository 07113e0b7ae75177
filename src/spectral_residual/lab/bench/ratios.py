"""Ratios of measurements: one row by another with the same input, and growth with the input.

Both divide times of the same round and take the median over rounds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...errors import unknown_name
from .measure import Measurement
from .rounds import Spread
from .rows import Named, Row, group_rows

Pair = tuple[str, str]


@dataclass(frozen=True)
class PairRatio:
    """What one row takes by what another row of its group takes.

    Attributes
    ----------
    numerator, denominator : str
        Names of the rows.
    group : str
        The input, or network and input, of both.
    mode : str
        As in `Measurement`.
    time : Spread
        Ratio of the times of one call.
    memory : float
        Ratio of the peak memory.
    """

    numerator: str
    denominator: str
    group: str
    mode: str
    time: Spread
    memory: float


@dataclass(frozen=True)
class Growth:
    """What a block takes on a map of twice the height and width by what it takes on the map.

    Attributes
    ----------
    name : str
        Name of the rows; ``"copy"`` for copying the input.
    channels, batch : int
        Channels and batch size of both.
    smaller, larger : str
        The sizes: ``32x24`` and ``64x48``.
    mode : str
        As in `Measurement`.
    time : Spread
        Ratio of the times of one call.
    memory : float
        Ratio of the peak memory.
    """

    name: str
    channels: int
    batch: int
    smaller: str
    larger: str
    mode: str
    time: Spread
    memory: float


def parse_pair(text: str) -> Pair:
    """Names of ``NUMERATOR/DENOMINATOR``; ValueError unless there are two."""
    numerator, slash, denominator = (part.strip() for part in text.partition("/"))
    if not (numerator and slash and denominator) or "/" in denominator:
        raise ValueError(f"--ratio must be NUMERATOR/DENOMINATOR, two names of rows, got {text!r}")
    return numerator, denominator


def check_pairs(pairs: Sequence[Pair], rows: Sequence[Named]) -> None:
    """Raise ValueError for names that no row has, or two that are in no group together."""
    known = dict.fromkeys(row.name for row in rows)
    for pair in pairs:
        for name in pair:
            if name not in known:
                raise unknown_name("row of --ratio", name, known)
        if not any(_has_both(group, pair) for group in group_rows(rows)):
            raise ValueError(f"--ratio {'/'.join(pair)}: no input has both rows")


def known_pairs(pairs: Sequence[Pair], rows: Sequence[Named]) -> list[Pair]:
    """Those of the pairs that are in a group together."""
    groups = group_rows(rows)
    return [pair for pair in pairs if any(_has_both(group, pair) for group in groups)]


def _has_both(group: Sequence[Named], pair: Pair) -> bool:
    return set(pair) <= {row.name for row in group}


def pair_ratios(measurements: Sequence[Measurement], pairs: Sequence[Pair]) -> list[PairRatio]:
    """Ratios of all pairs in all groups and modes that have both rows, in this order.

    Parameters
    ----------
    measurements : sequence of Measurement
        Of one run.
    pairs : sequence of (str, str)
        Names of numerator and denominator.
    """
    found = {(m.row.name, m.row.group, m.mode): m for m in measurements}
    places = dict.fromkeys((m.row.group, m.mode) for m in measurements)
    ratios = []
    for numerator, denominator in pairs:
        for group, mode in places:
            above, below = (found.get((n, group, mode)) for n in (numerator, denominator))
            if above is not None and below is not None:
                time, memory = _divide(above, below)
                ratios.append(PairRatio(numerator, denominator, group, mode, time, memory))
    return ratios


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
                sizes = small.size, large.size
                divided = _divide(above, below)
                found.append(
                    Growth(small.name, small.channels, small.batch, *sizes, below.mode, *divided)
                )
    return found


def _identity(row: Row, mode: str) -> tuple[object, ...]:
    return (row.name, row.block, row.channels, row.batch, row.options, mode)


def _divide(above: Measurement, below: Measurement) -> tuple[Spread, float]:
    return Spread.of_ratio(above.per_round, below.per_round), above.peak_bytes / below.peak_bytes
