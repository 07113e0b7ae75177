"""Poses of images with boxes, as the PyTorch pipeline finds them, without torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..pose.geometry import check_boxes, crop_matrix, fit_aspect, warp
from ..pose.images import read_image
from ..pose.skeleton import Skeleton
from .model import Check, ExportedModel, Floats, built_by, numbers, of_type

_FIELDS: dict[str, Check] = {
    "input.any_size?": of_type(bool),
    "input.multiple_of?": numbers(least=1, whole=True),  # missing in files of before
    "crop.padding": numbers(least=0.01),
    "decoding.stride": numbers(least=1, whole=True),
    "decoding.flip_test": of_type(bool),
    "decoding.flip_shift": numbers(least=0, whole=True),
    "decoding.joint_threshold": numbers(),
    "skeleton": built_by(Skeleton.from_dict),
}
_BATCH = 16


@dataclass(frozen=True)
class Poses:
    """Poses of M boxes of an image.

    Attributes
    ----------
    keypoints : ndarray
        (M, K, 2) float64: x, y in image pixels, pixel centres being integers.
    scores : ndarray
        (M, K) float32: height of each joint's peak, 1 at best.
    score : ndarray
        (M,) float64: mean score of the joints above the threshold of ``model.json``, 0 without
        any. Times the score of its box it is the score of a pose in ``srl pose validate``.
    """

    keypoints: NDArray[np.float64]
    scores: Floats
    score: NDArray[np.float64]


class PosePredictor:
    """Finds the joints of the persons in given boxes.

    Parameters
    ----------
    folder : path
        Written by ``srl export``.
    input_size : (int, int), optional
        Height and width (H, W) of the crops, for a network that was exported with
        ``--dynamic-size``; by default those that it was trained with.
    flip_test : bool, optional
        Average the heatmaps of a crop and its mirror image; by default as ``model.json`` says.
    providers, threads
        See `ExportedModel`.

    Attributes
    ----------
    joints : tuple of str
        Names of the K joints.
    edges : tuple of (int, int)
        Limbs to draw, as indices of joints.

    Raises
    ------
    FileNotFoundError, ValueError
        As `ExportedModel`; if the network takes one size alone and another is given, or the flip
        test is asked for and it is not known which joints swap.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        input_size: tuple[int, int] | None = None,
        flip_test: bool | None = None,
        providers: Sequence[str] | None = None,
        threads: int | None = None,
    ) -> None:
        self._model = ExportedModel(folder, "pose", _FIELDS, providers, threads)
        description = self._model.description
        skeleton, decoding = Skeleton.from_dict(description["skeleton"]), description["decoding"]
        self.joints, self.edges = skeleton.names, skeleton.edges
        self._padding = float(description["crop"]["padding"])
        self._stride = int(decoding["stride"])
        self.input_size = self._size(input_size)
        height, width = self.input_size
        self._model.check_network(
            ("input.size", (3, height, width)),
            (
                "input.size, skeleton.names and decoding.stride",
                (len(self.joints), height // self._stride, width // self._stride),
            ),
        )
        self._shift = int(decoding["flip_shift"])
        if self._shift >= width // self._stride:
            raise ValueError(
                f"{folder}: model.json: decoding: flip_shift: got {self._shift}, expected less "
                f"than the {width // self._stride} columns of a heatmap"
            )
        self._threshold = float(decoding["joint_threshold"])
        self._swapped = np.array(skeleton.flip_permutation)
        self._flip_test = bool(decoding["flip_test"]) if flip_test is None else flip_test
        if self._flip_test and not skeleton.flip_pairs and len(self.joints) > 1:
            raise ValueError(
                f"flip_test: none of the joints {list(self.joints)} is known to be the left or "
                "right one of two; expected skeleton.flip_pairs in model.json"
            )

    def __call__(
        self,
        image: str | Path | NDArray[np.uint8],
        boxes: ArrayLike | None = None,
        *,
        apply_exif: bool = True,
    ) -> Poses:
        """Find the joints of one person in each box.

        Parameters
        ----------
        image : path or ndarray
            Image file, as `read_image` takes it, or (H, W, 3) uint8 RGB.
        boxes : array-like, optional
            (M, 4): left, top, width, height in pixels, as of a detector; by default one box, the
            whole image.
        apply_exif : bool, default True
            Turn the picture of a file as its EXIF orientation says, as ``srl pose predict`` does;
            boxes and joints are then those of the upright picture. ``srl pose validate`` takes
            pictures as they are stored.

        Raises
        ------
        ValueError
            ``ImageError``, if the image cannot be read; if it is no RGB image, or a box has no
            extent.
        """
        if isinstance(image, np.ndarray):
            pixels = image
        else:
            pixels = read_image(image, apply_exif=apply_exif)[:, :, ::-1]
        if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8 or not pixels.size:
            raise ValueError(
                f"image: got {pixels.dtype} {pixels.shape}, expected uint8 (H, W, 3), RGB"
            )
        if boxes is None:
            boxes = [[0, 0, max(pixels.shape[1] - 1, 1), max(pixels.shape[0] - 1, 1)]]
        corners = check_boxes(boxes)
        pixels = np.ascontiguousarray(pixels)
        parts = [self._predict(pixels, some) for some in _split(corners)]
        keypoints = np.concatenate([points for points, _ in parts])
        scores = np.concatenate([values for _, values in parts])
        counted = scores > self._threshold
        total = np.where(counted, scores, 0.0).sum(axis=1)
        score = total / np.maximum(counted.sum(axis=1), 1)
        return Poses(keypoints, scores, score)

    def _size(self, wanted: tuple[int, int] | None) -> tuple[int, int]:
        size, given = self._model.size, self._model.description["input"]
        got = size if wanted is None else tuple(wanted)
        if got != size and not given.get("any_size"):
            raise ValueError(
                f"input_size: got {got}, expected {size}: the network was exported for it alone "
                "('srl export --dynamic-size' writes one for any)"
            )
        multiple = given.get("multiple_of", self._stride)
        if len(got) != 2 or any(side < multiple or side % multiple for side in got):
            name = (
                f"{self._model.folder}: model.json: input: size" if wanted is None else "input_size"
            )
            raise ValueError(
                f"{name}: got {got}, expected height and width as multiples of {multiple}"
            )
        return int(got[0]), int(got[1])

    def _predict(
        self, image: NDArray[np.uint8], boxes: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], Floats]:
        """Joints (M, K, 2) and scores (M, K) of a few boxes."""
        if not len(boxes):
            count = len(self.joints)
            return np.zeros((0, count, 2)), np.zeros((0, count), dtype=np.float32)
        height, width = self.input_size
        centers = boxes[:, :2] + boxes[:, 2:] / 2
        sizes = np.stack([fit_aspect(box[2:], width / height) * self._padding for box in boxes])
        crops = np.stack(
            [
                warp(image, crop_matrix(center, size, 0, self.input_size), self.input_size)
                for center, size in zip(centers, sizes, strict=True)
            ]
        )
        coords, scores = _peaks(self._heatmaps(crops))
        scale = sizes[:, None, :1] / width
        offset = coords * self._stride - np.array([width, height]) / 2
        return centers[:, None] + offset * scale, scores

    def _heatmaps(self, crops: NDArray[np.uint8]) -> Floats:
        if not self._flip_test:
            return self._model.run(crops)
        both = self._model.run(np.concatenate([crops, crops[:, :, ::-1]]))
        heatmaps, mirrored = both[: len(crops)], both[len(crops) :]
        back = mirrored[:, self._swapped, :, ::-1]
        if self._shift:
            first = np.repeat(back[..., :1], self._shift, axis=-1)
            back = np.concatenate([first, back[..., : -self._shift]], axis=-1)
        return np.asarray((heatmaps + back) / 2, dtype=np.float32)


def _peaks(heatmaps: Floats) -> tuple[NDArray[np.float64], Floats]:
    """Peaks (M, K, 2) in heatmap pixels and their heights (M, K).

    The first maximum, moved by a quarter pixel toward the greater neighbour where it is in columns
    2 to W - 2 and rows 2 to H - 2; the origin where the maximum is not positive.
    """
    height, width = heatmaps.shape[-2:]
    flat = heatmaps.reshape(*heatmaps.shape[:2], -1)
    index = flat.argmax(axis=-1)
    scores = np.take_along_axis(flat, index[..., None], axis=-1)[..., 0]
    index = np.where(scores > 0, index, 0)
    x, y = index % width, index // width
    steps = np.array([1, -1, width, -width])
    around = np.clip(index[..., None] + steps, 0, height * width - 1)
    right, left, down, up = np.moveaxis(np.take_along_axis(flat, around, axis=-1), -1, 0)
    inside = (x > 1) & (x < width - 1) & (y > 1) & (y < height - 1)
    toward = np.stack([np.sign(right - left), np.sign(down - up)], axis=-1)
    coords = np.stack([x, y], axis=-1) + np.where(inside[..., None], 0.25 * toward, 0.0)
    return coords, scores


def _split(boxes: NDArray[Any]) -> list[NDArray[Any]]:
    """A few boxes at a time; one part without any if there is none."""
    return [boxes[start : start + _BATCH] for start in range(0, max(len(boxes), 1), _BATCH)]
