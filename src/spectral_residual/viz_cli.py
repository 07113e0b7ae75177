"""``srl viz``: what trained pose networks see, side by side."""

from __future__ import annotations

import argparse
import json
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

from .data.heatmap import HeatmapCodec, default_sigma, flip_heatmaps
from .data.keypoints import Sample, normalise
from .data.module import KeypointDataModule
from .data.skeleton import Skeleton
from .receptive_field import effective_receptive_field, receptive_field_figure
from .report import filter_figure
from .tasks import load_pose_network
from .tasks.pose_cli import pose_cli
from .visualize import contact_sheet, draw_poses

_DRAWN_SCORE = 0.1
_ENLARGED = 2
_CASES = 5


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


def main(arguments: list[str]) -> int:
    """Run ``srl viz``; further options are those of ``srl pose fit``, for the data."""
    parser = argparse.ArgumentParser(
        prog="srl viz",
        description="For checkpoints of pose models: the effective receptive field, W and B of "
        "every spectral ReLU over frequency, and heatmaps and skeletons of persons that are "
        "predicted well and badly. All other options, --config first of all, are those of "
        "'srl pose fit'; they say which validation data to use.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add(
        "--ckpt", nargs="+", required=True, metavar="[NAME=]FILE",
        help="checkpoints with the names to show",
    )  # fmt: skip
    add("--output", type=Path, default=Path("runs/viz"), help="folder (default: runs/viz)")
    add("--layer", help="module whose centre is looked at (default: the heatmaps)")
    add("--images", type=int, default=32, help="validation persons to use (default: 32)")
    add("--json", action="store_true", help="print one JSON object")
    own, rest = parser.parse_known_args(arguments)
    if own.images < 1:
        raise ValueError(f"--images must be positive, got {own.images}")
    networks = {name: load_pose_network(path) for name, path in _named(own.ckpt).items()}
    data = pose_cli(rest, run=False).datamodule
    for name, (_, skeleton, size) in networks.items():
        if size != data.input_size or skeleton != data.skeleton:
            raise ValueError(
                f"--ckpt {name}: a model for {size[0]}x{size[1]} and {skeleton.num_joints} joints, "
                f"the data are {data.input_size[0]}x{data.input_size[1]} (H x W) with "
                f"{data.skeleton.num_joints}, or joints of other names"
            )
    samples = _samples(data, own.images)
    own.output.mkdir(parents=True, exist_ok=True)
    models = {name: network for name, (network, _, _) in networks.items()}
    summary = _write(models, samples, data, own.output, own.layer)
    if own.json:
        print(json.dumps(summary))
        return 0
    print(
        f"share of the gradient energy outside the central 25 % of the image, {own.images} persons"
    )
    for name, found in summary["receptive_field"].items():
        print(f"{name:20} {100 * found['energy_outside']:6.1f} %")
    for file in summary["files"]:
        print(file)
    return 0


def _write(
    models: Mapping[str, nn.Module],
    samples: Sequence[Sample],
    data: KeypointDataModule,
    output: Path,
    layer: str | None,
) -> dict[str, Any]:
    """Write all pictures; shares of the receptive fields, and names of the files."""
    images = torch.stack([sample["image"] for sample in samples])
    fields = {
        name: effective_receptive_field(model, normalise(images), layer)
        for name, model in models.items()
    }
    pictures = {"receptive_field.png": receptive_field_figure(fields)}
    for name, model in models.items():
        figure = filter_figure(model)
        if figure is not None:
            pictures[f"filters_{name}.png"] = figure
    predictions = {name: _predict(model, images, data) for name, model in models.items()}
    chosen = _good_and_bad(predictions, samples, data)
    pictures["skeletons.png"] = _png(_skeletons(predictions, samples, chosen, data.skeleton))
    pictures["heatmaps.png"] = _png(_heatmaps(predictions, images, chosen))
    for name, content in pictures.items():
        (output / name).write_bytes(content)
    shares = {
        name: {"energy_outside": f.energy_outside, "absolute_outside": f.absolute_outside}
        for name, f in fields.items()
    }
    return {"receptive_field": shares, "files": [str(output / name) for name in pictures]}


def _named(values: Sequence[str]) -> dict[str, str]:
    named: dict[str, str] = {}
    for value in values:
        name, equals, path = value.partition("=")
        key = name if equals else Path(value).stem
        if key in named:
            raise ValueError(f"--ckpt: two checkpoints are called {key!r}; write NAME=FILE")
        named[key] = path if equals else value
    return named


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


def _png(image: NDArray[np.uint8]) -> bytes:
    written, content = cv2.imencode(".png", image[:, :, ::-1])
    if not written:
        raise OSError("OpenCV could not write a PNG")
    return content.tobytes()
