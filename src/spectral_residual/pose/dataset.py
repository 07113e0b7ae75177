"""Crops of persons with their joints, as samples for training and evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from .annotations import Instance
from .augment import PoseAugment
from .geometry import apply_affine, box_to_center_size, compose, crop_matrix, flip_matrix, warp
from .images import IMAGE_SUFFIXES, ImageError, read_image

Sample = dict[str, Any]

OnBroken = Literal["raise", "replace", "report"]

_REPLACEMENT_TRIES = 20


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
    padding : float, default 1.25
        Factor on the box after it got the aspect ratio of the crop.
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
        padding: float = 1.25,
        seed: int = 0,
        on_broken: OnBroken = "raise",
    ) -> None:
        self.instances = instances
        self.input_size = input_size
        self.augment = augment
        self.padding = padding
        self.seed = seed
        self.on_broken = on_broken

    def __len__(self) -> int:
        return len(self.instances)

    def __getitem__(self, key: int | tuple[int, int]) -> Sample:
        """Sample of an index, or of a pair (epoch, index) as `EpochSampler` yields it."""
        epoch, index = key if isinstance(key, tuple) else (0, key)
        rng = np.random.default_rng((self.seed, epoch, index))
        broken = -1
        for _ in range(_REPLACEMENT_TRIES):
            try:
                return self._crop(index, rng, broken)
            except ImageError:
                if self.on_broken == "raise":
                    raise
                broken = index
                if self.on_broken == "report":
                    return self._black(index)
                index = int(rng.integers(len(self)))
        raise ImageError(
            f"{_REPLACEMENT_TRIES} random images in a row are unreadable, the last one "
            f"{self.instances[index].file}"
        )

    def _crop(self, index: int, rng: np.random.Generator, broken: int) -> Sample:
        instance = self.instances[index]
        image = read_image(instance.file, instance.image_size)
        width = image.shape[1]
        aspect = self.input_size[1] / self.input_size[0]
        center, size = box_to_center_size(instance.box, aspect, self.padding)
        joints, visible = instance.joints, instance.visible
        if self.augment is None:
            matrix = crop_matrix(center, size, 0.0, self.input_size)
        else:
            view = self.augment(center, size, joints, visible, width, aspect, rng)
            center, size, joints, visible = view.center, view.size, view.joints, view.visible
            matrix = crop_matrix(center, size, view.rotation_deg, self.input_size)
        pixels = compose(matrix, flip_matrix(width)) if self.augment and view.flipped else matrix
        crop = warp(image, pixels, self.input_size)[:, :, ::-1]
        return {
            "image": torch.from_numpy(np.ascontiguousarray(crop)),
            "joints": torch.from_numpy(apply_affine(joints, matrix).astype(np.float32)),
            "visible": torch.from_numpy(np.asarray(visible, dtype=np.float32)),
            **self._identity(index, center, size, broken),
        }

    def _black(self, index: int) -> Sample:
        instance = self.instances[index]
        aspect = self.input_size[1] / self.input_size[0]
        center, size = box_to_center_size(instance.box, aspect, self.padding)
        return {
            "image": torch.zeros(*self.input_size, 3, dtype=torch.uint8),
            "joints": torch.zeros(len(instance.joints), 2),
            "visible": torch.zeros(len(instance.joints)),
            **self._identity(index, center, size, index),
        }

    def _identity(self, index: int, center: Any, size: Any, broken: int) -> Sample:
        instance = self.instances[index]
        return {
            "center": torch.from_numpy(np.asarray(center, dtype=np.float64)),
            "size": torch.from_numpy(np.asarray(size, dtype=np.float64)),
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
        Image files; each is read once, for its size. Unreadable ones keep a box of one pixel
        and are reported when they are cropped.
    num_joints : int
        Joints K of the skeleton.
    """
    joints = np.zeros((num_joints, 2), dtype=np.float32)
    instances = []
    for number, path in enumerate(paths):
        try:
            height, width = read_image(path).shape[:2]
        except ImageError:
            height, width = 2, 2
        box = np.array([0.0, 0.0, width - 1.0, height - 1.0])
        instances.append(Instance(number, Path(path), None, box, 1.0, joints, joints[:, 0]))
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
        raise FileNotFoundError(f"no folder {folder}")
    paths = sorted(p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)
    if not paths:
        raise ValueError(f"{folder} holds no image ({', '.join(IMAGE_SUFFIXES)})")
    return paths


def normalise(images: Tensor) -> Tensor:
    """Turn uint8 RGB crops (N, H, W, 3) into network input (N, 3, H, W), float32.

    ImageNet's mean and deviation; the result is laid out channels last in memory.
    """
    mean = torch.tensor([123.675, 116.28, 103.53], device=images.device)
    deviation = torch.tensor([58.395, 57.12, 57.375], device=images.device)
    return ((images.float() - mean) / deviation).permute(0, 3, 1, 2)
