"""Tasks: what a training step does, and what is measured."""

from __future__ import annotations

from .pose import PoseEvaluation, PoseTask
from .pose_network import PoseNetwork, load_pose_network

__all__ = ["PoseEvaluation", "PoseNetwork", "PoseTask", "load_pose_network"]
