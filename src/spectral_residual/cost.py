"""Parameters and operations of a network, counted without computing.

Two accountings that are never mixed:

``"paper"``
    The rules that reproduce the paper's tables: one operation is one multiply-accumulate of a
    convolution or linear layer, as ``weight.numel() * output positions`` (for a deconvolution
    too, which over-counts it by stride squared); a transform costs ``C H W log2(H W)`` or
    ``C H W (H + W)`` each way, a matrix product of attention its full size; only parameters of
    convolutions, linear layers, batch normalisation and of a learnable transform count, those
    of a module that is called twice twice. GFLOPs are operations / 2^30.
``"exact"``
    True multiply-accumulates of convolutions, deconvolutions and linear layers, transforms and
    attention as above, and every parameter once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from .errors import unknown_name
from .insertion import meta_copy, run_on_meta
from .transforms import Transform

ACCOUNTINGS = ("paper", "exact")

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_DECONVOLUTIONS = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_LAYERS = (*_CONVOLUTIONS, *_DECONVOLUTIONS, nn.Linear)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


@dataclass(frozen=True)
class Cost:
    """Cost of one forward pass of a network for one input.

    Attributes
    ----------
    operations : float
        Multiply-accumulates, by the stated accounting.
    parameters : int
        Number of parameters, by the stated accounting.
    accounting : str
        ``"paper"`` or ``"exact"``.
    """

    operations: float
    parameters: int
    accounting: str

    @property
    def gflops(self) -> float:
        """Operations in units of 2^30, as the paper prints them."""
        return self.operations / 2**30


def measure_cost(model: nn.Module, input_size: tuple[int, ...], accounting: str = "paper") -> Cost:
    r"""Count parameters and operations of a network, on the meta device.

    Parameters
    ----------
    model : nn.Module
        Any network that runs on one tensor (1, \*input_size); it is not changed.
    input_size : tuple of int
        Shape of one input without the batch axis, e.g. ``(3, 256, 192)``.
    accounting : {"paper", "exact"}
        See the module's text.

    Returns
    -------
    Cost

    Raises
    ------
    ValueError
        If the accounting is unknown, or the network does not run at this input size.
    """
    if accounting not in ACCOUNTINGS:
        raise unknown_name("accounting", accounting, ACCOUNTINGS)
    skeleton = meta_copy(model).eval()
    operations: list[float] = []
    parameters: list[int] = []

    def count_layer(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
        operations.append(_layer_operations(module, args[0], output, accounting))

    def count_block(module: Any, args: tuple[Tensor, ...], output: Tensor) -> None:
        shape = tuple(args[0].shape)
        operations.append(shape[0] * module.extra_operations(shape))

    def count_parameters(module: nn.Module, args: object, output: object) -> None:
        parameters.extend(p.numel() for p in module.parameters(recurse=False))

    for module in skeleton.modules():
        if isinstance(module, _LAYERS):
            module.register_forward_hook(count_layer)
        if isinstance(module, (*_LAYERS, *_NORMS, Transform)):
            module.register_forward_hook(count_parameters)
    for block in _blocks(skeleton):
        block.register_forward_hook(count_block)
    run_on_meta(skeleton, input_size)
    if accounting == "exact":
        parameters = [p.numel() for p in model.parameters()]
    return Cost(sum(operations), sum(parameters), accounting)


def _blocks(module: nn.Module) -> Iterator[nn.Module]:
    """Outermost modules that state operations of their own."""
    if hasattr(module, "extra_operations"):
        yield module
        return
    for child in module.children():
        yield from _blocks(child)


def _layer_operations(module: nn.Module, inputs: Tensor, output: Tensor, accounting: str) -> float:
    weight = module.weight
    if not isinstance(weight, Tensor):
        raise TypeError(f"{type(module).__name__} has no weight tensor")
    if isinstance(module, nn.Linear):
        return output.numel() * module.in_features
    at_input = isinstance(module, _DECONVOLUTIONS) and accounting == "exact"
    maps = inputs if at_input else output
    return weight.numel() * maps.shape[0] * maps.shape[2:].numel()
