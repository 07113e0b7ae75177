"""Reading chosen frames of video files, exactly and without decoding the rest.

Opening a file reads its packets once, without decoding them: they tell how many frames there
really are, in which order they are shown and where the key frames lie. Reading then seeks to the
key frame before each frame that is asked for and decodes from there.

PyAV brings FFmpeg with it; torchcodec, which seeks as exactly, needs FFmpeg's shared libraries on
the machine, which pip does not install.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple, cast

import av
import numpy as np
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from ..errors import printable
from .container import VideoError as VideoError
from .container import open_video, read_packets

Frames = NDArray[np.uint8]
Indices = Sequence[int] | NDArray[np.int64]

# Codecs of which each packet gives one frame; others hide frames or split them over packets.
_ONE_FRAME_PER_PACKET = ("av1", "h264", "hevc", "mjpeg", "mpeg4", "vp9")
# Formats that store when each frame is shown; for others FFmpeg guesses it.
_FORMATS_WITH_TIMES = ("mov", "matroska")
# Codecs whose frames that no other refers to can be told without decoding them.
_SKIPPABLE = ("h264", "mpeg4")
# MPEG-4 packets up to this size may say "no frame here" (MAX_NVOP_SIZE in FFmpeg's decoder).
_LARGEST_EMPTY_PACKET = 19
_MOST_BYTES = 2**32


class _PacketInfo(NamedTuple):
    stamp: int | None
    size: int
    is_keyframe: bool
    is_discard: bool


class VideoReader:
    """Random access to the frames of a video file; a context manager that closes the file.

    Frames are numbered from 0 in the order in which they are shown. What is read is equal to a
    full decode, from the first packet to the last, at the same numbers: with B-frames, with a
    variable frame rate, in odd sizes, beside audio, without a known duration. The rotation and
    mirroring that phones store beside the picture are applied.

    Where the packets do not tell the order of the frames (AVI with B-frames, MPEG-4 with packed
    or empty frames, VP8, raw streams, rare codecs), the file is decoded once to count its frames,
    and each read decodes from the start of the file. So it is where decoding from a key frame
    does not give a frame that it should give. Frames that are damaged, but not lost, come as the
    decoder patches them, which may depend on where it started.

    Parameters
    ----------
    path : path
        Any format that FFmpeg reads: mp4, mkv, webm, avi, mov, ...

    Attributes
    ----------
    path : Path
        The file.
    num_frames : int
        Frames that can be read. Of a file that lost its end these are the frames whose data are
        complete; what the header says is not trusted.
    decoded_frames : int
        Frames that the decoder has put out so far, asked for or not.

    Raises
    ------
    VideoError
        If the file is missing, empty, no video, without a video stream or without any frame.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._name = printable(self.path)
        self.decoded_frames = 0
        self._orientation: tuple[bool, bool, bool] | None = None
        self._reformatter = VideoReformatter()
        self._container, self._stream = open_video(self.path)
        try:
            self._find_frames()
        except BaseException as error:
            self.close()
            if isinstance(error, av.FFmpegError):
                raise VideoError(f"{self._name}: {error.strerror}") from error
            raise

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; nothing can be read afterwards."""
        self._container.close()

    @property
    def size(self) -> tuple[int, int]:
        """Height and width (H, W) of the frames as they are read, in pixels."""
        _, frame = next(self.frames([0]))
        return frame.shape[0], frame.shape[1]

    def read(self, indices: Indices) -> Frames:
        """Frames of given numbers.

        Parameters
        ----------
        indices : sequence of int
            T numbers in [0, num_frames), at least one, in any order, with repeats.

        Returns
        -------
        ndarray
            (T, H, W, 3) uint8, RGB.

        Raises
        ------
        IndexError
            If a number is out of range, or there is none.
        VideoError
            If a frame that is asked for is damaged.
        """
        wanted = np.asarray(indices, dtype=np.int64)
        if not wanted.size:
            raise IndexError(f"{self._name}: got no frame to read, expected at least one")
        result = np.empty(0, dtype=np.uint8)
        for index, frame in self.frames(wanted):
            if not result.size:
                if len(wanted) * frame.size > _MOST_BYTES:
                    raise VideoError(
                        f"{self._name}: {len(wanted)} frames of {frame.shape[0]}x{frame.shape[1]} "
                        f"take more than {_MOST_BYTES} bytes"
                    )
                result = np.empty((len(wanted), *frame.shape), dtype=np.uint8)
            result[wanted == index] = frame
        return result

    def frames(self, indices: Indices) -> Iterator[tuple[int, Frames]]:
        """Frames of given numbers, one at a time.

        Parameters
        ----------
        indices : sequence of int
            Numbers in [0, num_frames), in any order.

        Yields
        ------
        int
            Number of the frame; each comes once, in the order of decoding.
        ndarray
            (H, W, 3) uint8, RGB, in memory of its own; rows may be padded.

        Raises
        ------
        IndexError
            If a number is out of range.
        VideoError
            If a frame that is asked for is damaged.
        """
        wanted = {int(index) for index in indices}
        check_indices(self.path, wanted, self.num_frames)
        try:
            if self._order is not None:
                waiting = {self._order[index]: index for index in wanted}
                for number, frame in self._decode_packets(set(waiting)):
                    yield waiting.pop(number), self._rgb(frame)
                wanted = set(waiting.values())
                if wanted:
                    self._give_up_seeking()
            last = max(wanted, default=-1)
            for index, frame in enumerate(islice(self._decode_from_start(), last + 1)):
                if index in wanted:
                    wanted.remove(index)
                    yield index, self._rgb(frame)
            if wanted:
                raise VideoError(f"{self._name}: damaged: frame {min(wanted)} cannot be decoded")
        except av.FFmpegError as error:
            raise VideoError(f"{self._name}: {error.strerror}") from error

    def _find_frames(self) -> None:
        """Read all packets, and from them the number and the order of the frames."""
        context = self._stream.codec_context
        self._coded_size = (context.height, context.width)
        self._codec = context.codec.canonical_name
        self._has_times = self._container.format.name.startswith(_FORMATS_WITH_TIMES)
        self._packets = [
            _PacketInfo(self._stamp(packet), packet.size, packet.is_keyframe, packet.is_discard)
            for packet in read_packets(self._container, self._stream)
        ]
        stamps = [packet.stamp for packet in self._packets if packet.stamp is not None]
        is_reliable = len(set(stamps)) == len(self._packets)
        self._times = stamps if self._has_times else list(range(len(self._packets)))
        is_ordered = is_reliable if self._has_times else not context.has_b_frames
        self._order = self._order_from_packets() if is_ordered else None
        self._numbers: dict[int | None, int] = {}
        if self._order is None:
            self.num_frames = sum(1 for _ in self._decode_from_start())
        else:
            self.num_frames = len(self._order)
            if is_reliable:
                self._numbers.update((stamp, number) for number, stamp in enumerate(stamps))
        if self.num_frames == 0:
            raise VideoError(f"{self._name}: no frame can be decoded: truncated or damaged")

    def _stamp(self, packet: Packet) -> int | None:
        """Time that the file itself gives for a packet, in the units that seeking takes."""
        return packet.pts if self._has_times else packet.dts

    def _order_from_packets(self) -> list[int] | None:
        """Packet numbers in the order of their times; None if that is not the frames' order."""
        packets = self._packets
        if self._codec not in _ONE_FRAME_PER_PACKET or not packets:
            return None
        if self._codec == "mpeg4" and min(p.size for p in packets) <= _LARGEST_EMPTY_PACKET:
            return None
        if not packets[0].is_keyframe or self._times[0] > min(self._times):
            return None
        order = sorted(range(len(packets)), key=self._times.__getitem__)
        return [number for number in order if not packets[number].is_discard]

    def _key_before(self, number: int) -> int:
        """Packet to start from: the last key frame stored and shown no later than a packet."""
        key = number
        while not self._packets[key].is_keyframe or self._times[key] > self._times[number]:
            key -= 1
        return key

    def _decode_packets(self, wanted: Collection[int]) -> Iterator[tuple[int, VideoFrame]]:
        """Decode the frames of given packets, as far as they can be, with the packets' numbers.

        A start whose own frame does not come out (a stream of intra refresh, which is complete
        only some frames later) gives nothing: what comes out then is not exact.
        """
        found: set[int] = set()
        packets: Iterator[tuple[int, Packet | None]] = iter(())
        begin, position = len(self._packets), -1  # what has been decoded in one go
        is_exact = False
        for target in sorted(wanted):
            if target in found:
                continue
            key = self._key_before(target)
            if not begin <= key <= position + 1:
                packets, begin, is_exact = self._packets_from(key), key, False
            for position, packet in packets:
                is_wanted = position in wanted or position == begin
                for frame in self._decode(packet, position, is_wanted):
                    number = -1 if frame.pts is None else frame.pts
                    is_exact = is_exact or number == begin
                    if number in wanted and number not in found and is_exact:
                        found.add(number)
                        yield number, frame
                if target in found:
                    break

    def _decode_from_start(self) -> Iterator[VideoFrame]:
        for number, packet in self._packets_from(0):
            yield from self._decode(packet, number, True)

    def _give_up_seeking(self) -> None:
        """Decode from the start from now on, if that gives the frames that seeking did not."""
        self._numbers = {}
        count = sum(1 for _ in self._decode_from_start())
        if count != self.num_frames:
            raise VideoError(
                f"{self.path}: damaged: {count} of its {self.num_frames} frames can be decoded"
            )
        self._order = None

    def _packets_from(self, first: int) -> Iterator[tuple[int, Packet | None]]:
        """Packets from a number on, with their numbers; then None, which empties the decoder."""
        packets, number = self._seek(first)
        for packet in packets:
            if number >= first:
                yield number, packet
            number += 1
        yield number, None

    def _seek(self, target: int) -> tuple[Iterator[Packet], int]:
        """Packets from one at or before a target on, and the number of the first of them."""
        stamp = self._packets[target].stamp if self._numbers else None
        if stamp is not None:
            with suppress(av.FFmpegError, StopIteration, KeyError):
                self._container.seek(stamp, stream=self._stream)
                packets = read_packets(self._container, self._stream)
                first = next(packets)
                number = self._numbers[self._stamp(first)]
                if number <= target:
                    return chain([first], packets), number
        self.close()
        self._container, self._stream = open_video(self.path)
        return read_packets(self._container, self._stream), 0

    def _decode(self, packet: Packet | None, number: int, is_wanted: bool) -> list[VideoFrame]:
        """Frames that come out of the decoder after a packet, with packet numbers as their pts.

        A damaged packet gives none; None in place of a packet empties the decoder.
        """
        context = self._stream.codec_context
        if packet is not None:
            packet.pts, packet.dts = number, None
            if self._codec in _SKIPPABLE:
                context.skip_frame = "DEFAULT" if is_wanted else "NONREF"
        try:
            frames = context.decode(packet)
        except av.FFmpegError:
            return []
        self.decoded_frames += len(frames)
        return frames

    def _rgb(self, frame: VideoFrame) -> Frames:
        """Picture of a frame, (H, W, 3) uint8 RGB, turned as it is to be seen."""
        height, width = self._coded_size
        rgb = self._reformatter.reformat(
            frame, width=width, height=height, format="rgb24", threads=1
        )
        pixels = cast(Frames, rgb.to_ndarray())
        if self._orientation is None:
            self._orientation = _orientation_of(frame)
        if not any(self._orientation):
            return pixels
        transposed, left_right, upside_down = self._orientation
        pixels = pixels.swapaxes(0, 1) if transposed else pixels
        pixels = pixels[:, ::-1] if left_right else pixels
        return np.ascontiguousarray(pixels[::-1] if upside_down else pixels)


def check_indices(path: Path, indices: Collection[int], num_frames: int) -> None:
    """Raise IndexError if one of the numbers is not of a frame."""
    for index in (min(indices, default=0), max(indices, default=0)):
        if not 0 <= index < num_frames:
            name = printable(path)
            raise IndexError(f"{name}: got frame {index}, expected one in [0, {num_frames})")


def _orientation_of(frame: VideoFrame) -> tuple[bool, bool, bool]:
    """Whether a picture is to be transposed, then mirrored, then turned upside down.

    From its display matrix (x' = a x + c y, y' = b x + d y), to the nearest right angle.
    """
    matrix = cast(Mapping[str, Any], frame.side_data).get("DISPLAYMATRIX")
    if matrix is None:
        return False, False, False
    a, b, _, c, d = np.frombuffer(matrix, dtype=np.int32)[:5].tolist()
    return (True, c < 0, b < 0) if abs(b) > abs(a) else (False, a < 0, d < 0)
