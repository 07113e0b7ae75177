"""Blocks of timm that gate or shift every channel by what the whole map holds.

Hu, Shen, Sun, "Squeeze-and-Excitation Networks", CVPR 2018, and Cao, Xu, Lin, Wei, Hu, "GCNet:
Non-local Networks Meet Squeeze-Excitation Networks and Beyond", ICCV 2019. The package timm is
imported when one is built.
"""

from __future__ import annotations

import importlib
import math

from torch import Tensor, nn

from .base import Block, Shape


class TimmBlock(Block):
    """A layer of timm with the checks and the accounting of the other blocks, for images.

    It is not the identity at the start.

    Parameters
    ----------
    channels : int
        Channels C of the feature map.
    layer : {"GlobalContext", "SEModule"}
        Name in `timm.layers`.

    Raises
    ------
    ImportError
        If timm is not installed.
    ValueError
        If channels are not positive.
    """

    residual = False

    def __init__(self, channels: int, *, layer: str) -> None:
        super().__init__(channels)
        try:
            layers = importlib.import_module("timm.layers")
        except ImportError as error:
            raise ImportError(f"the block {layer} is timm's: pip install timm") from error
        self.name = layer
        self.layer: nn.Module = getattr(layers, layer)(channels)

    def branch(self, x: Tensor) -> Tensor:
        """What timm's layer does."""
        return self.layer(x)

    def operations(self, size: Shape) -> float:
        """``C H W``, the sum over positions, for GlobalContext, and 0 for SEModule."""
        return self.channels * math.prod(size) if self.name == "GlobalContext" else 0.0
