"""Human pose estimation with Lightning: what one step does, and what is measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor
from torch.optim import Adam

from ..errors import counted, printable
from ..report.files import write_metrics
from ..training.optim import ParameterOptions
from ..training.task import Predictions, Task
from .coco import coco_results, evaluate_keypoints, metrics_table, write_results
from .data_module import KeypointDataModule
from .dataset import normalise, report_broken
from .heatmap import HeatmapCodec, default_sigma, flip_test
from .network import HEATMAP_STRIDE, PoseNetwork, check_network
from .oks import rescored_poses
from .pck import pck
from .poses import decoded_poses, write_poses
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


class PoseTask(Task):
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

    name = "pose"
    unit = "images"
    shown = ("AP", "PCK")

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
        size = (int(input_size[0]), int(input_size[1]))
        height, width = size if trained_size is None else trained_size
        model = network.build(skeleton.num_joints, (int(height), int(width)))
        super().__init__(
            model.to(memory_format=torch.channels_last),
            optimizer,
            lr_scheduler,
            schedule_interval,
            parameter_options,
        )
        self.network_config = network.placed(model)
        self.input_size = size
        self.trained_size = (int(height), int(width))
        self.skeleton = skeleton
        self.evaluation = evaluation
        self.codec = HeatmapCodec(
            self.input_size,
            (size[0] // HEATMAP_STRIDE, size[1] // HEATMAP_STRIDE),
            default_sigma(self.input_size) if sigma is None else sigma,
        )

    def forward(self, images: Tensor) -> Tensor:
        """Heatmaps (N, K, H / 4, W / 4) of uint8 RGB crops (N, H, W, 3)."""
        return self.network(normalise(images))

    def predict_heatmaps(self, images: Tensor) -> Tensor:
        """Heatmaps of uint8 RGB crops (N, H, W, 3), in float32, with the flip test if it is on."""
        if not self.evaluation.flip_test:
            return self(images).float()
        return flip_test(self, images, self.skeleton.flip_permutation)

    def setup(self, stage: str) -> None:
        """Check that the flip test knows which joints swap, and the metrics the sigmas."""
        if self.evaluation.flip_test:
            self._data().check_mirroring("model.evaluation.flip_test")
        if stage != "fit" or self.trainer.limit_val_batches:
            self.skeleton.require_sigmas()

    def loss(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Mean squared error of the heatmaps; see `keypoint_mse`."""
        targets, weights = self.codec.encode(batch["joints"], batch["visible"])
        return keypoint_mse(self(batch["image"]), targets, weights)

    def predict(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Joints (N, K, 2) of persons in image pixels, with what their rescoring needs."""
        return decoded_poses(self.codec, self.predict_heatmaps(batch["image"]), batch)

    def evaluate(self, split: str, found: Predictions, folder: Path | None) -> dict[str, float]:
        """COCO's metrics, and PCK where the boxes are the annotated ones."""
        data = self._data()
        annotations = data.annotations(split)
        entries = coco_results(self._rescore(found), data.category_id)
        coco = evaluate_keypoints(annotations.content, entries, self.skeleton.require_sigmas())
        metrics = dict(coco)
        if data.splits[split].detections is None:
            metrics["PCK"] = self._pck(found, split)
        if folder is not None:
            results, path = folder / f"results_{split}.json", folder / f"metrics_{split}.json"
            write_results(results, entries)
            write_metrics(path, metrics)
            print(metrics_table({printable(annotations.path): coco}))
            if "PCK" in metrics:
                threshold = self.evaluation.pck_threshold
                print(f"PCK@{threshold:g} of the diagonal: {100 * metrics['PCK']:.1f} %")
            print(
                f"{counted(len(entries), 'pose')} in {printable(results)}, metrics in {path.name}"
            )
        return metrics

    def write_predictions(self, found: Predictions, folder: Path) -> None:
        """Write results and pictures, and name unreadable images."""
        data = self._data()
        dataset = data.datasets["predict"]
        report_broken(dataset, found["broken"])
        poses = self._rescore(found)
        entries = coco_results(poses, data.category_id)
        for entry in entries if data.predicted_files else ():
            entry["file_name"] = data.predicted_files[entry["image_id"]]
        written = write_poses(
            folder, poses, entries, dataset, self.skeleton, self.evaluation.joint_threshold
        )
        print(written)

    def describe(self) -> dict[str, Any]:
        """Network, skeleton and the size of the crops that the network was built for."""
        network = {k: v for k, v in asdict(self.network_config).items() if k != "weights"}
        return {
            "network": network,
            "skeleton": self.skeleton.to_dict(),
            "input_size": list(self.trained_size),
        }

    def check_checkpoint(self, checkpoint: Mapping[str, Any]) -> None:
        """Refuse a checkpoint of another network or skeleton, and say what differs."""
        check_network(checkpoint, self.describe(), self.input_size)

    def _pck(self, poses: Predictions, split: str) -> float:
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

    def _rescore(self, poses: Predictions) -> Predictions:
        return rescored_poses(
            poses,
            self.skeleton.require_sigmas(),
            self.evaluation.joint_threshold,
            self.evaluation.nms_threshold,
        )

    def _data(self) -> KeypointDataModule:
        return self.data_of(KeypointDataModule)


def keypoint_mse(pred: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """Half the mean squared error of weighted heatmaps.

    The mean of (w pred - w target)^2 / 2 over batch, joints and pixels; joints of weight 0 count
    in the denominator.

    Parameters
    ----------
    pred, target : tensor of shape (N, K, H, W)
        Heatmaps; float16 and bfloat16 are raised to float32.
    weights : tensor of shape (N, K)
        w of each joint.

    Returns
    -------
    tensor of shape ()
        Loss in float32 (float64 for float64 heatmaps).

    Raises
    ------
    ValueError
        If the shapes do not belong together.
    """
    if pred.ndim != 4 or pred.shape != target.shape or weights.shape != pred.shape[:2]:
        raise ValueError(
            f"got pred {tuple(pred.shape)}, target {tuple(target.shape)}, "
            f"weights {tuple(weights.shape)}; expected (N, K, H, W) twice and (N, K)"
        )
    dtype = torch.promote_types(pred.dtype, torch.float32)
    weighted = (pred.to(dtype) - target.to(dtype)) * weights.to(dtype)[:, :, None, None]
    return 0.5 * weighted.square().mean()
