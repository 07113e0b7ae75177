"""ResNet trunks of torchvision, without pooling and classifier."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import Tensor, nn

from ..errors import unknown_name

RESNETS = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")


class ResNetTrunk(nn.Module):
    """ResNet up to its last residual block, with torchvision's names for all weights.

    Parameters
    ----------
    name : {"resnet18", "resnet34", "resnet50", "resnet101", "resnet152"}
        The stride of a bottleneck lies in its 3x3 convolution, as in torchvision.
    weights : str, optional
        None draws weights at random. ``"IMAGENET1K_V1"`` (or another name of torchvision's
        weights) downloads them. Otherwise the path of a ``.pth``, ``.pt`` or ``.safetensors``
        file with a torchvision state dict; ``fc.*`` in it is ignored.

    Attributes
    ----------
    channels : int
        Channels of the output, 512 or 2048.
    stride : int
        Input pixels per output position, 32.
    """

    stride = 32

    def __init__(self, name: str, weights: str | None = None) -> None:
        super().__init__()
        if name not in RESNETS:
            raise unknown_name("backbone", name, RESNETS)
        network = torchvision.models.get_model(name)
        if weights is not None:
            load_trunk_weights(network, name, weights)
        self.channels = int(network.fc.in_features)
        self.conv1, self.bn1 = network.conv1, network.bn1
        self.relu, self.maxpool = network.relu, network.maxpool
        self.layer1, self.layer2 = network.layer1, network.layer2
        self.layer3, self.layer4 = network.layer3, network.layer4

    def forward(self, x: Tensor) -> Tensor:
        """Map images (N, 3, H, W) to features (N, channels, H / 32, W / 32), rounded up."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))


def load_trunk_weights(network: nn.Module, name: str, weights: str) -> None:
    """Load torchvision weights by name, or a state dict from a file, all but the classifier.

    Raises
    ------
    FileNotFoundError
        If `weights` looks like a path but there is no such file.
    ValueError
        If `weights` is neither, or the file does not fit the network.
    """
    if Path(weights).suffix in {".pth", ".pt", ".safetensors"}:
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
    state = {key: value for key, value in state.items() if not key.startswith("fc.")}
    try:
        missing, unexpected = network.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise ValueError(f"{source}: the weights do not fit {name}: {error}") from error
    missing = [key for key in missing if not key.startswith("fc.")]
    if missing or unexpected:
        raise ValueError(
            f"{source}: the weights do not fit {name}: {len(missing)} missing "
            f"{missing[:3]}, {len(unexpected)} unexpected {unexpected[:3]}"
        )


def read_state_dict(path: str | Path) -> Mapping[str, Tensor]:
    """Read a mapping of names to tensors from a .pth, .pt or .safetensors file.

    A dict with the single level ``"state_dict"`` or ``"model"`` around it is unwrapped.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file holds no state dict.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no weights file {path}")
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        load: Callable[[Path], Any] = load_file
    else:
        load = partial(torch.load, map_location="cpu", weights_only=True)
    try:
        state = load(path)
    except Exception as error:
        raise ValueError(f"{path}: not a readable weights file: {error}") from error
    for key in ("state_dict", "model"):
        if isinstance(state, Mapping) and isinstance(state.get(key), Mapping):
            state = state[key]
    if not isinstance(state, Mapping) or not all(isinstance(v, Tensor) for v in state.values()):
        raise ValueError(f"{path}: expected a mapping of names to tensors")
    return state
