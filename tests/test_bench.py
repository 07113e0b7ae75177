"""``srl bench``: rows, rounds, memory, comparison, command line. No test looks at real times."""

from __future__ import annotations

import dataclasses
import json
import math

import pytest
import torch

from spectral_residual.bench import (
    BenchReport,
    Job,
    Measurements,
    Row,
    Spread,
    compare,
    load_rows,
    measure_blocks,
    peak_memory,
    read_report,
    run_rounds,
    select_rows,
)
from spectral_residual.bench.cli import main
from spectral_residual.bench.measure import (
    MODES,
    build_awake,
    group_rows,
    inference_step,
    training_step,
)
from spectral_residual.blocks import BLOCKS

CPU = torch.device("cpu")
TINY = [
    {"block": "a2", "channels": 16, "shape": [6, 5], "batch": 2},
    {"block": "srl-fft", "channels": 16, "shape": [6, 5], "batch": 2},
    {
        "name": "non-local-plain",
        "block": "non-local",
        "channels": 16,
        "shape": [6, 5],
        "batch": 2,
        "options": {"memory_efficient": False},
    },
    {"block": "a2", "channels": 8, "shape": [2, 4, 3]},
]


class FakeClock:
    """Time that passes only when a job runs."""

    def __init__(self):
        self.now = 100.0
        self.log = []

    def __call__(self):
        return self.now

    def job(self, label, seconds, repeats=1):
        def call():
            self.now += seconds
            self.log.append(label)

        return Job(label, call, repeats)


@pytest.fixture
def rows_file(tmp_path):
    def write(entries):
        path = tmp_path / "rows.json"
        path.write_text(entries if isinstance(entries, str) else json.dumps(entries))
        return path

    return write


@pytest.fixture
def measured():
    rows = [
        Row("a2", "a2", 16, (6, 5), 2),
        Row("gfnet", "gfnet", 16, (6, 5), 2),
        Row("a2", "a2", 8, (2, 4, 3)),
    ]
    return measure_blocks(rows, device=CPU, dtype=torch.float32, rounds=3, budget=0.001)


# Rows


def test_packaged_rows():
    rows = load_rows()
    for size in ("64x48", "96x72", "128x96"):
        found = select_rows(rows, BLOCKS, [size])
        assert [row.name for row in found] == list(BLOCKS)
        assert {row.input_shape[:2] for row in found} == {(1, 256)}
        assert not any(row.options for row in found)
    videos = [row for row in rows if len(row.shape) == 3]
    assert {(row.channels, row.size) for row in videos} == {(128, "4x28x28"), (256, "4x14x14")}
    assert {"srl-fft", "srl-lo", "non-local", "a2", "cgnl"} <= {row.block for row in videos}
    variants = [row.options for row in rows if row.block == "non-local" and row.options]
    assert {"memory_efficient": False} in variants
    assert all(row.size == "96x72" for row in rows if row.options)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"block": "srl-fftt"}, "row 1.*unknown block 'srl-fftt'; did you mean 'srl-fft'"),
        ({"blok": "a2"}, "row 1.*'blok'; did you mean 'block'"),
        ({"channels": 0}, "row 1: channels must be a positive integer, got 0"),
        ({"channels": "16"}, "row 1: channels must be a positive integer, got '16'"),
        ({"channels": 18}, "row 1.*18"),
        ({"batch": True}, "row 1: batch must be a positive integer, got True"),
        ({"shape": [6]}, r"row 1: shape must be .* got \[6\]"),
        ({"shape": "6x5"}, "row 1: shape must be .* got '6x5'"),
        ({"block": "rcca", "channels": 64, "shape": [2, 6, 5]}, "row 1 .*not defined for videos"),
        ({"options": {"widht": 1}}, "row 1.*'widht'"),
        ({"options": [1]}, r"row 1: options must be an object, got \[1\]"),
        ({"name": ""}, "row 1: name must be a name, got ''"),
    ],
)
def test_wrong_rows_are_errors_at_load_time(rows_file, change, message):
    path = rows_file([{**TINY[0], **change}])
    with pytest.raises(ValueError, match=message) as raised:
        load_rows(path)
    assert "rows.json" in str(raised.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[", "is not JSON"),
        ("{}", "expected a list of rows, got dict"),
        ([], "expected a list of rows"),
        ([3], "row 1: expected an object, got int"),
        ([{"block": "a2", "shape": [6, 5]}], "row 1: the field 'channels' is missing"),
        ([TINY[0], TINY[1], TINY[0]], r"row 3: 'a2' with input \(2, 16, 6, 5\) is row 1 too"),
    ],
)
def test_wrong_files_are_errors(rows_file, content, message):
    with pytest.raises(ValueError, match=message):
        load_rows(rows_file(content))


def test_missing_file_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.json"):
        load_rows(tmp_path / "none.json")


def test_selection(rows_file):
    rows = load_rows(rows_file(TINY))
    assert rows[2] == Row(
        "non-local-plain", "non-local", 16, (6, 5), 2, {"memory_efficient": False}
    )
    assert select_rows(rows) == rows
    assert select_rows(rows, ["a2"]) == [rows[0], rows[3]]
    assert select_rows(rows, ["a2"], ["2x4x3"]) == [rows[3]]
    with pytest.raises(ValueError, match="'srl-ftt'; did you mean 'srl-fft'"):
        select_rows(rows, ["srl-ftt"])
    with pytest.raises(ValueError, match="unknown size .*'6x6'.*'6x5'"):
        select_rows(rows, sizes=["6x6"])
    with pytest.raises(ValueError, match="no row has"):
        select_rows(rows, ["srl-fft"], ["2x4x3"])


# Rounds


def test_every_round_runs_each_job_once_in_a_rotated_order():
    clock = FakeClock()
    first = [clock.job(label, 1.0) for label in "abc"]
    second = [clock.job(label, 1.0) for label in "xy"]
    assert run_rounds([first, second], rounds=4, deadline=math.inf, clock=clock) == 4
    assert "".join(clock.log) == "abcxy" + "bcayx" + "cabxy" + "abcyx"
    assert all(job.seconds == [1.0] * 4 for job in (*first, *second))


def test_a_visit_counts_as_the_mean_of_its_repeats():
    clock = FakeClock()
    jobs = [clock.job("a", 0.25, repeats=8), clock.job("b", 2.0)]
    run_rounds([jobs], rounds=3, deadline=math.inf, clock=clock)
    assert clock.log.count("a") == 24
    assert clock.log.count("b") == 3
    assert jobs[0].seconds == [0.25] * 3
    assert jobs[1].seconds == [2.0] * 3


@pytest.mark.parametrize(
    ("budget", "rounds", "expected"),
    [(0.0, 9, 3), (29.0, 9, 3), (30.0, 9, 3), (39.9, 9, 3), (40.0, 9, 4), (1e9, 9, 9)],
)
def test_no_round_starts_that_would_pass_the_deadline(budget, rounds, expected):
    clock = FakeClock()
    groups = [[clock.job("a", 4.0), clock.job("b", 6.0)]]
    seen = []
    finished = run_rounds(
        groups, rounds=rounds, deadline=clock() + budget, clock=clock, after_round=seen.append
    )
    assert finished == expected
    assert seen == list(range(1, expected + 1))
    assert all(len(job.seconds) == expected for job in groups[0])


def test_the_device_is_waited_for_before_and_after_every_visit():
    clock = FakeClock()
    run_rounds(
        [[clock.job("a", 1.0), clock.job("b", 1.0)]],
        rounds=3,
        deadline=math.inf,
        clock=clock,
        synchronize=lambda: clock.log.append("|"),
    )
    assert "".join(clock.log) == "|a||b|" + "|b||a|" + "|a||b|"


def test_spread():
    assert Spread.of([5.0, 1.0, 3.0, 2.0, 4.0]) == Spread(3.0, 2.0, 4.0)
    assert Spread.of([1.0, 3.0]) == Spread(2.0, 1.5, 2.5)


# Steps


@pytest.mark.parametrize("row", [Row(name, name, 64, (6, 5), 2) for name in BLOCKS], ids=BLOCKS)
def test_every_part_of_every_block_is_computed(row):
    block = build_awake(row)
    x = torch.randn(row.input_shape, requires_grad=True)
    y = block.train()(x)
    assert (y - x).abs().max() > 1e-4
    y.backward(torch.randn(row.input_shape))
    for name, parameter in block.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.any(), name


def test_equal_rows_give_equal_blocks_and_leave_the_generator_alone():
    state = torch.get_rng_state()
    one, two = (build_awake(Row("cgnl", "cgnl", 16, (6, 5))) for _ in range(2))
    assert torch.equal(state, torch.get_rng_state())
    for a, b in zip(one.parameters(), two.parameters(), strict=True):
        assert torch.equal(a, b)
        assert a.any()


def test_steps_run_in_their_mode_and_leave_no_gradients():
    class Spy(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(3))
            self.seen = []
            self.weight.register_hook(lambda grad: self.seen.append(grad.clone()))

        def forward(self, x):
            self.seen.append((self.training, torch.is_grad_enabled(), x.requires_grad))
            return x * self.weight

    spy = Spy()
    x, gradient = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([4.0, 5.0, 6.0])
    inference_step(spy, x, gradient)()
    assert spy.seen == [(False, False, False)]
    training_step(spy, x, gradient)()
    assert spy.seen[1] == (True, True, True)
    assert torch.equal(spy.seen[2], x * gradient)
    assert spy.weight.grad is None
    assert x.grad is None
    assert not x.requires_grad


# Memory

N = 4 * 1000


@pytest.mark.parametrize(
    ("count", "call"),
    [
        (1, lambda x, t: x.clone()),
        (0, lambda x, t: x.add_(t)),
        # y and z live at the same time
        (2, lambda x, t: (x * t) + t),
        # y is released when z is there, so that no more than two live at any time
        (2, lambda x, t: x.exp().exp().exp().exp()),
        (1, lambda x, t: _one_by_one(x)),
        (5, lambda x, t: [x.clone() for _ in range(5)]),
        (2.5, lambda x, t: torch.cat([x, x[:500], x])),
    ],
)
def test_peak_memory_on_cpu_of_hand_computed_cases(count, call):
    x, t = torch.zeros(1000), torch.zeros(1000)
    assert [peak_memory(lambda: call(x, t), CPU) for _ in range(3)] == [count * N] * 3


def _one_by_one(x):
    for _ in range(5):
        x.clone()


def test_peak_memory_of_the_case_with_numbers():
    """The numbers 2 and 1 are tensors of 12 bytes in all while an operator runs, no more."""
    x = torch.zeros(1000)

    def call():
        y = x * 2
        return y + 1

    assert 2 * N <= peak_memory(call, CPU) <= 2 * N + 16


def test_peak_memory_includes_what_autograd_saves_and_gradients():
    """exp saves its output: e1, e2, e3 live after the forward pass.

    The second step of the backward pass has e1, e2, e3, the gradient of e2 and the new gradient
    of e1. Without gradients e1 is released before e3 is made.
    """

    class Exp(torch.nn.Module):
        def forward(self, x):
            return x.exp().exp().exp()

    x, gradient = torch.zeros(1000), torch.ones(1000)
    assert peak_memory(inference_step(Exp(), x, gradient), CPU) == 2 * N
    assert peak_memory(training_step(Exp(), x, gradient), CPU) == 5 * N


def test_peak_memory_includes_the_gradients_of_parameters():
    block = torch.nn.Linear(20, 50, bias=False)
    x, gradient = torch.zeros(1, 20), torch.zeros(1, 50)
    peaks = [peak_memory(training_step(block, x, gradient), CPU) for _ in range(2)]
    assert peaks[0] == peaks[1] == 4 * (50 + 20 * 50 + 20)


def test_memory_of_non_local_attention_tells_the_matrix_of_all_pairs():
    """144 positions: the logits and their softmax are 2 * 144^2 numbers, the lean path has none."""

    def peak(**options):
        row = Row("nl", "non-local", 8, (12, 12), 1, options)
        step = inference_step(build_awake(row), torch.randn(row.input_shape), torch.empty(0))
        step()
        return peak_memory(step, CPU)

    pairs = 4 * 144**2
    plain = peak(memory_efficient=False)
    assert 2 * pairs <= plain < 3 * pairs
    subsampled = peak(memory_efficient=False, subsample=True)
    assert 2 * pairs / 4 <= subsampled < plain / 2


# Measurements and reports


def test_measurements(measured):
    assert measured.rounds == 3
    named = [(m.row.name, m.row.size, m.mode) for m in measured.rows]
    assert named == [
        ("copy", "6x5", "copy"),
        *((name, "6x5", mode) for name in ("a2", "gfnet") for mode in MODES),
        ("copy", "2x4x3", "copy"),
        *(("a2", "2x4x3", mode) for mode in MODES),
    ]
    copies = [m for m in measured.rows if m.mode == "copy"]
    assert [m.peak_bytes for m in copies] == [4 * 2 * 16 * 30, 4 * 8 * 24]
    for copy in copies:
        assert copy.ratio == Spread(1.0, 1.0, 1.0)
        assert copy.peak_ratio == 1.0
    for m in measured.rows:
        assert 0 < m.milliseconds.q1 <= m.milliseconds.median <= m.milliseconds.q3
        assert 0 < m.ratio.q1 <= m.ratio.median <= m.ratio.q3
        assert m.peak_ratio == m.peak_bytes / math.prod(m.row.input_shape) / 4
    memory = {(m.row.name, m.row.size, m.mode): m.peak_bytes for m in measured.rows}
    assert memory["a2", "6x5", "training"] > memory["a2", "6x5", "inference"] > copies[0].peak_bytes


def test_modes_dtypes_and_wrong_values():
    rows = [Row("a2", "a2", 8, (4, 3))]
    seen = []
    got = measure_blocks(
        rows,
        device=CPU,
        dtype=torch.bfloat16,
        modes=["inference"],
        rounds=3,
        budget=1e-3,
        progress=seen.append,
    )
    assert [m.mode for m in got.rows] == ["copy", "inference"]
    assert got.rows[0].peak_bytes == 2 * 8 * 12
    assert seen == sorted(seen)
    assert seen[-1] == 1.0
    with pytest.raises(ValueError, match="unknown mode 'train'.*'training'"):
        measure_blocks(rows, device=CPU, dtype=torch.float32, modes=["train"])
    with pytest.raises(ValueError, match="rounds must be 3 or more, got 2"):
        measure_blocks(rows, device=CPU, dtype=torch.float32, rounds=2)
    with pytest.raises(ValueError, match="no row"):
        measure_blocks([], device=CPU, dtype=torch.float32)


def test_preparation_counts_towards_the_budget_and_repeats_short_calls():
    """With a clock that moves 1 ms a look, a call takes 1 ms: 20 of them make a visit."""
    ticks = iter(range(10**6))
    got = measure_blocks(
        [Row("a2", "a2", 8, (4, 3))],
        device=CPU,
        dtype=torch.float32,
        modes=["inference"],
        rounds=50,
        budget=0.05,
        clock=lambda: next(ticks) / 1000,
    )
    assert got.rounds < 10
    for m in got.rows:
        assert m.milliseconds.median == pytest.approx(1 / 20)


def test_groups_keep_the_order_of_their_first_row():
    rows = [Row(name, "a2", c, (4, 3)) for name, c in (("a", 8), ("b", 16), ("c", 8))]
    assert [[r.name for r in group] for group in group_rows(rows)] == [["a", "c"], ["b"]]


def test_json_round_trip(measured, tmp_path):
    report = BenchReport.here(CPU, "float32", measured)
    path = tmp_path / "bench.json"
    path.write_text(report.to_json())
    assert read_report(path) == report
    values = json.loads(report.to_json())
    assert values["torch_version"] == torch.__version__
    assert values["threads"] == torch.get_num_threads()
    assert values["device_name"]
    assert "profiler" in values["memory"]
    keys = {"name", "block", "channels", "shape", "batch", "options", "mode"}
    keys |= {"milliseconds", "ratio", "peak_bytes", "peak_ratio"}
    assert all(set(row) == keys for row in values["rows"])


@pytest.mark.parametrize("content", ["[", "[]", "{}", '{"rows": [{}]}', '{"rows": 3}'])
def test_other_files_are_no_reports(tmp_path, content):
    path = tmp_path / "other.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=r"other\.json was not written by 'srl bench"):
        read_report(path)


def _changed(report, factor, *, of):
    rows = []
    for m in report.rows:
        if of == "time":
            ratio = Spread(m.ratio.median * factor, m.ratio.q1, m.ratio.q3)
            rows.append(dataclasses.replace(m, ratio=ratio))
        else:
            rows.append(dataclasses.replace(m, peak_ratio=m.peak_ratio * factor))
    return dataclasses.replace(report, rows=rows)


@pytest.mark.parametrize("of", ["time", "memory"])
@pytest.mark.parametrize(
    ("factor", "tolerance", "worse"),
    [(1.0, 0.0, 0), (1.2, 0.25, 0), (1.3, 0.25, 6), (1.3, 0.5, 0), (0.5, 0.0, 0)],
)
def test_comparison(measured, of, factor, tolerance, worse):
    stored = BenchReport.here(CPU, "float32", measured)
    changes = compare(_changed(stored, factor, of=of), stored, tolerance)
    assert len(changes) == 2 * 6
    assert [c.label.endswith(of) for c in changes if c.worse] == [True] * worse


def test_comparison_takes_common_rows_and_refuses_others(measured):
    stored = BenchReport.here(CPU, "float32", measured)
    some = dataclasses.replace(stored, rows=stored.rows[-3:])
    assert len(compare(some, stored, 0.25)) == len(compare(stored, some, 0.25)) == 4
    with pytest.raises(ValueError, match="none of the rows"):
        compare(some, dataclasses.replace(stored, rows=stored.rows[:-3]), 0.25)
    with pytest.raises(ValueError, match="has dtype 'float16', this one has 'float32'"):
        compare(stored, dataclasses.replace(stored, dtype="float16"), 0.25)
    with pytest.raises(ValueError, match="has device 'cuda', this one has 'cpu'"):
        compare(stored, dataclasses.replace(stored, device="cuda"), 0.25)


def test_text(measured):
    text = BenchReport.here(CPU, "float32", Measurements(3, 1.5, measured.rows)).to_text()
    assert "16 channels at 6x5, batch 2: input 0.0 MiB, copy" in text
    assert "8 channels at 2x4x3, batch 1" in text
    assert text.count("forward + backward") == 2
    lines = [line.split()[0] for line in text.splitlines() if line]
    assert [name for name in lines if name in BLOCKS] == ["a2", "gfnet", "a2"]
    assert max(map(len, text.splitlines())) <= 100


# Command line


def test_command(rows_file, tmp_path, capsys):
    arguments = ["--rows", str(rows_file(TINY)), "--rounds", "3", "--budget", "0.001"]
    stored, plot = tmp_path / "stored.json", tmp_path / "plot.png"
    assert main([*arguments, "--json", str(stored), "--plot", str(plot)]) == 0
    printed = capsys.readouterr().out
    assert "non-local-plain" in printed
    assert "3 rounds" in printed
    assert plot.read_bytes().startswith(b"\x89PNG")
    report = read_report(stored)
    assert len(report.rows) == 2 + 2 * 4

    small = [*arguments, "--blocks", "a2", "--sizes", "6x5", "--mode", "training"]
    assert main([*small, "--json", "-", "--batch", "3", "--dtype", "bfloat16"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert [(row["name"], row["batch"]) for row in values["rows"]] == [("copy", 3), ("a2", 3)]
    assert values["dtype"] == "bfloat16"

    # Memory is the same in every run; times are made not to matter by the stored ratios.
    for factor, code in ((1.3, 1), (1.0, 0)):
        old = _changed(_changed(report, 1e9, of="time"), 1 / factor, of="memory")
        stored.write_text(old.to_json())
        assert main([*small, "--compare", str(stored)]) == code
        error = capsys.readouterr().err
        assert f"{code} of 2 ratios are worse than the stored ones by more than 25%" in error
        assert ("WORSE  a2, 16 channels at 6x5, training, memory" in error) == bool(code)
    stored.write_text(_changed(report, 1 / 1.3, of="memory").to_json())
    assert main([*small, "--compare", str(stored), "--tolerance", "1e9"]) == 0


def test_threads_are_set_and_restored(rows_file, capsys):
    before = torch.get_num_threads()
    path = rows_file(TINY[3:])
    arguments = ["--rows", str(path), "--rounds", "3", "--budget", "0.001", "--json", "-"]
    assert main([*arguments, "--threads", str(before + 1)]) == 0
    assert json.loads(capsys.readouterr().out)["threads"] == before + 1
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--blocks", "srl-ftf"], "'srl-ftf'; did you mean 'srl-fft'"),
        (["--sizes", "64x49"], "'64x49'; did you mean '64x48'"),
        (["--rounds", "2"], "--rounds must be 3 or more, got 2"),
        (["--threads", "0"], "--threads must be positive, got 0"),
        (["--batch", "-1"], "--batch must be positive, got -1"),
        (["--budget", "nan"], "--budget must be a positive number of seconds, got nan"),
        (["--tolerance", "-0.1"], "--tolerance must be a number from 0, got -0.1"),
        (["--plot", "bench.jpeg2000"], r"--plot needs a file \.png, \.pdf or \.svg"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        main(arguments)


@pytest.mark.parametrize("option", ["--rows", "--json", "--plot", "--compare"])
def test_missing_files_and_folders(tmp_path, option):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        main(["--blocks", "a2", option, str(tmp_path / "nowhere" / "x.png")])


def test_cuda_missing(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="finds no CUDA device here"):
        main(["--device", "cuda"])


def test_a_stored_report_of_another_dtype_is_refused_before_measuring(measured, tmp_path):
    stored = tmp_path / "stored.json"
    stored.write_text(BenchReport.here(CPU, "float16", measured).to_json())
    with pytest.raises(ValueError, match="has dtype 'float16', this one has 'float32'"):
        main(["--compare", str(stored)])
