"""ResNet trunks of torchvision, without pooling and classifier."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from torch import Tensor, nn

from ..errors import printable, unknown_name
from .checkpoint import check_archive, check_finite, check_stored

RESNETS = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")
WEIGHTS_SUFFIXES = {".pth", ".pt", ".safetensors"}


class ResNetTrunk(nn.Module):
    """ResNet up to its last residual block, or a part of it, with torchvision's weight names.

    Parameters
    ----------
    name : {"resnet18", "resnet34", "resnet50", "resnet101", "resnet152"}
        The stride of a bottleneck lies in its 3x3 convolution, as in torchvision.
    weights : str, optional
        None draws weights at random. ``"IMAGENET1K_V1"`` (or another name of torchvision's
        weights) downloads them. Otherwise the path of a ``.pth``, ``.pt`` or ``.safetensors``
        file with a torchvision state dict; ``fc.*`` and layers that are not kept are ignored.
    stages : {4, 3, 2}
        Kept layers: 4 is the whole network, 2 ends after ``layer2`` (res3 in the paper).
    output_stride : {8, 16, 32}, optional
        Input pixels per output position: strides that would exceed it become 1. By default
        2 to the power of ``stages + 1``, the network's own. With 4 stages, 8 sets the strides of
        ``layer3`` and ``layer4`` to 1: the paper's baseline* (table 4).
    dilated : bool, default False
        Dilate the convolutions behind every stride that was set to 1, so that they see the same
        input pixels as before; the output is the original one on a finer grid (Chen et al.,
        "Rethinking Atrous Convolution", 2017).

    Attributes
    ----------
    channels : int
        Channels of the output: 512 or 2048 with 4 stages, half of it with each stage less.
    stride : int
        Input pixels per output position.
    stages : int
        As given.

    Raises
    ------
    ValueError
        If `name` or `weights` is unknown, `stages` or `output_stride` is none of the above, the
        output stride is larger than the network's own, or `dilated` has nothing to dilate.
    """

    def __init__(
        self,
        name: str,
        weights: str | None = None,
        stages: int = 4,
        output_stride: int | None = None,
        dilated: bool = False,
    ) -> None:
        super().__init__()
        if name not in RESNETS:
            raise unknown_name("backbone", name, RESNETS)
        self.stages = stages
        self.stride = _checked_stride(stages, output_stride, dilated)
        network = torchvision.models.get_model(name)
        self.channels = int(network.fc.in_features) // 2 ** (4 - stages)
        self.conv1, self.bn1 = network.conv1, network.bn1
        self.relu, self.maxpool = network.relu, network.maxpool
        self.layer1 = network.layer1
        for layer in self._later_layers():
            self.add_module(layer, network.get_submodule(layer))
        if weights is not None:
            load_trunk_weights(self, name, weights)
        self._limit_stride(dilated)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (N, 3, H, W) to features (N, channels, H / stride, W / stride), rounded up."""
        return self.later_stages(self.first_stage(x))

    def first_stage(self, x: Tensor) -> Tensor:
        """Map images (N, 3, H, W) to the output of ``layer1``, with H / 4 and W / 4."""
        return self.layer1(self.maxpool(self.relu(self.bn1(self.conv1(x)))))

    def later_stages(self, x: Tensor) -> Tensor:
        """Map the output of ``layer1`` to that of the last kept layer."""
        for layer in self._later_layers():
            x = getattr(self, layer)(x)
        return x

    def _later_layers(self) -> list[str]:
        return [f"layer{number}" for number in range(2, self.stages + 1)]

    def _limit_stride(self, dilated: bool) -> None:
        """Set strides to 1 where the output stride is reached, and dilate what comes after."""
        stride, dilation = 4, 1
        for layer in self._later_layers():
            if stride < self.stride:
                stride *= 2
                continue
            for module in self.get_submodule(layer).modules():
                if not isinstance(module, nn.Conv2d):
                    continue
                had_stride = module.stride == (2, 2)
                module.stride = (1, 1)
                if dilated:
                    _dilate(module, dilation if had_stride else 2 * dilation)
            dilation *= 2


def _checked_stride(stages: int, output_stride: int | None, dilated: bool) -> int:
    """Stride of the trunk; ValueError if the options do not go together."""
    if stages not in (2, 3, 4):
        raise ValueError(f"stages must be 2, 3 or 4, got {stages}")
    natural = 2 ** (stages + 1)
    possible = [stride for stride in (8, 16, 32) if stride <= natural]
    if output_stride is None:
        output_stride = natural
    if output_stride not in possible:
        raise ValueError(
            f"output_stride with {stages} stages must be one of {possible}, got {output_stride}"
        )
    if dilated and output_stride == natural:
        raise ValueError(
            f"dilated replaces strides, but an output_stride of {natural} with {stages} stages "
            "leaves all of them"
        )
    return output_stride


def _dilate(convolution: nn.Conv2d, dilation: int) -> None:
    if convolution.kernel_size == (3, 3):
        convolution.dilation = convolution.padding = (dilation, dilation)


def load_trunk_weights(trunk: ResNetTrunk, name: str, weights: str) -> None:
    """Load torchvision weights by name, or a state dict from a file, into the layers there are.

    Raises
    ------
    FileNotFoundError
        If `weights` looks like a path but there is no such file.
    ValueError
        If `weights` is neither, or the file does not fit the network or is not finite.
    """
    if Path(weights).suffix in WEIGHTS_SUFFIXES:
        state, source = read_state_dict(weights), weights
    else:
        known = torchvision.models.get_model_weights(name)
        if weights not in known.__members__:
            raise unknown_name(
                f"weights of {name} (and no .pth, .pt or .safetensors file)",
                weights,
                known.__members__,
            )
        state, source = known[weights].get_state_dict(progress=True), f"{name} {weights}"
    ignored = ("fc.", *(f"layer{number}." for number in range(trunk.stages + 1, 5)))
    state = {key: value for key, value in state.items() if not key.startswith(ignored)}
    try:
        check_finite(state)
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from error
    try:
        missing, unexpected = trunk.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise ValueError(f"{source}: the weights do not fit {name}: {error}") from error
    if missing or unexpected:
        raise ValueError(
            f"{source}: the weights do not fit {name}: {len(missing)} missing "
            f"{missing[:3]}, {len(unexpected)} unexpected {unexpected[:3]}"
        )


def read_state_dict(path: str | Path) -> Mapping[str, Tensor]:
    """Read a mapping of names to tensors from a .pth, .pt or .safetensors file: never code.

    A dict with the single level ``"state_dict"`` or ``"model"`` around it is unwrapped; beside
    that level there may be plain values and arrays of numbers, as in mmpose's files.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file holds no state dict, or is compressed.
    """
    path, named = Path(path), printable(path)
    if not path.is_file():
        raise FileNotFoundError(f"no weights file {named}")
    try:
        state = _load(path)
    except Exception as error:
        raise ValueError(f"{named}: not a readable weights file: {error}") from error
    for key in ("state_dict", "model"):
        if isinstance(state, Mapping) and isinstance(state.get(key), Mapping):
            state = state[key]
    if not isinstance(state, Mapping) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in state.items()
    ):
        raise ValueError(f"{named}: expected a mapping of names to tensors")
    check_stored(state, named)
    return state


def _load(path: Path) -> Any:
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    check_archive(path)
    with torch.serialization.safe_globals(_array_types()):
        return torch.load(path, map_location="cpu", weights_only=True)


def _array_types() -> list[Any]:
    """What arrays of numbers in a file are made of, under NumPy's names of before 2.0 too."""
    made = np.zeros(0).__reduce__()[0]
    kinds = [type(np.dtype(kind)) for kind in ("f4", "f8", "i4", "i8", "u1", "bool")]
    named = [(made, "numpy.core.multiarray._reconstruct")]
    return [made, *named, np.ndarray, np.dtype, *kinds]
