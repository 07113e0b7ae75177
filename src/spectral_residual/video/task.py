"""Video classification with Lightning: what one step does, and what is measured."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import lightning
import torch
import torch.nn.functional as F
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor
from torch.optim import SGD

from ..training.broken import BrokenSamples
from ..training.optim import ParameterOptions, build_optimizer, with_schedule
from .augment import normalise_video
from .data_module import VideoDataModule
from .network import (
    CHECKPOINT_KEY,
    TRAINING_OPTIONS,
    VideoNetwork,
    build_video_network,
    check_same_network,
    trunk_normalisations,
    view_probabilities,
)
from .predict import print_guesses, write_predictions
from .results import (
    VideoCollector,
    VideoScores,
    class_pairs,
    folder_labels,
    print_evaluation,
    report_missing,
    write_evaluation,
)


@dataclass(frozen=True)
class VideoEvaluation:
    """How videos are scored and measured.

    Attributes
    ----------
    pairs : list of (str, str)
        Names of classes that differ in the direction of time alone: among the videos of a pair
        only its two scores are compared, for the metric ``direction``.
    clips_per_forward : int
        Views that go through the network together, however many a video has.
    """

    pairs: list[tuple[str, str]] = field(default_factory=list)
    clips_per_forward: int = 32

    def __post_init__(self) -> None:
        if self.clips_per_forward < 1:
            raise ValueError(
                "model.evaluation.clips_per_forward: expected at least 1, got "
                f"{self.clips_per_forward}"
            )


class VideoTask(lightning.LightningModule):
    """C2D trained with cross-entropy, evaluated by the average of many views of each video.

    Parameters
    ----------
    network : VideoNetwork
        Trunk and blocks.
    optimizer : callable
        Takes parameter groups and returns an optimiser; by default SGD with a rate of 0.01 (for
        64 clips per step), Nesterov momentum 0.9 and weight decay 1e-4, which spares
        normalisations, biases and spectral filters.
    lr_scheduler : callable, optional
        Takes the optimiser and returns a schedule.
    schedule_interval : {"epoch", "step"}
        When the schedule is stepped.
    parameter_options : dict, optional
        Learning rate and weight decay of single parameters by shell pattern of their names, e.g.
        ``{"*.alpha": {"lr_mult": 10}}``; see `ParameterOptions`.
    label_smoothing : float
        Share of the target that is spread over all classes, in [0, 1].
    mixup : float
        Parameter of the symmetric Beta distribution that two clips and their targets are mixed
        with (Zhang et al., "mixup", ICLR 2018); 0 mixes none.
    evaluation : VideoEvaluation
        Pairs of classes, views per forward pass.
    clip_frames : int
        Frames T of a clip; the command line takes it from the data.
    input_size : (int, int)
        Height and width (H, W) of the clips; the command line takes it from the data.
    class_names : list of str
        In the order of the scores; the command line takes them from the data.
    """

    def __init__(
        self,
        network: VideoNetwork = VideoNetwork(),
        optimizer: OptimizerCallable = lambda p: SGD(
            p, lr=0.01, momentum=0.9, nesterov=True, weight_decay=1e-4
        ),
        lr_scheduler: LRSchedulerCallable | None = None,
        schedule_interval: Literal["epoch", "step"] = "epoch",
        parameter_options: dict[str, ParameterOptions] | None = None,
        label_smoothing: float = 0.0,
        mixup: float = 0.0,
        evaluation: VideoEvaluation = VideoEvaluation(),
        clip_frames: int = 8,
        input_size: tuple[int, int] = (224, 224),
        class_names: Sequence[str] = (),
    ) -> None:
        super().__init__()
        if not class_names:
            raise ValueError("model.class_names: got none, expected at least one class")
        if not 0 <= label_smoothing <= 1 or mixup < 0:
            raise ValueError(
                "model: expected label_smoothing in [0, 1] and mixup >= 0, got "
                f"{label_smoothing} and {mixup}"
            )
        class_pairs(evaluation.pairs, class_names)
        self.network_config = network
        self.clip_frames = clip_frames
        self.input_size = (int(input_size[0]), int(input_size[1]))
        self.class_names = list(class_names)
        self.evaluation = evaluation
        self.label_smoothing = label_smoothing
        self.mixup = mixup
        self.make_optimizer = optimizer
        self.make_scheduler = lr_scheduler
        self.schedule_interval = schedule_interval
        self.parameter_options = parameter_options
        self.network = build_video_network(
            network,
            num_classes=len(self.class_names),
            frames=clip_frames,
            input_size=self.input_size,
        )
        self._frozen = (
            trunk_normalisations(self.network, network.backbone) if network.frozen_bn else []
        )
        self.train()
        self.metrics: dict[str, float] = {}
        self._collector = VideoCollector()
        self._broken: BrokenSamples | None = None
        self._reported: set[Path] = set()
        self._epoch_start = 0.0
        self._epoch_seconds = 0.0
        self._epoch_clips = 0

    def train(self, mode: bool = True) -> VideoTask:
        """Set training or evaluation mode; frozen normalisations stay in evaluation mode."""
        super().train(mode)
        for module in self._frozen:
            module.eval()
        return self

    def forward(self, clips: Tensor) -> Tensor:
        """Scores (N, classes), before the softmax, of uint8 RGB clips (N, T, H, W, 3)."""
        return self.network(normalise_video(clips))

    def loss(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Cross-entropy of a training batch, with label smoothing and mixup if they are on."""
        clips, labels = normalise_video(batch["video"]), batch["label"]
        if self.mixup == 0:
            return self._cross_entropy(self.network(clips), labels)
        share = float(torch.distributions.Beta(self.mixup, self.mixup).sample())
        partner = torch.randperm(len(labels), device=labels.device)
        scores = self.network(share * clips + (1 - share) * clips[partner])
        own, other = (self._cross_entropy(scores, x) for x in (labels, labels[partner]))
        return share * own + (1 - share) * other

    def view_probabilities(self, views: Tensor) -> Tensor:
        """Class probabilities (N, V, classes) of uint8 RGB views (N, V, T, H, W, 3)."""
        return view_probabilities(
            self.network, views, self.input_size, self.evaluation.clips_per_forward
        )

    def configure_optimizers(self) -> Any:
        """Optimiser over parameter groups, and the schedule."""
        optimizer = build_optimizer(self.network, self.make_optimizer, self.parameter_options)
        return with_schedule(optimizer, self.make_scheduler, self.schedule_interval)

    def on_fit_start(self) -> None:
        """Watch for unreadable videos."""
        data = self._data()
        dataset = data.datasets["train"]
        self._broken = BrokenSamples(
            len(dataset),
            lambda index: str(dataset.items[index].path),
            data.loading.max_broken_share,
            "video",
        )

    def on_train_epoch_start(self) -> None:
        """Start the clock of the epoch."""
        self._epoch_start, self._epoch_clips = time.perf_counter(), 0

    def training_step(self, batch: Mapping[str, Tensor], batch_idx: int) -> Tensor:
        """Loss of a batch; see `loss`."""
        if self._broken is not None:
            self._broken.update(batch)
        loss = self.loss(batch)
        count = len(batch["label"])
        self.log("train/loss", loss, on_step=True, on_epoch=True, prog_bar=True, batch_size=count)
        self._epoch_clips += count * self.trainer.world_size
        return loss

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Stop the clock, so that validation is not counted."""
        self._epoch_seconds = time.perf_counter() - self._epoch_start

    @property
    def clips_per_second(self) -> float:
        """Training clips per second of the last epoch, waiting for the loader included."""
        return self._epoch_clips / self._epoch_seconds

    def on_train_epoch_end(self) -> None:
        """Log the epoch's speed."""
        self.log("train/clips_per_second", self.clips_per_second)

    def on_validation_epoch_start(self) -> None:
        """Forget earlier scores."""
        self._collector = VideoCollector()

    def validation_step(self, batch: Mapping[str, Tensor], batch_idx: int) -> None:
        """Score all views of the videos."""
        self._score(batch)

    def on_validation_epoch_end(self) -> None:
        """Compute the metrics over all processes."""
        if not self.trainer.sanity_checking:
            self._evaluate("val")

    def on_test_epoch_start(self) -> None:
        """Forget earlier scores."""
        self.on_validation_epoch_start()

    def test_step(self, batch: Mapping[str, Tensor], batch_idx: int) -> None:
        """Score all views of the videos."""
        self._score(batch)

    def on_test_epoch_end(self) -> None:
        """Compute the metrics over all processes."""
        self._evaluate("test")

    def on_predict_epoch_start(self) -> None:
        """Forget earlier scores."""
        self.on_validation_epoch_start()

    def predict_step(self, batch: Mapping[str, Tensor], batch_idx: int) -> None:
        """Score all views of the videos; the guesses are written at the end."""
        self._score(batch)

    def on_predict_epoch_end(self) -> None:
        """Print and write guesses and pictures, and name unreadable videos.

        Where a label is not known, a folder named as a class is taken for it.
        """
        folder = self._folder() / "predictions"
        scores = self._gather("predict")
        if scores is not None:
            labels = folder_labels(scores.videos, scores.labels, self.class_names)
            scores = replace(scores, labels=labels)
            print_guesses(scores)
            write_predictions(folder, scores, self._data().clip)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Store what is needed to build the network again, and to feed it."""
        data = self._data()
        sampling = {
            "stride": data.clip.stride,
            "short_side": data.short_side,
            "views": asdict(data.views),
        }
        checkpoint[CHECKPOINT_KEY] = {**self._description(), "sampling": sampling}

    def on_load_checkpoint(self, checkpoint: Mapping[str, Any]) -> None:
        """Refuse a checkpoint of another network or other classes, and say what differs."""
        check_same_network(checkpoint, self._description())

    def _description(self) -> dict[str, Any]:
        config = asdict(self.network_config)
        network = {k: v for k, v in config.items() if k not in TRAINING_OPTIONS}
        return {
            "network": network,
            "classes": self.class_names,
            "frames": self.clip_frames,
            "input_size": list(self.input_size),
        }

    def _cross_entropy(self, scores: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(scores, labels, label_smoothing=self.label_smoothing)

    def _score(self, batch: Mapping[str, Tensor]) -> None:
        self._collector.add(
            index=batch["index"],
            label=batch["label"],
            scores=self.view_probabilities(batch["video"]),
            broken=batch["broken"],
        )

    def _gather(self, split: str) -> VideoScores | None:
        """Scores of a split in the first process, None in the others; names missing videos."""
        found = self._collector.gather()
        if found is None:
            return None
        data = self._data()
        paths = [data.datasets[split].items[i].path for i in found["index"]]
        read = found["broken"] < 0
        missing = [path for path, good in zip(paths, read, strict=True) if not good]
        report_missing(sorted(set(missing) - self._reported))
        self._reported |= set(missing)
        if not read.any():
            raise ValueError(f"none of the {len(paths)} videos of {split} could be read")
        views = data.val_views if self.trainer.state.fn == "fit" else data.views
        videos = [str(path) for path, good in zip(paths, read, strict=True) if good]
        return VideoScores(
            scores=found["scores"][read],
            labels=found["label"][read],
            videos=videos,
            class_names=self.class_names,
            crops=views.crops,
            missing=[str(path) for path in missing],
        )

    def _evaluate(self, split: str) -> None:
        """Log the metrics of a split; outside of training also print and write them."""
        folder = self._folder()
        scores = self._gather(split)
        metrics = {} if scores is None else scores.metrics(self.evaluation.pairs)
        self.metrics = self.trainer.strategy.broadcast(metrics)
        for name, value in self.metrics.items():
            if name != "videos":
                self.log(f"{split}/{name}", value, prog_bar=name in ("top1", "direction"))
        if self.trainer.state.fn != "fit" and scores is not None:
            print_evaluation(scores, self.metrics)
            write_evaluation(folder, split, scores, self.metrics)

    def _data(self) -> VideoDataModule:
        data = getattr(self.trainer, "datamodule", None)
        if not isinstance(data, VideoDataModule):
            raise TypeError(
                f"VideoTask needs a VideoDataModule, got {type(data).__name__}: pass "
                "datamodule=... to the trainer"
            )
        return data

    def _folder(self) -> Path:
        """Folder of this run; all processes must ask together."""
        return Path(self.trainer.log_dir or self.trainer.default_root_dir)
