"""Rounds, steps and peak memory of ``srl bench``. No test looks at real times."""

from __future__ import annotations

import math

import pytest
import torch

from spectral_residual.blocks import BLOCKS
from spectral_residual.lab.bench import measure
from spectral_residual.lab.bench.measure import Job, Measurement, Spread, peak_memory, run_rounds
from spectral_residual.lab.bench.report import Ratio
from spectral_residual.lab.bench.rows import Row
from spectral_residual.lab.bench.steps import inference_step, training_step, wake

CPU = torch.device("cpu")


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

        return Job(Row(label, "a2", 8, (4, 3)), "inference", call, repeats)


@pytest.fixture
def clock(monkeypatch):
    clock = FakeClock()
    monkeypatch.setattr(measure.time, "perf_counter", clock)
    return clock


def test_every_round_runs_each_job_once_in_a_rotated_order(clock):
    first = [clock.job(label, 1.0) for label in "abc"]
    second = [clock.job(label, 1.0) for label in "xy"]
    assert list(run_rounds([first, second], CPU, 4, deadline=math.inf)) == [1, 2, 3, 4]
    assert "".join(clock.log) == "abcxy" + "bcayx" + "cabxy" + "abcyx"
    assert all(job.seconds == [1.0] * 4 for job in (*first, *second))


def test_a_visit_counts_as_the_mean_of_its_repeats(clock):
    jobs = [clock.job("a", 0.25, repeats=8), clock.job("b", 2.0)]
    assert list(run_rounds([jobs], CPU, 3, deadline=math.inf)) == [1, 2, 3]
    assert clock.log.count("a") == 24
    assert clock.log.count("b") == 3
    assert jobs[0].seconds == [0.25] * 3
    assert jobs[1].seconds == [2.0] * 3


@pytest.mark.parametrize(
    ("budget", "rounds", "expected"),
    [(0.0, 9, 3), (29.0, 9, 3), (30.0, 9, 3), (39.9, 9, 3), (40.0, 9, 4), (1e9, 9, 9)],
)
def test_no_round_starts_that_would_pass_the_deadline(clock, budget, rounds, expected):
    groups = [[clock.job("a", 4.0), clock.job("b", 6.0)]]
    seen = list(run_rounds(groups, CPU, rounds, deadline=clock() + budget))
    assert seen == list(range(1, expected + 1))
    assert all(len(job.seconds) == expected for job in groups[0])


def test_the_device_is_waited_for_before_and_after_every_visit(clock, monkeypatch):
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: clock.log.append("|"))
    jobs = [clock.job("a", 1.0), clock.job("b", 1.0)]
    assert list(run_rounds([jobs], torch.device("cuda"), 3, deadline=math.inf)) == [1, 2, 3]
    assert "".join(clock.log) == "|a||b|" + "|b||a|" + "|a||b|"


def test_spread():
    assert Spread.of([5.0, 1.0, 3.0, 2.0, 4.0]) == Spread(3.0, 2.0, 4.0)
    assert Spread.of([1.0, 3.0]) == Spread(2.0, 1.5, 2.5)


def test_spread_of_a_ratio_divides_round_by_round():
    """The median of the quotients 1/4, 1, 5 is not the quotient of the medians 4 / 4."""
    row = Row("a2", "a2", 8, (4, 3))

    def ratio(above, below):
        return Ratio(*(Measurement(row, "inference", 1, times) for times in (above, below)))

    assert ratio((4.0, 2.0, 5.0), (4.0, 8.0, 1.0)).time == Spread(1.0, 0.625, 3.0)
    with pytest.raises(ValueError, match="shorter"):
        _ = ratio((1.0, 2.0, 3.0), (1.0, 2.0)).time


# Steps


@pytest.mark.parametrize("row", [Row(name, name, 64, (6, 5), 2) for name in BLOCKS], ids=BLOCKS)
def test_every_part_of_every_block_is_computed(row):
    block = wake(row.build)
    x = torch.randn(row.input_shape, requires_grad=True)
    y = block.train()(x)
    assert (y - x).abs().max() > 1e-4
    y.backward(torch.randn(row.input_shape))
    for name, parameter in block.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.any(), name


def test_equal_rows_give_equal_blocks_and_leave_the_generator_alone():
    state = torch.get_rng_state()
    one, two = (wake(Row("cgnl", "cgnl", 16, (6, 5)).build) for _ in range(2))
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
    inference_step(spy.eval(), x)()
    assert spy.seen == [(False, False, False)]
    training_step(spy.train(), x, gradient)()
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
    assert peak_memory(inference_step(Exp().eval(), x), CPU) == 2 * N
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
        step = inference_step(wake(row.build).eval(), torch.randn(row.input_shape))
        step()
        return peak_memory(step, CPU)

    pairs = 4 * 144**2
    plain = peak(memory_efficient=False)
    assert 2 * pairs <= plain < 3 * pairs
    subsampled = peak(memory_efficient=False, subsample=True)
    assert 2 * pairs / 4 <= subsampled < plain / 2
