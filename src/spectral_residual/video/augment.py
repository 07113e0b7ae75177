"""Resizing and cropping of clips, for training at random, for testing at fixed places."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import unknown_name

Frames = NDArray[np.uint8]
Jitter = Literal["tsn", "short-side", "none"]

_TSN_SCALES = (1.0, 0.875, 0.75, 0.66)
_TSN_SNAP = 3
_SHORT_SIDE_PER_INPUT = 256 / 224


@dataclass(frozen=True)
class VideoAugment:
    """Random scale, crop and mirroring of training clips; the same for all frames of a clip.

    Attributes
    ----------
    jitter : {"tsn", "short-side", "none"}
        "tsn": the short side becomes 256/224 of the input size, of which a crop is taken whose
        sides are each 1, 0.875, 0.75 or 0.66 of the short side (neighbouring values at most), in
        a corner or the centre, and resized to the input size (Wang et al., "Temporal Segment
        Networks", ECCV 2016; the SRL paper). "short-side": the short side is drawn from
        `short_side`, the crop of the input size lies anywhere (the non-local network).
        "none": the short side becomes 256/224 of the input size, the crop lies anywhere.
    short_side : (int, int)
        Smallest and largest short side in pixels, for "short-side"; at least the input size.
    flip_probability : float
        Probability of mirroring left and right, in [0, 1]; 0 where direction matters.
    """

    jitter: Jitter = "tsn"
    short_side: tuple[int, int] = (256, 320)
    flip_probability: float = 0.5

    def __post_init__(self) -> None:
        if self.jitter not in get_args(Jitter):
            raise unknown_name("jitter", self.jitter, get_args(Jitter))
        if not 1 <= self.short_side[0] <= self.short_side[1]:
            raise ValueError(
                f"short_side: got {self.short_side}, expected two sizes >= 1, the smaller first"
            )
        if not 0 <= self.flip_probability <= 1:
            raise ValueError(
                f"flip_probability: got {self.flip_probability}, expected a number in [0, 1]"
            )

    def check_input_size(self, input_size: tuple[int, int]) -> None:
        """Raise ValueError if clips of an input size (H, W) cannot be made in this way."""
        if self.jitter == "tsn" and input_size[0] != input_size[1]:
            raise ValueError(
                f"augment.jitter: 'tsn' needs a square input, got input_size {input_size}"
            )
        if self.jitter == "short-side" and self.short_side[0] < max(input_size):
            raise ValueError(
                f"augment.short_side: got {self.short_side}, expected at least the input size "
                f"{max(input_size)}"
            )


def train_clip(
    frames: Frames, input_size: tuple[int, int], config: VideoAugment, rng: np.random.Generator
) -> Frames:
    """Scale, crop and mirror a clip at random.

    Parameters
    ----------
    frames : ndarray
        (T, H, W, 3) uint8.
    input_size : (int, int)
        Height and width (h, w) of the result.
    config : VideoAugment
        What to do.
    rng : numpy.random.Generator
        Source of all draws.

    Returns
    -------
    ndarray
        (T, h, w, 3) uint8.

    Raises
    ------
    ValueError
        If the input size does not go with the configuration; see `VideoAugment`.
    """
    config.check_input_size(input_size)
    if config.jitter == "short-side":
        short_side = int(rng.integers(config.short_side[0], config.short_side[1] + 1))
    else:
        short_side = round(max(input_size) * _SHORT_SIDE_PER_INPUT)
    height, width = size = _scaled_size(frames.shape[1:3], short_side)
    if config.jitter == "tsn":
        crop = _tsn_crop_size(short_side, input_size, rng)
        # Quarters of the free space: the four corners and the centre.
        y, x = [(0, 0), (0, 4), (4, 0), (4, 4), (2, 2)][rng.integers(5)]
        top, left = (height - crop[0]) * y // 4, (width - crop[1]) * x // 4
    else:
        crop = input_size
        top = int(rng.integers(height - crop[0] + 1))
        left = int(rng.integers(width - crop[1] + 1))
    flip = rng.random() < config.flip_probability
    result = np.empty((len(frames), *input_size, 3), dtype=np.uint8)
    for frame, out in zip(frames, result, strict=True):
        scaled = _resize(frame, size)
        out[:] = _resize(scaled[top : top + crop[0], left : left + crop[1]], input_size)
        if flip:
            cv2.flip(out, 1, dst=out)
    return result


def test_crops(frames: Frames, input_size: tuple[int, int], short_side: int, crops: int) -> Frames:
    """Scale a clip and crop it at fixed places.

    Parameters
    ----------
    frames : ndarray
        (T, H, W, 3) uint8.
    input_size : (int, int)
        Height and width (h, w) of the crops.
    short_side : int
        Short side in pixels that the frames are scaled to, at least both of `input_size`.
    crops : {1, 3}
        1: the centre. 3: the beginning, the centre and the end of the longer side (of the height
        in upright videos), in the middle of the shorter one.

    Returns
    -------
    ndarray
        (crops, T, h, w, 3) uint8.

    Raises
    ------
    ValueError
        If the short side is smaller than the crops, or the number of crops is another.
    """
    if short_side < max(input_size):
        raise ValueError(
            f"short_side: got {short_side}, expected at least the input size {max(input_size)}"
        )
    if crops not in (1, 3):
        raise ValueError(f"crops: got {crops}, expected 1 or 3")
    size = _scaled_size(frames.shape[1:3], short_side)
    free = (size[0] - input_size[0], size[1] - input_size[1])
    corners = []
    for place in [1] if crops == 1 else [0, 1, 2]:  # in halves of the free space
        y, x = (place, 1) if size[0] > size[1] else (1, place)
        corners.append((free[0] * y // 2, free[1] * x // 2))
    result = np.empty((crops, len(frames), *input_size, 3), dtype=np.uint8)
    for number, frame in enumerate(frames):
        scaled = _resize(frame, size)
        for out, (top, left) in zip(result[:, number], corners, strict=True):
            out[:] = scaled[top : top + input_size[0], left : left + input_size[1]]
    return result


def normalise_video(clips: Tensor) -> Tensor:
    """Turn uint8 RGB clips (N, T, H, W, 3) into network input (N, 3, T, H, W), float32.

    ImageNet's mean and deviation. In memory the channels stay last, so that folding time into
    the batch gives images (N * T, 3, H, W) that are channels last, without a copy.
    """
    mean = torch.tensor([123.675, 116.28, 103.53], device=clips.device)
    deviation = torch.tensor([58.395, 57.12, 57.375], device=clips.device)
    return ((clips.float() - mean) / deviation).permute(0, 4, 1, 2, 3)


def _scaled_size(size: tuple[int, ...], short_side: int) -> tuple[int, int]:
    """Height and width after the shorter is scaled to a length; the longer is rounded down."""
    height, width = size
    shorter = min(height, width)
    return height * short_side // shorter, width * short_side // shorter


def _tsn_crop_size(
    short_side: int, input_size: tuple[int, int], rng: np.random.Generator
) -> tuple[int, int]:
    """Draw one of the crop sizes (h, w); a side that is nearly the input's becomes the input's."""
    scales = list(enumerate(_TSN_SCALES))
    pairs = [(a, b) for i, a in scales for j, b in scales if abs(i - j) <= 1]
    sides = [int(short_side * scale) for scale in pairs[rng.integers(len(pairs))]]
    height, width = (
        full if abs(side - full) < _TSN_SNAP else side
        for side, full in zip(sides, input_size, strict=True)
    )
    return height, width


def _resize(frame: Frames, size: tuple[int, int]) -> Frames:
    """Bilinear, to a height and width (H, W)."""
    if frame.shape[:2] == size:
        return frame
    resized = cv2.resize(frame, (size[1], size[0]), interpolation=cv2.INTER_LINEAR)
    return np.asarray(resized, dtype=np.uint8)
