"""Clips of videos, as samples for training and evaluation."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import KW_ONLY, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
from torch.utils.data import Dataset

from ..errors import printable
from ..report.files import replacing
from .augment import VideoAugment, test_crops, train_clip
from .reader import Frames, Indices, VideoError, VideoReader, check_indices
from .sampling import Clip, Views, view_indices
from .sources import VideoItem

log = logging.getLogger(__name__)

Sample = dict[str, Any]

OnBroken = Literal["raise", "replace", "report"]

_REPLACEMENT_TRIES = 20
_TRAINING_VIEW = Views(clips=1, placing="random")


@dataclass(eq=False, repr=False)
class ClipDataset(Dataset[Sample]):
    """Clips of fixed length and size: one at random for training, several views for evaluation.

    A training sample depends only on (seed, epoch, index), an evaluation sample on (seed, index);
    not on workers or on what came before.

    Parameters
    ----------
    items : sequence of VideoItem
        Videos and their classes.
    clip : Clip
        Frames and stride.
    input_size : (int, int)
        Height and width (H, W) of the clips.
    augment : VideoAugment, optional
        Random scale, crop and mirroring: makes this training data.
    short_side : int
        Short side in pixels that frames are scaled to for evaluation.
    views : Views
        Clips and crops for evaluation.
    seed : int
        Seed of all random choices.
    on_broken : {"raise", "replace", "report"}
        What an unreadable video does: raise `VideoError`; be replaced by another random one, with
        ``broken`` naming it; or yield black frames with ``broken`` set.
    cache : path, optional
        Folder where each video is kept decoded, in num_frames * H * W * 3 bytes; made if it is
        not there. The samples are the same as without. A video that changes is decoded again;
        nothing is ever deleted.

    Notes
    -----
    A sample is a dict of tensors: ``video`` uint8 RGB, (T, H, W, 3) in training and
    (V, T, H, W, 3) in evaluation, with V = clips * crops views, clips outermost; ``label`` int64,
    -1 if unknown; ``index`` int64; ``broken`` int64, the index of an unreadable video or -1.
    """

    items: Sequence[VideoItem]
    clip: Clip
    input_size: tuple[int, int]
    augment: VideoAugment | None = None
    _: KW_ONLY
    short_side: int = 256
    views: Views = Views()
    seed: int = 0
    on_broken: OnBroken = "raise"
    cache: str | Path | None = None

    def __post_init__(self) -> None:
        if self.augment is not None:
            self.augment.check_input_size(self.input_size)
        elif self.short_side < max(self.input_size):
            raise ValueError(
                f"short_side: got {self.short_side}, expected at least the input size "
                f"{self.input_size}"
            )

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, key: int | tuple[int, int]) -> Sample:
        """Sample of an index, or of a pair (epoch, index) as `EpochSampler` yields it."""
        epoch, index = key if isinstance(key, tuple) else (0, key)
        state = (self.seed, index) if self.augment is None else (self.seed, epoch, index)
        rng = np.random.default_rng(state)
        broken = -1
        for _ in range(_REPLACEMENT_TRIES):
            try:
                return self._sample(index, self._read(index, rng), broken)
            except VideoError:
                if self.on_broken == "raise":
                    raise
                broken = index if broken < 0 else broken
                if self.on_broken == "report":
                    return self._sample(index, self._black(), index)
                index = int(rng.integers(len(self)))
        raise VideoError(
            f"{self.items[index].path}: {_REPLACEMENT_TRIES} random videos in a row are "
            "unreadable, this one being the last"
        )

    def _read(self, index: int, rng: np.random.Generator) -> Frames:
        path = self.items[index].path
        with VideoReader(path) if self.cache is None else _CachedReader(path, self.cache) as reader:
            if self.augment is not None:
                indices = view_indices(self.clip, _TRAINING_VIEW, reader.num_frames, rng)
                return train_clip(reader.read(indices[0]), self.input_size, self.augment, rng)
            return self._read_views(reader, rng)

    def _read_views(self, reader: VideoReader | _CachedReader, rng: np.random.Generator) -> Frames:
        """All views of a video; each frame is read and cropped once, whole ones are not kept."""
        indices = view_indices(self.clip, self.views, reader.num_frames, rng)
        distinct, places = np.unique(indices, return_inverse=True)
        crops = np.empty((self.views.crops, len(distinct), *self.input_size, 3), dtype=np.uint8)
        for index, frame in reader.frames(distinct):
            place = np.searchsorted(distinct, index)
            one = test_crops(frame[None], self.input_size, self.short_side, self.views.crops)
            crops[:, place] = one[:, 0]
        views = crops[:, places.reshape(indices.shape)].swapaxes(0, 1)
        return views.reshape(-1, *views.shape[2:])

    def _black(self) -> Frames:
        views = [] if self.augment is not None else [self.views.clips * self.views.crops]
        return np.zeros((*views, self.clip.frames, *self.input_size, 3), dtype=np.uint8)

    def _sample(self, index: int, video: Frames, broken: int) -> Sample:
        label = self.items[index].label
        return {
            "video": torch.from_numpy(video),
            "label": torch.tensor(-1 if label is None else label),
            "index": torch.tensor(index),
            "broken": torch.tensor(broken),
        }


class _CachedReader:
    """`VideoReader` on a file of decoded frames, which is written when it is first asked for."""

    def __init__(self, path: str | Path, folder: str | Path) -> None:
        self.path = Path(path)
        name = _cache_name(self.path)
        shape = _frames_of(self.path, name)
        frames = _load_frames(Path(folder) / name, shape)
        if frames is None:
            _write_frames(self.path, Path(folder) / name, shape)
            frames = _load_frames(Path(folder) / name, shape)
        if frames is None:
            raise VideoError(f"{self.path}: its decoded frames in {folder} cannot be read")
        self._frames = frames
        self.num_frames = len(self._frames)

    def __enter__(self) -> _CachedReader:
        return self

    def __exit__(self, *error: object) -> None:
        del self._frames

    def read(self, indices: Indices) -> Frames:
        """Frames of given numbers; see `VideoReader.read`."""
        check_indices(self.path, indices, self.num_frames)
        return np.asarray(self._frames[np.asarray(indices)])

    def frames(self, indices: Indices) -> Iterator[tuple[int, Frames]]:
        """Frames of given numbers, one at a time; see `VideoReader.frames`."""
        check_indices(self.path, indices, self.num_frames)
        for index in np.unique(indices):
            yield int(index), np.asarray(self._frames[index])


def _cache_name(path: Path) -> str:
    """Name of the decoded file, another one whenever the video has changed."""
    try:
        state = path.stat()
    except OSError as error:
        raise VideoError(f"{path}: {error.strerror}") from error
    identity = f"{path.resolve()}\n{state.st_size}\n{state.st_mtime_ns}"
    return hashlib.sha256(identity.encode()).hexdigest()[:32] + ".npy"


@lru_cache(maxsize=2**16)
def _frames_of(path: Path, name: str) -> tuple[int, ...]:
    """Shape (F, H, W, 3) of a video's frames; looked up once as long as it does not change."""
    with VideoReader(path) as reader:
        return (reader.num_frames, *reader.size, 3)


def _load_frames(file: Path, shape: tuple[int, ...]) -> Frames | None:
    """Decoded frames of a file; None if they are not there, of another shape or damaged."""
    if file.is_symlink() or not file.is_file():
        return None
    try:
        frames = np.load(file, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # a foreign file is anything
        log.warning("%s: decoded again, as it cannot be read: %s", file, printable(error))
        return None
    is_right = isinstance(frames, np.ndarray) and frames.flags.c_contiguous
    if not is_right or frames.dtype != np.uint8 or frames.shape != shape:
        log.warning("%s: decoded again, as it does not hold the %d frames", file, shape[0])
        return None
    return cast(Frames, frames)


def _write_frames(path: Path, file: Path, shape: tuple[int, ...]) -> None:
    """Decode a video into a NumPy file (F, H, W, 3) uint8, which appears when it is complete."""
    with VideoReader(path) as reader, replacing(file) as temporary, temporary.open("wb") as part:
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(part, header)
        begin = part.tell()
        for index, frame in reader.frames(range(reader.num_frames)):
            part.seek(begin + index * frame.size)
            part.write(np.ascontiguousarray(frame).data)
