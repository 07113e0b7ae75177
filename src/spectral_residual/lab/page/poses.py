"""What the pose tab shows of a network: skeleton, heatmaps, joints, effective receptive field."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from matplotlib import colormaps
from numpy.typing import NDArray
from torch import Tensor

from ...pose.dataset import normalise
from ...pose.drawing import draw_poses
from ...pose.geometry import apply_affine, box_to_center_size, crop_matrix, warp
from ...pose.pretrained import PoseModel
from ..viz.receptive_field import ReceptiveField, effective_receptive_field
from .pictures import Box, Picture, Point

DRAWN_SCORE = 0.1
"""Joints with a lower score are not drawn."""

ENERGY = 0.9
"""Share of the gradient's energy, for the radius that `Field.radius` gives."""

LEAST = 1e-4
"""Gradient, relative to the greatest, that and below which nothing is drawn."""

_HEIGHT = 480
_DIM, _DIM_FIELD = 0.35, 0.12
_MARK = (90, 230, 255)


@dataclass(frozen=True, eq=False)
class Found:
    """What a network finds in a box of a picture.

    Attributes
    ----------
    crop : ndarray
        (H, W, 3) uint8 RGB, what the network sees.
    matrix : ndarray
        (2, 3) from pixels of the picture to those of the crop.
    heatmaps : Tensor
        (K, H / 4, W / 4) float32, with the flip test.
    points : ndarray
        (K, 2) x, y in pixels of the picture.
    scores : ndarray
        (K,) height of each peak, 1 at best.
    """

    crop: Picture
    matrix: NDArray[np.float64]
    heatmaps: Tensor
    points: NDArray[np.float64]
    scores: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Field:
    """Effective receptive field of one position of the heatmaps.

    Attributes
    ----------
    picture : ndarray
        (h, w, 3) uint8 RGB: the enlarged field, relative to its greatest value, logarithmically,
        over the crop; a cross marks the position.
    radius : float
        In pixels of the crop: how far from the position `ENERGY` of the squared gradient lies.
    """

    picture: Picture
    radius: float


@torch.inference_mode()
def find_pose(model: PoseModel, picture: Picture, box: Box) -> Found:
    """Find the joints of the person in a box.

    Parameters
    ----------
    model : PoseModel
        The network.
    picture : ndarray
        (H, W, 3) uint8 RGB.
    box : tuple of float
        Left, top, width, height in pixels.
    """
    crop, matrix, center, size = _crop(model, picture, box)
    heatmaps = model.heatmaps(torch.from_numpy(crop)[None]).cpu()
    coords, scores = model.codec.decode(heatmaps)
    places = (torch.from_numpy(center)[None], torch.from_numpy(size)[None])
    points = model.codec.to_image(coords, *places)[0].double().numpy()
    return Found(crop, matrix, heatmaps[0], points, scores[0].numpy())


def skeleton_picture(model: PoseModel, picture: Picture, found: Found) -> Picture:
    """The picture with the skeleton drawn in; left side orange, right side blue."""
    return draw_poses(picture, found.points[None], found.scores[None], model.skeleton, DRAWN_SCORE)


def heatmap_picture(found: Found) -> Picture:
    """The greatest of all heatmaps, from 0 to 1, over the darkened crop; enlarged."""
    return _over(found.crop, found.heatmaps.amax(dim=0).clamp(0, 1).numpy(), "inferno", _DIM)


def joint_rows(names: Sequence[str], found: Sequence[Found]) -> list[list[str | float]]:
    """Rows of the table: a joint, and its x, y (pixels) and score by each network."""
    return [
        [
            name.replace("_", " "),
            *(
                round(float(number), digits)
                for one in found
                for number, digits in zip(
                    (*one.points[row], one.scores[row]), (1, 1, 2), strict=True
                )
            ),
        ]
        for row, name in enumerate(names)
    ]


def field_at(model: PoseModel, picture: Picture, box: Box, point: Point) -> Field:
    """Effective receptive field of the heatmaps at a point of the picture.

    It is the gradient of the sum of all heatmaps at the nearest position over the pixels of the
    crop; see `effective_receptive_field`.

    Parameters
    ----------
    model : PoseModel
        The network.
    picture : ndarray
        (H, W, 3) uint8 RGB.
    box : tuple of float
        Left, top, width, height in pixels.
    point : (float, float)
        x, y in pixels of the picture.

    Raises
    ------
    ValueError
        If the point is outside of the crop around the box.
    """
    crop, matrix, _, _ = _crop(model, picture, box)
    x, y = apply_affine(point, matrix).tolist()
    height, width = model.input_size
    if not (0 <= x <= width - 1 and 0 <= y <= height - 1):
        raise ValueError(
            "the point is outside of what the network sees: the box, enlarged by a quarter to the "
            f"shape of {height}x{width} (H x W)"
        )
    stride = model.codec.stride
    rows, columns = model.codec.heatmap_size
    at = (min(round(y / stride), rows - 1), min(round(x / stride), columns - 1))
    pixels = normalise(torch.from_numpy(crop)[None])
    field = effective_receptive_field(model.network, pixels, at=at)
    place = (at[1] * stride, at[0] * stride)
    return Field(_field_picture(field, crop, place), energy_radius(field, place))


def energy_radius(field: ReceptiveField, place: tuple[int, int]) -> float:
    """Distance in pixels within which `ENERGY` of a field lies from a place (x, y)."""
    rows, columns = np.indices(field.energy.shape)
    distances = np.hypot(columns - place[0], rows - place[1]).ravel()
    order = np.argsort(distances, kind="stable")
    reached = np.cumsum(field.energy.ravel()[order])
    index = int(np.searchsorted(reached, ENERGY * reached[-1]))
    return float(distances[order][index])


def _crop(
    model: PoseModel, picture: Picture, box: Box
) -> tuple[Picture, NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Crop around a box, its matrix, its centre and its padded size in the picture."""
    height, width = model.input_size
    center, size = box_to_center_size(box, width / height)
    matrix = crop_matrix(center, size, 0, model.input_size)
    return warp(picture, matrix, model.input_size), matrix, center, size


def _field_picture(field: ReceptiveField, crop: Picture, place: tuple[int, int]) -> Picture:
    relative = field.absolute / max(field.absolute.max(), np.finfo(np.float64).tiny)
    shown = 1 + np.log10(np.maximum(relative, LEAST)) / -np.log10(LEAST)
    picture = _over(crop, shown, "magma", _DIM_FIELD)
    factor = len(picture) / len(crop)
    at = (round((place[0] + 0.5) * factor), round((place[1] + 0.5) * factor))
    cv2.drawMarker(picture, at, _MARK, cv2.MARKER_CROSS, 18, 2)
    return picture


def _over(crop: Picture, values: NDArray[Any], colours: str, dim: float) -> Picture:
    """Values from 0 to 1, of any resolution, in colours over the darkened crop; enlarged."""
    factor = max(1, round(_HEIGHT / len(crop)))
    picture = crop.repeat(factor, axis=0).repeat(factor, axis=1)
    size = (picture.shape[1], picture.shape[0])
    fine = cv2.resize(values.astype(np.float32), size, interpolation=cv2.INTER_LINEAR)
    colour = 255 * colormaps[colours](fine)[..., :3]
    return np.clip(dim * picture + colour, 0, 255).astype(np.uint8)
