"""Checkpoints of small networks of both tasks, without training."""

from __future__ import annotations

import copy

from spectral_residual.pose.network import PoseNetwork
from spectral_residual.pose.skeleton import COCO
from spectral_residual.video.network import VideoNetwork


def options(task):
    if task == "pose":
        after = ["d1", "backbone.layer2"]
        small = {"stages": 2, "deconv_channels": 8, "block_options": {"modes": 4}}
        return {"backbone": "resnet18", "block": "srl", "block_after": after, **small}
    after = ["backbone.layer2"]
    return {"backbone": "resnet18", "block": "srl-fft-3d", "block_after": after}


def make(task):
    network = options(task)
    if task == "pose":
        model = PoseNetwork(**network).build(17, (64, 64))
        described = {"skeleton": COCO.to_dict(), "input_size": [64, 64]}
    else:
        model = VideoNetwork(**network).build(3, 4, (32, 32))
        views = {"clips": 2, "placing": "even", "crops": 3}
        sampling = {"stride": 2, "short_side": 36, "views": views}
        described = {"classes": ["blue", "green", "red"], "frames": 4, "input_size": [32, 32]}
        described |= {"sampling": sampling}
    return {
        "epoch": 0,
        "global_step": 1,
        "pytorch-lightning_version": "2.5.0",
        "state_dict": {f"network.{name}": value for name, value in model.state_dict().items()},
        f"spectral_residual_{task}": {"network": network, **described},
    }


def changed(content, task, **entries):
    """The checkpoint with entries of its description, those of the network by "network__name"."""
    described = copy.deepcopy(content[f"spectral_residual_{task}"])
    for key, value in entries.items():
        *place, last = key.split("__")
        inner = described
        for name in place:
            inner = inner[name]
        inner[last] = value
    return {**content, f"spectral_residual_{task}": described}
