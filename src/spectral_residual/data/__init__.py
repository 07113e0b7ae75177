"""Data in COCO's keypoint format: reading, cropping, heatmaps, generated people."""

from __future__ import annotations

from .augment import AugmentConfig
from .heatmap import HeatmapCodec
from .module import Joints, KeypointDataModule, Loading, PredictSource, Split
from .skeleton import COCO, Skeleton

__all__ = [
    "COCO",
    "AugmentConfig",
    "HeatmapCodec",
    "Joints",
    "KeypointDataModule",
    "Loading",
    "PredictSource",
    "Skeleton",
    "Split",
]
