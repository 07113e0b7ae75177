"""SimpleBaseline for human pose estimation (Xiao, Wu, Wei, ECCV 2018), with blocks inserted."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from ..insertion import insert_blocks
from ..training.resnet import ResNetTrunk

HEATMAP_STRIDE = 4


class SimpleBaseline(nn.Module):
    """ResNet trunk, deconvolutions of stride 2, and a 1x1 convolution to heatmaps.

    There are as many deconvolutions as give heatmaps a quarter of the input: three for a trunk
    of stride 32, two for 16, one for 8.

    Parameters
    ----------
    trunk : ResNetTrunk
        Maps images (N, 3, H, W) to (N, trunk.channels, H / trunk.stride, W / trunk.stride).
    num_joints : int
        Heatmaps K to predict.
    deconv_channels : int, default 256
        Channels of every deconvolution.

    Attributes
    ----------
    backbone : ResNetTrunk
        `trunk`.
    d1, d2, d3 : nn.Sequential
        Deconvolution 4x4 of stride 2 without bias, BatchNorm, ReLU. The paper puts one block
        after each.
    deconvolutions : tuple of str
        Names of those there are, in order.
    head : nn.Conv2d
        1x1, with bias.
    """

    def __init__(self, trunk: ResNetTrunk, num_joints: int, deconv_channels: int = 256) -> None:
        super().__init__()
        for label, value in (("num_joints", num_joints), ("deconv_channels", deconv_channels)):
            if value < 1:
                raise ValueError(f"{label} must be positive, got {value}")
        self.backbone = trunk
        count = int(math.log2(trunk.stride // HEATMAP_STRIDE))
        self.deconvolutions = tuple(f"d{number}" for number in range(1, count + 1))
        inputs = trunk.channels
        for name in self.deconvolutions:
            self.add_module(name, _deconvolution(inputs, deconv_channels))
            inputs = deconv_channels
        self.head = nn.Conv2d(deconv_channels, num_joints, 1)
        nn.init.normal_(self.head.weight, std=0.001)
        nn.init.zeros_(self.head.get_parameter("bias"))

    def forward(self, images: Tensor) -> Tensor:
        """Predict heatmaps.

        Parameters
        ----------
        images : Tensor
            Normalised RGB crops, (N, 3, H, W), H and W multiples of the trunk's stride.

        Returns
        -------
        Tensor
            Heatmaps, (N, K, H / 4, W / 4), unbounded; 1 is the peak of a joint.

        Raises
        ------
        ValueError
            If H or W is not a multiple of the trunk's stride.
        """
        check_input_size((images.shape[-2], images.shape[-1]), self.backbone.stride)
        features = self.backbone(images)
        for name in self.deconvolutions:
            features = getattr(self, name)(features)
        return self.head(features)


def create_simple_baseline(
    *,
    backbone: str = "resnet50",
    weights: str | None = None,
    stages: int = 4,
    output_stride: int | None = None,
    dilated: bool = False,
    num_joints: int = 17,
    input_size: tuple[int, int] = (256, 192),
    deconv_channels: int = 256,
    block: str | None = None,
    block_after: Sequence[str] = ("d1", "d2", "d3"),
    block_options: Mapping[str, Any] | None = None,
) -> SimpleBaseline:
    """Build SimpleBaseline, with a block at any named places.

    Parameters
    ----------
    backbone : str
        A name in `spectral_residual.training.resnet.RESNETS`.
    weights : str, optional
        Weights of the trunk; see `ResNetTrunk`.
    stages : int
        Layers of the trunk that are kept; see `ResNetTrunk`.
    output_stride : int, optional
        Stride of the trunk, by default its own; see `ResNetTrunk`.
    dilated : bool
        Dilation in place of the strides that `output_stride` removes.
    num_joints : int
        Joints K of the skeleton.
    input_size : (int, int)
        Height and width of the crops, multiples of the trunk's stride (32 by default); blocks
        get their weights for it.
    deconv_channels : int
        Channels of the deconvolutions.
    block : str, optional
        Name for `spectral_residual.create_block`; None builds the plain network.
    block_after : sequence of str
        Module names: ``d1``, ``d2``, ``d3``, ``backbone.layer3``, ``backbone.layer2.1``, ...
    block_options : mapping, optional
        Options for `create_block`.

    Returns
    -------
    SimpleBaseline

    Raises
    ------
    ValueError
        If a name is unknown (the nearest is suggested), the options of the trunk do not go
        together, the input size is no multiple of its stride, or options are given without a
        block.
    """
    if block is None and block_options:
        raise ValueError(f"block_options {dict(block_options)} are given, but no block")
    trunk = ResNetTrunk(backbone, weights, stages, output_stride, dilated)
    check_input_size(input_size, trunk.stride)
    model = SimpleBaseline(trunk, num_joints, deconv_channels)
    if block is not None:
        insert_blocks(
            model, after=block_after, block=block, input_size=(3, *input_size),
            options=block_options,
        )  # fmt: skip
    return model


def check_input_size(size: tuple[int, int], stride: int) -> None:
    """Raise ValueError unless height and width are positive multiples of the trunk's stride."""
    for label, value in zip(("height", "width"), size, strict=True):
        if value < stride or value % stride:
            raise ValueError(
                f"the input {label} must be a multiple of {stride}, so that the heatmap has a "
                f"quarter of it, got {value} in input size {size[0]}x{size[1]} (H x W)"
            )


def _deconvolution(inputs: int, outputs: int) -> nn.Sequential:
    convolution = nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1, bias=False)
    nn.init.normal_(convolution.weight, std=0.001)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))
