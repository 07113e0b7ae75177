"""Opening video files, and turning their packets into pictures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import av
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream
from numpy.typing import NDArray

Frames = NDArray[np.uint8]
Indices = Sequence[int] | NDArray[np.int64]


class VideoError(ValueError):
    """A video that is missing, empty, truncated, damaged or no video: ``<path>: <reason>``."""


class Orientation(NamedTuple):
    """How a stored picture is turned to be seen: transposed first, then mirrored and flipped."""

    transposed: bool
    left_right: bool
    upside_down: bool


def open_video(path: Path) -> tuple[InputContainer, VideoStream]:
    """Open a file, and find its first video stream; pictures attached to music do not count.

    The decoder works in one thread: the processes of the loader run side by side instead.

    Raises
    ------
    VideoError
        If the file is missing, empty, no video or without a video stream.
    """
    if not path.is_file():
        raise VideoError(f"{path}: no such file")
    if path.stat().st_size == 0:
        raise VideoError(f"{path}: the file is empty")
    try:
        container = av.open(f"file:{path}", metadata_errors="replace")
    except av.FFmpegError as error:
        reason = f"not a video, or its header is lost ({error.strerror})"
        raise VideoError(f"{path}: {reason}") from error
    streams = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    if not streams or streams[0].codec_context is None:
        kinds = ", ".join(stream.type for stream in container.streams) or "nothing"
        container.close()
        missing = "no decoder for its video" if streams else f"no video stream, but: {kinds}"
        raise VideoError(f"{path}: {missing}")
    streams[0].codec_context.thread_count = 1
    return container, streams[0]


def read_packets(container: InputContainer, stream: VideoStream) -> Iterator[Packet]:
    """Complete packets of a stream, from where the container stands to the end of the file."""
    try:
        for packet in container.demux(stream):
            if packet.size and not packet.is_corrupt:
                yield packet
    except av.InvalidDataError:
        return


def decode(context: VideoCodecContext, packet: Packet | None) -> list[VideoFrame]:
    """Frames that come out of the decoder after a packet; none where the packet is damaged.

    None in place of a packet empties the decoder.
    """
    try:
        return context.decode(packet)
    except av.FFmpegError:
        return []


def to_rgb(
    frame: VideoFrame,
    reformatter: VideoReformatter,
    size: tuple[int, int],
    orientation: Orientation,
) -> Frames:
    """Picture of a frame, (H, W, 3) uint8 RGB, in memory of its own; rows may be padded.

    Parameters
    ----------
    frame : VideoFrame
        As the decoder gives it.
    reformatter : VideoReformatter
        One for all frames of a video.
    size : (int, int)
        Height and width that the stream states, before turning.
    orientation : Orientation
        How it is turned.
    """
    rgb = reformatter.reformat(frame, width=size[1], height=size[0], format="rgb24", threads=1)
    pixels = cast(Frames, rgb.to_ndarray())
    if orientation.transposed:
        pixels = pixels.swapaxes(0, 1)
    if orientation.left_right:
        pixels = pixels[:, ::-1]
    if orientation.upside_down:
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels) if any(orientation) else pixels


def orientation_of(frame: VideoFrame) -> Orientation:
    """Read the display matrix (x' = a x + c y, y' = b x + d y), to the nearest right angle."""
    matrix = cast(Mapping[str, Any], frame.side_data).get("DISPLAYMATRIX")
    if matrix is None:
        return Orientation(False, False, False)
    a, b, _, c, d = np.frombuffer(matrix, dtype=np.int32)[:5].tolist()
    if abs(b) > abs(a):
        return Orientation(True, c < 0, b < 0)
    return Orientation(False, a < 0, d < 0)
