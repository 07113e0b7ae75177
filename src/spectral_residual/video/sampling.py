"""Which frames of a video make a clip: for training at random, for testing in several views."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ..errors import unknown_name

Placing = Literal["random", "even", "centre"]


@dataclass(frozen=True)
class Clip:
    """Frames that go through the network together.

    Attributes
    ----------
    frames : int
        Frames T of a clip.
    stride : int
        Distance between them, in frames of the video whatever its frame rate. Videos shorter
        than frames * stride start again from their beginning.
    """

    frames: int = 8
    stride: int = 8

    def __post_init__(self) -> None:
        if self.frames < 1 or self.stride < 1:
            raise ValueError(f"clip: expected frames >= 1 and stride >= 1, got {self}")

    @property
    def span(self) -> int:
        """Frames of the video that a clip takes: frames * stride."""
        return self.frames * self.stride


@dataclass(frozen=True)
class Views:
    """Clips and crops of a video whose scores are averaged.

    Attributes
    ----------
    clips : int
        Clips of each video.
    placing : {"random", "even", "centre"}
        Where they start: at random, the same in every run with one seed (the SRL paper); at equal
        distances over the whole video, late ones starting again from its beginning (the non-local
        network); or one clip in the middle.
    crops : {1, 3}
        1 takes the centre of each frame, 3 also both ends of its longer side.
    """

    clips: int = 25
    placing: Placing = "random"
    crops: Literal[1, 3] = 1

    def __post_init__(self) -> None:
        if self.placing not in get_args(Placing):
            raise unknown_name("placing of views", self.placing, get_args(Placing))
        if self.clips < 1 or self.crops not in (1, 3):
            raise ValueError(f"views: expected clips >= 1 and crops 1 or 3, got {self}")
        if self.placing == "centre" and self.clips != 1:
            raise ValueError(f"views: 'centre' is one clip, got clips {self.clips}")


def view_indices(
    clip: Clip, views: Views, num_frames: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Place the clips of a video; one for training is a single random view.

    "random" draws each start uniformly in [0, num_frames - span], both included; a shorter video
    starts at 0 and is repeated (Wang et al., "Non-local Neural Networks", CVPR 2018, code).
    "even" starts clip k of n at floor(k * num_frames / n) and continues past the end from the
    beginning; "centre" starts at floor((num_frames - span) / 2), or at 0 in a shorter video.

    Parameters
    ----------
    clip : Clip
        Frames and stride.
    views : Views
        Number and placing of the clips.
    num_frames : int
        Frames of the video.
    rng : numpy.random.Generator
        Source of random starts.

    Returns
    -------
    ndarray
        (clips, T) numbers in [0, num_frames).

    Raises
    ------
    ValueError
        If the video has no frame.
    """
    if num_frames < 1:
        raise ValueError(f"num_frames: got {num_frames}, expected at least 1")
    free = max(num_frames - clip.span, 0)
    if views.placing == "random":
        starts = rng.integers(free + 1, size=views.clips)
    elif views.placing == "even":
        starts = np.arange(views.clips) * num_frames // views.clips
    else:
        starts = np.array([free // 2])
    return (starts[:, None] + np.arange(clip.frames) * clip.stride) % num_frames
