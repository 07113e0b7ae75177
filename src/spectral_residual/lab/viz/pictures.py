"""What trained pose networks see and predict, side by side, as pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from matplotlib import colormaps
from numpy.typing import NDArray
from torch import Tensor, nn

from ...pose.data_module import KeypointDataModule
from ...pose.dataset import Sample, normalise
from ...pose.drawing import draw_poses
from ...pose.heatmap import HeatmapCodec, default_sigma, flip_heatmaps
from ...pose.network import load_pose_network
from ...pose.skeleton import Skeleton
from ...report.figures import contact_sheet, encode
from ...report.files import write_file
from .filters import filter_figure
from .page import HEATMAPS, RECEPTIVE_FIELD, SKELETONS, filters_name
from .receptive_field import ReceptiveField, effective_receptive_field, receptive_field_figure

DRAWN_SCORE = 0.1
"""Joints with a lower score are not drawn."""

_ENLARGED = 2
_CASES = 5


@dataclass(frozen=True, eq=False)
class Views:
    """What networks see.

    Attributes
    ----------
    fields : dict of str to ReceptiveField
        Effective receptive fields by name of the network.
    pictures : dict of str to bytes
        PNG files by name: `RECEPTIVE_FIELD`, ``filters_<name>.png`` of every network with spectral
        blocks, `SKELETONS`, `HEATMAPS`.
    """

    fields: dict[str, ReceptiveField]
    pictures: dict[str, bytes]

    def shares(self) -> dict[str, dict[str, float]]:
        """`ReceptiveField.shares` by name of the network."""
        return {name: field.shares() for name, field in self.fields.items()}

    def write(self, folder: Path) -> list[Path]:
        """Write the pictures into a folder, which is created; the files."""
        return [write_file(folder / name, content) for name, content in self.pictures.items()]


@dataclass(frozen=True, eq=False)
class _Predictions:
    """Of one network for S samples, with flip test."""

    heatmaps: Tensor  # (S, K, h, w)
    points: NDArray[np.float64]  # (S, K, 2) x, y in pixels of the crop
    scores: NDArray[np.float64]  # (S, K)


def draw_networks(
    checkpoints: Mapping[str, str | Path],
    data: KeypointDataModule,
    count: int,
    layer: str | None = None,
) -> Views:
    """Draw receptive fields, learnt filters, skeletons and heatmaps of checkpoints.

    Parameters
    ----------
    checkpoints : mapping
        Checkpoints of pose networks by the names to show.
    data : KeypointDataModule
        Its validation split is used.
    count : int
        Validation persons to use, spread over the split.
    layer : str, optional
        Module whose centre is looked at, by default the heatmaps.

    Raises
    ------
    ValueError
        If a network was trained for another input size or skeleton than the data have.
    FileNotFoundError
        If there is no such checkpoint.
    """
    models = {name: _load(name, path, data) for name, path in checkpoints.items()}
    samples = _samples(data, count)
    images = torch.stack([sample["image"] for sample in samples])
    pixels = normalise(images)
    fields = {n: effective_receptive_field(model, pixels, layer) for n, model in models.items()}
    pictures = {RECEPTIVE_FIELD: receptive_field_figure(fields)}
    for name, model in models.items():
        figure = filter_figure(model)
        if figure is not None:
            pictures[filters_name(name)] = figure
    predictions = {name: _predict(model, images, data) for name, model in models.items()}
    chosen = _good_and_bad(predictions, samples, data)
    pictures[SKELETONS] = encode(_skeletons(predictions, samples, chosen, data.skeleton))
    pictures[HEATMAPS] = encode(_heatmaps(predictions, images, chosen))
    return Views(fields, pictures)


def draw_crops(
    images: Sequence[Tensor], points: NDArray[Any], scores: NDArray[Any], skeleton: Skeleton
) -> list[NDArray[np.uint8]]:
    """Draw a skeleton on each of S crops, which are enlarged twice.

    Parameters
    ----------
    images : sequence of Tensor
        Each (H, W, 3) uint8 RGB.
    points : ndarray
        (S, K, 2) x, y in pixels of the crop.
    scores : ndarray
        (S, K); joints with a score of at most `DRAWN_SCORE` are left out.
    skeleton : Skeleton
        Names, edges and sides.

    Returns
    -------
    list of ndarray
        Each (2 H, 2 W, 3) uint8 RGB.
    """
    enlarged = _ENLARGED * points + (_ENLARGED - 1) / 2
    return [
        draw_poses(_enlarge(image), at[None], score[None], skeleton, DRAWN_SCORE)
        for image, at, score in zip(images, enlarged, scores, strict=True)
    ]


def annotated(samples: Sequence[Sample]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Joints (S, K, 2) of S samples, x, y in pixels of the crop, and their visibility (S, K)."""
    joints = torch.stack([sample["joints"] for sample in samples]).numpy()
    return joints, torch.stack([sample["visible"] for sample in samples]).numpy()


def _load(name: str, path: str | Path, data: KeypointDataModule) -> nn.Module:
    """Network of a checkpoint, which must fit the data."""
    model, skeleton, size = load_pose_network(path)
    if size != data.input_size or skeleton != data.skeleton:
        raise ValueError(
            f"--ckpt {name}: a model for {size[0]}x{size[1]} and {skeleton.num_joints} joints, "
            f"the data are {data.input_size[0]}x{data.input_size[1]} (H x W) with "
            f"{data.skeleton.num_joints}, or joints of other names"
        )
    return model


def _samples(data: KeypointDataModule, count: int) -> list[Sample]:
    """Validation samples spread over the whole split."""
    data.setup("validate")
    dataset = data.datasets["val"]
    indices = np.unique(np.linspace(0, len(dataset) - 1, min(count, len(dataset))).round())
    return [dataset[int(i)] for i in indices]


def _predict(model: nn.Module, images: Tensor, data: KeypointDataModule) -> _Predictions:
    with torch.inference_mode():
        pairs = [
            (model(normalise(batch)), model(normalise(batch.flip(2)))) for batch in images.split(8)
        ]
    plain, mirrored = (torch.cat(parts) for parts in zip(*pairs, strict=True))
    heatmaps = (plain + flip_heatmaps(mirrored, data.skeleton.flip_permutation)) / 2
    size = (int(heatmaps.shape[2]), int(heatmaps.shape[3]))
    codec = HeatmapCodec(data.input_size, size, default_sigma(data.input_size))
    points, scores = codec.decode(heatmaps)
    return _Predictions(heatmaps, codec.to_crop(points).double().numpy(), scores.double().numpy())


def _good_and_bad(
    predictions: Mapping[str, _Predictions], samples: Sequence[Sample], data: KeypointDataModule
) -> list[int]:
    """Samples with the least and the greatest mean error of all networks, in that order."""
    joints, visible = annotated(samples)
    errors = np.mean(
        [np.linalg.norm(p.points - joints, axis=2) for p in predictions.values()], axis=0
    )
    limit = 0.5 * np.hypot(*data.input_size)
    known = visible > 0
    total = (np.minimum(errors, limit) * known).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
    order: list[int] = np.argsort(total, kind="stable").tolist()
    return order[:_CASES] + order[_CASES:][-_CASES:]


def _skeletons(
    predictions: Mapping[str, _Predictions],
    samples: Sequence[Sample],
    chosen: Sequence[int],
    skeleton: Skeleton,
) -> NDArray[np.uint8]:
    """One row of the annotated persons, and one for each network."""
    images = [samples[i]["image"] for i in chosen]
    pictures = draw_crops(images, *annotated([samples[i] for i in chosen]), skeleton)
    for found in predictions.values():
        pictures += draw_crops(images, found.points[chosen], found.scores[chosen], skeleton)
    return _with_names(contact_sheet(pictures, len(chosen)), ["annotated", *predictions])


def _heatmaps(
    predictions: Mapping[str, _Predictions], images: Tensor, chosen: Sequence[int]
) -> NDArray[np.uint8]:
    """For each network a row of the greatest heatmap value of all joints over the dark image."""
    pictures = []
    for prediction in predictions.values():
        for i in chosen:
            image = _enlarge(images[i])
            values = prediction.heatmaps[i].amax(dim=0).clamp(0, 1).numpy()
            values = cv2.resize(values, image.shape[1::-1], interpolation=cv2.INTER_LINEAR)
            colour = 255 * colormaps["inferno"](values)[..., :3]
            pictures.append(np.clip(0.35 * image + colour, 0, 255).astype(np.uint8))
    return _with_names(contact_sheet(pictures, len(chosen)), list(predictions))


def _with_names(sheet: NDArray[np.uint8], names: Sequence[str]) -> NDArray[np.uint8]:
    """The sheet with a name to the left of each of its rows, which are equally high."""
    font, scale = cv2.FONT_HERSHEY_SIMPLEX, 0.6
    sizes = [cv2.getTextSize(name, font, scale, 1)[0] for name in names]
    margin = np.full((len(sheet), max(width for width, _ in sizes) + 16, 3), 255, np.uint8)
    for row, (name, (_, height)) in enumerate(zip(names, sizes, strict=True)):
        middle = round((row + 0.5) * len(sheet) / len(names))
        place = (8, middle + height // 2)
        cv2.putText(margin, name, place, font, scale, (0, 0, 0), 1, cv2.LINE_AA)
    return np.hstack((margin, sheet))


def _enlarge(image: Tensor) -> NDArray[np.uint8]:
    pixels: NDArray[np.uint8] = image.numpy()
    return pixels.repeat(_ENLARGED, axis=0).repeat(_ENLARGED, axis=1)
