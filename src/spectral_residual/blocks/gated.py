"""Blocks of timm that gate or shift every channel by what the whole map holds.

Hu, Shen, Sun, "Squeeze-and-Excitation Networks", CVPR 2018, and Cao, Xu, Lin, Wei, Hu, "GCNet:
Non-local Networks Meet Squeeze-Excitation Networks and Beyond", ICCV 2019. The package timm is
imported when one is built.
"""

from __future__ import annotations

import importlib
import math

from torch import Tensor, nn

from ..transforms.base import Size
from .checks import Shape, check_feature_map, check_positive


class TimmBlock(nn.Module):
    """A layer of timm with the checks and the accounting of the other blocks, for images.

    It is not the identity at the start.

    Parameters
    ----------
    channels : int
        Channels C of the feature map.
    size : (int, int), optional
        Not used: maps of any size are taken.
    layer : {"GlobalContext", "SEModule"}
        Name in `timm.layers`.

    Raises
    ------
    ImportError
        If timm is not installed.
    ValueError
        If channels are not positive.
    """

    def __init__(self, channels: int, size: Size | None = None, *, layer: str) -> None:
        super().__init__()
        check_positive("channels", channels)
        try:
            layers = importlib.import_module("timm.layers")
        except ImportError as error:
            raise ImportError(f"the block {layer} is timm's: pip install timm") from error
        self.channels = channels
        self.layer: nn.Module = getattr(layers, layer)(channels)

    def forward(self, x: Tensor) -> Tensor:
        """What timm's layer does; (N, C, H, W) to the same shape and dtype.

        Raises
        ------
        ValueError
            If `x` is a video, or has another number of channels.
        """
        check_feature_map(tuple(x.shape), self.channels)
        return self.layer(x).to(x.dtype)

    def extra_operations(self, input_shape: Shape) -> float:
        """Multiply-accumulates of a sample (N, C, H, W) that no layer accounts for.

        ``C H W``, the sum over positions, for GlobalContext, and 0 for SEModule.
        """
        check_feature_map(input_shape, self.channels)
        sums = type(self.layer).__name__ == "GlobalContext"
        return float(self.channels * math.prod(input_shape[2:])) if sums else 0.0
