"""The global filter layer: one learnable complex weight per channel and frequency.

Rao, Zhao, Zhu, Lu, Zhou, "Global Filter Networks for Image Classification", NeurIPS 2021,
figure 1: the token-mixing half of a GFNet layer.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ..transforms import FourierTransform
from ..transforms.base import Size, check_size, computing_dtype, full_precision, pinned
from ..transforms.bases import interpolate
from ..transforms.fourier import inverse_half_spectrum
from .base import Block, Shape


class GlobalFilterBlock(Block):
    """Global filter (GFNet) for images: ``x + f^-1(weight * f(layer norm(x)))``.

    Equivalent to a circular convolution of every channel with a kernel as large as the map. All
    weights start at 0, so that the block returns its input unchanged (in GFNet, where there is
    nothing to leave unchanged, they start at random).

    Parameters
    ----------
    channels : int
        Channels C of the feature map.
    size : (int, int)
        Height and width (H, W) of the maps that the filter is learnt for. Maps of other sizes are
        taken too, with the filter resampled over normalised frequency.

    Attributes
    ----------
    weight : nn.Parameter
        (C, H, W // 2 + 1, 2), real and imaginary parts.

    Raises
    ------
    ValueError
        If channels or size are not positive integers.
    """

    def __init__(self, channels: int, size: Size) -> None:
        super().__init__(channels)
        self.size = check_size(size)
        self.transform = FourierTransform()
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.weight = nn.Parameter(
            torch.zeros(channels, *self.transform.spectral_size(self.size), 2)
        )

    def branch(self, x: Tensor) -> Tensor:
        """The filtered map; transforms and filter are computed in float32 at least."""
        size = (x.shape[2], x.shape[3])
        normed = self.norm(x.movedim(1, 3)).movedim(3, 1)
        if not x.shape[0]:
            return normed
        with full_precision(x.device):
            work = pinned(normed).to(computing_dtype(normed))
            weights = torch.view_as_complex(self.filter(size).to(work.dtype).contiguous())
            spectrum = torch.fft.rfft2(work, norm="ortho") * weights
            return inverse_half_spectrum(spectrum, size[1])

    def filter(self, size: Size) -> Tensor:
        """The filter for maps of `size` (H, W): the weights, or resampled from them."""
        if size == self.size:
            return self.weight
        return resample_filter(self.weight, self.size, size)

    def operations(self, size: Shape) -> float:
        """Of transforms and filter: ``2 C H W log2(H W)``, and 4 for every frequency stored.

        The filter has learnt weights as a convolution has, and is counted as one.
        """
        products = 4 * self.channels * math.prod(self.transform.spectral_size(size))
        return 2 * self.transform.operations(self.channels, size) + products

    def extra_repr(self) -> str:
        """What `repr` shows."""
        return f"channels={self.channels}, size={self.size}"


def resample_filter(weights: Tensor, size: Size, new_size: Size) -> Tensor:
    """Carry filters (C, H, W // 2 + 1, 2), real and imaginary parts, to another map size.

    They are taken as functions of normalised frequency (cycles per pixel), periodic in both axes,
    and interpolated linearly. Only their Hermitian part acts on real maps, so only that part is
    carried over. Differentiable.
    """
    missing = _conjugate_rows(weights)[:, :, 1 : (size[1] + 1) // 2].flip(2)
    plane = torch.cat((weights, missing), dim=2)
    plane = (plane + _conjugate_rows(plane).flip(2).roll(1, 2)) / 2
    plane = interpolate(plane, 1, new_size[0], periodic=True)
    return interpolate(plane, 2, new_size[1], periodic=True, keep=new_size[1] // 2 + 1)


def _conjugate_rows(plane: Tensor) -> Tensor:
    """Complex conjugates at the opposite vertical frequencies of (C, H, columns, 2)."""
    return plane.flip(1).roll(1, 1) * plane.new_tensor((1.0, -1.0))
