"""The global filter layer: one learnable complex weight per channel and frequency.

Rao, Zhao, Zhu, Lu, Zhou, "Global Filter Networks for Image Classification", NeurIPS 2021,
figure 1: the token-mixing half of a GFNet layer.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..transforms import FourierTransform
from ..transforms.base import (
    Size,
    check_size,
    computing_dtype,
    full_precision,
)
from ..transforms.bases import linear_resampling
from ..transforms.fourier import inverse_half_spectrum
from .checks import Shape, check_feature_map, check_positive
from .fused import add_residual


class GlobalFilterBlock(nn.Module):
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
        super().__init__()
        check_positive("channels", channels)
        self.channels = channels
        self.size = check_size(size)
        self.transform = FourierTransform()
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.weight = nn.Parameter(
            torch.zeros(channels, *self.transform.spectral_size(self.size), 2)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Add the globally filtered map to the map.

        Parameters
        ----------
        x : Tensor
            Feature map, (N, C, H, W), floating point; autocast and half precisions work,
            transforms and filter being computed in float32.

        Returns
        -------
        Tensor
            (N, C, H, W), dtype of `x`.

        Raises
        ------
        ValueError
            If `x` is a video, or has another number of channels.
        """
        check_feature_map(tuple(x.shape), self.channels)
        size = (x.shape[2], x.shape[3])
        normed = self.norm(x.movedim(1, 3)).movedim(3, 1)
        with full_precision(x.device):
            work = normed.to(computing_dtype(normed))
            weights = torch.view_as_complex(self.filter(size).to(work.dtype).contiguous())
            spectrum = torch.fft.rfft2(work, norm="ortho") * weights
            return add_residual(x, inverse_half_spectrum(spectrum, size[1]))

    def filter(self, size: Size) -> Tensor:
        """The filter for maps of `size` (H, W): the weights, or resampled from them."""
        if size == self.size:
            return self.weight
        return resample_filter(self.weight, self.size, size)

    def extra_operations(self, input_shape: Shape) -> float:
        """Operations of transforms and filter, which no layer of the block accounts for.

        Parameters
        ----------
        input_shape : tuple of int
            Shape of the input, (N, C, H, W).

        Returns
        -------
        float
            For one sample: ``2 C H W log2(H W)``, and 4 multiply-accumulates for every stored
            frequency of every channel. The filter has learnt weights as a convolution has, and
            is counted as one.
        """
        check_feature_map(input_shape, self.channels)
        size = (input_shape[2], input_shape[3])
        rows, columns = self.transform.spectral_size(size)
        products = 4 * self.channels * rows * columns
        return 2 * self.transform.operations(self.channels, size) + products

    def extra_repr(self) -> str:
        """What `repr` shows."""
        return f"channels={self.channels}, size={self.size}"


def resample_filter(weights: Tensor, size: Size, new_size: Size) -> Tensor:
    """Carry complex filters over frequencies from one map size to another.

    The filters are taken as functions of normalised frequency (cycles per pixel), periodic in
    both axes, and interpolated linearly. Only their Hermitian part acts on real maps, so only
    that part is carried over.

    Parameters
    ----------
    weights : Tensor
        (C, H, W // 2 + 1, 2), real and imaginary parts, for maps of `size`.
    size, new_size : (int, int)
        Map size (H, W) they belong to, and the one they are wanted for.

    Returns
    -------
    Tensor
        Filters for maps of `new_size`, (C, H', W' // 2 + 1, 2); differentiable.
    """
    height, width = size
    missing = _conjugate_rows(weights)[:, :, 1 : (width + 1) // 2].flip(2)
    plane = torch.cat((weights, missing), dim=2)
    plane = (plane + _conjugate_rows(plane).flip(2).roll(1, 2)) / 2
    rows = linear_resampling(height, new_size[0], periodic=True, like=weights)
    columns = linear_resampling(width, new_size[1], periodic=True, like=weights)
    return torch.einsum("ih,chwp,jw->cijp", rows, plane, columns[: new_size[1] // 2 + 1])


def _conjugate_rows(plane: Tensor) -> Tensor:
    """Complex conjugates at the opposite vertical frequencies of (C, H, columns, 2)."""
    return plane.flip(1).roll(1, 1) * plane.new_tensor((1.0, -1.0))
