"""What the blocks share to lose no time to needless passes over memory.

Every function gives the numbers of the layers called one by one, up to rounding. Layers that are
watched (hooks, as the cost counter's) or replaced by other types are called one by one.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..transforms.base import has_hooks


def is_plain(*layers: nn.Module) -> bool:
    """Whether the layers are convolutions without biases that nothing watches."""
    return all(
        type(layer) is nn.Conv2d and layer.bias is None and not has_hooks(layer) for layer in layers
    )


def joint_weight(convs: Sequence[nn.Conv2d]) -> Tensor:
    """Weights of 1x1 convolutions of the same map, one below the other, (outputs, C)."""
    return torch.cat([conv.weight for conv in convs]).flatten(1)


def convolve_together(x: Tensor, convs: Sequence[nn.Conv2d]) -> list[Tensor]:
    """Results of several 1x1 convolutions of the same map, which is read once.

    Parameters
    ----------
    x : Tensor
        (N, C, H, W).
    convs : sequence of nn.Conv2d
        Without groups, strides and biases.

    Returns
    -------
    list of Tensor
        (N, outputs, H, W) each; views of one tensor.
    """
    if not is_plain(*convs):
        return [conv(x) for conv in convs]
    weight = joint_weight(convs)
    if not x.is_contiguous() and is_channels_last(x):
        y = (weight @ x.flatten(2)).unflatten(2, x.shape[2:])
    else:
        y = F.conv2d(x, weight[..., None, None])
    return list(y.split([conv.out_channels for conv in convs], dim=1))


def add_residual(x: Tensor, branch: Tensor, layer: nn.Module | None = None) -> Tensor:
    """``x + branch``, in the memory of `branch` where the layouts allow it.

    Parameters
    ----------
    x : Tensor
        (N, C, H, W) or (N, C, T, H, W).
    branch : Tensor
        (N, C, H, W) or (N, C, T * H, W), any floating-point dtype; not a view, and no value that
        an operation keeps for its backward pass.
    layer : nn.Module, optional
        Whose output the branch is; if it is watched, the output is left as it is.

    Returns
    -------
    Tensor
        Shape, dtype and memory layout of `x`.
    """
    branch = branch.to(x.dtype)
    kept = torch.compiler.is_compiling() or (layer is not None and has_hooks(layer))
    if not kept and (x.is_contiguous() or is_channels_last(x)):
        folded = x.flatten(2, -2)
        if folded.stride() == branch.stride():
            return _reshape(branch.add_(folded), x)
    return x + _reshape(branch, x)


def _reshape(y: Tensor, like: Tensor) -> Tensor:
    return y if y.dim() == like.dim() else y.reshape(like.shape)


def is_channels_last(x: Tensor) -> bool:
    """Whether the channels of (N, C, ...) stand side by side in memory, with no gaps."""
    return x.movedim(1, -1).is_contiguous()
