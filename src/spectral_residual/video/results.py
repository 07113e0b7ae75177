"""Scores of videos: collected over batches and processes, averaged over views, kept in a file."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..errors import unknown_name
from .classification import classification_metrics

Predictions = dict[str, NDArray[Any]]


@dataclass(frozen=True, eq=False)
class VideoScores:
    """Scores of the videos of a split, before averaging over views.

    Attributes
    ----------
    scores : ndarray
        (N, V, classes) float32: class probabilities of V = clips * crops views, clips outermost.
    labels : ndarray
        (N,) int64: true classes, -1 if unknown.
    videos : list of str
        N files.
    class_names : list of str
        In the order of the scores.
    crops : int
        Crops per clip.
    missing : list of str
        Files that could not be read; they have no scores.
    """

    scores: NDArray[np.float32]
    labels: NDArray[np.int64]
    videos: list[str]
    class_names: list[str]
    crops: int = 1
    missing: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        expected = (len(self.videos), len(self.labels), len(self.class_names))
        shape = self.scores.shape
        if len(shape) != 3 or (shape[0], shape[0], shape[2]) != expected or shape[1] % self.crops:
            raise ValueError(
                f"scores: got shape {shape} with {self.crops} crops, {expected[0]} videos, "
                f"{expected[1]} labels and {expected[2]} classes, expected "
                "(videos, clips * crops, classes)"
            )

    @property
    def clips(self) -> int:
        """Clips of each video."""
        return self.scores.shape[1] // self.crops

    def averaged(self) -> NDArray[np.float32]:
        """Mean over the views, (N, classes)."""
        return self.scores.mean(axis=1)

    def first_clips(self, count: int) -> VideoScores:
        """The same with the first `count` clips of every video only."""
        if not 1 <= count <= self.clips:
            raise ValueError(f"clips: got {count}, expected 1 to {self.clips}")
        return replace(self, scores=self.scores[:, : count * self.crops])

    def labelled(self) -> VideoScores:
        """The videos whose true class is known."""
        known = np.flatnonzero(self.labels >= 0)
        return replace(
            self,
            scores=self.scores[known],
            labels=self.labels[known],
            videos=[self.videos[i] for i in known],
        )

    def metrics(self, pairs: Sequence[tuple[str, str]] = ()) -> dict[str, float]:
        """Metrics of the averaged scores.

        Parameters
        ----------
        pairs : sequence of (str, str)
            Names of classes that differ in the direction of time, for ``direction``.

        Returns
        -------
        dict of str to float
            As `classification_metrics`, over the videos with a known class; ``videos``, their
            number, and ``missing``, the number of those that could not be read, which count
            neither as right nor as wrong.
        """
        known = self.labelled()
        numbers = class_pairs(pairs, self.class_names)
        scores, labels = torch.from_numpy(known.averaged()), torch.from_numpy(known.labels)
        return {
            **classification_metrics(scores, labels, numbers),
            "videos": float(len(known.videos)),
            "missing": float(len(self.missing)),
        }


def class_pairs(
    pairs: Sequence[tuple[str, str]], class_names: Sequence[str]
) -> list[tuple[int, int]]:
    """Numbers of named pairs of classes.

    Raises
    ------
    ValueError
        If a name is not among the classes, or a pair is not of two different ones.
    """
    numbers = {name: number for number, name in enumerate(class_names)}
    for pair in pairs:
        if len(set(pair)) != 2:
            raise ValueError(f"pairs: got {tuple(pair)}, expected two different classes")
        for name in pair:
            if name not in numbers:
                raise unknown_name("class in the pairs", name, class_names)
    return [(numbers[first], numbers[second]) for first, second in pairs]


def folder_labels(
    videos: Sequence[str], labels: NDArray[np.int64], class_names: Sequence[str]
) -> NDArray[np.int64]:
    """Labels (N,), unknown ones (-1) taken from the video's folder where that is a class.

    An underscore counts as a space.
    """
    numbers = {name.replace("_", " "): number for number, name in enumerate(class_names)}
    folders = [Path(video).parent.name.replace("_", " ") for video in videos]
    found = [numbers.get(folder, -1) for folder in folders]
    return np.where(labels < 0, np.asarray(found, dtype=np.int64), labels)


def write_scores(path: Path, scores: VideoScores) -> None:
    """Write scores as a compressed NumPy archive (.npz) that needs no pickle.

    Its arrays are the attributes of `VideoScores`: ``scores``, ``labels``, ``videos``,
    ``class_names``, ``crops``, ``missing``.
    """
    np.savez_compressed(
        path,
        scores=scores.scores,
        labels=scores.labels,
        videos=np.asarray(scores.videos, dtype=np.str_),
        class_names=np.asarray(scores.class_names, dtype=np.str_),
        crops=np.asarray(scores.crops),
        missing=np.asarray(scores.missing, dtype=np.str_),
    )


def read_scores(path: str | Path) -> VideoScores:
    """Read what `write_scores` wrote.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is another file.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no scores file {path}")
    try:
        with np.load(path, allow_pickle=False) as file:
            return VideoScores(
                scores=file["scores"],
                labels=file["labels"],
                videos=file["videos"].tolist(),
                class_names=file["class_names"].tolist(),
                crops=int(file["crops"]),
                missing=file["missing"].tolist(),
            )
    except (KeyError, ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: not a scores file of 'srl video': {error}") from error
