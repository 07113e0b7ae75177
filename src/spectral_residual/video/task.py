"""Video classification with Lightning: what one step does, and what is measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor
from torch.optim import SGD

from ..training.checkpoint import checkpoint_key
from ..training.optim import ParameterOptions
from ..training.task import Predictions, Task
from .augment import normalise_video
from .data_module import VideoDataModule
from .network import (
    C2D,
    TRAINING_OPTIONS,
    VideoNetwork,
    check_network,
    trunk_normalisations,
    view_probabilities,
)
from .predict import print_guesses, write_predictions
from .results import (
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


class VideoTask(Task):
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

    name = "video"
    unit = "clips"
    shown = ("top1", "direction")

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
        if not class_names:
            raise ValueError("model.class_names: got none, expected at least one class")
        if not 0 <= label_smoothing <= 1 or mixup < 0:
            raise ValueError(
                "model: expected label_smoothing in [0, 1] and mixup >= 0, got "
                f"{label_smoothing} and {mixup}"
            )
        class_pairs(evaluation.pairs, class_names)
        size = (int(input_size[0]), int(input_size[1]))
        model = network.build(len(class_names), clip_frames, size)
        super().__init__(
            model.to(memory_format=torch.channels_last),
            optimizer,
            lr_scheduler,
            schedule_interval,
            parameter_options,
        )
        self.network_config = network
        self.clip_frames = clip_frames
        self.input_size = size
        self.class_names = list(class_names)
        self.evaluation = evaluation
        self.label_smoothing = label_smoothing
        self.mixup = mixup
        self._frozen = trunk_normalisations(model, network.backbone) if network.frozen_bn else []
        self.train()
        self._reported: set[Path] = set()

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

    def predict(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Class probabilities (N, V, classes) of all V views of the videos."""
        scores = view_probabilities(
            cast(C2D, self.network),
            batch["video"],
            self.input_size,
            self.evaluation.clips_per_forward,
        )
        return {"scores": scores, **{name: batch[name] for name in ("index", "label", "broken")}}

    def evaluate(self, split: str, found: Predictions, folder: Path | None) -> dict[str, float]:
        """Accuracy over the average of all views of each video."""
        scores = self._scores(split, found)
        metrics = scores.metrics(self.evaluation.pairs)
        if folder is not None:
            print_evaluation(scores, metrics)
            write_evaluation(folder, split, scores, metrics)
        return metrics

    def write_predictions(self, found: Predictions, folder: Path) -> None:
        """Print and write guesses and pictures, and name unreadable videos.

        Where a label is not known, a folder named as a class is taken for it.
        """
        scores = self._scores("predict", found)
        labels = folder_labels(scores.videos, scores.labels, self.class_names)
        scores = replace(scores, labels=labels)
        print_guesses(scores)
        write_predictions(folder, scores, self._data().clip)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Store what is needed to build the network again, and to feed it."""
        super().on_save_checkpoint(checkpoint)
        data = self._data()
        checkpoint[checkpoint_key(self.name)]["sampling"] = {
            "stride": data.clip.stride,
            "short_side": data.short_side,
            "views": asdict(data.views),
        }

    def sample_name(self, index: int) -> str:
        """File of a video that is being evaluated."""
        stage = str(self.trainer.state.stage.value) if self.trainer.state.stage else ""
        split = stage if stage in ("test", "predict") else "val"
        return str(self._data().datasets[split].items[index].path)

    def describe(self) -> dict[str, Any]:
        """Network, classes, and the clips that the network was built for."""
        config = asdict(self.network_config)
        return {
            "network": {k: v for k, v in config.items() if k not in TRAINING_OPTIONS},
            "classes": self.class_names,
            "frames": self.clip_frames,
            "input_size": list(self.input_size),
        }

    def check_checkpoint(self, checkpoint: Mapping[str, Any]) -> None:
        """Refuse a checkpoint of another network or other classes, and say what differs."""
        check_network(checkpoint, self.describe())

    def _cross_entropy(self, scores: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(scores, labels, label_smoothing=self.label_smoothing)

    def _scores(self, split: str, found: Predictions) -> VideoScores:
        """Scores of a split; names missing videos."""
        data = self._data()
        paths = [data.datasets[split].items[i].path for i in found["index"]]
        read = found["broken"] < 0
        missing = [path for path, good in zip(paths, read, strict=True) if not good]
        report_missing(sorted(set(missing) - self._reported))
        self._reported |= set(missing)
        if not read.any():
            raise ValueError(f"none of the videos of {split} could be read")
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

    def _data(self) -> VideoDataModule:
        return self.data_of(VideoDataModule)
