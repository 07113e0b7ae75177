"""Pose checkpoints as folders for `spectral_residual.runtime`: a network and what it needs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from .. import __version__
from ..export import OPSET, TOLERANCE, ExportReport, to_onnx
from ..report.files import write_file
from .geometry import box_to_center_size
from .network import HEATMAP_STRIDE, load_pose_network
from .skeleton import Skeleton
from .task import PoseEvaluation


def export_pose(
    checkpoint: str | Path,
    folder: str | Path,
    *,
    dynamic_size: bool = False,
    opset: int = OPSET,
    tolerance: float = TOLERANCE,
    rounds: int = 10,
) -> ExportReport:
    """Write ``model.onnx`` and ``model.json`` of a checkpoint of ``srl pose fit``.

    Parameters
    ----------
    checkpoint : path
        Checkpoint.
    folder : path
        Folder to write to; made if it is not there.
    dynamic_size, opset, tolerance, rounds
        See `to_onnx`.

    Raises
    ------
    FileNotFoundError, ValueError
        As `load_pose_network` and `to_onnx`.
    """
    network, skeleton, size = load_pose_network(checkpoint)
    generator = torch.Generator().manual_seed(0)
    example = torch.randn(1, 3, *size, generator=generator)
    report = to_onnx(
        network,
        example.to(memory_format=torch.channels_last),
        Path(folder) / "model.onnx",
        dynamic_size=dynamic_size,
        names=(["image"], ["heatmaps"]),
        opset=opset,
        tolerance=tolerance,
        rounds=rounds,
    )
    content = json.dumps(describe_pose(skeleton, size, dynamic_size=dynamic_size), indent=1)
    write_file(Path(folder) / "model.json", content + "\n")
    return report


def describe_pose(
    skeleton: Skeleton, size: tuple[int, int], *, dynamic_size: bool
) -> dict[str, Any]:
    """Everything that turns an image and a box into joints, but the network.

    Parameters
    ----------
    skeleton : Skeleton
        Joints of the heatmaps.
    size : (int, int)
        Height and width (H, W) of the crops.
    dynamic_size : bool
        Whether the file takes crops of other sizes.
    """
    evaluation = PoseEvaluation()
    _, padded = box_to_center_size((0, 0, 1, 1), aspect=1)
    return {
        "format": 1,
        "task": "pose",
        "written_by": f"spectral_residual {__version__}",
        "model": "model.onnx",
        "input": {
            "size": list(size),
            "any_size": dynamic_size,
            "layout": "NCHW",
            "colour": "RGB",
            "mean": [123.675, 116.28, 103.53],
            "deviation": [58.395, 57.12, 57.375],
        },
        "crop": {"padding": float(padded[0]), "resampling": "bilinear", "outside": 0},
        "decoding": {
            "peak": "first maximum, a quarter pixel toward the greater neighbour",
            "stride": HEATMAP_STRIDE,
            # Without pairs it is not known which joints swap, unless there is nothing to swap.
            "flip_test": evaluation.flip_test
            and (bool(skeleton.flip_pairs) or skeleton.num_joints == 1),
            "flip_shift": 1,
            "joint_threshold": evaluation.joint_threshold,
        },
        "skeleton": skeleton.to_dict(),
    }
