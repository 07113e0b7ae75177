"""Small networks with random weights, as folders that the page can show."""

from __future__ import annotations

from dataclasses import asdict

import torch

from spectral_residual.pose.network import PoseNetwork
from spectral_residual.pose.pretrained import PoseModel
from spectral_residual.pose.skeleton import COCO
from spectral_residual.training.pretrained import About
from spectral_residual.video.network import VideoNetwork
from spectral_residual.video.pretrained import VideoModel

INPUT_SIZE = (64, 48)


def pose_model(block=None, skeleton=COCO, about=None):
    """Pose network with a trunk of stride 8, whose heatmaps are near 0.5."""
    torch.manual_seed(0)
    options = {"block": block, "block_after": ["backbone.layer2.1"]} if block else {}
    network = PoseNetwork("resnet18", stages=2, deconv_channels=8, **options)
    stored = {
        "network": asdict(network),
        "skeleton": skeleton.to_dict(),
        "input_size": list(INPUT_SIZE),
    }
    model = PoseModel(PoseModel.build(stored).eval(), stored, about or About())
    model.network.head.weight.data.normal_(std=0.1)
    model.network.head.bias.data.fill_(0.5)
    return model


def video_model():
    """Video network for clips of four frames."""
    torch.manual_seed(0)
    stored = {
        "network": asdict(VideoNetwork("resnet18")),
        "classes": ["sit_down", "stand_up", "wave"],
        "frames": 4,
        "input_size": [32, 32],
        "sampling": {
            "stride": 3,
            "short_side": 32,
            "views": {"clips": 1, "placing": "centre", "crops": 1},
        },
    }
    return VideoModel(VideoModel.build(stored).eval(), stored)
