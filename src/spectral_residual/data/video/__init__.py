"""Videos with classes: reading, sampling, cropping, loading."""

from __future__ import annotations

from .augment import VideoAugment, normalise_video, test_crops, train_clip
from .cache import CachedReader
from .dataset import ClipDataset
from .module import VideoDataModule, VideoLoading
from .reader import VideoError, VideoReader, read_all
from .sampling import Clip, Views, train_indices, view_indices
from .sources import VideoItem, VideoSource, read_classes, read_source

__all__ = [
    "CachedReader",
    "Clip",
    "ClipDataset",
    "VideoAugment",
    "VideoDataModule",
    "VideoError",
    "VideoItem",
    "VideoLoading",
    "VideoReader",
    "VideoSource",
    "Views",
    "normalise_video",
    "read_all",
    "read_classes",
    "read_source",
    "test_crops",
    "train_clip",
    "train_indices",
    "view_indices",
]
