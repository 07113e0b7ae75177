"""Crops of persons out of images, as samples."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from ..errors import printable
from .annotations import Instance
from .augment import PoseAugment, View
from .geometry import apply_affine, box_to_center_size, crop_matrix, mirror_first, warp
from .images import ImageError, image_size, read_image

Sample = dict[str, Any]

OnBroken = Literal["raise", "replace", "report"]

_IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
_REPLACEMENT_TRIES = 20

log = logging.getLogger(__name__)


class KeypointDataset(Dataset[Sample]):
    """Person crops of a fixed size.

    A sample depends only on (seed, epoch, index), not on workers or on what came before.

    Parameters
    ----------
    instances : sequence of Instance
        Persons to crop.
    input_size : (int, int)
        Height and width (H, W) of the crops.
    augment : PoseAugment, optional
        Random scale, rotation, flip; None crops the padded box as it is.
    seed : int
        Seed of all random choices.
    on_broken : {"raise", "replace", "report"}
        What an unreadable image does: raise `ImageError`; be replaced by another random sample,
        with ``broken`` naming the instance; or yield a black crop with ``broken`` set.

    Notes
    -----
    A sample is a dict of tensors: ``image`` (H, W, 3) uint8 RGB; ``joints`` (K, 2) float32 in
    crop pixels; ``visible`` (K,) float32, 0 or 1; ``center`` and ``size`` (2,) float64, the
    cropped box in image pixels (x, y and width, height); ``index`` and ``image_id`` int64;
    ``score`` float64 of the box; ``broken`` int64, the index of an unreadable instance or -1.
    """

    def __init__(
        self,
        instances: Sequence[Instance],
        input_size: tuple[int, int],
        augment: PoseAugment | None = None,
        *,
        seed: int = 0,
        on_broken: OnBroken = "raise",
    ) -> None:
        self.instances = instances
        self.input_size = input_size
        self.augment = augment
        self.seed = seed
        self.on_broken = on_broken

    def __len__(self) -> int:
        return len(self.instances)

    def __getitem__(self, key: int | tuple[int, int]) -> Sample:
        """Sample of an index, or of a pair (epoch, index) as `EpochSampler` yields it."""
        epoch, index = key if isinstance(key, tuple) else (0, key)
        rng = np.random.default_rng((self.seed, epoch, index))
        broken, reason = -1, ""
        for _ in range(_REPLACEMENT_TRIES):
            try:
                return self._crop(index, rng, broken)
            except ImageError as error:
                if self.on_broken == "raise":
                    raise
                broken, reason = index, str(error)
                if self.on_broken == "report":
                    return self._black(index)
                index = int(rng.integers(len(self)))
        raise ImageError(
            f"{_REPLACEMENT_TRIES} random images in a row are unreadable; the last: {reason}"
        )

    def _crop(self, index: int, rng: np.random.Generator, broken: int) -> Sample:
        instance = self.instances[index]
        image = read_image(instance.file, instance.image_size, instance.apply_exif)
        width, view = image.shape[1], self._view(instance)
        if self.augment is not None:
            view = self.augment(view, width, self._aspect, rng)
        matrix = crop_matrix(view.center, view.size, view.rotation_deg, self.input_size)
        of_image = mirror_first(matrix, width) if view.flipped else matrix
        crop = np.ascontiguousarray(warp(image, of_image, self.input_size)[:, :, ::-1])
        joints = apply_affine(view.joints, matrix)
        return self._sample(index, crop, replace(view, joints=joints), broken)

    def _black(self, index: int) -> Sample:
        crop = np.zeros((*self.input_size, 3), dtype=np.uint8)
        view = self._view(self.instances[index])
        nothing = replace(view, joints=0 * view.joints, visible=0 * view.visible)
        return self._sample(index, crop, nothing, broken=index)

    @property
    def _aspect(self) -> float:
        return self.input_size[1] / self.input_size[0]

    def _view(self, instance: Instance) -> View:
        center, size = box_to_center_size(instance.box, self._aspect)
        return View(center, size, instance.joints, instance.visible)

    def _sample(self, index: int, crop: NDArray[np.uint8], view: View, broken: int) -> Sample:
        instance = self.instances[index]
        return {
            "image": torch.from_numpy(crop),
            "joints": torch.from_numpy(view.joints.astype(np.float32)),
            "visible": torch.from_numpy(view.visible.astype(np.float32)),
            "center": torch.from_numpy(view.center),
            "size": torch.from_numpy(view.size),
            "index": torch.tensor(index),
            "image_id": torch.tensor(instance.image_id),
            "score": torch.tensor(instance.score, dtype=torch.float64),
            "broken": torch.tensor(broken),
        }


def image_instances(paths: Sequence[str | Path], num_joints: int) -> list[Instance]:
    """Instances that cover whole images, for prediction without boxes.

    Parameters
    ----------
    paths : sequence of path
        Image files, which are turned as their EXIF orientation says; each is read once, for its
        size. Unreadable ones keep a box of one pixel and are reported when they are cropped.
    num_joints : int
        Joints K of the skeleton.
    """
    joints = np.zeros((num_joints, 2), dtype=np.float32)
    instances = []
    for number, path in enumerate(paths):
        try:
            height, width = image_size(path)
        except ImageError:
            height, width = 2, 2
        box = np.array([0.0, 0.0, max(width - 1.0, 1.0), max(height - 1.0, 1.0)])
        instances.append(
            Instance(number, Path(path), None, box, 1.0, joints, joints[:, 0], apply_exif=True)
        )
    return instances


def list_images(folder: str | Path) -> list[Path]:
    """Image files of a folder, sorted by name.

    Raises
    ------
    FileNotFoundError
        If there is no such folder.
    ValueError
        If it holds no image.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder {printable(folder)}")
    paths = sorted(p for p in folder.iterdir() if p.suffix.lower() in _IMAGE_SUFFIXES)
    if not paths:
        raise ValueError(f"{printable(folder)} holds no image ({', '.join(_IMAGE_SUFFIXES)})")
    return paths


def report_broken(dataset: KeypointDataset, indices: Iterable[int]) -> None:
    """Log each unreadable image of a data set once, with the reason.

    Parameters
    ----------
    dataset : KeypointDataset
        Gives the image files.
    indices : iterable of int
        ``broken`` of the samples.
    """
    instances = [dataset.instances[index] for index in indices if index >= 0]
    for instance in {instance.file: instance for instance in instances}.values():
        try:
            read_image(instance.file, instance.image_size, instance.apply_exif)
            log.warning("left out: image %s could not be read before", printable(instance.file))
        except ImageError as error:
            log.warning("left out: %s", error)


def normalise(images: Tensor) -> Tensor:
    """Turn uint8 RGB crops (N, H, W, 3) into network input (N, 3, H, W), float32.

    ImageNet's mean and deviation; the result is laid out channels last in memory.
    """
    mean = torch.tensor([123.675, 116.28, 103.53], device=images.device)
    deviation = torch.tensor([58.395, 57.12, 57.375], device=images.device)
    return ((images.float() - mean) / deviation).permute(0, 3, 1, 2)
