"""Blocks for videos in networks that take the frames as samples of the batch."""

from __future__ import annotations

from torch import Tensor, nn

from .base import check_positive


class FoldedVideoBlock(nn.Module):
    """Apply a block for videos to frames in the batch, (N * T, C, H, W).

    Unfolding is a view, and folding too if the block keeps the memory layout of its input, as
    they all do for maps in the memory format ``channels_last``.

    Parameters
    ----------
    block : nn.Module
        Maps (N, C, T, H, W) to the same shape.
    frames : int
        Frames T of a video; they stand in a row.

    Raises
    ------
    ValueError
        If frames is not positive.
    """

    def __init__(self, block: nn.Module, frames: int) -> None:
        super().__init__()
        check_positive("frames", frames)
        self.block = block
        self.frames = frames

    def forward(self, x: Tensor) -> Tensor:
        """Unfold the videos, apply the block, and fold them again.

        Parameters
        ----------
        x : Tensor
            Frames, (N * T, C, H, W).

        Returns
        -------
        Tensor
            (N * T, C, H, W), dtype of `x`.

        Raises
        ------
        ValueError
            If `x` is not four-dimensional or its batch no multiple of T.
        """
        if x.dim() != 4 or x.shape[0] % self.frames:
            raise ValueError(
                f"expected frames of shape (N * {self.frames}, C, H, W), a whole number of "
                f"videos of {self.frames} frames, got {tuple(x.shape)}"
            )
        return fold_time(self.block(unfold_time(x, self.frames)))

    def extra_repr(self) -> str:
        """Frames of a video."""
        return f"frames={self.frames}"


def fold_time(x: Tensor) -> Tensor:
    """View videos (N, C, T, H, W) as frames (N * T, C, H, W), those of a video in a row."""
    return x.transpose(1, 2).flatten(0, 1)


def unfold_time(x: Tensor, frames: int) -> Tensor:
    """View frames (N * T, C, H, W) as videos (N, C, T, H, W), T being `frames`."""
    return x.unflatten(0, (-1, frames)).transpose(1, 2)
