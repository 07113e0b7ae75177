"""The network of a video model: its configuration, building it, and checkpoints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..blocks import check_imported
from ..training.checkpoint import check_same, read_checkpoint
from ..training.resnet import ResNetTrunk
from .augment import normalise_video
from .c2d import C2D, create_c2d
from .classification import mean_probabilities

CHECKPOINT_KEY = "spectral_residual_video"

TRAINING_OPTIONS = ("weights", "dropout", "frozen_bn")
"""Fields of `VideoNetwork` that a trained network does not depend on."""


@dataclass(frozen=True)
class VideoNetwork:
    """The network; see `create_c2d`.

    Attributes
    ----------
    backbone : str
        resnet18, resnet34, resnet50, resnet101 or resnet152.
    weights : str or None
        torchvision's name (``IMAGENET1K_V1``) or the path of a weights file.
    dropout : float
        Share of the pooled features that training sets to zero.
    block : str or None
        Block to insert, e.g. ``srl``.
    block_after : list of str
        Modules to insert it after; by default each residual block of res3 and res4 of ResNet-18.
    block_options : dict
        Options of the block.
    frozen_bn : bool
        Keep the running statistics of the trunk's batch normalisations, for a trained trunk and
        few clips per process; scale and shift are still learnt, and blocks are not affected.
    """

    backbone: str = "resnet18"
    weights: str | None = None
    dropout: float = 0.5
    block: str | None = None
    block_after: list[str] = field(
        default_factory=lambda: [
            "backbone.layer2.0",
            "backbone.layer2.1",
            "backbone.layer3.0",
            "backbone.layer3.1",
        ]
    )
    block_options: dict[str, Any] = field(default_factory=dict)
    frozen_bn: bool = False


def build_video_network(
    config: VideoNetwork, *, num_classes: int, frames: int, input_size: tuple[int, int]
) -> C2D:
    """Build the network, laid out channels last in memory.

    Parameters
    ----------
    config : VideoNetwork
        Trunk and blocks.
    num_classes : int
        Classes to score.
    frames : int
        Frames T of a clip.
    input_size : (int, int)
        Height and width (H, W) of a clip.
    """
    model = create_c2d(
        backbone=config.backbone,
        weights=config.weights,
        num_classes=num_classes,
        frames=frames,
        input_size=input_size,
        dropout=config.dropout,
        block=config.block,
        block_after=config.block_after,
        block_options=config.block_options,
    )
    return model.to(memory_format=torch.channels_last)


def trunk_normalisations(model: C2D, backbone: str) -> list[nn.Module]:
    """Batch normalisations of the trunk itself, without those of inserted blocks."""
    with torch.device("meta"):
        plain = ResNetTrunk(backbone)
    names = [name for name, module in plain.named_modules() if isinstance(module, _BatchNorm)]
    return [model.backbone.get_submodule(name) for name in names]


@torch.no_grad()
def view_probabilities(
    model: C2D, views: Tensor, input_size: tuple[int, int], clips_per_forward: int = 32
) -> Tensor:
    """Class probabilities of every view of every video.

    Parameters
    ----------
    model : C2D
        In evaluation mode.
    views : Tensor
        (N, V, T, H, W, 3) uint8 RGB.
    input_size : (int, int)
        Height and width that the network was built for. Larger frames are scored at every
        position of a window of that size, in steps of the trunk's stride, and averaged after the
        softmax, as in the test of Wang et al., "Non-local Neural Networks", CVPR 2018.
    clips_per_forward : int
        Views that go through the network together.

    Returns
    -------
    Tensor
        (N, V, classes) float32, in [0, 1].

    Raises
    ------
    ValueError
        If the frames are smaller than `input_size`.
    """
    parts = [
        mean_probabilities(_position_logits(model, normalise_video(clips), input_size))
        for clips in views.flatten(0, 1).split(clips_per_forward)
    ]
    return torch.cat(parts).unflatten(0, views.shape[:2])


def _position_logits(model: C2D, clips: Tensor, window: tuple[int, int]) -> Tensor:
    """Scores (N, positions, classes) of a window in clips (N, 3, T, H, W), row by row."""
    height, width = clips.shape[-2:]
    if (height, width) == window:
        return model(clips)[:, None]
    if height < window[0] or width < window[1]:
        raise ValueError(
            f"frames of {height}x{width} (H x W) are smaller than the {window[0]}x{window[1]} "
            "that the network was built for"
        )
    maps: list[Tensor] = []
    last_stage = model.backbone.get_submodule("layer4")
    handle = last_stage.register_forward_hook(lambda *args: maps.append(args[2]))
    try:
        model(clips)
    finally:
        handle.remove()
    features = maps[0].unflatten(0, (len(clips), -1)).mean(dim=1)
    stride = model.backbone.stride
    cells = (-(-window[0] // stride), -(-window[1] // stride))
    pooled = F.avg_pool2d(features, cells, stride=1)
    return model.fc(pooled.flatten(2).transpose(1, 2))


def check_same_network(checkpoint: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Compare a checkpoint's classes and network with others.

    Parameters
    ----------
    checkpoint : mapping
        As Lightning loads it.
    expected : mapping
        ``classes``, a list of names, and what else must be the same.

    Raises
    ------
    ValueError
        If the checkpoint is not one of a video model, or something differs; the message says
        what.
    """
    stored = checkpoint.get(CHECKPOINT_KEY)
    if isinstance(stored, Mapping):
        _check_classes(stored["classes"], expected["classes"])
    check_same(checkpoint, CHECKPOINT_KEY, expected)


def load_video_network(path: str | Path) -> tuple[C2D, dict[str, Any]]:
    """Build the network of a checkpoint and load its weights.

    Parameters
    ----------
    path : path
        Checkpoint written by training (``srl video fit``).

    Returns
    -------
    C2D
        In evaluation mode, on the CPU.
    dict
        What the checkpoint says of it: ``network`` (arguments of `VideoNetwork`), ``classes``
        (names, in the order of the scores), ``frames``, ``input_size`` [H, W], and ``sampling``
        (``stride``, ``short_side`` and ``views``) of the data that it was trained on.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not a checkpoint of a video model.
    """
    stored, weights = read_checkpoint(path, CHECKPOINT_KEY)
    check_imported(stored["network"].get("block"))
    height, width = stored["input_size"]
    model = build_video_network(
        VideoNetwork(**stored["network"]),
        num_classes=len(stored["classes"]),
        frames=int(stored["frames"]),
        input_size=(int(height), int(width)),
    )
    model.load_state_dict(weights)
    return model.eval(), dict(stored)


def _check_classes(got: Sequence[str], expected: Sequence[str]) -> None:
    if list(got) == list(expected):
        return
    pairs = zip(got, expected, strict=False)
    first = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(got), len(expected)))
    raise ValueError(
        f"the checkpoint is of a model with other classes: {len(got)} in the checkpoint, "
        f"{len(expected)} here; the first difference is class {first}: "
        f"{_name(got, first)} in the checkpoint, {_name(expected, first)} here"
    )


def _name(classes: Sequence[str], index: int) -> str:
    return repr(classes[index]) if index < len(classes) else "absent"
