"""Jobs in interleaved rounds.

In every round each group runs each of its jobs once, in an order that is rotated by one place
from round to round, so that a slow spell of the machine, or what the one before left in the
caches, hits all alike. A visit repeats a call that is short until it has taken about 20 ms, and
counts as its mean.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch

from .memory import peak_memory

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

    @classmethod
    def of_ratio(cls, numerator: Sequence[float], denominator: Sequence[float]) -> Spread:
        """Spread of the rounds' ratios: what was measured in one round belongs together."""
        return cls.of([a / b for a, b in zip(numerator, denominator, strict=True)])


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
    peak_bytes : int
        Peak memory of one call; see `peak_memory`.
    """

    label: str
    call: Callable[[], object]
    repeats: int = 1
    seconds: list[float] = field(default_factory=list)
    peak_bytes: int = 0


def measure_jobs(
    groups: Sequence[Sequence[Job]],
    *,
    device: torch.device,
    rounds: int,
    budget: float,
    clock: Clock = time.perf_counter,
    progress: Progress = lambda done: None,
) -> int:
    """Prepare all jobs, and time each once in every round.

    Parameters
    ----------
    groups : sequence of sequence of Job
        Jobs; those of a group are run one after another. `Job.repeats`, `Job.peak_bytes` and
        `Job.seconds` are set.
    device : torch.device
        Where they run.
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
    int
        Rounds that were run.

    Raises
    ------
    ValueError
        If a job does not fit in the GPU's memory.
    """
    start = clock()
    synchronize = _synchronizer(device)
    jobs = [job for group in groups for job in group]
    for number, job in enumerate(jobs, start=1):
        _prepare(job, device, clock, synchronize)
        progress(number / (len(jobs) * (rounds + 1)))

    def after_round(number: int) -> None:
        progress(max((number + 1) / (rounds + 1), min(1.0, (clock() - start) / budget)))

    finished = run_rounds(
        groups,
        rounds=rounds,
        deadline=start + budget,
        clock=clock,
        synchronize=synchronize,
        after_round=after_round,
    )
    progress(1.0)
    return finished


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


def check_rounds(rounds: int) -> None:
    """Raise ValueError for fewer rounds than medians and quartiles need."""
    if rounds < FEWEST_ROUNDS:
        raise ValueError(f"rounds must be {FEWEST_ROUNDS} or more, got {rounds}")


def _prepare(job: Job, device: torch.device, clock: Clock, synchronize: Callable[[], None]) -> None:
    """Warm up, and set the number of repeats and the peak memory of one call."""
    try:
        seconds = _time(job, clock, synchronize)
        job.peak_bytes = peak_memory(job.call, device)
        if seconds < _VISIT_SECONDS:
            seconds = _time(job, clock, synchronize)
    except torch.OutOfMemoryError as error:
        raise ValueError(
            f"{job.label} does not fit in the memory of {device}; leave it out by --blocks, "
            f"--sizes or --rows, or choose a smaller batch: {error}"
        ) from error
    job.repeats = min(_MOST_REPEATS, math.ceil(_VISIT_SECONDS / max(seconds, 1e-9)))


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
