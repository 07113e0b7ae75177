"""Time and peak memory of blocks, side by side in interleaved rounds.

Rows with the same input form a group. In every round each group copies its input and runs each of
its blocks in each mode once, in an order that is rotated by one place from round to round, so
that a slow spell of the machine, or what the one before left in the caches, hits all alike. A
visit repeats a call that is short until it has taken about 20 ms, and counts as its mean.
"""

from __future__ import annotations

import itertools
import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from ..errors import unknown_name
from .memory import peak_memory
from .rows import Row

MODES = ("inference", "training")
COPY = "copy"
DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
FEWEST_ROUNDS = 3

_VISIT_SECONDS = 0.02
_MOST_REPEATS = 200

Clock = Callable[[], float]
Progress = Callable[[float], None]


@dataclass(frozen=True)
class Spread:
    """Median and quartiles over rounds."""

    median: float
    q1: float
    q3: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Spread of two values or more; quartiles interpolate between them."""
        q1, median, q3 = statistics.quantiles(values, n=4, method="inclusive")
        return cls(median, q1, q3)


@dataclass(frozen=True)
class Measurement:
    """What was measured of a block in one mode, or of copying its input.

    Attributes
    ----------
    row : Row
        Block and input; ``block`` is ``"copy"`` for the copy.
    mode : str
        ``"inference"``: forward in evaluation mode without gradients; ``"training"``: forward
        and backward in training mode, with gradients of the input and of all parameters;
        ``"copy"``.
    milliseconds : Spread
        Time of one call.
    ratio : Spread
        Time of one call by that of copying the input in the same round.
    peak_bytes : int
        Peak memory beyond input and parameters; see `peak_memory`.
    peak_ratio : float
        The same by the bytes of the input.
    """

    row: Row
    mode: str
    milliseconds: Spread
    ratio: Spread
    peak_bytes: int
    peak_ratio: float


@dataclass(frozen=True)
class Measurements:
    """All measurements of a run: in the order of their groups, the copy first in each.

    Attributes
    ----------
    rounds : int
        Rounds that the medians and quartiles are taken over.
    seconds : float
        What the run has taken.
    rows : list of Measurement
    """

    rounds: int
    seconds: float
    rows: list[Measurement]


@dataclass
class Job:
    """Something that is timed once in every round.

    Attributes
    ----------
    label : str
        For error messages.
    call : callable
        What is timed.
    repeats : int
        Calls in one visit.
    seconds : list of float
        Time of one call, for every round.
    """

    label: str
    call: Callable[[], object]
    repeats: int = 1
    seconds: list[float] = field(default_factory=list)


def measure_blocks(
    rows: Sequence[Row],
    *,
    device: torch.device,
    dtype: torch.dtype,
    modes: Sequence[str] = MODES,
    rounds: int = 20,
    budget: float = 150.0,
    clock: Clock = time.perf_counter,
    progress: Progress = lambda done: None,
) -> Measurements:
    """Measure blocks side by side.

    Parameters
    ----------
    rows : sequence of Row
        What to measure; rows with the same input are compared with the same copy.
    device, dtype : torch.device, torch.dtype
        Where, and of which type weights and input are (there is no autocast).
    modes : sequence of str
        Of `MODES`.
    rounds : int
        Most rounds; at least 3.
    budget : float
        Seconds after which no further round starts, preparation included. Three rounds are
        run in any case.
    clock : callable
        Current time in seconds.
    progress : callable
        Gets the fraction that is done, now and then.

    Returns
    -------
    Measurements

    Raises
    ------
    ValueError
        If a mode is unknown, `rounds` is less than 3, there are no rows, or a row does not fit
        in the GPU's memory.
    """
    for mode in modes:
        if mode not in MODES:
            raise unknown_name("mode", mode, MODES)
    if rounds < FEWEST_ROUNDS:
        raise ValueError(f"rounds must be {FEWEST_ROUNDS} or more, got {rounds}")
    if not rows:
        raise ValueError("there is no row to measure")
    start = clock()
    synchronize = _synchronizer(device)
    groups = [_Group(group, modes, device, dtype) for group in group_rows(rows)]
    count = sum(len(group.jobs) for group in groups)
    done = itertools.count(1)
    for group in groups:
        for job in group.jobs:
            group.peaks.append(_prepare(job, device, clock, synchronize))
            progress(next(done) / (count * (rounds + 1)))

    def after_round(number: int) -> None:
        progress(max((number + 1) / (rounds + 1), min(1.0, (clock() - start) / budget)))

    finished = run_rounds(
        [group.jobs for group in groups],
        rounds=rounds,
        deadline=start + budget,
        clock=clock,
        synchronize=synchronize,
        after_round=after_round,
    )
    progress(1.0)
    return Measurements(
        finished, clock() - start, [row for group in groups for row in group.measurements()]
    )


def group_rows(rows: Sequence[Row]) -> list[list[Row]]:
    """Rows with the same input together, in the order of their first."""
    groups: dict[tuple[int, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(row.input_shape, []).append(row)
    return list(groups.values())


def run_rounds(
    groups: Sequence[Sequence[Job]],
    *,
    rounds: int,
    deadline: float,
    clock: Clock,
    synchronize: Callable[[], None] = lambda: None,
    after_round: Callable[[int], None] = lambda number: None,
) -> int:
    """Time the jobs of all groups once in every round.

    Parameters
    ----------
    groups : sequence of sequence of Job
        Within a group, round r starts with job r modulo their number; `Job.seconds` grows.
    rounds : int
        Most rounds.
    deadline : float
        Time on `clock` that rounds after the third must not pass, if they take no longer than
        the longest so far.
    clock, synchronize : callable
        Current time in seconds; waits for the device.
    after_round : callable
        Gets the number of rounds that are finished.

    Returns
    -------
    int
        Rounds that were run.
    """
    longest = 0.0
    for number in range(rounds):
        start = clock()
        if number >= FEWEST_ROUNDS and start + longest > deadline:
            return number
        for group in groups:
            first = number % len(group)
            for job in (*group[first:], *group[:first]):
                job.seconds.append(_time(job, clock, synchronize))
        longest = max(longest, clock() - start)
        after_round(number + 1)
    return rounds


class _Group:
    """Jobs of the rows with one input: the copy, then every row in every mode."""

    def __init__(
        self, rows: Sequence[Row], modes: Sequence[str], device: torch.device, dtype: torch.dtype
    ) -> None:
        generator = torch.Generator().manual_seed(0)
        shape = rows[0].input_shape
        self.input, gradient = (
            torch.randn(shape, generator=generator).to(device, dtype) for _ in range(2)
        )
        copy = Row(COPY, COPY, rows[0].channels, rows[0].shape, rows[0].batch)
        self.entries = [(copy, COPY), *itertools.product(rows, modes)]
        self.peaks: list[int] = []
        self.jobs: list[Job] = []
        for row, mode in self.entries:
            call: Callable[[], object] = self.input.clone
            if mode != COPY:
                block = build_awake(row).to(device, dtype)
                make = training_step if mode == "training" else inference_step
                call = make(block, self.input, gradient)
            self.jobs.append(Job(f"{row.name} with input {shape} in mode {mode}", call))

    def measurements(self) -> list[Measurement]:
        size = self.input.numel() * self.input.element_size()
        copy = self.jobs[0].seconds
        return [
            Measurement(
                row,
                mode,
                Spread.of([1000 * s for s in job.seconds]),
                Spread.of([s / c for s, c in zip(job.seconds, copy, strict=True)]),
                peak,
                peak / size,
            )
            for (row, mode), job, peak in zip(self.entries, self.jobs, self.peaks, strict=True)
        ]


def build_awake(row: Row) -> nn.Module:
    """Block of a row with no parameter at zero, so that no part of it can be skipped.

    Blocks start as the identity, by a scale or weights of 0. They compute everything all the
    same, but a benchmark should not rely on it: parameters that are 0 throughout are drawn
    between 0.1 and 1. Equal rows give equal blocks.
    """
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        block = row.build()
        for parameter in block.parameters():
            if not parameter.any():
                parameter.uniform_(0.1, 1.0)
    return block


def inference_step(block: nn.Module, x: Tensor, gradient: Tensor) -> Callable[[], object]:
    """Function that runs the block in evaluation mode; `gradient` is not used."""
    block.eval()

    @torch.no_grad()
    def step() -> None:
        block(x)

    return step


def training_step(block: nn.Module, x: Tensor, gradient: Tensor) -> Callable[[], object]:
    """Function that runs the block in training mode, forward and backward.

    Gradients are computed of the input and of all parameters, from `gradient` at the output, and
    dropped at the end.
    """
    block.train()
    x = x.detach().requires_grad_()

    def step() -> None:
        block(x).backward(gradient)
        x.grad = None
        block.zero_grad(set_to_none=True)

    return step


def _prepare(job: Job, device: torch.device, clock: Clock, synchronize: Callable[[], None]) -> int:
    """Warm up, set the number of repeats, and return the peak memory of one call."""
    try:
        seconds = _time(job, clock, synchronize)
        peak = peak_memory(job.call, device)
        if seconds < _VISIT_SECONDS:
            seconds = _time(job, clock, synchronize)
    except torch.OutOfMemoryError as error:
        raise ValueError(
            f"{job.label} does not fit in the memory of {device}; leave it out by --blocks, "
            f"--sizes or --rows, or choose a smaller batch: {error}"
        ) from error
    job.repeats = min(_MOST_REPEATS, math.ceil(_VISIT_SECONDS / max(seconds, 1e-9)))
    return peak


def _time(job: Job, clock: Clock, synchronize: Callable[[], None]) -> float:
    """Seconds of one call, as the mean over ``job.repeats``."""
    synchronize()
    start = clock()
    for _ in range(job.repeats):
        job.call()
    synchronize()
    return (clock() - start) / job.repeats


def _synchronizer(device: torch.device) -> Callable[[], None]:
    if device.type == "cuda":
        return lambda: torch.cuda.synchronize(device)
    return lambda: None
