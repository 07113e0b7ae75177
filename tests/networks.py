"""Networks of the tasks, from keywords."""

from __future__ import annotations

from typing import Any

from spectral_residual.pose.network import PoseNetwork, SimpleBaseline
from spectral_residual.video.network import C2D, VideoNetwork


def create_simple_baseline(
    *, num_joints: int = 17, input_size: tuple[int, int] = (256, 192), **network: Any
) -> SimpleBaseline:
    return PoseNetwork(**network).build(num_joints, input_size)


def create_c2d(
    *,
    num_classes: int = 400,
    frames: int = 8,
    input_size: tuple[int, int] = (224, 224),
    **network: Any,
) -> C2D:
    return VideoNetwork(**network).build(num_classes, frames, input_size)
