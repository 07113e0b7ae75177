"""Layers and weights of a spectral residual block, as the rewrite takes them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..transforms import FourierTransform, Transform
from ..transforms.base import Size
from .planes import of_constants, to_maps, to_planes

Tensors = tuple[Tensor, ...]


@dataclass(frozen=True)
class Layers:
    """What a block computes with.

    Attributes
    ----------
    transform : Transform
    conv1, conv2 : nn.Conv2d
        1x1 without bias, in groups that `choice.obstacle` allows.
    bn1, bn2 : nn.BatchNorm2d
        With weight and bias.
    filters : (Tensor, Tensor)
        W and B of the spectral ReLU at the size of the maps.
    alpha : Tensor
        Scale of the branch, ().
    """

    transform: Transform
    conv1: nn.Conv2d
    bn1: nn.BatchNorm2d
    conv2: nn.Conv2d
    bn2: nn.BatchNorm2d
    filters: tuple[Tensor, Tensor]
    alpha: Tensor

    def grouped_weights(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Weights of both convolutions, (parts, groups of one part, outputs, inputs)."""
        parts = self.transform.parts
        groups = self.conv1.groups // parts
        reduce, promote = (
            conv.weight.view(parts, groups, -1, conv.weight.shape[1]).to(dtype)
            for conv in (self.conv1, self.conv2)
        )
        return reduce, promote

    def to_planes(self, maps: Tensor, form: str) -> Tensors:
        """Parts of the transform of hidden maps.

        Parameters
        ----------
        maps : Tensor
            (N, K, H, W).
        form : {"fft", "separable", "dense"}
            Of the Fourier transform, see `planes`.

        Returns
        -------
        tuple of Tensor
            (N, K, Hs, Ws) for every part.
        """
        if isinstance(self.transform, FourierTransform):
            return to_planes(maps, form)
        return (self.transform(maps)[:, 0],)

    def to_maps(self, planes: Tensors, size: Size, form: str) -> Tensor:
        """Maps of size (H, W) with such parts; the inverse of `to_planes`."""
        if isinstance(self.transform, FourierTransform):
            return to_maps((planes[0], planes[1]), size[1], form)
        return self.transform.inverse(planes[0][:, None], size)

    def field(self, shift: Tensor, size: Size) -> Tensor:
        """First rows of the map whose planes have the same value at all frequencies.

        Parameters
        ----------
        shift : Tensor
            These values, (parts, groups, C / groups).
        size : (int, int)
            (H, W).

        Returns
        -------
        Tensor
            (C, rows, W), one row for the Fourier transform, whose others are 0.
        """
        if isinstance(self.transform, FourierTransform):
            constants = of_constants(size, shift)
        else:
            ones = shift.new_ones(1, 1, 1, *self.transform.spectral_size(size))
            constants = self.transform.inverse(ones, size)[0]
        return torch.einsum("pc,prw->crw", shift.flatten(1), constants)

    def needs_gradient(self, x: Tensor) -> bool:
        """Whether autograd has to record what is computed from x."""
        if not torch.is_grad_enabled():
            return False
        layers = (self.transform, self.conv1, self.bn1, self.conv2, self.bn2)
        parameters = (parameter for layer in layers for parameter in layer.parameters())
        return any(t.requires_grad for t in (x, self.alpha, *self.filters, *parameters))
