"""What ``srl bench`` measures of blocks, its reports and their comparison."""

from __future__ import annotations

import dataclasses
import json
import math
import time

import pytest
import torch

from spectral_residual.blocks import BLOCKS
from spectral_residual.lab.bench.measure import Spread, measure
from spectral_residual.lab.bench.report import (
    BenchReport,
    base_ratios,
    check_comparable,
    compare,
    pair_ratios,
    read_report,
)
from spectral_residual.lab.bench.rows import Row
from spectral_residual.lab.bench.steps import MODES, block_jobs
from spectral_residual.lab.bench.text import to_text

CPU = torch.device("cpu")


def measure_blocks(rows, *, dtype=torch.float32, modes=MODES, **options):
    jobs = block_jobs(rows, device=CPU, dtype=dtype, modes=modes)
    return measure(jobs, device=CPU, **options)


def report_of(measured, **options):
    values = {"device_name": "a processor", "dtype": "float32", "rounds": 3, "seconds": 1.5}
    return BenchReport(**values, rows=measured, **options)


@pytest.fixture
def measured():
    rows = [
        Row("a2", "a2", 16, (6, 5), 2),
        Row("gfnet", "gfnet", 16, (6, 5), 2),
        Row("a2", "a2", 8, (2, 4, 3)),
    ]
    return measure_blocks(rows, rounds=3, budget=0.001)


def test_measurements(measured):
    named = [(m.row.name, m.row.size, m.mode) for m in measured]
    assert named == [
        ("copy", "6x5", "copy"),
        *((name, "6x5", mode) for name in ("a2", "gfnet") for mode in MODES),
        ("copy", "2x4x3", "copy"),
        *(("a2", "2x4x3", mode) for mode in MODES),
    ]
    copies = [m for m in measured if m.mode == "copy"]
    assert [m.peak_bytes for m in copies] == [4 * 2 * 16 * 30, 4 * 8 * 24]
    ratios = base_ratios(measured)
    assert [ratio.above for ratio in ratios] == measured
    for ratio in ratios:
        m = ratio.above
        assert 0 < m.milliseconds.q1 <= m.milliseconds.median <= m.milliseconds.q3
        assert 0 < ratio.time.q1 <= ratio.time.median <= ratio.time.q3
        assert ratio.memory == m.peak_bytes / math.prod(m.row.input_shape) / 4
        if m.mode == "copy":
            assert ratio.time == Spread(1.0, 1.0, 1.0)
            assert ratio.memory == 1.0
        assert len(m.per_round) == 3
        assert sorted(m.per_round)[1] == m.milliseconds.median
    memory = {(m.row.name, m.row.size, m.mode): m.peak_bytes for m in measured}
    assert memory["a2", "6x5", "training"] > memory["a2", "6x5", "inference"] > copies[0].peak_bytes


def test_modes_and_dtypes():
    rows = [Row("a2", "a2", 8, (4, 3))]
    seen = []
    got = measure_blocks(
        rows,
        dtype=torch.bfloat16,
        modes=["inference"],
        rounds=3,
        budget=1e-3,
        progress=seen.append,
    )
    assert [m.mode for m in got] == ["copy", "inference"]
    assert got[0].peak_bytes == 2 * 8 * 12
    assert seen == sorted(seen)
    assert seen[-1] == 1.0


def test_preparation_counts_towards_the_budget_and_repeats_short_calls(monkeypatch):
    """With a clock that moves 1/1024 s a look, a call takes that: 21 of them make a visit."""
    ticks = iter(range(10**6))
    monkeypatch.setattr(time, "perf_counter", lambda: next(ticks) / 1024)
    got = measure_blocks(
        [Row("a2", "a2", 8, (4, 3))],
        modes=["inference"],
        rounds=50,
        budget=0.05,
    )
    for m in got:
        assert len(m.per_round) < 10
        assert m.milliseconds.median == pytest.approx(1000 / 1024 / 21)


def test_json_round_trip(measured, tmp_path):
    report = report_of(measured, pairs=[("a2", "gfnet")])
    path = tmp_path / "bench.json"
    path.write_text(report.to_json())
    assert read_report(path) == report
    values = json.loads(report.to_json())
    assert values["torch_version"] == torch.__version__
    assert values["threads"] == torch.get_num_threads()
    assert values["device_name"] == "a processor"
    assert "profiler" in values["memory"]
    assert values["kind"] == "blocks"
    assert values["growth"] == []
    assert [ratio["mode"] for ratio in values["ratios"]] == list(MODES)
    assert values["ratios"] == [ratio.as_json() for ratio in pair_ratios(report.rows, report.pairs)]
    keys = {"name", "block", "channels", "shape", "batch", "options", "channels_last", "mode"}
    keys |= {"milliseconds", "ratio", "peak_bytes", "peak_ratio", "per_round"}
    assert all(set(row) == keys for row in values["rows"])


@pytest.mark.parametrize("content", ["[", "[]", "{}", '{"rows": [{}]}', '{"rows": 3}'])
def test_other_files_are_no_reports(tmp_path, content):
    path = tmp_path / "other.json"
    path.write_text(content)
    with pytest.raises(
        ValueError, match=r"other\.json was not written by this version of 'srl bench"
    ):
        read_report(path)


def _changed(report, factor, *, of):
    rows = []
    for m in report.rows:
        by = 1.0 if m.mode == "copy" else factor
        if of == "time":
            m = dataclasses.replace(m, per_round=tuple(by * ms for ms in m.per_round))
        else:
            m = dataclasses.replace(m, peak_bytes=by * m.peak_bytes)
        rows.append(m)
    return dataclasses.replace(report, rows=rows)


@pytest.mark.parametrize("of", ["time", "memory"])
@pytest.mark.parametrize(
    ("factor", "tolerance", "worse"),
    [(1.0, 0.0, 0), (1.2, 0.25, 0), (1.3, 0.25, 6), (1.3, 0.5, 0), (0.5, 0.0, 0)],
)
def test_comparison(measured, of, factor, tolerance, worse):
    stored = report_of(measured)
    changes = compare(_changed(stored, factor, of=of), stored, tolerance)
    assert len(changes) == 2 * 6
    assert [c.label.endswith(of) for c in changes if c.worse] == [True] * worse


def test_comparison_takes_common_rows_and_refuses_others(measured):
    stored = report_of(measured)
    some = dataclasses.replace(stored, rows=stored.rows[-3:])
    assert len(compare(some, stored, 0.25)) == len(compare(stored, some, 0.25)) == 4
    with pytest.raises(ValueError, match="none of the rows"):
        compare(some, dataclasses.replace(stored, rows=stored.rows[:-3]), 0.25)
    with pytest.raises(ValueError, match="has dtype 'float16', this one has 'float32'"):
        check_comparable(dataclasses.replace(stored, dtype="float16"), "blocks", "cpu", "float32")
    with pytest.raises(ValueError, match="has device 'cuda', this one has 'cpu'"):
        check_comparable(dataclasses.replace(stored, device="cuda"), "blocks", "cpu", "float32")
    with pytest.raises(ValueError, match="has kind 'networks', this one has 'blocks'"):
        check_comparable(dataclasses.replace(stored, kind="networks"), "blocks", "cpu", "float32")


def test_comparison_of_pairs(measured):
    """Both rows keep their ratio to the copy, but the one to each other is worse in one report."""
    stored = report_of(measured)
    pairs = [("gfnet", "a2"), ("a2", "gfnet")]

    def with_times(numbers):
        rows = [
            dataclasses.replace(
                m, per_round=numbers.get(m.row.name, (1.0, 1.0, 1.0)), peak_bytes=1000
            )
            for m in measured
        ]
        return dataclasses.replace(stored, rows=rows, pairs=pairs)

    was = with_times({"gfnet": (1.0, 4.0, 9.0), "a2": (1.0, 2.0, 3.0)})
    now = with_times({"gfnet": (3.0, 1.0, 1.0), "a2": (1.0, 1.0, 1.0)})
    changes = [c for c in compare(now, was, 0.25) if "/" in c.label]
    assert [c.label.split(",")[0] for c in changes] == ["gfnet/a2"] * 4 + ["a2/gfnet"] * 4
    times = [(c.stored, c.now, c.worse) for c in changes if c.label.endswith("time")]
    assert times == [(2.0, 1.0, False)] * 2 + [(0.5, 1.0, True)] * 2
    memory = [(c.stored, c.now, c.worse) for c in changes if c.label.endswith("memory")]
    assert memory == [(1.0, 1.0, False)] * 4
    assert changes[0].label == "gfnet/a2, 16 channels at 6x5, batch 2, inference, time"


def test_pairs_are_compared_if_the_stored_report_has_both_rows(measured):
    report = report_of(measured, pairs=[("a2", "gfnet")])
    without = [m for m in report.rows if m.row.name != "gfnet"]
    stored = dataclasses.replace(report, rows=without, pairs=[])
    assert not [c for c in compare(report, stored, 0.25) if "/" in c.label]
    stored = dataclasses.replace(report, pairs=[])
    assert len([c for c in compare(report, stored, 0.25) if "/" in c.label]) == 2 * 2


def test_text(measured):
    pairs = [("a2", "gfnet")]
    text = to_text(report_of(measured, pairs=pairs))
    assert "3 rounds in 2 s" in text
    assert "16 channels at 6x5, batch 2: input 0.0 MiB, copy" in text
    assert "8 channels at 2x4x3, batch 1" in text
    assert text.count("forward + backward ms") == 2
    lines = [line.split()[1] for line in text.splitlines() if line.startswith("|")]
    assert [name for name in lines if name in BLOCKS] == ["a2", "gfnet", "a2"]
    assert [name for name in lines if "/" in name] == ["a2/gfnet"]
    assert max(map(len, text.splitlines())) <= 100


def test_text_of_growth_names_the_memory_layouts():
    shapes = [((4, 3), False), ((8, 6), False), ((8, 6), True)]
    rows = [Row("a2", "a2", 8, shape, 1, {}, last) for shape, last in shapes]
    text = to_text(report_of(measure_blocks(rows, rounds=3, budget=0.001)))
    titles = [line.partition(",")[0] for line in text.splitlines() if line.startswith("growth")]
    assert titles == ["growth from 4x3 to 8x6", "growth from 4x3 to 8x6 channels last"]
