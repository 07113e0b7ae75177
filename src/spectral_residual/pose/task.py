"""Pose estimation with Lightning: what one step does, and what is measured."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import lightning
import numpy as np
import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor
from torch.optim import Adam

from ..training.broken import BrokenSamples
from ..training.optim import ParameterOptions, build_optimizer, with_schedule
from .coco import coco_results, evaluate_keypoints, metrics_table, write_results
from .data_module import KeypointDataModule
from .dataset import normalise, report_broken
from .drawing import write_overlays
from .heatmap import HeatmapCodec, default_sigma, flip_heatmaps, keypoint_mse
from .network import CHECKPOINT_KEY, PoseNetwork, build_network, check_same_network
from .oks import Poses, rescored_poses
from .pck import pck
from .results import PoseCollector
from .simple_baseline import HEATMAP_STRIDE
from .skeleton import COCO, Skeleton


@dataclass(frozen=True)
class PoseEvaluation:
    """How predictions are made and measured.

    Attributes
    ----------
    flip_test : bool
        Average the heatmaps of a crop and its mirror image.
    joint_threshold : float
        Joints with a higher score count in a pose's score.
    nms_threshold : float
        Of two poses of an image with a higher OKS the worse is dropped.
    pck_threshold : float
        A joint is correct within this share of the crop's diagonal.
    """

    flip_test: bool = True
    joint_threshold: float = 0.2
    nms_threshold: float = 0.9
    pck_threshold: float = 0.1


class PoseTask(lightning.LightningModule):
    """SimpleBaseline trained on heatmaps, evaluated by COCO's metrics and PCK.

    Parameters
    ----------
    network : PoseNetwork
        Trunk, decoder and blocks.
    optimizer : callable
        Takes parameter groups and returns an optimiser; Adam with a rate of 1e-3 by default.
    lr_scheduler : callable, optional
        Takes the optimiser and returns a schedule.
    schedule_interval : {"epoch", "step"}
        When the schedule is stepped.
    parameter_options : dict, optional
        Learning rate and weight decay of single parameters by shell pattern of their names, e.g.
        ``{"*.alpha": {"lr_mult": 10}}``; see `ParameterOptions`.
    sigma : float, optional
        Deviation of the target Gaussians in heatmap pixels; by default 2 at an input height of
        256, in proportion to the height, at least 1.
    evaluation : PoseEvaluation
        Flip test, rescoring, suppression, PCK.
    input_size : (int, int)
        Height and width (H, W) of the crops; the command line takes it from the data.
    skeleton : Skeleton
        Joints; the command line takes it from the data.
    trained_size : (int, int), optional
        Height and width (H, W) of the crops that the network is built for, and that a checkpoint
        to be loaded was trained with; by default `input_size`. With another one the weights per
        frequency of spectral blocks are resampled, which the learnable orthogonal transform cannot.
    """

    def __init__(
        self,
        network: PoseNetwork = PoseNetwork(),
        optimizer: OptimizerCallable = lambda p: Adam(p, lr=1e-3),
        lr_scheduler: LRSchedulerCallable | None = None,
        schedule_interval: Literal["epoch", "step"] = "epoch",
        parameter_options: dict[str, ParameterOptions] | None = None,
        sigma: float | None = None,
        evaluation: PoseEvaluation = PoseEvaluation(),
        input_size: tuple[int, int] = (256, 192),
        skeleton: Skeleton = COCO,
        trained_size: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        self.network_config = network
        self.input_size = (int(input_size[0]), int(input_size[1]))
        self.skeleton = skeleton
        self.evaluation = evaluation
        self.make_optimizer = optimizer
        self.make_scheduler = lr_scheduler
        self.schedule_interval = schedule_interval
        self.parameter_options = parameter_options
        height, width = self.input_size if trained_size is None else trained_size
        self.trained_size = (int(height), int(width))
        self.network = build_network(network, skeleton, self.trained_size)
        heatmap_size = (self.input_size[0] // HEATMAP_STRIDE, self.input_size[1] // HEATMAP_STRIDE)
        self.codec = HeatmapCodec(
            self.input_size,
            heatmap_size,
            default_sigma(self.input_size) if sigma is None else sigma,
        )
        self.metrics: dict[str, float] = {}
        self._collector = PoseCollector()
        self._broken: BrokenSamples | None = None
        self._epoch_start = 0.0
        self._epoch_seconds = 0.0
        self._epoch_images = 0

    def forward(self, images: Tensor) -> Tensor:
        """Heatmaps (N, K, H / 4, W / 4) of uint8 RGB crops (N, H, W, 3)."""
        return self.network(normalise(images))

    def predict_heatmaps(self, images: Tensor) -> Tensor:
        """Heatmaps of uint8 RGB crops (N, H, W, 3), in float32, with the flip test if it is on."""
        heatmaps = self(images).float()
        if not self.evaluation.flip_test:
            return heatmaps
        mirrored = self(images.flip(2)).float()
        return (heatmaps + flip_heatmaps(mirrored, self.skeleton.flip_permutation)) / 2

    def setup(self, stage: str) -> None:
        """Check that the flip test knows which joints swap."""
        if self.evaluation.flip_test:
            self._data().check_mirroring("model.evaluation.flip_test")

    def configure_optimizers(self) -> Any:
        """Optimiser over parameter groups, and the schedule."""
        optimizer = build_optimizer(self.network, self.make_optimizer, self.parameter_options)
        return with_schedule(optimizer, self.make_scheduler, self.schedule_interval)

    def on_fit_start(self) -> None:
        """Watch for unreadable images."""
        data = self._data()
        instances = data.datasets["train"].instances
        self._broken = BrokenSamples(
            len(instances),
            lambda index: str(instances[index].file),
            data.loading.max_broken_share,
            "image",
        )

    def on_train_epoch_start(self) -> None:
        """Start the clock of the epoch."""
        self._epoch_start, self._epoch_images = time.perf_counter(), 0

    def training_step(self, batch: Mapping[str, Tensor], batch_idx: int) -> Tensor:
        """Mean squared error of the heatmaps; see `keypoint_mse`."""
        if self._broken is not None:
            self._broken.update(batch)
        targets, weights = self.codec.encode(batch["joints"], batch["visible"])
        loss = keypoint_mse(self(batch["image"]), targets, weights)
        self.log(
            "train/loss", loss, on_step=True, on_epoch=True, prog_bar=True,
            batch_size=len(batch["image"]),
        )  # fmt: skip
        self._epoch_images += len(batch["image"]) * self.trainer.world_size
        return loss

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Stop the clock, so that validation is not counted."""
        self._epoch_seconds = time.perf_counter() - self._epoch_start

    @property
    def images_per_second(self) -> float:
        """Training images per second of the last epoch, waiting for the loader included."""
        return self._epoch_images / self._epoch_seconds

    def on_train_epoch_end(self) -> None:
        """Log the epoch's speed."""
        self.log("train/images_per_second", self.images_per_second)

    def on_validation_epoch_start(self) -> None:
        """Forget earlier predictions."""
        self._collector = PoseCollector()

    def validation_step(self, batch: Mapping[str, Tensor], batch_idx: int) -> None:
        """Predict, and compare with the annotated joints."""
        self._predict(batch)

    def on_validation_epoch_end(self) -> None:
        """Compute the metrics over all processes."""
        if not self.trainer.sanity_checking:
            self._evaluate("val")

    def on_test_epoch_start(self) -> None:
        """Forget earlier predictions."""
        self.on_validation_epoch_start()

    def test_step(self, batch: Mapping[str, Tensor], batch_idx: int) -> None:
        """Predict, and compare with the annotated joints."""
        self._predict(batch)

    def on_test_epoch_end(self) -> None:
        """Compute the metrics over all processes."""
        self._evaluate("test")

    def on_predict_epoch_start(self) -> None:
        """Forget earlier predictions."""
        self.on_validation_epoch_start()

    def predict_step(self, batch: Mapping[str, Tensor], batch_idx: int) -> None:
        """Predict; the poses are written at the end."""
        self._predict(batch)

    def on_predict_epoch_end(self) -> None:
        """Write results and pictures, and name unreadable images."""
        poses = self._collector.gather()
        folder = self._folder() / "predictions"
        if self.trainer.is_global_zero:
            data = self._data()
            report_broken(data.datasets["predict"], poses["broken"])
            poses = self._rescore(poses)
            write_results(folder / "results.json", coco_results(poses, data.category_id))
            count = write_overlays(
                folder / "overlays", poses, data.datasets["predict"], self.skeleton,
                self.evaluation.joint_threshold,
            )  # fmt: skip
            print(f"{len(poses['index'])} poses in {folder / 'results.json'}")
            print(f"{count} pictures in {folder / 'overlays'}")

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Store what is needed to build the network again."""
        checkpoint[CHECKPOINT_KEY] = self._description()

    def on_load_checkpoint(self, checkpoint: Mapping[str, Any]) -> None:
        """Refuse a checkpoint of another network or skeleton, and say what differs."""
        check_same_network(checkpoint, self._description(), self.input_size)

    def _description(self) -> dict[str, Any]:
        network = {k: v for k, v in asdict(self.network_config).items() if k != "weights"}
        return {
            "network": network,
            "skeleton": self.skeleton.to_dict(),
            "input_size": list(self.trained_size),
        }

    def _predict(self, batch: Mapping[str, Tensor]) -> None:
        coords, scores = self.codec.decode(self.predict_heatmaps(batch["image"]))
        crop = torch.tensor(self.input_size[::-1]).to(batch["size"])
        pixels = batch["size"][:, :1] / crop[0]
        from_centre = self.codec.to_crop(coords).to(crop) - crop / 2
        keypoints = batch["center"][:, None] + from_centre * pixels[:, None]
        self._collector.add(
            index=batch["index"],
            image_id=batch["image_id"],
            keypoints=keypoints,
            joint_scores=scores,
            box_score=batch["score"],
            area=batch["size"].prod(dim=1),
            broken=batch["broken"],
        )

    def _pck(self, poses: Poses, split: str) -> float:
        """PCK of all predicted poses, each instance counted once."""
        instances = [self._data().datasets[split].instances[i] for i in poses["index"]]
        height, width = self.input_size
        diagonal = np.sqrt(poses["area"] * (height / width + width / height))
        return pck(
            torch.from_numpy(poses["keypoints"]),
            torch.from_numpy(np.stack([i.joints for i in instances])).double(),
            torch.from_numpy(np.stack([i.visible for i in instances])),
            torch.from_numpy(diagonal),
            self.evaluation.pck_threshold,
        )

    def _rescore(self, poses: Poses) -> Poses:
        return rescored_poses(
            poses,
            self.skeleton.require_sigmas(),
            self.evaluation.joint_threshold,
            self.evaluation.nms_threshold,
        )

    def _evaluate(self, split: str) -> None:
        """Log the metrics of a split; outside of training also print and write results."""
        data = self._data()
        annotations = data.annotations(split)
        poses = self._collector.gather()
        entries = coco_results(self._rescore(poses), data.category_id)
        coco = evaluate_keypoints(annotations.content, entries, self.skeleton.require_sigmas())
        self.metrics = dict(coco)
        if data.splits[split].detections is None:
            self.metrics["PCK"] = self._pck(poses, split)
        for name, value in self.metrics.items():
            self.log(f"{split}/{name}", value, prog_bar=name in ("AP", "PCK"))
        path = self._folder() / f"results_{split}.json"
        if self.trainer.state.fn != "fit" and self.trainer.is_global_zero:
            write_results(path, entries)
            metrics = path.with_name(f"metrics_{split}.json")
            metrics.write_text(json.dumps(self.metrics, indent=1) + "\n")
            print(metrics_table({str(annotations.path): coco}))
            if "PCK" in self.metrics:
                threshold = self.evaluation.pck_threshold
                print(f"PCK@{threshold:g} of the diagonal: {100 * self.metrics['PCK']:.1f} %")
            print(f"{len(entries)} poses in {path}, metrics in {metrics.name}")

    def _data(self) -> KeypointDataModule:
        data = getattr(self.trainer, "datamodule", None)
        if not isinstance(data, KeypointDataModule):
            raise TypeError(
                f"PoseTask needs a KeypointDataModule, got {type(data).__name__}: pass "
                "datamodule=... to the trainer"
            )
        return data

    def _folder(self) -> Path:
        """Folder of this run; all processes must ask together."""
        return Path(self.trainer.log_dir or self.trainer.default_root_dir)
