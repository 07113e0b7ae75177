"""Video checkpoints as folders for `spectral_residual.runtime`: a network and what it needs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from .. import __version__
from ..export import OPSET, TOLERANCE, ExportReport, to_onnx
from ..report.files import prepare_folder, write_file
from .network import load_video_network


def export_video(
    checkpoint: str | Path,
    folder: str | Path,
    *,
    opset: int = OPSET,
    tolerance: float = TOLERANCE,
    rounds: int = 10,
) -> ExportReport:
    """Write ``model.onnx`` and ``model.json`` of a checkpoint of ``srl video fit``.

    Parameters
    ----------
    checkpoint : path
        Checkpoint.
    folder : path
        Folder to write to; made if it is not there.
    opset, tolerance, rounds
        See `to_onnx`.

    Raises
    ------
    OSError
        If the folder cannot be written to.
    FileNotFoundError, ValueError
        As `load_video_network` and `to_onnx`; if the checkpoint does not say how its clips were
        sampled.
    """
    network, stored = load_video_network(checkpoint)
    if "sampling" not in stored:
        raise ValueError(
            f"{checkpoint}: it does not say how clips are sampled; write it again with "
            "'srl video fit'"
        )
    prepare_folder(folder, ["model.onnx", "model.json"])
    generator = torch.Generator().manual_seed(0)
    example = torch.randn(1, 3, stored["frames"], *stored["input_size"], generator=generator)
    report = to_onnx(
        network,
        example.to(memory_format=torch.channels_last_3d),
        Path(folder) / "model.onnx",
        names=(["clip"], ["scores"]),
        opset=opset,
        tolerance=tolerance,
        rounds=rounds,
    )
    write_file(Path(folder) / "model.json", json.dumps(describe_video(stored), indent=1) + "\n")
    return report


def describe_video(stored: Mapping[str, Any]) -> dict[str, Any]:
    """Everything that turns a video into class probabilities, but the network.

    Parameters
    ----------
    stored : mapping
        What a checkpoint says of its network; see `load_video_network`.
    """
    return {
        "format": 1,
        "task": "video",
        "written_by": f"spectral_residual {__version__}",
        "model": "model.onnx",
        "input": {
            "size": list(stored["input_size"]),
            "layout": "NCTHW",
            "colour": "RGB",
            "mean": [123.675, 116.28, 103.53],
            "deviation": [58.395, 57.12, 57.375],
        },
        "sampling": {"frames": stored["frames"], "seed": 0, **stored["sampling"]},
        "decoding": {"scores": "softmax of each view, then the mean of all views"},
        "classes": list(stored["classes"]),
    }
