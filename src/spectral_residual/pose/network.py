"""SimpleBaseline for human pose estimation (Xiao, Wu, Wei, ECCV 2018), with blocks inserted."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ..insertion import insert_blocks
from ..training.checkpoint import check_same, description, find_differences, load_network
from ..training.resnet import ResNetTrunk
from ..training.timm_trunk import PREFIX, TimmTrunk
from .skeleton import Skeleton

HEATMAP_STRIDE = 4
_STRIDES = (4, 8, 16, 32)


class SimpleBaseline(nn.Module):
    """Trunk, deconvolutions of stride 2, and a 1x1 convolution to heatmaps.

    There are as many deconvolutions as give heatmaps a quarter of the input: three for a trunk
    of stride 32, two for 16, one for 8, none for 4.

    Parameters
    ----------
    trunk : ResNetTrunk or TimmTrunk
        Maps images (N, 3, H, W) to (N, trunk.channels, H / trunk.stride, W / trunk.stride).
    num_joints : int
        Heatmaps K to predict.
    deconv_channels : int, default 256
        Channels of every deconvolution.

    Attributes
    ----------
    backbone : ResNetTrunk or TimmTrunk
        `trunk`.
    d1, d2, d3 : nn.Sequential
        Deconvolution 4x4 of stride 2 without bias, BatchNorm, ReLU. The paper puts one block
        after each.
    deconvolutions : tuple of str
        Names of those there are, in order.
    head : nn.Conv2d
        1x1, with bias.

    Raises
    ------
    ValueError
        If the trunk's stride is none of 4, 8, 16 and 32, or a number is not positive.
    """

    def __init__(
        self, trunk: ResNetTrunk | TimmTrunk, num_joints: int, deconv_channels: int = 256
    ) -> None:
        super().__init__()
        for label, value in (("num_joints", num_joints), ("deconv_channels", deconv_channels)):
            if value < 1:
                raise ValueError(f"{label} must be positive, got {value}")
        if trunk.stride not in _STRIDES:
            raise ValueError(f"the trunk's stride must be one of {_STRIDES}, got {trunk.stride}")
        self.backbone = trunk
        count = int(math.log2(trunk.stride // HEATMAP_STRIDE))
        self.deconvolutions = tuple(f"d{number}" for number in range(1, count + 1))
        inputs = trunk.channels
        for name in self.deconvolutions:
            self.add_module(name, _deconvolution(inputs, deconv_channels))
            inputs = deconv_channels
        self.head = nn.Conv2d(inputs, num_joints, 1)
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


@dataclass(frozen=True)
class PoseNetwork:
    """Configuration of SimpleBaseline, with a block at any named places.

    Attributes
    ----------
    backbone : str
        resnet18, resnet34, resnet50, resnet101 or resnet152 of torchvision, or ``timm/NAME``.
    weights : str or None
        torchvision's name (``IMAGENET1K_V1``), ``pretrained`` (timm) or the path of a weights
        file; see `ResNetTrunk` and `TimmTrunk`.
    stages : int
        Layers of a ResNet of torchvision that are kept: 4, 3 or 2.
    output_stride : int or None
        Input pixels per position of the trunk's output, 8, 16 or 32; strides beyond become 1.
        None keeps the trunk's own: 32 with 4 stages, 16 with 3, 8 with 2. With timm 4, 8, 16 or
        32: the network is cut behind its last feature map of this stride.
    dilated : bool
        Dilation in place of the strides that `output_stride` removes; not with timm.
    deconv_channels : int
        Channels of the deconvolutions, of which there are as many as bring the trunk's stride
        to 4.
    block : str or None
        Block to insert, a name for `create_block`, e.g. ``srl``.
    block_after : list of str or None
        Modules to insert it after: ``d1``, ``d2``, ``d3``, ``backbone.layer3``,
        ``backbone.layer2.1``, with timm ``backbone.model.blocks.2``, ...; None: every
        deconvolution.
    block_options : dict
        Options of the block, e.g. ``{"modes": 8}``; they are listed at the end of the help.
    """

    backbone: str = "resnet50"
    weights: str | None = None
    stages: int = 4
    output_stride: int | None = None
    dilated: bool = False
    deconv_channels: int = 256
    block: str | None = None
    block_after: list[str] | None = None
    block_options: dict[str, Any] = field(default_factory=dict)

    def build(self, num_joints: int, input_size: tuple[int, int]) -> SimpleBaseline:
        """Build the network.

        Parameters
        ----------
        num_joints : int
            Joints K of the skeleton.
        input_size : (int, int)
            Height and width (H, W) of the crops, multiples of the trunk's stride; blocks get
            their weights for it.

        Raises
        ------
        ValueError
            If a name is unknown (the nearest is suggested), the options of the trunk do not go
            together, the input size is no multiple of its stride, options are given without a
            block, or a block without places where there is no deconvolution.
        """
        if self.block is None and self.block_options:
            raise ValueError(f"block_options {self.block_options} are given, but no block")
        trunk = self._trunk(input_size)
        check_input_size(input_size, trunk.stride)
        model = SimpleBaseline(trunk, num_joints, self.deconv_channels)
        if self.block is None:
            return model
        after = self.placed(model).block_after
        if not after:
            none = "is empty" if self.block_after == [] else "is not given, and no deconvolution"
            raise ValueError(f"block {self.block!r} has no place: block_after {none}")
        insert_blocks(
            model, after=after, block=self.block, input_size=(3, *input_size),
            block_options=self.block_options,
        )  # fmt: skip
        return model

    def placed(self, model: SimpleBaseline) -> PoseNetwork:
        """The same with `block_after` as a list, for the network that was built of it."""
        if self.block_after is not None:
            return self
        return replace(self, block_after=list(model.deconvolutions))

    def _trunk(self, input_size: tuple[int, int]) -> ResNetTrunk | TimmTrunk:
        if not self.backbone.startswith(PREFIX):
            return ResNetTrunk(
                self.backbone, self.weights, self.stages, self.output_stride, self.dilated
            )
        if (self.stages, self.dilated) != (4, False):
            raise ValueError(
                f"stages and dilated are of torchvision's ResNets; output_stride says where to "
                f"cut {self.backbone}"
            )
        name = self.backbone.removeprefix(PREFIX)
        return TimmTrunk(name, self.weights, self.output_stride, input_size)


def check_network(
    checkpoint: Mapping[str, Any], expected: Mapping[str, Any], input_size: tuple[int, int]
) -> None:
    """Compare a checkpoint's description of its network with another.

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
    stored = description(checkpoint, "pose")
    defaults = asdict(PoseNetwork())
    height, width = stored["input_size"]
    other_size = {**expected, "input_size": [height, width]}
    if [height, width] != list(expected["input_size"]) and not find_differences(
        stored, other_size, defaults
    ):
        raise ValueError(
            f"the checkpoint is of a network for crops of {height}x{width} (H x W); to use it "
            f"with crops of {input_size[0]}x{input_size[1]}, give "
            f"--model.trained_size [{height},{width}]"
        )
    check_same(stored, expected, defaults)


def load_pose_network(path: str | Path) -> tuple[SimpleBaseline, Skeleton, tuple[int, int]]:
    """Build the network of a checkpoint and load its weights.

    Parameters
    ----------
    path : path
        Checkpoint written by training (``srl pose fit``), folder or name; see `locate`.

    Returns
    -------
    SimpleBaseline
        In evaluation mode, on the CPU, channels last in memory.
    Skeleton
        Joints of its heatmaps.
    (int, int)
        Height and width (H, W) of its input.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not a checkpoint of a pose model, or its weights are not of the network that it
        describes.
    """
    model, stored = load_network(path, "pose", described_network)
    height, width = stored["input_size"]
    return model, Skeleton.from_dict(stored["skeleton"]), (height, width)


def described_network(stored: Mapping[str, Any]) -> SimpleBaseline:
    """Network of a checkpoint's description, with any weights."""
    height, width = stored["input_size"]
    joints = Skeleton.from_dict(stored["skeleton"]).num_joints
    return PoseNetwork(**stored["network"]).build(joints, (height, width))


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
