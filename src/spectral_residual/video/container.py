"""Opening video files: one file, of bounded frames, and nothing that it points to."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

import av
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition
from av.video.stream import VideoStream

from ..errors import printable

# Formats that are lists of other files, of addresses or of devices: a video is one file.
_NOT_ONE_FILE = {
    *("concat", "dash", "hls", "image2", "imf", "vobsub"),
    *("lavfi", "rtp", "rtsp", "sap", "sdp"),
}
_MOST_PIXELS = 2**26
_LONGEST_SIDE = 64


class VideoError(ValueError):
    """A video that is missing, empty, truncated, damaged or no video: ``<path>: <reason>``."""


def open_video(path: Path) -> tuple[InputContainer, VideoStream]:
    """Open a file, and find its first video stream; pictures attached to music do not count.

    The decoder works in one thread: the processes of the loader run side by side instead.
    """
    named = printable(path)
    try:
        state = path.stat()
    except (OSError, ValueError) as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else error
        raise VideoError(f"{named}: {printable(reason)}") from error
    if not stat.S_ISREG(state.st_mode):
        raise VideoError(f"{named}: no such file, but a folder, a pipe or a device")
    if state.st_size == 0:
        raise VideoError(f"{named}: the file is empty")
    try:
        container = av.open(f"file:{path}", options=_options(), metadata_errors="replace")
    except av.FFmpegError as error:
        reason = f"not a video, or its header is lost ({error.strerror})"
        raise VideoError(f"{named}: {reason}") from error
    streams = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    if not streams or streams[0].codec_context is None:
        kinds = ", ".join(stream.type for stream in container.streams) or "nothing"
        container.close()
        missing = "no decoder for its video" if streams else f"no video stream, but: {kinds}"
        raise VideoError(f"{named}: {missing}")
    context = streams[0].codec_context
    context.thread_count = 1
    context.options = {**context.options, "max_pixels": str(_MOST_PIXELS)}
    short, long = sorted((context.height, context.width))
    if short * long > _MOST_PIXELS or long > _LONGEST_SIDE * short > 0:
        container.close()
        raise VideoError(
            f"{named}: frames of {context.height}x{context.width} (H x W), expected at most "
            f"{_MOST_PIXELS} pixels and a ratio of sides up to {_LONGEST_SIDE}"
        )
    return container, streams[0]


@cache
def _options() -> dict[str, str]:
    """For FFmpeg: nothing but this file is opened, and no frame larger than 8192x8192 decoded."""
    formats = av.formats_available - _NOT_ONE_FILE
    return {
        "format_whitelist": ",".join(sorted(formats)),
        "protocol_whitelist": "file",
        "max_pixels": str(_MOST_PIXELS),
    }


def read_packets(container: InputContainer, stream: VideoStream) -> Iterator[Packet]:
    """Complete packets of a stream, from where the container stands to the end of the file."""
    with suppress(av.InvalidDataError):
        for packet in container.demux(stream):
            if packet.size and not packet.is_corrupt:
                yield packet
