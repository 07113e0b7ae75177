"""What the hand-written derivatives of this package share."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def is_traced() -> bool:
    """Whether a compiler or tracer looks on, which is to see plain functions."""
    return torch.compiler.is_compiling() or torch.jit.is_tracing()


def differentiate_again(
    function: Callable[..., Tensor | tuple[Tensor, ...]],
    inputs: Sequence[Tensor],
    gradients: Sequence[Tensor],
) -> list[Tensor | None]:
    """Gradients that can be differentiated again, for a backward pass with ``create_graph``.

    Parameters
    ----------
    function : callable
        The same function of the inputs in plain differentiable operations.
    inputs : sequence of Tensor
        Its arguments, as saved.
    gradients : sequence of Tensor
        Of its results.

    Returns
    -------
    list of Tensor or None
        Gradient of every input; None of those that need none.
    """
    results = function(*inputs)
    results = (results,) if isinstance(results, Tensor) else results
    pairs = [pair for pair in zip(results, gradients, strict=True) if pair[0].requires_grad]
    outputs, of_outputs = zip(*pairs, strict=True)
    wanted = [tensor for tensor in inputs if tensor.requires_grad]
    found = iter(
        torch.autograd.grad(outputs, wanted, of_outputs, create_graph=True, allow_unused=True)
    )
    return [next(found) if tensor.requires_grad else None for tensor in inputs]
