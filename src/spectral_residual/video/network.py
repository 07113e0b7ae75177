"""C2D for video classification (Wang et al., CVPR 2018), with blocks inserted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..blocks import VIDEO_BLOCKS
from ..blocks.frames import fold_time
from ..insertion import insert_blocks
from ..training.checkpoint import check_same, description, load_network
from ..training.resnet import ResNetTrunk
from .augment import normalise_video
from .classification import mean_probabilities

TRAINING_OPTIONS = ("weights", "dropout", "frozen_bn")
"""Fields of `VideoNetwork` that a trained network does not depend on."""


class C2D(nn.Module):
    """ResNet on every frame, halving their number on the way, and one classifier for all.

    The trunk gets the frames folded into the batch, (N * T, 3, H, W), those of a video in a row.
    After its ``layer1`` each pair of frames becomes its maximum (pooling 2x1x1 of stride 2). The
    order of the pairs and that within a pair have no effect on the output: only an inserted block
    can tell the direction of time.

    Parameters
    ----------
    trunk : ResNetTrunk
        Maps images (N, 3, H, W) to (N, trunk.channels, H / 32, W / 32).
    num_classes : int
        Classes to tell apart.
    dropout : float, default 0.5
        Share of the pooled features that is dropped in training.
    frames : int, optional
        Frames T of all clips, if blocks are inserted that take those in the batch for videos:
        they would take clips of 2 T frames for two videos. By default any even number is taken.

    Attributes
    ----------
    backbone : ResNetTrunk
        `trunk`.
    fc : nn.Linear
        Classifier; weights from N(0, 0.01^2), biases 0.

    Raises
    ------
    ValueError
        If num_classes is not positive, dropout not in [0, 1), or frames odd.
    """

    def __init__(
        self,
        trunk: ResNetTrunk,
        num_classes: int,
        dropout: float = 0.5,
        *,
        frames: int | None = None,
    ) -> None:
        super().__init__()
        if num_classes < 1:
            raise ValueError(f"num_classes must be positive, got {num_classes}")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must be at least 0 and below 1, got {dropout}")
        if frames is not None:
            check_frames(frames)
        self.frames = frames
        self.backbone = trunk
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(trunk.channels, num_classes)
        nn.init.normal_(self.fc.weight, std=0.01)
        nn.init.zeros_(self.fc.bias)

    def forward(self, videos: Tensor) -> Tensor:
        """Score the classes.

        Parameters
        ----------
        videos : Tensor
            Normalised RGB clips, (N, 3, T, H, W), T even. In the memory format
            ``channels_last_3d`` all maps of the trunk are in ``channels_last``.

        Returns
        -------
        Tensor
            (N, num_classes), not normalised: a softmax makes them probabilities.

        Raises
        ------
        ValueError
            If `videos` has another number of axes, channels or frames, or T is odd.
        """
        if videos.dim() != 5 or videos.shape[1] != 3:
            raise ValueError(f"expected videos of shape (N, 3, T, H, W), got {tuple(videos.shape)}")
        check_frames(videos.shape[2])
        if self.frames not in (None, videos.shape[2]):
            raise ValueError(
                f"this network has blocks for clips of {self.frames} frames, "
                f"got {videos.shape[2]} in shape {tuple(videos.shape)}"
            )
        frames = self.backbone.first_stage(fold_time(videos))
        pairs = frames.unflatten(0, (-1, 2))
        frames = self.backbone.later_stages(torch.maximum(pairs[:, 0], pairs[:, 1]))
        features = frames.unflatten(0, (-1, videos.shape[2] // 2)).mean(dim=(1, 3, 4))
        return self.fc(self.dropout(features))


@dataclass(frozen=True)
class VideoNetwork:
    """Configuration of C2D, with a block at any named places.

    Attributes
    ----------
    backbone : str
        resnet18, resnet34, resnet50, resnet101 or resnet152.
    weights : str or None
        torchvision's name (``IMAGENET1K_V1``) or the path of a weights file.
    dropout : float
        Share of the pooled features that training sets to zero.
    block : str or None
        Block to insert, a name for `create_block`, e.g. ``srl``. Blocks for images alone, such as
        ``rcca``, act on every frame by itself.
    block_after : list of str
        Modules to insert it after; by default the paper's four places in ResNet-18: each residual
        block of res3 and res4.
    block_options : dict
        Options of the block, e.g. ``{"reduction": 4}``; they are listed at the end of the help.
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

    def build(self, num_classes: int, frames: int, input_size: tuple[int, int]) -> C2D:
        """Build the network.

        Parameters
        ----------
        num_classes : int
            Classes to score.
        frames : int
            Frames T of a clip, even; blocks up to ``backbone.layer1`` get T, later ones T / 2.
            With blocks for videos no other number is taken.
        input_size : (int, int)
            Height and width (H, W) of a clip; blocks get their weights for it.

        Raises
        ------
        ValueError
            If a name is unknown (the nearest is suggested), T is odd, a size is not positive, or
            options are given without a block.
        """
        check_frames(frames)
        if any(n < 1 for n in input_size):
            raise ValueError(f"input_size must be two positive integers (H, W), got {input_size}")
        if self.block is None and self.block_options:
            raise ValueError(f"block_options {self.block_options} are given, but no block")
        over_frames = self.block in VIDEO_BLOCKS
        trunk = ResNetTrunk(self.backbone, self.weights)
        model = C2D(trunk, num_classes, self.dropout, frames=frames if over_frames else None)
        if self.block is not None:
            insert_blocks(
                model, after=self.block_after, block=self.block,
                input_size=(3, frames, *input_size), block_options=self.block_options,
                folded_time=over_frames,
            )  # fmt: skip
        return model


def check_frames(frames: int) -> None:
    """Raise ValueError unless the number of frames is positive and even."""
    if frames < 2 or frames % 2:
        raise ValueError(
            f"the number of frames must be even, since pairs of them are pooled, got {frames}"
        )


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
    dtype = model.fc.weight.dtype
    parts = [
        mean_probabilities(_position_logits(model, normalise_video(clips).to(dtype), input_size))
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


def check_network(checkpoint: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
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
    stored = description(checkpoint, "video")
    _check_classes(stored["classes"], expected["classes"])
    check_same(stored, expected, asdict(VideoNetwork()))


def load_video_network(path: str | Path) -> tuple[C2D, dict[str, Any]]:
    """Build the network of a checkpoint and load its weights.

    Parameters
    ----------
    path : path
        Checkpoint written by training (``srl video fit``), folder or name; see `locate`.

    Returns
    -------
    C2D
        In evaluation mode, on the CPU, channels last in memory.
    dict
        What the checkpoint says of it: ``network`` (arguments of `VideoNetwork`), ``classes``
        (names, in the order of the scores), ``frames``, ``input_size`` [H, W], and ``sampling``
        (``stride``, ``short_side`` and ``views``) of the data that it was trained on.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not a checkpoint of a video model, or its weights are not of the network that it
        describes.
    """
    model, stored = load_network(path, "video", described_network)
    return model, dict(stored)


def described_network(stored: Mapping[str, Any]) -> C2D:
    """Network of a checkpoint's description, with any weights."""
    height, width = stored["input_size"]
    network = VideoNetwork(**stored["network"])
    return network.build(len(stored["classes"]), stored["frames"], (height, width))


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
