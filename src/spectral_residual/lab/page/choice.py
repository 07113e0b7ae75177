"""Which block for a network: every block of the registry at the same places, counted and timed."""

from __future__ import annotations

import copy
import importlib.util
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ...blocks import BLOCKS, TIMM_BLOCKS, create_block
from ...cost import Cost, measure_cost
from ...insertion import insert_blocks
from ...meta import meta_copy, module_names, run_on_meta
from ..bench.measure import run_rounds, visit_repeats
from ..bench.rows import PLAIN
from ..bench.steps import inference_step, wake
from ..cost.command import library_network

LEAST_SIDE, LONGEST_SIDE = 16, 1024
MOST_BATCH = 64
LEAST_SECONDS, MOST_SECONDS = 5, 600

MOST_PARAMETERS = 400_000_000
"""Of a network."""

MOST_TENSOR_BYTES = 2**30
"""Of the largest tensor of a forward pass."""

HEADER = ("block", "parameters (M)", "GMAC", "ms", "ratio", "quartiles", "why not")
"""Of the table: parameters of the whole network, operations for an image, median time of a forward
pass, and median and quartiles of that time divided by the time without blocks."""

_ROUNDS = 20


@dataclass(frozen=True)
class Question:
    """A network, and where a block is to be.

    Attributes
    ----------
    network : str
        Name of torchvision, or of timm (``timm/NAME``).
    after : str
        Modules by names and patterns as for `insert_blocks`, with spaces or commas between them.
    height, width : int
        Size of the images in pixels.
    batch : int
        Images in one forward pass.
    seconds : float
        No round of timing starts later; three are run in any case.

    Raises
    ------
    ValueError
        If a number is outside of its limits, or there is no module.
    """

    network: str = "resnet18"
    after: str = "layer2.* layer3.*"
    height: int = 224
    width: int = 224
    batch: int = 1
    seconds: float = 30

    def __post_init__(self) -> None:
        for name, value, least, most in (
            ("height", self.height, LEAST_SIDE, LONGEST_SIDE),
            ("width", self.width, LEAST_SIDE, LONGEST_SIDE),
            ("batch", self.batch, 1, MOST_BATCH),
            ("seconds", self.seconds, LEAST_SECONDS, MOST_SECONDS),
        ):
            if not (value is not None and least <= value <= most):
                raise ValueError(f"{name}: got {value}, expected a number from {least} to {most}")
        if not self.places:
            raise ValueError("places: got none, expected names of modules as 'layer2.* layer3'")

    @property
    def places(self) -> list[str]:
        """The names and patterns."""
        return re.findall(r"[^\s,]+", self.after)

    @property
    def input_size(self) -> tuple[int, int, int]:
        """(3, H, W)."""
        return 3, int(self.height), int(self.width)


@dataclass
class Candidate:
    """A network with one block, or without; what cannot be has a reason, and nothing else.

    Attributes
    ----------
    name : str
        Of the block, `PLAIN` without one.
    cost : Cost, optional
        By the accounting ``"exact"``, for one image.
    call : callable
        A forward pass.
    repeats : int
        Calls in one visit.
    seconds : list of float
        Of one call, for every round.
    reason : str
        Why the block is left out.
    """

    name: str
    cost: Cost | None = None
    call: Callable[[], object] = lambda: None
    repeats: int = 1
    seconds: list[float] = field(default_factory=list)
    reason: str = ""


@dataclass(frozen=True)
class Stage:
    """How far a comparison is.

    Attributes
    ----------
    rows : list of list
        Cells of the table, see `HEADER`; what is not known yet, or not at all, is None.
    share : float
        Of the work that is done, from 0 to 1.
    said : str
        What is going on.
    """

    rows: list[list[Any]]
    share: float
    said: str


def compare_blocks(question: Question) -> Iterator[Stage]:
    """Put every block for images into a network, count and time.

    All networks share the weights of the trunk, and are timed on the CPU in interleaved rounds.

    Yields
    ------
    Stage
        After every block, after every round, and at the end.

    Raises
    ------
    ValueError
        If there is no such network or module, the network does not run at this size, no block
        can be put there, or it is all too large or too slow for this page.
    """
    plain = _network(question.network)
    module_names(plain, question.places)
    names = (*BLOCKS, *(TIMM_BLOCKS if importlib.util.find_spec("timm") else ()))
    x = torch.randn(question.batch, *question.input_size).to(memory_format=torch.channels_last)
    candidates: list[Candidate] = []
    for number, name in enumerate((PLAIN, *names)):
        candidates.append(_candidate(name, plain, question, x))
        yield Stage(_rows(candidates), 0.3 * (number + 1) / (len(names) + 1), f"built: {name}")
    timed = [candidate for candidate in candidates if not candidate.reason]
    if len(timed) == 1:
        raise ValueError(f"no block can be put there; {names[0]}: {candidates[1].reason}")
    start = time.perf_counter()
    for candidate in timed:
        _warm_up(candidate, start + question.seconds, len(timed))
    deadline = start + question.seconds
    for count in run_rounds([timed], torch.device("cpu"), _ROUNDS, deadline):
        used = min((time.perf_counter() - start) / question.seconds, 1.0)
        share = 0.3 + 0.69 * max(used, count / _ROUNDS)
        yield Stage(_rows(candidates), share, _said(question, count))
    yield Stage(_rows(candidates), 1.0, _said(question, len(timed[0].seconds)))


def _said(question: Question, rounds: int) -> str:
    _, height, width = question.input_size
    return (
        f"{question.network}, {height}x{width} (H x W), batch {question.batch}, float32, CPU, "
        f"threads: {torch.get_num_threads()}; medians of interleaved rounds: {rounds}"
    )


def _network(name: str) -> nn.Module:
    """A network with random weights, in evaluation mode; its size is found first."""
    try:
        with torch.device("meta"):
            network = library_network(name.strip())
    except RuntimeError:  # it looks at values of its tensors
        network = library_network(name.strip())
    parameters = sum(parameter.numel() for parameter in network.parameters())
    if parameters > MOST_PARAMETERS:
        raise ValueError(
            f"{name} has {parameters / 1e6:.0f} million parameters, expected at most "
            f"{MOST_PARAMETERS / 1e6:.0f} million"
        )
    return library_network(name.strip()).eval().to(memory_format=torch.channels_last)


def _candidate(name: str, plain: nn.Module, question: Question, x: Tensor) -> Candidate:
    """A network with a block, which shares the other weights."""
    try:
        network = plain
        if name != PLAIN:
            weights = [*plain.parameters(), *plain.buffers()]
            network = copy.deepcopy(plain, {id(weight): weight for weight in weights})
            insert_blocks(
                network,
                question.places,
                lambda channels, size: wake(partial(create_block, name, channels, size)),
                input_size=question.input_size,
            )
        size = _largest_tensor(network, question)
        if size > MOST_TENSOR_BYTES:
            raise ValueError(
                f"needs a tensor of {size / 2**30:.1f} GiB, expected at most "
                f"{MOST_TENSOR_BYTES / 2**30:.0f} GiB"
            )
        cost = measure_cost(network, question.input_size, "exact")
    except ValueError as error:
        if name == PLAIN:
            raise ValueError(f"{question.network}: {error}") from error
        return Candidate(name, reason=str(error))
    return Candidate(name, cost, inference_step(network.eval(), x))


def _warm_up(candidate: Candidate, deadline: float, count: int) -> None:
    """Call a network once or twice, and set how often a visit does."""
    for _ in range(2):
        start = time.perf_counter()
        candidate.call()
        now = time.perf_counter()
        candidate.repeats = visit_repeats(now - start)
        if now > deadline:
            raise ValueError(
                f"the time is up before each of the {count} networks has run twice: give more "
                "seconds, or choose a smaller network, size or batch"
            )


def _rows(candidates: Sequence[Candidate]) -> list[list[Any]]:
    base = candidates[0].seconds
    rows = []
    for candidate in candidates:
        cells: list[Any] = [None] * 5
        if candidate.cost is not None:
            cells[0] = round(candidate.cost.parameters / 1e6, 3)
            cells[1] = round(candidate.cost.operations / 1e9, 3)
        if candidate.seconds:
            pairs = zip(candidate.seconds, base, strict=True)
            ratios = np.percentile([own / plain for own, plain in pairs], (25, 50, 75))
            cells[2] = round(1000 * float(np.median(candidate.seconds)), 2)
            cells[3] = round(float(ratios[1]), 2)
            cells[4] = f"{ratios[0]:.2f} to {ratios[2]:.2f}"
        rows.append([candidate.name, *cells, candidate.reason])
    return rows


class _Largest(TorchDispatchMode):
    """Remembers the bytes of the largest tensor that any operation returns."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        output = func(*args, **(kwargs or {}))
        for value in tree_leaves(output):
            if isinstance(value, Tensor):
                self.bytes = max(self.bytes, value.numel() * value.element_size())
        return output


def _largest_tensor(network: nn.Module, question: Question) -> int:
    """Bytes of the largest tensor of a forward pass, without computing."""
    skeleton = meta_copy(network)
    with _Largest() as seen:
        run_on_meta(skeleton, question.input_size, question.batch)
    return seen.bytes
