"""Clips that the page takes: generated actions, uploads within limits, and their classes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from ...errors import printable
from ...report.figures import contact_sheet
from ...video.container import VideoError, open_video
from ...video.predict import stored_views
from ...video.pretrained import VideoModel
from ...video.reader import VideoReader
from ...video.sampling import Views, view_indices
from ..generated.actions import render_action, sample_action
from ..generated.write_videos import write_video
from .pictures import Picture

LONGEST_SECONDS = 60
"""Duration of an uploaded clip."""

MOST_FRAMES = 3600
"""Frames of an uploaded clip."""

MOST_FRAME_PIXELS = 1920 * 1088
"""Pixels of a frame of an uploaded clip."""

BEST = 5
"""Classes that are shown."""

_EXAMPLE_SIZE = (160, 160)
_FRAME_HEIGHT = 150
_COLUMNS = 4


@dataclass(frozen=True, eq=False)
class Classified:
    """A clip and its classes.

    Attributes
    ----------
    classes : dict of str to float
        The most probable classes with their probabilities, the best first.
    frames : ndarray
        (H, W, 3) uint8 RGB: the sampled frames of the clip in the middle, in order.
    seconds : float
        Duration of the clip, 0 where the file does not say.
    """

    classes: dict[str, float]
    frames: Picture
    seconds: float


def write_example(action: str, number: int, file: str | Path) -> None:
    """Write a generated clip as MP4: somebody, by the number, who performs one of `ACTIONS`."""
    rng = np.random.default_rng([number])
    frames = render_action(sample_action(action, rng, image_size=_EXAMPLE_SIZE))
    write_video(file, frames)


def check_clip(path: str | Path) -> float:
    """Duration of a clip in seconds, from its header; 0 where that does not say.

    Raises
    ------
    VideoError
        If it is no video, or larger or longer than what the page takes.
    """
    path = Path(path)
    container, stream = open_video(path)
    with container:
        context = stream.codec_context
        height, width = context.height, context.width
        seconds = max((container.duration or 0) / 1e6, 0.0)
        frames = stream.frames
    if height * width > MOST_FRAME_PIXELS:
        raise VideoError(
            f"{printable(path)}: frames of {width}x{height} pixels (W x H), expected at most "
            f"{MOST_FRAME_PIXELS} pixels, as 1920x1088 has"
        )
    if seconds > LONGEST_SECONDS or frames > MOST_FRAMES:
        raise VideoError(
            f"{printable(path)}: {seconds:.0f} s and {frames} frames, expected at most "
            f"{LONGEST_SECONDS} s and {MOST_FRAMES} frames"
        )
    return seconds


def classify(model: VideoModel, path: str | Path) -> Classified:
    """The most probable classes of a clip, and the frames that the network gets of its middle.

    Parameters
    ----------
    model : VideoModel
        The network.
    path : path
        Video file.

    Raises
    ------
    VideoError
        If the file is no video, cannot be read, or is longer or larger than what the page takes;
        the message names it without its folder.
    ValueError
        If the network does not say how clips are sampled.
    """
    path = Path(path)
    try:
        seconds = check_clip(path)
        frames = _sampled(model, path)
        classes = list(model.predict(path).items())[:BEST]
    except VideoError as error:
        raise VideoError(str(error).replace(printable(path), printable(path.name))) from error
    return Classified(dict(classes), frames, seconds)


def _sampled(model: VideoModel, path: Path) -> Picture:
    clip = stored_views("this network", [path], model.stored).clip
    with VideoReader(path) as reader:
        if reader.num_frames > MOST_FRAMES:
            raise VideoError(
                f"{printable(path)}: {reader.num_frames} frames, expected at most {MOST_FRAMES}"
            )
        views = Views(clips=1, placing="centre")
        indices = view_indices(clip, views, reader.num_frames, np.random.default_rng(0))[0]
        frames = dict(_small_frames(reader, indices.tolist()))
    return contact_sheet([frames[index] for index in indices.tolist()], columns=_COLUMNS)


def _small_frames(reader: VideoReader, indices: list[int]) -> list[tuple[int, Picture]]:
    """Frames by their numbers, each 150 pixels high; whole ones are not kept."""
    found = []
    for index, frame in reader.frames(indices):
        height, width = frame.shape[:2]
        size = (
            min(4 * _FRAME_HEIGHT, max(1, round(width * _FRAME_HEIGHT / height))),
            _FRAME_HEIGHT,
        )
        small = cv2.resize(np.ascontiguousarray(frame), size, interpolation=cv2.INTER_AREA)
        found.append((index, np.asarray(small, np.uint8)))
    return found
