"""What all blocks check about their options and inputs, and folding frames into the batch."""

from __future__ import annotations

from torch import Tensor

from ..transforms.base import check_size

Shape = tuple[int, ...]
VideoSize = tuple[int, int, int]


def check_video_size(size: object) -> VideoSize:
    """Return `size` as (T, H, W), three positive ints, or raise ValueError."""
    if not isinstance(size, (tuple, list)) or len(size) != 3:
        raise ValueError(f"size must be three positive integers (T, H, W), got {size!r}")
    frames, *frame = size
    check_positive("frames", frames)
    return (frames, *check_size(frame))


def check_map_size(size: object, axes: int) -> tuple[int, ...]:
    """Return `size` as (H, W), or for three axes (T, H, W), or raise ValueError."""
    return check_video_size(size) if axes == 3 else check_size(size)


def check_feature_map(shape: Shape, channels: int, *, videos: bool = False) -> None:
    """Raise ValueError unless `shape` is (N, channels, H, W), or, for `videos`, with T too."""
    if len(shape) in ((4, 5) if videos else (4,)) and shape[1] == channels:
        return
    expected = f"images of shape (N, {channels}, H, W)"
    if videos:
        expected += f" or videos of shape (N, {channels}, T, H, W)"
    hint = "; this block is not defined for videos" if len(shape) == 5 and not videos else ""
    raise ValueError(f"expected {expected}, got {tuple(shape)}{hint}")


def divide(label: str, number: int, divisor_label: str, divisor: int) -> int:
    """``number / divisor``, or ValueError unless both are positive ints and it is whole."""
    check_positive(label, number)
    check_positive(divisor_label, divisor)
    if number % divisor:
        raise ValueError(
            f"{label} must be divisible by {divisor_label}, got {number} and {divisor}"
        )
    return number // divisor


def check_positive(label: str, number: int) -> None:
    """Raise ValueError unless `number` is a positive int."""
    if not isinstance(number, int) or isinstance(number, bool) or number < 1:
        raise ValueError(f"{label} must be a positive integer, got {number!r}")


def fold_frames(x: Tensor) -> Tensor:
    """View a video (N, C, T, H, W) as one tall image (N, C, T * H, W); images stay as they are.

    Blocks that ask only for the set of positions then need no second implementation.
    """
    return x.flatten(2, 3) if x.dim() == 5 else x
