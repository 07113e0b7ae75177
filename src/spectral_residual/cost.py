"""Parameters and operations of a network, counted without computing.

Accountings that are never mixed:

``"paper"``
    The rules that reproduce the paper's tables: one operation is one multiply-accumulate of a
    convolution or linear layer, as ``weight.numel() * output positions`` (for a deconvolution
    too, which over-counts it by stride squared); a transform costs ``C H W log2(H W)`` or
    ``C H W (H + W)`` each way, a matrix product of attention its full size; only parameters of
    convolutions, linear layers, batch normalisation and of a learnable transform count, those
    of a module that is called twice twice. GFLOPs are operations / 2^30.
``"paper+bn"``
    The same, and 2 operations for every element that a batch normalisation returns, as in the
    paper's table 8.
``"exact"``
    True multiply-accumulates of convolutions, deconvolutions and linear layers, transforms and
    attention as above, and every parameter once.

Operations are found in layers, in blocks that state their own (``extra_operations``), and, outside
of both, in calls of the matrix products, convolutions and attention that
`torch.utils.flop_counter` knows. Element-wise functions and transforms by `torch.fft` alone are not
counted.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from .errors import unknown_name
from .meta import Inputs, meta_copy, run_on_meta
from .transforms import Transform

ACCOUNTINGS = ("paper", "paper+bn", "exact")

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_DECONVOLUTIONS = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_LAYERS = (*_CONVOLUTIONS, *_DECONVOLUTIONS, nn.Linear)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


@dataclass(frozen=True)
class LayerCost:
    """Share of one module in the cost of a network.

    Attributes
    ----------
    name : str
        As in ``model.named_modules()``; empty for the network itself.
    type : str
        Name of its class.
    operations : float
        Multiply-accumulates of the module itself, without its children, in all its calls: of a
        layer, or of transforms and matrix products.
    parameters : int
        Parameters of the module itself, without its children, by the accounting.
    """

    name: str
    type: str
    operations: float
    parameters: int


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
        One of `ACCOUNTINGS`.
    layers : tuple of LayerCost
        What the totals are the sums of: all modules with operations or parameters, in the order
        of ``model.named_modules()``.
    """

    operations: float
    parameters: int
    accounting: str
    layers: tuple[LayerCost, ...] = field(default=(), repr=False)

    @property
    def gflops(self) -> float:
        """Operations in units of 2^30, as the paper prints them."""
        return self.operations / 2**30


def measure_cost(model: nn.Module, input_size: Inputs, accounting: str = "paper") -> Cost:
    r"""Count parameters and operations of a network, on the meta device.

    Parameters
    ----------
    model : nn.Module
        Any network; it is not changed.
    input_size : tuple of int or Example
        Shape of one input without the batch axis, e.g. ``(3, 256, 192)``, or an example of all.
    accounting : {"paper", "paper+bn", "exact"}
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
    skeleton = meta_copy(model)
    with _Counter(skeleton, accounting) as counter:
        run_on_meta(skeleton, input_size)
    operations, parameters = counter.operations, counter.parameters
    if accounting == "exact":
        parameters = _own_parameters(skeleton)
    layers = tuple(
        LayerCost(name, type(module).__name__, operations[module], parameters[module])
        for name, module in skeleton.named_modules()
        if operations[module] or parameters[module]
    )
    return Cost(
        sum(layer.operations for layer in layers),
        sum(layer.parameters for layer in layers),
        accounting,
        layers,
    )


class _Counter(TorchDispatchMode):
    """Counts operations and parameters of the modules of a network that runs in this mode.

    Operations of functions go to the module that calls them, unless that is, or is called by, one
    whose operations are counted as a whole. The network gets hooks.
    """

    def __init__(self, model: nn.Module, accounting: str) -> None:
        super().__init__()
        self.accounting = accounting
        self.operations: defaultdict[nn.Module, float] = defaultdict(float)
        self.parameters: defaultdict[nn.Module, int] = defaultdict(int)
        self.callers = [model]
        self.blocks = set(_blocks(model))
        self.whole = self.blocks | {m for m in model.modules() if isinstance(m, _LAYERS)}
        for module in model.modules():
            module.register_forward_pre_hook(lambda module, args: self.callers.append(module))
            module.register_forward_hook(self._count)

    def _count(self, module: Any, args: tuple[Tensor, ...], output: Tensor) -> None:
        self.callers.pop()
        if isinstance(module, _LAYERS):
            operations = _layer_operations(module, args[0], output, self.accounting)
            self.operations[module] += operations
        if isinstance(module, _NORMS) and self.accounting == "paper+bn":
            self.operations[module] += 2 * output.numel()
        if isinstance(module, (*_LAYERS, *_NORMS, Transform)):
            self.parameters[module] += sum(p.numel() for p in module.parameters(recurse=False))
        if module in self.blocks:
            shape = tuple(args[0].shape)
            self.operations[module] += shape[0] * module.extra_operations(shape)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        output = func(*args, **kwargs)
        flops = flop_registry.get(func._overloadpacket)
        if flops is not None and self.whole.isdisjoint(self.callers):
            self.operations[self.callers[-1]] += flops(*args, **kwargs, out_val=output) / 2
        return output


def _own_parameters(model: nn.Module) -> defaultdict[nn.Module, int]:
    """Parameters of every module without its children; shared ones of the first that has them."""
    counts: defaultdict[nn.Module, int] = defaultdict(int)
    for name, parameter in model.named_parameters():
        counts[model.get_submodule(name.rpartition(".")[0])] += parameter.numel()
    return counts


def _blocks(module: nn.Module) -> Iterator[nn.Module]:
    """Outermost modules that state operations of their own."""
    if hasattr(module, "extra_operations"):
        yield module
        return
    for child in module.children():
        yield from _blocks(child)


def _layer_operations(module: Any, inputs: Tensor, output: Tensor, accounting: str) -> float:
    if isinstance(module, nn.Linear):
        return output.numel() * module.in_features
    at_input = isinstance(module, _DECONVOLUTIONS) and accounting == "exact"
    maps = inputs if at_input else output
    return module.weight.numel() * maps.shape[0] * maps.shape[2:].numel()
