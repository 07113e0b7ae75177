"""Decoded videos kept on disk, so that each is decoded once."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import numpy as np

from .reader import Frames, Indices, VideoError, VideoReader


class CachedReader:
    """`VideoReader` on a file of decoded frames, which is written when it is first asked for.

    A video takes num_frames * H * W * 3 bytes. One that changes is decoded again; nothing is ever
    deleted.

    Parameters
    ----------
    path : path
        Video file.
    folder : path
        Folder of the decoded files; made if it is not there.

    Attributes
    ----------
    path : Path
        The video file.
    num_frames : int
        Frames that can be read.

    Raises
    ------
    VideoError
        As for `VideoReader`.
    """

    def __init__(self, path: str | Path, folder: str | Path) -> None:
        self.path = Path(path)
        file = Path(folder) / _cache_name(self.path)
        if not file.is_file():
            _write_frames(self.path, file)
        self._frames: Frames = np.load(file, mmap_mode="r")
        self.num_frames = len(self._frames)

    def __enter__(self) -> CachedReader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        del self._frames

    def read(self, indices: Indices) -> Frames:
        """Frames of given numbers; see `VideoReader.read`."""
        return np.stack([frame for _, frame in self._chosen(indices)])

    def frames(self, indices: Indices) -> Iterator[tuple[int, Frames]]:
        """Frames of given numbers, one at a time; see `VideoReader.frames`."""
        return self._chosen(np.unique(indices))

    def _chosen(self, indices: Indices) -> Iterator[tuple[int, Frames]]:
        for index in indices:
            if not 0 <= index < self.num_frames:
                raise IndexError(
                    f"{self.path}: got frame {index}, expected one in [0, {self.num_frames})"
                )
            yield int(index), np.asarray(self._frames[index])


def _cache_name(path: Path) -> str:
    """Name of the decoded file, another one whenever the video has changed."""
    try:
        state = path.stat()
    except OSError as error:
        raise VideoError(f"{path}: {error.strerror}") from error
    identity = f"{path.resolve()}\n{state.st_size}\n{state.st_mtime_ns}"
    return hashlib.sha256(identity.encode()).hexdigest()[:32] + ".npy"


def _write_frames(path: Path, file: Path) -> None:
    """Decode a video into a NumPy file (F, H, W, 3) uint8, which appears when it is complete."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with VideoReader(path) as reader:
        shape = (reader.num_frames, *reader.size, 3)
        handle, name = tempfile.mkstemp(suffix=".part", dir=file.parent)
        try:
            with os.fdopen(handle, "wb") as part:
                header = {"descr": "|u1", "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(part, header)
                begin = part.tell()
                for index, frame in reader.frames(range(reader.num_frames)):
                    part.seek(begin + index * frame.size)
                    part.write(np.ascontiguousarray(frame).data)
            os.replace(name, file)
        except BaseException:
            Path(name).unlink()
            raise
