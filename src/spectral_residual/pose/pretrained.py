"""Trained pose networks by name: what they hold, and poses of images in memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from ..training.pretrained import PretrainedModel
from ..training.timm_trunk import PREFIX
from .dataset import normalise
from .geometry import box_to_center_size, check_boxes, crop_matrix, warp
from .heatmap import HeatmapCodec, default_sigma, flip_test
from .network import HEATMAP_STRIDE, PoseNetwork, SimpleBaseline, described_network
from .skeleton import Skeleton

_BATCH = 16


class ImagePoses(NamedTuple):
    """Poses of M boxes of an image.

    Attributes
    ----------
    keypoints : ndarray
        (M, K, 2) float64: x, y in image pixels, pixel centres being integers.
    scores : ndarray
        (M, K) float32: height of each joint's peak, 1 at best.
    """

    keypoints: NDArray[np.float64]
    scores: NDArray[np.float32]


class PoseModel(PretrainedModel[SimpleBaseline]):
    """A trained pose network with its skeleton and the size of its crops.

    Attributes
    ----------
    skeleton : Skeleton
        Joints of the heatmaps.
    input_size : (int, int)
        Height and width (H, W) of the crops.
    codec : HeatmapCodec
        From heatmaps to joints.
    """

    task: ClassVar[str] = "pose"
    hub_task: ClassVar[str] = "keypoint-detection"

    def __init__(self, network: SimpleBaseline, stored: Mapping[str, Any], *args: Any) -> None:
        super().__init__(network, stored, *args)
        height, width = stored["input_size"]
        self.input_size: tuple[int, int] = (height, width)
        self.skeleton = Skeleton.from_dict(stored["skeleton"])
        heatmap_size = (height // HEATMAP_STRIDE, width // HEATMAP_STRIDE)
        self.codec = HeatmapCodec(self.input_size, heatmap_size, default_sigma(self.input_size))

    @classmethod
    def build(cls, stored: Mapping[str, Any]) -> SimpleBaseline:
        """The network of a description, with any weights."""
        return described_network(stored)

    def details(self) -> dict[str, str]:
        """What the card tells of the network: a line by its name."""
        network = asdict(PoseNetwork(**self.stored["network"]).placed(self.network))
        height, width = self.input_size
        needed = {"Needs": "timm"} if network["backbone"].startswith(PREFIX) else {}
        count = len(self.network.deconvolutions)
        return {
            "Network": f"Top-down human pose estimation with {network['backbone']}",
            "Trunk": f"{network['backbone']}, its output at 1/{self.network.backbone.stride}",
            "Deconvolutions": f"{count} of {network['deconv_channels']} channels"
            if count
            else "none",
            **needed,
            **self.block_details(network),
            "Input": f"crops of {height}x{width} (H x W), RGB, ImageNet mean and deviation",
            "Output": f"heatmaps of {self.skeleton.num_joints} joints at a quarter of it",
            "Joints": ", ".join(self.skeleton.names),
        }

    def heatmaps(self, crops: Tensor) -> Tensor:
        """Heatmaps (N, K, H / 4, W / 4), float32, of uint8 RGB crops (N, H, W, 3).

        With the flip test, if it is known which joints swap.
        """
        swaps = bool(self.skeleton.flip_pairs) or self.skeleton.num_joints == 1
        if not swaps:
            return self._plain_heatmaps(crops)
        return flip_test(self._plain_heatmaps, crops, self.skeleton.flip_permutation)

    @torch.inference_mode()
    def predict(self, image: NDArray[np.uint8], boxes: ArrayLike | None = None) -> ImagePoses:
        """Find the joints of one person in each box.

        Parameters
        ----------
        image : ndarray
            (H, W, 3) uint8 RGB.
        boxes : array-like, optional
            (M, 4): left, top, width, height in pixels, as of a detector; by default one box, the
            whole image.

        Returns
        -------
        ImagePoses
            One pose for each box, in their order.

        Raises
        ------
        ValueError
            If the image is not such an array, or a box has no extent.
        """
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
            raise ValueError(
                f"image: got {image.dtype} {image.shape}, expected uint8 (H, W, 3), RGB"
            )
        if boxes is None:
            boxes = [[0, 0, max(image.shape[1] - 1, 1), max(image.shape[0] - 1, 1)]]
        corners, image = check_boxes(boxes), np.ascontiguousarray(image)
        parts = [
            self._poses(image, corners[i : i + _BATCH]) for i in range(0, len(corners), _BATCH)
        ]
        count = self.skeleton.num_joints
        empty = ImagePoses(np.zeros((0, count, 2)), np.zeros((0, count), np.float32))
        keypoints, scores = (np.concatenate(arrays) for arrays in zip(empty, *parts, strict=True))
        return ImagePoses(keypoints, scores)

    def _poses(self, image: NDArray[np.uint8], boxes: NDArray[np.float64]) -> ImagePoses:
        aspect = self.input_size[1] / self.input_size[0]
        views = [box_to_center_size(box, aspect) for box in boxes]
        crops = [
            warp(image, crop_matrix(center, size, 0, self.input_size), self.input_size)
            for center, size in views
        ]
        coords, scores = self.codec.decode(self.heatmaps(torch.from_numpy(np.stack(crops))).cpu())
        centers, sizes = (torch.from_numpy(np.stack(values)) for values in zip(*views, strict=True))
        return ImagePoses(
            self.codec.to_image(coords, centers, sizes).double().numpy(), scores.numpy()
        )

    def _plain_heatmaps(self, crops: Tensor) -> Tensor:
        like = self.network.head.weight
        return self.network(normalise(crops.to(like.device)).to(like.dtype)).float()


def from_pretrained(name: str | Path, **options: Any) -> PoseModel:
    """Load a trained pose network; see `PretrainedModel.from_pretrained`.

    Parameters
    ----------
    name : str or path
        A folder, a checkpoint of training, a name of `packaged_names`, or ``owner/name`` on the
        hub.
    **options
        ``revision``, ``dtype``, and those of `huggingface_hub.snapshot_download`.

    Raises
    ------
    FileNotFoundError
        If there is nothing of that name, here or on the hub.
    ValueError
        If it is not a pose network, or its weights are not of the network that is described.
    """
    return PoseModel.from_pretrained(name, **options)
