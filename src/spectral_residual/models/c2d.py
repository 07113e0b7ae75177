"""C2D for video classification, with blocks inserted.

Chi et al. 2019, table 7, after Wang et al., "Non-local Neural Networks", CVPR 2018: a ResNet whose
convolutions see one frame at a time, so that a trained network for images is used as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..blocks import VIDEO_BLOCKS
from ..blocks.frames import fold_time
from ..insertion import insert_blocks
from .resnet import ResNetTrunk

BLOCK_AFTER = ("backbone.layer2.0", "backbone.layer2.1", "backbone.layer3.0", "backbone.layer3.1")
"""All residual blocks of res3 and res4 of ResNet-18, and the first two of each of a deeper one."""


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


def create_c2d(
    *,
    backbone: str = "resnet18",
    weights: str | None = None,
    num_classes: int = 400,
    frames: int = 8,
    input_size: tuple[int, int] = (224, 224),
    dropout: float = 0.5,
    block: str | None = None,
    block_after: Sequence[str] = BLOCK_AFTER,
    block_options: Mapping[str, Any] | None = None,
) -> C2D:
    """Build C2D, with a block at any named places.

    Parameters
    ----------
    backbone : str
        A name in `spectral_residual.models.resnet.RESNETS`.
    weights : str, optional
        Weights of the trunk, e.g. ``"IMAGENET1K_V1"``; see `ResNetTrunk`.
    num_classes : int
        Classes to tell apart.
    frames : int
        Frames T of a clip, even; blocks up to ``backbone.layer1`` get T, later ones T / 2. With
        blocks for videos no other number is taken.
    input_size : (int, int)
        Height and width of the frames; blocks get their weights for it.
    dropout : float
        Share of the pooled features that is dropped in training.
    block : str, optional
        Name for `spectral_residual.create_block`; None builds the plain network. Blocks for
        images alone, such as ``rcca``, act on every frame by itself.
    block_after : sequence of str
        Module names: ``backbone.layer1``, ``backbone.layer3.1``, ... By default the paper's four
        places in ResNet-18: after each residual block of res3 and res4.
    block_options : mapping, optional
        Options for `create_block`.

    Returns
    -------
    C2D

    Raises
    ------
    ValueError
        If a name is unknown (the nearest is suggested), T is odd, a size is not positive, or
        options are given without a block.
    """
    check_frames(frames)
    if any(n < 1 for n in input_size):
        raise ValueError(f"input_size must be two positive integers (H, W), got {input_size}")
    if block is None and block_options:
        raise ValueError(f"block_options {dict(block_options)} are given, but no block")
    over_frames = block in VIDEO_BLOCKS
    trunk = ResNetTrunk(backbone, weights)
    model = C2D(trunk, num_classes, dropout, frames=frames if over_frames else None)
    if block is not None:
        insert_blocks(
            model, after=block_after, block=block, input_size=(3, frames, *input_size),
            options=block_options, folded_time=over_frames,
        )  # fmt: skip
    return model


def check_frames(frames: int) -> None:
    """Raise ValueError unless the number of frames is positive and even."""
    if frames < 2 or frames % 2:
        raise ValueError(
            f"the number of frames must be even, since pairs of them are pooled, got {frames}"
        )
