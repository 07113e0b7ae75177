"""Tasks: what a training step does, and what is measured."""

from __future__ import annotations

from .optim import ParameterOptions
from .pose import PoseEvaluation, PoseTask
from .pose_network import PoseNetwork, load_pose_network
from .video import VideoEvaluation, VideoTask
from .video_network import VideoNetwork, load_video_network

__all__ = [
    "ParameterOptions",
    "PoseEvaluation",
    "PoseNetwork",
    "PoseTask",
    "VideoEvaluation",
    "VideoNetwork",
    "VideoTask",
    "load_pose_network",
    "load_video_network",
]
