"""What trained pose networks see and predict, side by side, as pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

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
from .figures import filter_figure
from .names import HEATMAPS, RECEPTIVE_FIELD, SKELETONS, filters_name
from .receptive_field import ReceptiveField, effective_receptive_field, receptive_field_figure

_DRAWN_SCORE = 0.1
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
        """Shares of gradient energy and absolute gradient outside the central 25 %, by name."""
        return {
            name: {"energy_outside": f.energy_outside, "absolute_outside": f.absolute_outside}
            for name, f in self.fields.items()
        }

    def write(self, folder: Path) -> list[Path]:
        """Write the pictures into a folder, which is created; the files."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in self.pictures.items():
            (folder / name).write_bytes(content)
        return [folder / name for name in self.pictures]


@dataclass(frozen=True, eq=False)
class _Predictions:
    """Predictions of one network for S samples.

    Attributes
    ----------
    heatmaps : Tensor
        (S, K, h, w), with flip test.
    points, scores : ndarray
        (S, K, 2) x, y in pixels of the crop, and (S, K).
    """

    heatmaps: Tensor
    points: NDArray[np.float64]
    scores: NDArray[np.float64]


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
    models = {}
    for name, path in checkpoints.items():
        models[name], skeleton, size = load_pose_network(path)
        if size != data.input_size or skeleton != data.skeleton:
            raise ValueError(
                f"--ckpt {name}: a model for {size[0]}x{size[1]} and {skeleton.num_joints} joints, "
                f"the data are {data.input_size[0]}x{data.input_size[1]} (H x W) with "
                f"{data.skeleton.num_joints}, or joints of other names"
            )
    samples = _samples(data, count)
    images = torch.stack([sample["image"] for sample in samples])
    fields = {
        name: effective_receptive_field(model, normalise(images), layer)
        for name, model in models.items()
    }
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
    joints = np.stack([sample["joints"].numpy() for sample in samples])
    visible = np.stack([sample["visible"].numpy() for sample in samples]) > 0
    errors = np.mean(
        [np.linalg.norm(p.points - joints, axis=2) for p in predictions.values()], axis=0
    )
    limit = 0.5 * np.hypot(*data.input_size)
    total = (np.minimum(errors, limit) * visible).sum(axis=1) / np.maximum(visible.sum(axis=1), 1)
    order = np.argsort(total, kind="stable")
    if len(order) <= 2 * _CASES:
        return order.tolist()
    return [*order[:_CASES].tolist(), *order[-_CASES:].tolist()]


def _skeletons(
    predictions: Mapping[str, _Predictions],
    samples: Sequence[Sample],
    chosen: Sequence[int],
    skeleton: Skeleton,
) -> NDArray[np.uint8]:
    """One row of the annotated persons, and one for each network."""
    rows = [[(samples[i]["joints"].numpy(), samples[i]["visible"].numpy()) for i in chosen]]
    rows += [[(p.points[i], p.scores[i]) for i in chosen] for p in predictions.values()]
    pictures = [
        draw_poses(
            _enlarged(samples[i]["image"].numpy()),
            _ENLARGED * points[None] + (_ENLARGED - 1) / 2,
            scores[None],
            skeleton,
            _DRAWN_SCORE,
        )
        for row in rows
        for i, (points, scores) in zip(chosen, row, strict=True)
    ]
    return _with_names(contact_sheet(pictures, columns=len(chosen)), ["annotated", *predictions])


def _heatmaps(
    predictions: Mapping[str, _Predictions], images: Tensor, chosen: Sequence[int]
) -> NDArray[np.uint8]:
    """For each network a row of the greatest heatmap value of all joints over the dark image."""
    pictures = []
    for prediction in predictions.values():
        for i in chosen:
            image = _enlarged(images[i].numpy())
            values = prediction.heatmaps[i].amax(dim=0).clamp(0, 1).numpy()
            values = cv2.resize(values, image.shape[1::-1], interpolation=cv2.INTER_LINEAR)
            colour = 255 * colormaps["inferno"](values)[..., :3]
            pictures.append(np.clip(0.35 * image + colour, 0, 255).astype(np.uint8))
    return _with_names(contact_sheet(pictures, columns=len(chosen)), list(predictions))


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


def _enlarged(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return image.repeat(_ENLARGED, axis=0).repeat(_ENLARGED, axis=1)
