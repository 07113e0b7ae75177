"""Classes of video files, as the PyTorch pipeline finds them, without torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from .model import LONGEST_SIDE, Check, ExportedModel, Floats, built_by, names, numbers

try:
    from ..video.reader import Frames, VideoReader
    from ..video.sampling import Clip, Views, view_indices
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(f"{error}: pip install av", name=error.name) from error

_FIELDS: dict[str, Check] = {
    **{
        f"sampling.{name}": numbers(least=1, whole=True)
        for name in ("frames", "stride", "views.clips")
    },
    "sampling.short_side": numbers(least=1, most=LONGEST_SIDE, whole=True),
    "sampling.views": built_by(lambda views: Views(**views)),
    "sampling.seed": numbers(least=0, whole=True),
    "classes": names,
}
_BATCH = 8


@dataclass(frozen=True)
class VideoClasses:
    """Class probabilities of a video.

    Attributes
    ----------
    names : tuple of str
        Classes.
    probabilities : ndarray
        (classes,) float32: mean over the views.
    views : ndarray
        (V, classes) float32: of every clip and crop, clips outermost.
    """

    names: tuple[str, ...]
    probabilities: Floats
    views: Floats

    def best(self, count: int = 5) -> list[tuple[str, float]]:
        """Names and probabilities of the likeliest classes, the best first."""
        order = np.argsort(-self.probabilities, kind="stable")[:count]
        return [(self.names[i], float(self.probabilities[i])) for i in order]


class VideoPredictor:
    """Classifies video files.

    Parameters
    ----------
    folder : path
        Written by ``srl export``.
    providers, threads
        See `ExportedModel`.

    Attributes
    ----------
    class_names : tuple of str
        In the order of the probabilities.

    Raises
    ------
    FileNotFoundError, ValueError
        As `ExportedModel`; if the sampling in ``model.json`` is none that there is.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        providers: Sequence[str] | None = None,
        threads: int | None = None,
    ) -> None:
        self._model = ExportedModel(folder, "video", _FIELDS, providers, threads)
        description = self._model.description
        sampling = description["sampling"]
        self.class_names: tuple[str, ...] = tuple(description["classes"])
        self._clip = Clip(int(sampling["frames"]), int(sampling["stride"]))
        self._views = Views(**sampling["views"])
        self._seed = int(sampling["seed"])
        self._short_side = int(sampling["short_side"])
        self._model.check_network(
            ("sampling.frames and input.size", (3, self._clip.frames, *self._model.size)),
            ("classes", (len(self.class_names),)),
        )
        if self._short_side < max(self._model.size):
            raise ValueError(
                f"sampling.short_side: got {self._short_side}, expected at least the input size "
                f"{self._model.size}"
            )

    def __call__(self, path: str | Path, *, number: int = 0) -> VideoClasses:
        """Classify a video.

        Parameters
        ----------
        path : path
            Any file that FFmpeg reads.
        number : int, default 0
            Random clips depend on it: ``srl video predict`` gives the first file 0, the next 1,
            and so on.

        Raises
        ------
        ValueError
            ``VideoError``, if the video cannot be read.
        """
        views = self._read(path, number)
        scores = [
            self._model.run(views[start : start + _BATCH]) for start in range(0, len(views), _BATCH)
        ]
        probabilities = _softmax(np.concatenate(scores))
        mean = probabilities.mean(axis=0, dtype=np.float32)
        return VideoClasses(self.class_names, mean, probabilities)

    def _read(self, path: str | Path, number: int) -> Frames:
        """All views of a video, (V, T, H, W, 3); each frame is read and cropped once."""
        rng = np.random.default_rng((self._seed, number))
        size, crops = self._model.size, self._views.crops
        with VideoReader(path) as reader:
            indices = view_indices(self._clip, self._views, reader.num_frames, rng)
            distinct, places = np.unique(indices, return_inverse=True)
            cropped = np.empty((crops, len(distinct), *size, 3), dtype=np.uint8)
            for index, frame in reader.frames(distinct):
                cropped[:, np.searchsorted(distinct, index)] = self._crops(frame)
        views = cropped[:, places.reshape(indices.shape)].swapaxes(0, 1)
        return views.reshape(-1, *views.shape[2:])

    def _crops(self, frame: Frames) -> list[NDArray[np.uint8]]:
        """The centre of a scaled frame, or with three crops both ends of its longer side too."""
        height, width = (
            side * self._short_side // min(frame.shape[:2]) for side in frame.shape[:2]
        )
        if frame.shape[:2] != (height, width):
            resized = cv2.resize(frame, (width, height), interpolation=cv2.INTER_LINEAR)
            frame = np.asarray(resized, dtype=np.uint8)
        h, w = self._model.size
        halves = [1] if self._views.crops == 1 else [0, 1, 2]
        found = []
        for place in halves:
            y, x = (place, 1) if height > width else (1, place)
            top, left = (height - h) * y // 2, (width - w) * x // 2
            found.append(frame[top : top + h, left : left + w])
        return found


def _softmax(scores: Floats) -> Floats:
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), dtype=np.float32)
