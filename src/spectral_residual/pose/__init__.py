"""Human pose estimation: COCO-format keypoints, SimpleBaseline, heatmaps, COCO's metrics."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .data_module import KeypointDataModule as KeypointDataModule
    from .network import PoseNetwork as PoseNetwork
    from .network import load_pose_network as load_pose_network
    from .task import PoseEvaluation as PoseEvaluation
    from .task import PoseTask as PoseTask

_MODULE_OF = {
    "KeypointDataModule": "data_module",
    "PoseNetwork": "network",
    "load_pose_network": "network",
    "PoseEvaluation": "task",
    "PoseTask": "task",
}

__all__ = [*_MODULE_OF]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used (PEP 562): its module loads Lightning."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
