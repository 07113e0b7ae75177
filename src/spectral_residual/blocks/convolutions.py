"""Plain rivals: what a convolution of the same width, or a wide one of every channel, would do."""

from __future__ import annotations

from torch import Tensor, nn

from ..transforms.base import Size
from .checks import Shape, check_feature_map, check_positive


class ConvolutionBlock(nn.Module):
    """Convolution and batch normalisation with a residual connection, for images.

    The normalisation starts with scale 0, so that the block returns its input unchanged.

    Parameters
    ----------
    channels : int
        Channels C of the feature map.
    size : (int, int), optional
        Not used: maps of any size are taken.
    kernel_size : int, default 3
        Odd width of the kernel.
    depthwise : bool, default False
        One kernel for each channel, as in ConvNeXt (7x7; Liu et al., CVPR 2022) and RepLKNet
        (31x31; Ding et al., CVPR 2022), in place of one for each pair of channels.

    Raises
    ------
    ValueError
        If channels are not positive, or kernel_size is not positive and odd.
    """

    def __init__(
        self,
        channels: int,
        size: Size | None = None,
        *,
        kernel_size: int = 3,
        depthwise: bool = False,
    ) -> None:
        super().__init__()
        check_positive("channels", channels)
        check_positive("kernel_size", kernel_size)
        if kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd, got {kernel_size}")
        self.channels = channels
        groups = channels if depthwise else 1
        padding = kernel_size // 2
        self.conv = nn.Conv2d(
            channels, channels, kernel_size, padding=padding, groups=groups, bias=False
        )
        self.norm = nn.BatchNorm2d(channels)
        nn.init.zeros_(self.norm.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Add the convolved map; (N, C, H, W) to the same shape and dtype.

        Raises
        ------
        ValueError
            If `x` is a video, or has another number of channels.
        """
        check_feature_map(tuple(x.shape), self.channels)
        return x + self.norm(self.conv(x)).to(x.dtype)

    def extra_operations(self, input_shape: Shape) -> float:
        """0: its layers account for everything."""
        check_feature_map(input_shape, self.channels)
        return 0.0
