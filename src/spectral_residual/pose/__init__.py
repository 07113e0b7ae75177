"""Human pose estimation: COCO-format keypoints, SimpleBaseline, heatmaps, COCO's metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazy import names_when_used

if TYPE_CHECKING:
    from .data_module import KeypointDataModule as KeypointDataModule
    from .network import PoseNetwork as PoseNetwork
    from .network import load_pose_network as load_pose_network
    from .pretrained import PoseModel as PoseModel
    from .pretrained import from_pretrained as from_pretrained
    from .published import load_published as load_published
    from .task import PoseEvaluation as PoseEvaluation
    from .task import PoseTask as PoseTask

_MODULE_OF = {
    "KeypointDataModule": "data_module",
    "PoseNetwork": "network",
    "load_pose_network": "network",
    "PoseModel": "pretrained",
    "from_pretrained": "pretrained",
    "load_published": "published",
    "PoseEvaluation": "task",
    "PoseTask": "task",
}

__all__ = [*_MODULE_OF]

__getattr__, __dir__ = names_when_used(__name__, _MODULE_OF)
