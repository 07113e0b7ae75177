"""Networks for the tasks, built from torchvision trunks and this package's blocks."""

from __future__ import annotations

from .c2d import C2D, create_c2d
from .resnet import RESNETS, ResNetTrunk
from .simple_baseline import SimpleBaseline, create_simple_baseline

__all__ = [
    "C2D",
    "RESNETS",
    "ResNetTrunk",
    "SimpleBaseline",
    "create_c2d",
    "create_simple_baseline",
]
