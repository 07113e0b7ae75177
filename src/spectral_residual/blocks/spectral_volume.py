"""The spectral residual learning (SRL) block with a transform over time as well.

Not in the paper (Chi et al., "Fast Non-Local Neural Networks with Spectral Residual Learning", ACM
MM 2019), whose block for videos transforms every frame by itself: here the transform reaches over
frames, height and width, and the block is that for images otherwise. A frequency of its spectrum
is a pattern that moves one way; the pattern that moves the other way is another frequency.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..kernels import spectral_branch
from ..transforms import FourierVolume
from ..transforms.base import Size
from .checks import Shape, check_positive, check_video_size
from .spectral import SpectralReLU, check_order, spectral_convolutions


class SRLVolumeBlock(nn.Module):
    """Spectral residual learning block for videos and other volumes, over all three axes.

    With ``alpha = 0``, its start, the block returns its input unchanged. While W and B are the same
    for all frequencies, a video run backwards around its first frame gives the output run
    backwards: the direction of time shows in differences between frequencies, which ``spread``
    makes from the start. Training from scratch wants an ``alpha`` other than 0 as well, as with 0
    no gradient reaches the layers of the block in the first step.

    Parameters
    ----------
    channels : int
        Channels C of the feature map.
    size : (int, int, int)
        Frames, height and width (T, H, W) of the maps that the spectral ReLU gets its weights
        for. Maps of other sizes are taken too, with these weights resampled over normalised
        frequency.
    transform : FourierVolume
        Transform over T, H and W, and its inverse.
    reduction : int, default 2
        C / K, the bottleneck.
    groups : int, optional
        Groups of both convolutions; by default 8.
    order : {"concatenated", "interleaved"}
        As in `SRLBlock`.
    alpha : float, default 0
        Start of the learnable scale of the residual.
    spread : float, default 0
        Standard deviation of the spectral ReLU's W at the start, around 1.

    Raises
    ------
    ValueError
        If channels, reduction and groups do not divide each other, or an option is out of range.
    """

    def __init__(
        self,
        channels: int,
        size: Size,
        transform: FourierVolume,
        *,
        reduction: int = 2,
        groups: int | None = None,
        order: str = "concatenated",
        alpha: float = 0.0,
        spread: float = 0.0,
    ) -> None:
        super().__init__()
        check_positive("channels", channels)
        size = check_video_size(size)
        conv1, conv2 = spectral_convolutions(channels, transform, reduction, groups, kernel_size=1)
        check_order(order)
        self.channels = channels
        self.size = size
        self.order = order
        self.transform = transform
        self.conv1 = conv1
        self.bn1 = nn.BatchNorm2d(conv1.out_channels)
        self.relu = SpectralReLU(
            size, transform.spectral_size(size), transform.resample, spread=spread
        )
        self.conv2 = conv2
        self.bn2 = nn.BatchNorm2d(conv2.out_channels)
        self.alpha = nn.Parameter(torch.tensor(float(alpha)))

    def forward(self, x: Tensor) -> Tensor:
        """Add the globally filtered video to the video.

        Parameters
        ----------
        x : Tensor
            Feature map, (N, C, T, H, W), floating point; half precisions and autocast work at
            any size, transforms being computed in float32.

        Returns
        -------
        Tensor
            (N, C, T, H, W), dtype of `x`.

        Raises
        ------
        ValueError
            If `x` is not five-dimensional or has another number of channels.
        """
        self._check_input(tuple(x.shape))
        size = tuple(x.shape[2:])
        # The layers see the planes of T and H as one tall plane: pointwise, they need no more.
        branch = spectral_branch(
            x,
            self.transform,
            reduce=lambda z: self.bn1(self.conv1(z.flatten(2, 3))),
            filter=lambda z: self.relu(z.unflatten(2, size[:2]), size).flatten(2, 3),
            promote=lambda z: (self.bn2(self.conv2(z)) * self.alpha).unflatten(2, size[:2]),
            interleaved=self.order == "interleaved",
        )
        return x + branch.to(x.dtype)

    def extra_operations(self, input_shape: Shape) -> float:
        """Operations of both transforms for one sample, which no layer accounts for.

        Parameters
        ----------
        input_shape : tuple of int
            Shape of the input, (N, C, T, H, W).
        """
        self._check_input(input_shape)
        return 2 * self.transform.operations(self.channels, input_shape[2:])

    def _check_input(self, shape: Shape) -> None:
        if len(shape) != 5 or shape[1] != self.channels:
            raise ValueError(
                f"expected a video of shape (N, {self.channels}, T, H, W), got {tuple(shape)}"
            )

    def extra_repr(self) -> str:
        """Channels, map size and order of the planes."""
        return f"channels={self.channels}, size={self.size}, order={self.order!r}"
