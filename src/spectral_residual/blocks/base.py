"""What the blocks for comparison share: checks, the residual sum, and joint convolutions.

The sum and the convolutions save passes over memory. They give the numbers of the layers called
one by one, up to rounding; layers with hooks, as the cost counter's, are called one by one.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..transforms.base import has_hooks

Shape = tuple[int, ...]

_MAPS = {2: ("images", "H, W"), 3: ("videos", "T, H, W")}


def check_positive(label: str, number: int) -> None:
    """Raise ValueError unless `number` is a positive int."""
    if not isinstance(number, int) or isinstance(number, bool) or number < 1:
        raise ValueError(f"{label} must be a positive integer, got {number!r}")


def divide(label: str, number: int, divisor_label: str, divisor: int) -> int:
    """``number / divisor``, or ValueError unless both are positive ints and it is whole."""
    check_positive(label, number)
    check_positive(divisor_label, divisor)
    if number % divisor:
        raise ValueError(
            f"{label} must be divisible by {divisor_label}, got {number} and {divisor}"
            f"{nearest_divisors(divisor_label, number, divisor)}"
        )
    return number // divisor


def nearest_divisors(label: str, number: int, wanted: int) -> str:
    """The divisors next to a number that is none, for the end of a message about an option."""
    if not label.isidentifier():
        return ""
    divisors = [d for d in range(1, number + 1) if number % d == 0]
    near = [max((d for d in divisors if d < wanted), default=None)]
    near.append(min((d for d in divisors if d > wanted), default=None))
    return "; nearest are " + " and ".join(f"{label}={d}" for d in near if d is not None)


class Block(nn.Module):
    """A block that keeps the shape of its maps: it adds a branch to them, which a class defines.

    Parameters
    ----------
    channels : int
        Channels C of the feature map.

    Raises
    ------
    ValueError
        If channels are not positive.
    """

    axes: tuple[int, ...] = (2,)
    """2 if it takes images, 3 if videos."""

    residual: bool = True
    """False if it returns its branch alone."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        check_positive("channels", channels)
        self.channels = channels

    def forward(self, x: Tensor) -> Tensor:
        """Add the branch to a map, or return it alone.

        Parameters
        ----------
        x : Tensor
            Feature map, (N, C, H, W) or (N, C, T, H, W) as the block is defined for images or
            videos, floating point; autocast and half precisions work.

        Returns
        -------
        Tensor
            Shape and dtype of `x`.

        Raises
        ------
        ValueError
            If `x` has another number of axes or channels.
        """
        self.check_input(tuple(x.shape))
        branch = self.branch(x).to(x.dtype)
        if not self.residual:
            return branch
        # In the memory of the branch where the layouts allow it and no hook may have kept it.
        free = not torch.compiler.is_compiling() and not any(map(has_hooks, self.modules()))
        if free and (x.is_contiguous() or is_channels_last(x)):
            folded = x.flatten(2, -2)
            if folded.stride() == branch.stride():
                return _unfold_frames(branch.add_(folded), x)
        return x + _unfold_frames(branch, x)

    def branch(self, x: Tensor) -> Tensor:
        """What is added: (N, C, H, W) or (N, C, T * H, W), any floating-point dtype.

        No view, and no value that an operation keeps for its backward pass.
        """
        raise NotImplementedError

    def extra_operations(self, input_shape: Shape) -> float:
        """Operations for one sample that no layer of the block accounts for.

        Parameters
        ----------
        input_shape : tuple of int
            Shape of the input, (N, C, H, W) or (N, C, T, H, W).
        """
        self.check_input(input_shape)
        return float(self.operations(tuple(input_shape[2:])))

    def operations(self, size: Shape) -> float:
        """Multiply-accumulates of a map of (H, W) or (T, H, W) that no layer accounts for."""
        return 0.0

    def check_input(self, shape: Shape) -> None:
        """Raise ValueError unless the block is defined for maps of a shape."""
        axes = len(shape) - 2
        if axes in self.axes and shape[1] == self.channels:
            return
        maps = (_MAPS[n] for n in self.axes)
        expected = " or ".join(f"{name} of shape (N, {self.channels}, {n})" for name, n in maps)
        hint = "; this block is not defined for videos" if axes == 3 not in self.axes else ""
        raise ValueError(f"expected {expected}, got {tuple(shape)}{hint}")

    def extra_repr(self) -> str:
        """What `repr` shows."""
        return f"channels={self.channels}"


def fold_frames(x: Tensor) -> Tensor:
    """View a video (N, C, T, H, W) as one tall image (N, C, T * H, W); images stay as they are.

    Blocks that ask only for the set of positions then need no second implementation.
    """
    return x.flatten(2, 3) if x.dim() == 5 else x


def _unfold_frames(y: Tensor, like: Tensor) -> Tensor:
    return y if y.dim() == like.dim() else y.reshape(like.shape)


def is_plain(*layers: nn.Module) -> bool:
    """Whether the layers are convolutions without biases and hooks."""
    return all(
        type(layer) is nn.Conv2d and layer.bias is None and not has_hooks(layer) for layer in layers
    )


def joint_weight(convs: Sequence[nn.Conv2d]) -> Tensor:
    """Weights of 1x1 convolutions of the same map, one below the other, (outputs, C)."""
    return torch.cat([conv.weight for conv in convs]).flatten(1)


def convolve_together(x: Tensor, convs: Sequence[nn.Conv2d]) -> list[Tensor]:
    """Results of 1x1 convolutions of the same map (N, C, H, W), which is read once.

    The convolutions have no groups, strides and biases; the results, (N, outputs, H, W) each, are
    views of one tensor.
    """
    if not is_plain(*convs):
        return [conv(x) for conv in convs]
    weight = joint_weight(convs)
    if not x.is_contiguous() and is_channels_last(x):
        y = (weight @ x.flatten(2)).unflatten(2, x.shape[2:])
    else:
        y = F.conv2d(x, weight[..., None, None])
    return list(y.split([conv.out_channels for conv in convs], dim=1))


def is_channels_last(x: Tensor) -> bool:
    """Whether the channels of (N, C, ...) stand side by side in memory, with no gaps."""
    return x.movedim(1, -1).is_contiguous()
