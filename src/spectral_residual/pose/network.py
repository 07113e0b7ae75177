"""The network of a pose model: its configuration, building it, and checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from ..blocks import check_imported
from ..training.checkpoint import check_same, is_same, read_checkpoint
from .simple_baseline import SimpleBaseline, create_simple_baseline
from .skeleton import Skeleton

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
    stages : int
        Layers of the trunk that are kept: 4, 3 or 2.
    output_stride : int or None
        Input pixels per position of the trunk's output, 8, 16 or 32; strides beyond become 1.
        None keeps the trunk's own: 32 with 4 stages, 16 with 3, 8 with 2.
    dilated : bool
        Dilation in place of the strides that `output_stride` removes.
    deconv_channels : int
        Channels of the deconvolutions, of which there are as many as bring the trunk's stride
        to 4.
    block : str or None
        Block to insert, e.g. ``srl``.
    block_after : list of str
        Modules to insert it after.
    block_options : dict
        Options of the block.
    """

    backbone: str = "resnet50"
    weights: str | None = None
    stages: int = 4
    output_stride: int | None = None
    dilated: bool = False
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
        stages=config.stages,
        output_stride=config.output_stride,
        dilated=config.dilated,
        num_joints=skeleton.num_joints,
        input_size=input_size,
        deconv_channels=config.deconv_channels,
        block=config.block,
        block_after=config.block_after,
        block_options=config.block_options,
    )
    return model.to(memory_format=torch.channels_last)


def check_same_network(
    checkpoint: Mapping[str, Any], expected: Mapping[str, Any], input_size: tuple[int, int]
) -> None:
    """Compare a checkpoint's description of its network with another.

    Options that an older version did not know had their default values.

    Parameters
    ----------
    checkpoint : mapping
        As Lightning loads it.
    expected : mapping
        Description of the network that is to take the weights.
    input_size : (int, int)
        Height and width (H, W) of the crops that it is to be used with.

    Raises
    ------
    ValueError
        If the checkpoint has none, or if network, skeleton or the size that the network was built
        for differ; the message lists the differences, and says how a network is used with crops
        of another size.
    """
    stored = checkpoint.get(CHECKPOINT_KEY)
    if isinstance(stored, Mapping):
        defaults = {k: v for k, v in asdict(PoseNetwork()).items() if k in expected["network"]}
        complete = {**stored, "network": defaults | dict(stored["network"])}
        checkpoint = {CHECKPOINT_KEY: complete}
        height, width = complete["input_size"]
        other_size = {**expected, "input_size": [height, width]}
        if [height, width] != list(expected["input_size"]) and is_same(
            checkpoint, CHECKPOINT_KEY, other_size
        ):
            raise ValueError(
                f"the checkpoint is of a network for crops of {height}x{width} (H x W); to use it "
                f"with crops of {input_size[0]}x{input_size[1]}, give "
                f"--model.trained_size [{height},{width}]"
            )
    check_same(checkpoint, CHECKPOINT_KEY, expected)


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
    stored, weights = read_checkpoint(path, CHECKPOINT_KEY)
    check_imported(stored["network"].get("block"))
    skeleton = Skeleton.from_dict(stored["skeleton"])
    input_size = (int(stored["input_size"][0]), int(stored["input_size"][1]))
    model = build_network(PoseNetwork(**stored["network"]), skeleton, input_size)
    model.load_state_dict(weights)
    return model.eval(), skeleton, input_size
