"""Pose checkpoints as folders for `spectral_residual.runtime`: a network and what it needs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from .. import __version__
from ..export import OPSET, TOLERANCE, ExportReport, to_onnx
from ..report.files import prepare_folder, write_file
from ..training.timm_trunk import TimmTrunk
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
    OSError
        If the folder cannot be written to.
    FileNotFoundError, ValueError
        As `load_pose_network` and `to_onnx`.
    """
    network, skeleton, size = load_pose_network(checkpoint)
    stride = network.backbone.stride
    if dynamic_size and isinstance(network.backbone, TimmTrunk):
        _fix_padding(network.backbone)
    prepare_folder(folder, ["model.onnx", "model.json"])
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
    described = describe_pose(skeleton, size, stride, dynamic_size=dynamic_size)
    write_file(Path(folder) / "model.json", json.dumps(described, indent=1) + "\n")
    return report


class _SameConv2d(nn.Conv2d):
    """timm's ``Conv2dSame``, in graphs with the padding of sizes that its stride divides."""

    def forward(self, x: Tensor) -> Tensor:
        from timm.layers import Conv2dSame

        if not torch.compiler.is_exporting():
            return Conv2dSame.forward(cast("Any", self), x)
        sides: list[int] = []
        axes = zip(self.kernel_size, self.stride, self.dilation, strict=True)
        for kernel, stride, dilation in reversed(list(axes)):
            total = max((kernel - 1) * dilation + 1 - stride, 0)
            sides += [total // 2, total - total // 2]
        return self._conv_forward(functional.pad(x, sides), self.weight, self.bias)


def _fix_padding(trunk: TimmTrunk) -> None:
    """Let SAME padding be constant in graphs.

    It depends on the size modulo the stride, and crops are multiples of the stride of the whole
    trunk. With any size the symbolic shapes of PyTorch's exporter come to no end.
    """
    from timm.layers import Conv2dSame

    same: list[type] = [Conv2dSame]
    for module in trunk.modules():
        if type(module) in same:
            module.__class__ = _SameConv2d


def describe_pose(
    skeleton: Skeleton, size: tuple[int, int], stride: int, *, dynamic_size: bool
) -> dict[str, Any]:
    """Everything that turns an image and a box into joints, but the network.

    Parameters
    ----------
    skeleton : Skeleton
        Joints of the heatmaps.
    size : (int, int)
        Height and width (H, W) of the crops.
    stride : int
        Of the trunk: what the sides of all crops are multiples of.
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
            "multiple_of": stride,
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
