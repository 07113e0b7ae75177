"""Plain rivals: what a convolution of the same width, or a wide one of every channel, would do."""

from __future__ import annotations

from torch import Tensor, nn

from .base import Block, check_positive


class ConvolutionBlock(Block):
    """Convolution and batch normalisation with a residual connection, for images.

    The normalisation starts with scale 0, so that the block returns its input unchanged.

    Parameters
    ----------
    channels : int
        Channels C of the feature map.
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

    def __init__(self, channels: int, *, kernel_size: int = 3, depthwise: bool = False) -> None:
        super().__init__(channels)
        check_positive("kernel_size", kernel_size)
        if kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd, got {kernel_size}")
        groups = channels if depthwise else 1
        padding = kernel_size // 2
        self.conv = nn.Conv2d(
            channels, channels, kernel_size, padding=padding, groups=groups, bias=False
        )
        self.norm = nn.BatchNorm2d(channels)
        nn.init.zeros_(self.norm.weight)

    def branch(self, x: Tensor) -> Tensor:
        """The convolved map."""
        return self.norm(self.conv(x))
