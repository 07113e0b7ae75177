"""Published pose networks of other code bases as networks of this package.

SimpleBaseline (Xiao et al., ECCV 2018) and HRNet (Sun et al., CVPR 2019) by the names of their
authors, and by mmpose's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from ..errors import printable
from ..training.checkpoint import check_finite, check_weights
from ..training.pretrained import About
from ..training.resnet import read_state_dict
from ..training.timm_trunk import PREFIX, TimmTrunk
from .network import PoseNetwork, SimpleBaseline
from .pretrained import PoseModel
from .skeleton import COCO, Skeleton

_RESNETS = {
    ((2, 2, 2, 2), False): "resnet18",
    ((3, 4, 6, 3), False): "resnet34",
    ((3, 4, 6, 3), True): "resnet50",
    ((3, 4, 23, 3), True): "resnet101",
    ((3, 8, 36, 3), True): "resnet152",
}
_HEADS = ("keypoint_head.", "head.")
_UNUSED = re.compile(r"data_preprocessor\.|stage4\.2\.fuse_layers\.[1-3]\.")
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def load_published(
    path: str | Path,
    input_size: tuple[int, int] = (256, 192),
    skeleton: Skeleton | None = None,
    *,
    bgr: bool = False,
) -> PoseModel:
    """Load a published pose network; trunk, channels and joints are read off its weights.

    Parameters
    ----------
    path : path
        State dict, a .pth, .pt or .safetensors file: SimpleBaseline with a ResNet of 18 to 152
        layers, or HRNet.
    input_size : (int, int), default (256, 192)
        Height and width (H, W) of the crops that it was trained with.
    skeleton : Skeleton, optional
        Its joints; by default COCO's, if there are 17.
    bgr : bool, default False
        The network expects BGR, with ImageNet's mean and deviation in the order of RGB, as the
        first SimpleBaseline weights of Microsoft do. The first convolution and its normalisation
        are changed to give the same for RGB; at the border of a crop, where zeros are padded,
        a little differs.

    Returns
    -------
    PoseModel
        In evaluation mode.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it holds no such network (what is missing, not finite or of another shape is named),
        or its joints are not those of the skeleton.
    """
    content = read_state_dict(path)
    try:
        _check_claimed(content, Path(path).stat().st_size)
        state = _with_our_names(content)
        skeleton = _checked_skeleton(skeleton, len(state["head.weight"]))
        config = _network_of(state)
        network = config.build(skeleton.num_joints, input_size)
        expected = network.state_dict()
        counters = {n: v for n, v in expected.items() if n.endswith("num_batches_tracked")}
        state = {**counters, **state}  # files of PyTorch 0.4 have none
        check_weights(state, expected)
    except ValueError as error:
        raise ValueError(f"{printable(path)}: {error}") from error
    network.load_state_dict(state)
    if bgr:
        _take_rgb(network)
    stored = {
        "network": {k: v for k, v in asdict(config).items() if k != "weights"},
        "skeleton": skeleton.to_dict(),
        "input_size": list(input_size),
    }
    about = About(training={"Weights": f"converted from {printable(Path(path).name)}"})
    return PoseModel(network.to(memory_format=torch.channels_last).eval(), stored, about)


def _check_claimed(state: Mapping[str, Tensor], size: int) -> None:
    """Raise ValueError if weights stand for more numbers than their file of `size` bytes holds."""
    claimed = sum(value.numel() * value.element_size() for value in state.values())
    if claimed > size:
        raise ValueError(f"its weights claim {claimed} bytes, more than the file has")


def _with_our_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights by the names of `SimpleBaseline`; ValueError if they are not of a pose network."""
    names = {name.removeprefix("module."): value for name, value in state.items()}
    is_hrnet = any(name.removeprefix("backbone.").startswith("stage4.") for name in names)
    trunk = "backbone.model." if is_hrnet else "backbone."
    renamed, used = {}, {}
    for name, value in names.items():
        plain = name.removeprefix("backbone.")
        for head in _HEADS:
            plain = plain.removeprefix(head)
        if not _UNUSED.match(plain):
            renamed[_our_name(plain, trunk)] = used[name] = value
    check_finite(used)
    if "head.weight" not in renamed or renamed["head.weight"].ndim != 4:
        raise ValueError(
            "no SimpleBaseline or HRNet for poses: final_layer.weight, of a convolution, is not "
            f"among the {len(state)} weights, which begin with {list(state)[:3]}"
        )
    return renamed


def _our_name(name: str, trunk: str) -> str:
    """`SimpleBaseline`'s name of a weight of the authors' networks."""
    deconvolution = re.fullmatch(r"deconv_layers\.(\d+)\.(\w+)", name)
    if deconvolution:
        number, part = divmod(int(deconvolution[1]), 3)
        return f"d{number + 1}.{part}.{deconvolution[2]}"
    head = re.fullmatch(r"final_layer\.(weight|bias)", name)
    return f"head.{head[1]}" if head else trunk + name


def _checked_skeleton(skeleton: Skeleton | None, joints: int) -> Skeleton:
    """The given skeleton or COCO's; ValueError if it has another number of joints."""
    chosen, whose = (COCO, "COCO's") if skeleton is None else (skeleton, "the given skeleton's")
    if chosen.num_joints != joints:
        raise ValueError(f"it has {joints} joints, not {whose} {chosen.num_joints}")
    return chosen


def _network_of(state: Mapping[str, Tensor]) -> PoseNetwork:
    """Configuration of the network that weights are of, by their names and shapes."""
    width = state.get("backbone.model.stage4.0.branches.0.0.conv1.weight")
    if width is not None and width.ndim == 4:
        return PoseNetwork(f"{PREFIX}hrnet_w{len(width)}", output_stride=4)
    counts = tuple(_count(state, rf"backbone\.layer{number}\.(\d+)\.") for number in range(1, 5))
    key = (counts, "backbone.layer1.0.conv3.weight" in state)
    if key not in _RESNETS:
        raise ValueError(
            f"its layers have {counts} residual blocks, which is no ResNet of 18 to 152 layers"
        )
    first = state.get("d1.0.weight")
    if first is None or first.ndim != 4:
        raise ValueError("deconv_layers.0.weight: expected the weights of a deconvolution")
    return PoseNetwork(_RESNETS[key], deconv_channels=first.shape[1])


def _count(state: Mapping[str, Tensor], pattern: str) -> int:
    found = (re.match(pattern, name) for name in state)
    return len({match[1] for match in found if match})


@torch.no_grad()
def _take_rgb(network: SimpleBaseline) -> None:
    """Change the first layers of a network for BGR so that they give the same for RGB.

    With mean m and deviation s in the order of RGB, such a network is fed (B - m0) / s0 where
    ours is fed (B - m2) / s2: a scale, which goes into the weights, and a constant, whose sum
    over the kernel goes into the mean that the normalisation subtracts.
    """
    stem = network.backbone.model if isinstance(network.backbone, TimmTrunk) else network.backbone
    weight, norm = stem.conv1.weight, stem.bn1
    mean, deviation = (weight.new_tensor(values) for values in (_MEAN, _DEVIATION))
    offset = (mean.flip(0) - mean) / deviation
    norm.running_mean -= torch.einsum("ochw,c->o", weight, offset)
    weight.copy_((weight * (deviation.flip(0) / deviation)[:, None, None]).flip(1))
