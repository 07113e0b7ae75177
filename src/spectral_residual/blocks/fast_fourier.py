"""The spectral transform of fast Fourier convolution, as a residual block.

Chi, Jiang, Mu, "Fast Fourier Convolution", NeurIPS 2020, figure 2: the global path of an FFC
layer. Of the same group as the SRL block, a year later.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..transforms import FourierTransform
from .base import Block, Shape, divide


class FourierUnit(Block):
    """Convolution, batch normalisation and ReLU in the Fourier spectrum of a map.

    Real and imaginary part of a channel stand side by side, and the 1x1 convolution, without
    bias, sees all of them. What comes back need not be the spectrum of a real map; its Hermitian
    part is transformed back, see `FourierTransform`.

    Parameters
    ----------
    channels : int
        Channels of the feature map, in and out.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.transform = FourierTransform()
        self.conv = nn.Conv2d(2 * channels, 2 * channels, 1, bias=False)
        self.norm = nn.BatchNorm2d(2 * channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to the same shape."""
        planes = self.transform(x).transpose(1, 2).flatten(1, 2)
        planes = torch.relu(self.norm(self.conv(planes)))
        spectrum = planes.unflatten(1, (-1, 2)).transpose(1, 2)
        return self.transform.inverse(spectrum, (x.shape[-2], x.shape[-1]))

    def operations(self, size: Shape) -> float:
        """Of both transforms of one map."""
        return 2 * self.transform.operations(self.channels, size)


class FastFourierBlock(Block):
    """Spectral transform of fast Fourier convolution (FFC) for images::

        x -> conv 1x1 (C to C/2) -> BN -> ReLU = u
        u + Fourier unit(u) [+ local Fourier unit(u)] -> conv 1x1 (C/2 to C) -> BN -> + x

    The last normalisation starts with scale 0, so that the block returns its input unchanged.

    Parameters
    ----------
    channels : int
        Channels C of the feature map.
    lfu : bool, default False
        Whether to add the local Fourier unit: the first C/8 channels of u, their four quadrants
        stacked on channels, through a Fourier unit of their own, the result repeated in all four
        quadrants. On in the paper; off here, because it takes maps of even height and width
        only.

    Raises
    ------
    ValueError
        If channels are not divisible by 2, or by 8 with `lfu`.
    """

    def __init__(self, channels: int, *, lfu: bool = False) -> None:
        super().__init__(channels)
        divide("channels", channels, "8 (local Fourier unit)" if lfu else "2", 8 if lfu else 2)
        inner = channels // 2
        self.conv1 = nn.Conv2d(channels, inner, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(inner)
        self.global_unit = FourierUnit(inner)
        self.local_unit = FourierUnit(inner) if lfu else None
        self.conv2 = nn.Conv2d(inner, channels, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels)
        nn.init.zeros_(self.norm2.weight)

    def branch(self, x: Tensor) -> Tensor:
        """The globally filtered map; transforms are computed in float32 at least."""
        u = torch.relu(self.norm1(self.conv1(x)))
        y = u + self.global_unit(u)
        if self.local_unit is not None:
            quadrants = _stack_quadrants(u[:, : self.channels // 8])
            y = y + self.local_unit(quadrants).repeat(1, 1, 2, 2)
        return self.norm2(self.conv2(y))

    def operations(self, size: Shape) -> float:
        """``2 (C/2) H W log2(H W)`` of the transforms.

        And the same for a map of half the height and width if there is a local Fourier unit.
        """
        operations = self.global_unit.operations(size)
        if self.local_unit is not None:
            operations += self.local_unit.operations((size[0] // 2, size[1] // 2))
        return operations

    def check_input(self, shape: Shape) -> None:
        """As `Block.check_input`; odd height or width are refused with the local Fourier unit."""
        super().check_input(shape)
        if self.local_unit is not None and (shape[2] % 2 or shape[3] % 2):
            raise ValueError(
                "the local Fourier unit needs maps of even height and width, "
                f"got {shape[2]}x{shape[3]} (H x W)"
            )


def _stack_quadrants(x: Tensor) -> Tensor:
    """(N, c, H, W) to (N, 4 c, H/2, W/2): upper left, lower left, upper right, lower right."""
    halves = torch.cat(x.chunk(2, dim=2), dim=1)
    return torch.cat(halves.chunk(2, dim=3), dim=1)
