"""Time in interleaved rounds, and peak memory.

In every round each group runs each of its jobs once, in an order that is rotated by one place
from round to round, so that a slow spell of the machine, or what the one before left in the
caches, hits all alike. A visit repeats a call that is short until it has taken about 20 ms, and
counts as its mean. The first job of a group is the base that all of its jobs are compared with.

Peak memory is on CUDA what the allocator had given out at most, less what it had given out
before. On CPU it is summed up from the profiler's record of every allocation and release that
PyTorch's allocator has seen during the call: tensors, what autograd saves, gradients, and the
workspaces that operators take from it. Buffers that oneDNN, MKL and the like keep for themselves
are not seen. Both count from the state before the call, so that input and weights are not
included, and are the same in every run on the same machine with the same number of threads.
"""

from __future__ import annotations

import json
import math
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Protocol

import torch
from torch.profiler import ProfilerActivity, profile

from .rows import NetworkRow, Row

FEWEST_ROUNDS = 3
MEMORY_METHODS = {
    "cuda": "torch.cuda.max_memory_allocated, less what was allocated before",
    "cpu": "peak of the allocations minus the releases that torch.profiler records",
}

_VISIT_SECONDS = 0.02
_MOST_REPEATS = 200


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
    """What was measured of a block or network in one mode, or of copying a block's input.

    Attributes
    ----------
    row : Row or NetworkRow
        What was measured; ``name`` and ``block`` are ``"copy"`` for the copy.
    mode : str
        Of a block ``"inference"``: forward in evaluation mode without gradients;
        ``"training"``: forward and backward in training mode, with gradients of the input and
        of all parameters; ``"copy"``. Of a network `NetworkRow.mode`.
    peak_bytes : int
        Peak memory beyond input, parameters and optimiser state; see `peak_memory`.
    per_round : tuple of float
        Milliseconds of one call, for every round.
    """

    row: Row | NetworkRow
    mode: str
    peak_bytes: int
    per_round: tuple[float, ...]

    @property
    def milliseconds(self) -> Spread:
        """Time of one call."""
        return Spread.of(self.per_round)


@dataclass
class Job:
    """A call that is to be measured; what is found out about it is set by `measure`.

    Attributes
    ----------
    row, mode
        As in `Measurement`.
    call : callable
        What is timed once in every round.
    repeats : int
        Calls in one visit.
    peak_bytes : int
        Peak memory of one call.
    seconds : list of float
        Time of one call, for every round.
    """

    row: Row | NetworkRow
    mode: str
    call: Callable[[], object]
    repeats: int = 1
    peak_bytes: int = 0
    seconds: list[float] = field(default_factory=list)


def measure(
    groups: Sequence[Sequence[Job]],
    *,
    device: torch.device,
    rounds: int = 20,
    budget: float = 150.0,
    progress: Callable[[float], None] = lambda done: None,
) -> list[Measurement]:
    """Prepare all jobs, and time each once in every round.

    Parameters
    ----------
    groups : sequence of sequence of Job
        The base first in each group.
    device : torch.device
        Where they run.
    rounds : int
        Most rounds; at least 3.
    budget : float
        Seconds after which no further round starts, preparation included. Three rounds are
        run in any case.
    progress : callable
        Gets the fraction that is done, now and then.

    Returns
    -------
    list of Measurement
        One for every job, in their order.

    Raises
    ------
    ValueError
        If a job does not fit in the GPU's memory.
    """
    jobs = [job for group in groups for job in group]
    start = time.perf_counter()
    for number, job in enumerate(jobs, start=1):
        _prepare(job, device)
        progress(number / (len(jobs) * (rounds + 1)))
    for number in run_rounds(groups, device, rounds, deadline=start + budget):
        used = (time.perf_counter() - start) / budget
        progress(max((number + 1) / (rounds + 1), min(1.0, used)))
    progress(1.0)
    return [
        Measurement(job.row, job.mode, job.peak_bytes, tuple(1000 * s for s in job.seconds))
        for job in jobs
    ]


class Timed(Protocol):
    """How often a visit repeats a call, and the seconds of one call in every round."""

    repeats: int
    seconds: list[float]

    @property
    def call(self) -> Callable[[], object]:
        """What is timed."""


def run_rounds(
    groups: Sequence[Sequence[Timed]], device: torch.device, rounds: int, deadline: float
) -> Iterator[int]:
    """Time the jobs of all groups once in every round, and give its number when it is finished.

    In a group, round r starts with job r. After the third, no round starts that would pass the
    deadline (of `time.perf_counter`) if it took as long as the longest so far.
    """
    longest = 0.0
    for number in range(rounds):
        start = time.perf_counter()
        if number >= FEWEST_ROUNDS and start + longest > deadline:
            return
        for group in groups:
            first = number % len(group)
            for job in (*group[first:], *group[:first]):
                job.seconds.append(_time(job, device))
        longest = max(longest, time.perf_counter() - start)
        yield number + 1


def visit_repeats(seconds: float) -> int:
    """Calls in one visit, for a call that takes so many seconds."""
    return min(_MOST_REPEATS, math.ceil(_VISIT_SECONDS / max(seconds, 1e-9)))


def peak_memory(call: Callable[[], object], device: torch.device) -> int:
    """Bytes that a call had allocated and not yet released at most, beyond those of before.

    Make the call once before, so that caches and lazily made buffers exist.
    """
    if device.type == "cuda":
        _synchronize(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        call()
        _synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    # The profiler's library tells every start and stop, and on machines without a GPU an error.
    os.environ.setdefault("KINETO_LOG_LEVEL", "6")
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        call()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(path))
        events = json.loads(path.read_text(encoding="utf-8"))["traceEvents"]
    changes = [event for event in events if event.get("name") == "[memory]"]
    changes.sort(key=lambda event: event["ts"])
    return max(accumulate((int(event["args"]["Bytes"]) for event in changes), initial=0))


def _prepare(job: Job, device: torch.device) -> None:
    """Warm up, and set the number of repeats and the peak memory of one call."""
    try:
        seconds = _time(job, device)
        job.peak_bytes = peak_memory(job.call, device)
        if seconds < _VISIT_SECONDS:
            seconds = _time(job, device)
    except torch.OutOfMemoryError as error:
        raise ValueError(
            f"{job.row.name} with {job.row.group} in mode {job.mode} does not fit in the memory "
            f"of {device}; leave it out by --blocks, --sizes or --rows, or choose a smaller "
            f"batch: {error}"
        ) from error
    job.repeats = visit_repeats(seconds)


def _time(job: Timed, device: torch.device) -> float:
    """Seconds of one call, as the mean over ``job.repeats``."""
    _synchronize(device)
    start = time.perf_counter()
    for _ in range(job.repeats):
        job.call()
    _synchronize(device)
    return (time.perf_counter() - start) / job.repeats


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
