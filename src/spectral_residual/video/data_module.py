"""Lightning data module for labelled videos."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..errors import printable
from ..training.data_module import DataModule, Loading
from .augment import VideoAugment
from .dataset import ClipDataset, OnBroken
from .sampling import Clip, Views
from .sources import VideoItem, VideoSource, is_file, read_classes, read_source

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class VideoLoading(Loading):
    """How samples are loaded; `Loading`, and what videos need.

    Attributes
    ----------
    batch_size : int
        Training clips per process and step.
    workers : int
        Loader processes, each of which decodes on one core; 0 loads in the main process.
    max_broken_share : float
        Training stops when more than this share of its videos is unreadable; up to there they are
        replaced by others, named and counted.
    eval_batch_size : int
        Videos per step of evaluation, each with all its views.
    cache : str or None
        Folder, relative to the root, where each video is kept decoded from its first use on
        (frames * height * width * 3 bytes each): faster for small videos, too large for
        Kinetics.
    """

    batch_size: int = 16
    eval_batch_size: int = 1
    cache: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.eval_batch_size < 1:
            raise ValueError(
                f"data.loading.eval_batch_size: expected at least 1, got {self.eval_batch_size}"
            )


class VideoDataModule(DataModule):
    """Labelled videos: folders of classes, Kinetics' csv files, or lists of paths and labels.

    Parameters
    ----------
    root : str
        Folder that all other paths are relative to.
    train, val : VideoSource
        Training and validation videos.
    test : VideoSource, optional
        Test videos; the validation videos by default.
    predict : list of str, optional
        Video files to predict on, relative to the working directory; the test videos by default.
    classes : str, optional
        Text file with one class name per line, in the order of the class numbers. By default the
        classes of the training videos in alphabetical order.
    clip : Clip
        Frames and stride of a clip.
    input_size : (int, int)
        Height and width (H, W) of the clips.
    short_side : int
        Short side in pixels that frames are scaled to for evaluation.
    augment : VideoAugment
        Random scale, crop and mirroring in training.
    views : Views
        Clips and crops of each video in validate, test and predict.
    val_views : Views
        Clips and crops of each video in the validation during training.
    loading : VideoLoading
        Batch size, workers, unreadable videos, cache.
    on_broken : {"error", "count"}
        What validate and test do at an unreadable video: stop, or count it as missing. Validation
        during training and predict always count.
    seed : int
        Seed of shuffling, augmentation and the random views.

    Attributes
    ----------
    class_names : list of str
        In the order of the class numbers; empty if only videos to predict on are there.
    datasets : dict of str to ClipDataset
        Those of the current stage, by "train", "val", "test" and "predict".
    """

    unit = "videos"
    file_kind = "video"

    def __init__(
        self,
        root: str,
        train: VideoSource = VideoSource("train"),
        val: VideoSource = VideoSource("val"),
        test: VideoSource | None = None,
        predict: list[str] | None = None,
        classes: str | None = None,
        clip: Clip = Clip(),
        input_size: tuple[int, int] = (224, 224),
        short_side: int = 256,
        augment: VideoAugment = VideoAugment(),
        views: Views = Views(),
        val_views: Views = Views(1, "centre"),
        loading: VideoLoading = VideoLoading(),
        on_broken: Literal["error", "count"] = "error",
        seed: int = 0,
    ) -> None:
        super().__init__(root, loading, seed)
        self.eval_batch_size = loading.eval_batch_size
        self._cache = None if loading.cache is None else self.root / loading.cache
        self.sources = {"train": train, "val": val, "test": test or val}
        self.predict_files = predict
        self.clip = clip
        self.input_size = (int(input_size[0]), int(input_size[1]))
        self.short_side = short_side
        self.augment = augment
        self.views = views
        self.val_views = val_views
        self.on_broken = on_broken
        self._train_items: list[VideoItem] | None = None
        if classes is not None:
            self.class_names = read_classes(self.root / classes)
        elif predict and not (self.root / train.source).exists():
            self.class_names = []
        else:
            self._train_items, self.class_names = read_source(train, self.root)

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    @property
    def clip_frames(self) -> int:
        """Frames T of a clip."""
        return self.clip.frames

    def setup(self, stage: str) -> None:
        """Read the lists of videos of a stage."""
        evaluated: OnBroken = "raise" if self.on_broken == "error" else "report"
        if stage == "fit":
            self._add("train", self._training_items(), "replace", augment=self.augment)
            self._add("val", self._items("val"), "report", views=self.val_views)
        if stage == "validate":
            self._add("val", self._items("val"), evaluated, views=self.views)
        if stage == "test":
            self._add("test", self._items("test"), evaluated, views=self.views)
        if stage == "predict":
            self._add("predict", self._predicted_items(), "report", views=self.views)

    def sample_name(self, index: int) -> str:
        """File of a training video."""
        return printable(self.datasets["train"].items[index].path)

    @property
    def train_source(self) -> Path:
        """Folder or list of the training videos."""
        return self.root / self.sources["train"].source

    def _items(self, split: str) -> list[VideoItem]:
        return read_source(self.sources[split], self.root, self.class_names)[0]

    def _training_items(self) -> list[VideoItem]:
        if self._train_items is None:
            self._train_items = self._items("train")
        unknown = [item.path for item in self._train_items if item.label is None]
        if unknown:
            raise ValueError(
                f"data.train: {len(unknown)} of the {len(self._train_items)} videos have no "
                f"label, the first being {printable(unknown[0])}"
            )
        return self._train_items

    def _predicted_items(self) -> list[VideoItem]:
        if not self.predict_files:
            return self._items("test")
        items = [VideoItem(Path(file), None) for file in self.predict_files]
        missing = [printable(item.path) for item in items if not is_file(item.path)]
        if missing:
            raise FileNotFoundError(f"data.predict: no file {', '.join(missing)}")
        return items

    def _add(
        self,
        name: str,
        items: Sequence[VideoItem],
        on_broken: OnBroken,
        augment: VideoAugment | None = None,
        views: Views = Views(),
    ) -> None:
        log.info("%s: %d videos of %d classes", name, len(items), self.num_classes)
        self.datasets[name] = ClipDataset(
            items,
            self.clip,
            self.input_size,
            augment,
            short_side=self.short_side,
            views=views,
            seed=self.seed,
            on_broken=on_broken,
            cache=self._cache,
        )
