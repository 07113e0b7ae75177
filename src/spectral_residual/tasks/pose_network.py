"""The network of a pose model: its configuration, building it, and checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from ..data.skeleton import Skeleton
from ..models.simple_baseline import SimpleBaseline, create_simple_baseline

CHECKPOINT_KEY = "spectral_residual_pose"


@dataclass(frozen=True)
class PoseNetwork:
    """The network; see `create_simple_baseline`.

    Attributes
    ----------
    backbone : str
        resnet18, resnet34, resnet50, resnet101 or resnet152.
    weights : str or None
        torchvision's name (``IMAGENET1K_V1``) or the path of a weights file.
    deconv_channels : int
        Channels of the three deconvolutions.
    block : str or None
        Block to insert, e.g. ``srl-fft``.
    block_after : list of str
        Modules to insert it after.
    block_options : dict
        Options of the block.
    """

    backbone: str = "resnet50"
    weights: str | None = None
    deconv_channels: int = 256
    block: str | None = None
    block_after: list[str] = field(default_factory=lambda: ["d1", "d2", "d3"])
    block_options: dict[str, Any] = field(default_factory=dict)


def build_network(
    config: PoseNetwork, skeleton: Skeleton, input_size: tuple[int, int]
) -> SimpleBaseline:
    """Build the network, laid out channels last in memory."""
    model = create_simple_baseline(
        backbone=config.backbone,
        weights=config.weights,
        num_joints=skeleton.num_joints,
        input_size=input_size,
        deconv_channels=config.deconv_channels,
        block=config.block,
        block_after=config.block_after,
        block_options=config.block_options,
    )
    return model.to(memory_format=torch.channels_last)


def check_same_network(checkpoint: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Compare a checkpoint's description of its network with another.

    Raises
    ------
    ValueError
        If the checkpoint has none, or if network, skeleton or input size differ; the message
        lists every difference.
    """
    stored = checkpoint.get(CHECKPOINT_KEY)
    if not isinstance(stored, Mapping):
        raise ValueError("the checkpoint is not one of a pose model of this package")
    got, wanted = _flatten(stored), _flatten(expected)
    differences = [
        f"{key}: {got.get(key, 'absent')!r} in the checkpoint, {wanted.get(key, 'absent')!r} here"
        for key in sorted(got.keys() | wanted.keys())
        if got.get(key) != wanted.get(key)
    ]
    if differences:
        raise ValueError("the checkpoint is of another model:\n  " + "\n  ".join(differences))


def load_pose_network(path: str | Path) -> tuple[SimpleBaseline, Skeleton, tuple[int, int]]:
    """Build the network of a checkpoint and load its weights.

    Parameters
    ----------
    path : path
        Checkpoint written by training (``srl pose fit``).

    Returns
    -------
    SimpleBaseline
        In evaluation mode, on the CPU.
    Skeleton
        Joints of its heatmaps.
    (int, int)
        Height and width (H, W) of its input.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not a checkpoint of a pose model.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint {path}")
    checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    stored = checkpoint.get(CHECKPOINT_KEY) if isinstance(checkpoint, Mapping) else None
    if not isinstance(stored, Mapping):
        raise ValueError(f"{path}: not a checkpoint of a pose model of this package")
    skeleton = Skeleton.from_dict(stored["skeleton"])
    input_size = (int(stored["input_size"][0]), int(stored["input_size"][1]))
    model = build_network(PoseNetwork(**stored["network"]), skeleton, input_size)
    prefix = "network."
    model.load_state_dict(
        {k.removeprefix(prefix): v for k, v in checkpoint["state_dict"].items() if k[:8] == prefix}
    )
    return model.eval(), skeleton, input_size


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            flat |= _flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat
