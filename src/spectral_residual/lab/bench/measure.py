"""What is measured of blocks and networks, and the measuring of blocks.

Rows with the same input form a group. Every group has a base that all of its rows are compared
with, in the same round: copying the input for blocks, the network without blocks for networks.
"""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn

from ...errors import unknown_name
from .network_rows import NetworkRow
from .rounds import Clock, Job, Progress, Spread, check_rounds, measure_jobs
from .rows import Row, group_rows

MODES = ("inference", "training")
COPY = "copy"
DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}

AnyModule = TypeVar("AnyModule", bound=nn.Module)


@dataclass(frozen=True)
class Measurement:
    """What was measured of a block or network in one mode, or of copying a block's input.

    Attributes
    ----------
    row : Row or NetworkRow
        What was measured; ``block`` is ``"copy"`` for the copy.
    mode : str
        Of a block ``"inference"``: forward in evaluation mode without gradients;
        ``"training"``: forward and backward in training mode, with gradients of the input and
        of all parameters; ``"copy"``. Of a network `NetworkRow.mode`.
    milliseconds : Spread
        Time of one call.
    ratio : Spread
        Time of one call by that of the group's base in the same round.
    peak_bytes : int
        Peak memory beyond input and parameters; see `peak_memory`.
    peak_ratio : float
        The same by that of the base; for blocks that is the size of the input.
    per_round : tuple of float
        Milliseconds of one call, for every round.
    """

    row: Row | NetworkRow
    mode: str
    milliseconds: Spread
    ratio: Spread
    peak_bytes: int
    peak_ratio: float
    per_round: tuple[float, ...]


@dataclass(frozen=True)
class Measurements:
    """All measurements of a run: in the order of their groups, the base first in each.

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


@dataclass(frozen=True)
class Entry:
    """A row in one mode, and the job that runs it."""

    row: Row | NetworkRow
    mode: str
    job: Job


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
    rounds, budget, clock, progress
        See `measure_jobs`.

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
    check_rounds(rounds)
    groups = [_block_entries(group, modes, device, dtype) for group in group_rows(rows)]
    return measure_entries(
        groups, device=device, rounds=rounds, budget=budget, clock=clock, progress=progress
    )


def measure_entries(
    groups: Sequence[Sequence[Entry]],
    *,
    device: torch.device,
    rounds: int,
    budget: float,
    clock: Clock,
    progress: Progress,
) -> Measurements:
    """Measure groups of entries, the base first in each; see `measure_jobs`.

    Raises
    ------
    ValueError
        If there is no group, or a row does not fit in the GPU's memory.
    """
    if not groups:
        raise ValueError("there is no row to measure")
    start = clock()
    finished = measure_jobs(
        [[entry.job for entry in group] for group in groups],
        device=device,
        rounds=rounds,
        budget=budget,
        clock=clock,
        progress=progress,
    )
    rows = [_measurement(entry, group[0].job) for group in groups for entry in group]
    return Measurements(finished, clock() - start, rows)


def _measurement(entry: Entry, base: Job) -> Measurement:
    job = entry.job
    per_round = tuple(1000 * seconds for seconds in job.seconds)
    return Measurement(
        entry.row,
        entry.mode,
        Spread.of(per_round),
        Spread.of_ratio(job.seconds, base.seconds),
        job.peak_bytes,
        job.peak_bytes / base.peak_bytes,
        per_round,
    )


def _block_entries(
    rows: Sequence[Row], modes: Sequence[str], device: torch.device, dtype: torch.dtype
) -> list[Entry]:
    """Entries of the rows with one input: the copy, then every row in every mode."""
    generator = torch.Generator().manual_seed(0)
    first = rows[0]
    shape = first.input_shape
    layout = torch.contiguous_format
    if first.channels_last:
        layout = torch.channels_last if len(shape) == 4 else torch.channels_last_3d
    x, gradient = (
        torch.randn(shape, generator=generator).to(device, dtype, memory_format=layout)
        for _ in range(2)
    )
    copy = dataclasses.replace(first, name=COPY, block=COPY, options={})
    entries = [Entry(copy, COPY, Job(f"a copy of {shape}", x.clone))]
    for row, mode in itertools.product(rows, modes):
        block = wake(row.build).to(device, dtype)
        make = training_step if mode == "training" else inference_step
        label = f"{row.name} with input {shape} in mode {mode}"
        entries.append(Entry(row, mode, Job(label, make(block, x, gradient))))
    return entries


def wake(build: Callable[[], AnyModule]) -> AnyModule:
    """Build a module with no parameter at zero, so that no part of it can be skipped.

    Blocks start as the identity, by a scale or weights of 0. They compute everything all the
    same, but a benchmark should not rely on it: parameters that are 0 throughout are drawn
    between 0.1 and 1. The same function gives equal modules.
    """
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        module = build()
        for parameter in module.parameters():
            if not parameter.any():
                parameter.uniform_(0.1, 1.0)
    return module


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
