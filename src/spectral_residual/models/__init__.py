"""Networks for the tasks, built from torchvision trunks and this package's blocks."""

from __future__ import annotations

from .resnet import RESNETS, ResNetTrunk
from .simple_baseline import SimpleBaseline, create_simple_baseline

__all__ = ["RESNETS", "ResNetTrunk", "SimpleBaseline", "create_simple_baseline"]
