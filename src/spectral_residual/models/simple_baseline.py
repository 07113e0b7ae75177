"""SimpleBaseline for human pose estimation (Xiao, Wu, Wei, ECCV 2018), with blocks inserted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from ..insertion import insert_blocks
from .resnet import ResNetTrunk

HEATMAP_STRIDE = 4


class SimpleBaseline(nn.Module):
    """ResNet trunk, three deconvolutions of stride 2, and a 1x1 convolution to heatmaps.

    Parameters
    ----------
    trunk : ResNetTrunk
        Maps images (N, 3, H, W) to (N, trunk.channels, H / 32, W / 32).
    num_joints : int
        Heatmaps K to predict.
    deconv_channels : int, default 256
        Channels of every deconvolution.

    Attributes
    ----------
    d1, d2, d3 : nn.Sequential
        Deconvolution 4x4 of stride 2 without bias, BatchNorm, ReLU. The paper puts one block
        after each.
    head : nn.Conv2d
        1x1, with bias.
    """

    def __init__(self, trunk: ResNetTrunk, num_joints: int, deconv_channels: int = 256) -> None:
        super().__init__()
        for label, value in (("num_joints", num_joints), ("deconv_channels", deconv_channels)):
            if value < 1:
                raise ValueError(f"{label} must be positive, got {value}")
        self.backbone = trunk
        self.d1 = _deconvolution(trunk.channels, deconv_channels)
        self.d2 = _deconvolution(deconv_channels, deconv_channels)
        self.d3 = _deconvolution(deconv_channels, deconv_channels)
        self.head = nn.Conv2d(deconv_channels, num_joints, 1)
        nn.init.normal_(self.head.weight, std=0.001)
        nn.init.zeros_(self.head.get_parameter("bias"))

    def forward(self, images: Tensor) -> Tensor:
        """Predict heatmaps.

        Parameters
        ----------
        images : Tensor
            Normalised RGB crops, (N, 3, H, W), H and W multiples of 32.

        Returns
        -------
        Tensor
            Heatmaps, (N, K, H / 4, W / 4), unbounded; 1 is the peak of a joint.

        Raises
        ------
        ValueError
            If H or W is not a multiple of 32.
        """
        check_input_size((images.shape[-2], images.shape[-1]))
        return self.head(self.d3(self.d2(self.d1(self.backbone(images)))))


def create_simple_baseline(
    *,
    backbone: str = "resnet50",
    weights: str | None = None,
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
        A name in `spectral_residual.models.resnet.RESNETS`.
    weights : str, optional
        Weights of the trunk; see `ResNetTrunk`.
    num_joints : int
        Joints K of the skeleton.
    input_size : (int, int)
        Height and width of the crops, multiples of 32; blocks get their weights for it.
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
    """
    check_input_size(input_size)
    if block is None and block_options:
        raise ValueError(f"block_options {dict(block_options)} are given, but no block")
    model = SimpleBaseline(ResNetTrunk(backbone, weights), num_joints, deconv_channels)
    if block is not None:
        insert_blocks(
            model, after=block_after, block=block, input_size=(3, *input_size),
            options=block_options,
        )  # fmt: skip
    return model


def check_input_size(size: tuple[int, int]) -> None:
    """Raise ValueError unless height and width are positive multiples of 32."""
    for label, value in zip(("height", "width"), size, strict=True):
        if value < ResNetTrunk.stride or value % ResNetTrunk.stride:
            raise ValueError(
                f"the input {label} must be a multiple of {ResNetTrunk.stride}, so that the "
                f"heatmap has a quarter of it, got {value} in input size "
                f"{size[0]}x{size[1]} (H x W)"
            )


def _deconvolution(inputs: int, outputs: int) -> nn.Sequential:
    convolution = nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1, bias=False)
    nn.init.normal_(convolution.weight, std=0.001)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))
