"""Every block of the registry, exported in whole networks at their own sizes."""

from __future__ import annotations

import pytest
import torch
from exported import randomise

from spectral_residual.blocks import BLOCKS, TIMM_BLOCKS, VIDEO_BLOCKS
from spectral_residual.export import report_lines, to_onnx
from spectral_residual.pose.network import PoseNetwork
from spectral_residual.video.network import VideoNetwork


@pytest.mark.parametrize("block", [*BLOCKS, *TIMM_BLOCKS])
def test_pose(block, tmp_path):
    torch.manual_seed(0)
    network = PoseNetwork("resnet18", block=block).build(17, (256, 192))
    example = torch.randn(2, 3, 256, 192)
    report = to_onnx(randomise(network, example), example, tmp_path / "model.onnx", rounds=3)
    print("\n".join([block, *report_lines(report)]), flush=True)
    assert report.error <= 1e-4
    assert report.inputs["images"] == ("batch", 3, 256, 192)


@pytest.mark.parametrize("block", VIDEO_BLOCKS)
def test_video(block, tmp_path):
    torch.manual_seed(0)
    network = VideoNetwork(block=block).build(400, 8, (224, 224))
    example = torch.randn(2, 3, 8, 224, 224)
    report = to_onnx(randomise(network, example), example, tmp_path / "model.onnx", rounds=1)
    print("\n".join([block, *report_lines(report)]), flush=True)
    assert report.error <= 1e-4
    assert report.inputs["videos"] == ("batch", 3, 8, 224, 224)
