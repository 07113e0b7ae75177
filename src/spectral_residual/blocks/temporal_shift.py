"""Temporal shift: frames exchange channels with their neighbours, without parameters.

Lin, Gan and Han, "TSM: Temporal Shift Module for Efficient Video Understanding", ICCV 2019,
sections 3 and 4.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from .base import Block


class TemporalShift(Block):
    """Shift some channels one frame forward in time and as many one frame back.

    Of every frame the first channels come from the frame before, the next ones from the frame
    after, zeros where there is none; all others stay. Unlike the other blocks it adds nothing to
    its input and is not the identity at the start.

    Parameters
    ----------
    channels : int
        Channels C of the feature map.
    fraction : float, default 0.125
        Share of the channels that is shifted each way, above 0 and at most 0.5; their number is
        rounded down.

    Raises
    ------
    ValueError
        If channels is not positive, or fraction is out of range or shifts less than one channel.
    """

    axes = (3,)
    residual = False

    def __init__(self, channels: int, *, fraction: float = 0.125) -> None:
        super().__init__(channels)
        if not 0 < fraction <= 0.5:
            raise ValueError(f"fraction must be above 0 and at most 0.5, got {fraction!r}")
        self.shifted = int(channels * fraction)
        if self.shifted < 1:
            raise ValueError(
                f"fraction of the channels must be at least one channel, got {fraction} of "
                f"{channels}"
            )

    def branch(self, x: Tensor) -> Tensor:
        """The shifted video; the number of frames may be any."""
        others = self.channels - 2 * self.shifted
        forward, back, rest = x.split((self.shifted, self.shifted, others), dim=1)
        forward = functional.pad(forward[:, :, :-1], (0, 0, 0, 0, 1, 0))
        back = functional.pad(back[:, :, 1:], (0, 0, 0, 0, 0, 1))
        return torch.cat((forward, back, rest), dim=1)

    def extra_repr(self) -> str:
        """Channels, and how many of them are shifted each way."""
        return f"channels={self.channels}, shifted={self.shifted}"
