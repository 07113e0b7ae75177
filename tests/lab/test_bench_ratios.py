"""Arithmetic of ``srl bench``: ratios of pairs of rows, and growth with the input."""

from __future__ import annotations

import pytest

from spectral_residual.lab.bench.measure import Measurement
from spectral_residual.lab.bench.report import choose_pairs, growth, pair_ratios
from spectral_residual.lab.bench.rows import Row

IMAGE, LARGE, VIDEO = (6, 5), (12, 10), (3, 6, 5)


def measured(name, shape, per_round, peak, mode="inference", **changes):
    row = Row(name, **{"block": name, "channels": 16, "shape": shape, "batch": 2, **changes})
    return Measurement(row, mode, peak, per_round)


def spread(median, q1, q3):
    return {"median": median, "q1": q1, "q3": q3}


def test_ratios_are_of_the_same_round_group_and_mode():
    rows = [
        measured("a", IMAGE, (4.0, 2.0, 5.0), 30),
        measured("b", IMAGE, (4.0, 8.0, 1.0), 40),
        measured("b", LARGE, (1.0, 1.0, 1.0), 1),
        measured("a", IMAGE, (1.0, 2.0, 6.0), 10, "training"),
        measured("b", IMAGE, (2.0, 2.0, 2.0), 20, "training"),
        measured("a", LARGE, (2.0, 2.0, 2.0), 1, batch=1),
    ]
    group = "16 channels at 6x5, batch 2"
    names = {"numerator": "a", "denominator": "b", "group": group}
    forward = {"mode": "inference", "time": spread(1.0, 0.625, 3.0), "memory": 0.75}
    training = {"mode": "training", "time": spread(1.0, 0.75, 2.0), "memory": 0.5}
    ratios = pair_ratios(rows, [("a", "b")])
    assert [ratio.as_json() for ratio in ratios] == [names | forward, names | training]
    back = pair_ratios(rows, [("b", "a"), ("a", "c")])
    assert [(r.above.row.name, r.above.mode, r.time.median, r.memory) for r in back] == [
        ("b", "inference", 1.0, 40 / 30),
        ("b", "training", 1.0, 2.0),
    ]
    assert pair_ratios(rows, []) == []


def test_growth_is_to_twice_the_height_and_width():
    rows = [
        measured("copy", IMAGE, (1.0, 1.0, 1.0), 10, "copy"),
        measured("a", IMAGE, (1.0, 2.0, 4.0), 10),
        measured("a", IMAGE, (2.0, 2.0, 2.0), 10, "training"),
        measured("copy", LARGE, (3.0, 5.0, 4.0), 40, "copy"),
        measured("a", LARGE, (5.0, 8.0, 12.0), 41),
        measured("a", LARGE, (6.0, 9.0, 7.0), 50, "training"),
        measured("a", (24, 20), (10.0, 16.0, 48.0), 164),
        measured("a", VIDEO, (1.0, 1.0, 1.0), 3),
        measured("a", (3, *LARGE), (6.0, 6.0, 6.0), 9),
    ]

    def of(name, smaller, larger, mode, time, memory):
        inputs = {"name": name, "channels": 16, "batch": 2, "smaller": smaller, "larger": larger}
        return {**inputs, "mode": mode, "time": spread(*time), "memory": memory}

    assert [value.as_json() for value in growth(rows)] == [
        of("copy", "6x5", "12x10", "copy", (4.0, 3.5, 4.5), 4.0),
        of("a", "6x5", "12x10", "inference", (4.0, 3.5, 4.5), 4.1),
        of("a", "6x5", "12x10", "training", (3.5, 3.25, 4.0), 5.0),
        of("a", "12x10", "24x20", "inference", (2.0, 2.0, 3.0), 4.0),
        of("a", "3x6x5", "3x12x10", "inference", (6.0, 6.0, 6.0), 3.0),
    ]


@pytest.mark.parametrize(
    ("shape", "changes"),
    [
        ((12, 5), {}),
        ((6, 20), {}),
        ((11, 10), {}),
        ((24, 20), {}),
        ((6, *LARGE), {}),
        (LARGE, {"batch": 1}),
        (LARGE, {"channels": 32}),
        (LARGE, {"options": {"groups": 1}}),
        (LARGE, {"block": "b"}),
        (LARGE, {"mode": "training"}),
    ],
)
def test_other_rows_have_no_growth(shape, changes):
    """Only height, width, or more than the size differs."""
    ones = (1.0, 1.0, 1.0)
    rows = [measured("a", IMAGE, ones, 1), measured("a", shape, ones, 1, **changes)]
    assert growth(rows) == []
    if shape == LARGE:
        assert len(growth([rows[0], measured("a", LARGE, ones, 1)])) == 1


def test_pairs():
    rows = [Row(n, "a2", 16, size) for n, size in (("a", IMAGE), ("b", IMAGE), ("c", LARGE))]
    assert choose_pairs(["a/b", " b / a "], ["b/a"], rows) == [("a", "b"), ("b", "a")]
    pairs = ["a/b", "a/c", "b/a", "d/a"]
    assert choose_pairs(None, pairs, rows) == [("a", "b"), ("b", "a")]
    with pytest.raises(ValueError, match="--ratio a/c: no input has both rows"):
        choose_pairs(["a/b", "a/c"], [], rows)
    with pytest.raises(ValueError, match="unknown row of --ratio 'd'"):
        choose_pairs(["d/a"], [], rows)
