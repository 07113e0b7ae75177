"""Trunks of timm: any of its networks that gives feature maps, cut at a stride."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ..errors import unknown_name
from ..meta import meta_copy, run_on_meta
from .checkpoint import check_finite, check_weights
from .resnet import WEIGHTS_SUFFIXES, read_state_dict

PREFIX = "timm/"
_FINEST_OF_HRNET = 4


class TimmTrunk(nn.Module):
    """Network of timm up to its last feature map of a stride; what comes after it is not kept.

    Parameters
    ----------
    name : str
        timm's name, with or without the tag of its weights: ``"tf_efficientnet_lite0"``,
        ``"resnet26.bt_in1k"``, ``"convnext_tiny"``, ``"vit_small_patch16_224"``.
    weights : str, optional
        None draws weights at random. ``"pretrained"`` downloads those of the tag, or timm's
        default. Otherwise the path of a ``.pth``, ``.pt`` or ``.safetensors`` file with the state
        dict of the whole network in timm's names; its classifier may be another or missing.
    output_stride : int, optional
        Input pixels per output position, of one of the network's feature maps. By default the
        largest; the deepest map of that stride is taken. Of an HRNet 4 is the finest branch of
        its last stage, as its pose networks use it.
    input_size : (int, int), optional
        Height and width (H, W) of the images: networks for one size (most vision transformers)
        are built for it, and whether the network takes it is tried without computing.

    Attributes
    ----------
    model : nn.Module
        timm's network, with its names.
    channels, stride : int
        Channels and stride of the output.

    Raises
    ------
    ModuleNotFoundError
        If timm is not installed.
    ValueError
        If the name is unknown, the network gives no feature maps, none of that stride, or takes
        no images of that size, or the weights do not fit.
    """

    def __init__(
        self,
        name: str,
        weights: str | None = None,
        output_stride: int | None = None,
        input_size: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        self.model = _create(name, weights, input_size)
        if not hasattr(self.model, "forward_intermediates"):
            import timm

            raise ValueError(
                f"{PREFIX}{name}: timm {timm.__version__} has no feature maps of this network"
            )
        strides = [int(level["reduction"]) for level in self.model.feature_info]
        self.stride = max(strides) if output_stride is None else output_stride
        if self.stride not in strides:
            raise ValueError(
                f"{PREFIX}{name}: output_stride must be one of {sorted(set(strides))}, got "
                f"{output_stride}"
            )
        level = len(strides) - 1 - strides[::-1].index(self.stride)
        self.channels = int(self.model.feature_info[level]["num_chs"])
        self.indices = self.model.prune_intermediate_layers([level], prune_norm=True)
        if self.stride == _FINEST_OF_HRNET and hasattr(self.model, "incre_modules"):
            self.channels = _keep_finest_branch(self.model)
        if input_size is not None:
            self._check_size(f"{PREFIX}{name}", input_size)

    def _check_size(self, name: str, input_size: tuple[int, int]) -> None:
        """Raise ValueError unless images of a size give maps of a stride-th of it."""
        height, width = input_size
        expected = (self.channels, height // self.stride, width // self.stride)
        output = run_on_meta(meta_copy(self), (3, height, width))
        got = tuple(output.shape[1:]) if isinstance(output, Tensor) else type(output).__name__
        if got != expected:
            raise ValueError(
                f"{name} maps images of {height}x{width} to {got}, expected {expected} (C, H, W): "
                "its maps do not keep to its stride"
            )

    def forward(self, x: Tensor) -> Tensor:
        """Map images (N, 3, H, W) to features (N, channels, H / stride, W / stride)."""
        maps = self.model.forward_intermediates(
            x, indices=self.indices, output_fmt="NCHW", intermediates_only=True
        )
        return maps[0]


def _keep_finest_branch(model: Any) -> int:
    """Make an HRNet the trunk of its pose networks: the finest branch as the last stage fuses it.

    What only classification and the coarser branches' outputs need is dropped (Sun et al., "Deep
    High-Resolution Representation Learning for Human Pose Estimation", CVPR 2019).

    Returns
    -------
    int
        Channels of the branch.
    """
    last = model.stage4[-1]
    last.fuse_layers, last.multi_scale_output = last.fuse_layers[:1], False
    model.incre_modules = None
    return int(last.num_in_chs[0])


def _create(name: str, weights: str | None, input_size: tuple[int, int] | None) -> Any:
    """Whole network of timm, with its weights."""
    try:
        import timm
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"{PREFIX}{name} needs timm: pip install timm") from error

    if not timm.is_model(name):
        raise unknown_name("network of timm", name, timm.list_models(pretrained=False))
    check_tag(name)
    file = weights if weights and Path(weights).suffix in WEIGHTS_SUFFIXES else None
    if weights not in (None, "pretrained", file):
        raise ValueError(
            f'weights of {PREFIX}{name} must be "pretrained" or a .pth, .pt or .safetensors file, '
            f"got {weights!r}"
        )
    config = timm.models.get_pretrained_cfg(name)
    options: dict[str, Any] = {}
    if config is not None and config.fixed_input_size and input_size is not None:
        options["img_size"] = input_size
    try:
        model = timm.create_model(name, pretrained=weights == "pretrained", **options)
    except (RuntimeError, AssertionError, TypeError) as error:
        raise ValueError(f"{PREFIX}{name}, weights {weights}: {error}") from error
    if file is not None:
        _load(model, file)
    return model


def check_tag(name: str) -> None:
    """Raise ValueError if timm does not know the tag in NAME.TAG; the nearest is suggested."""
    import timm

    try:
        timm.models.get_pretrained_cfg(name)
    except RuntimeError:
        known = timm.list_models(f"{name.partition('.')[0]}.*", pretrained=True)
        raise unknown_name("weights of timm", name, known) from None


def _load(model: Any, weights: str) -> None:
    """Load a state dict of a whole network, whose classifier may be another or missing."""
    classifier = model.pretrained_cfg.get("classifier") or ()
    heads = tuple(f"{n}." for n in ((classifier,) if isinstance(classifier, str) else classifier))
    own = model.state_dict()
    state = {n: v for n, v in read_state_dict(weights).items() if not n.startswith(heads)}
    try:
        check_finite(state)
        check_weights(state, {n: v for n, v in own.items() if not n.startswith(heads)})
    except ValueError as error:
        raise ValueError(f"{weights}: {error}") from error
    model.load_state_dict(state, strict=False)
