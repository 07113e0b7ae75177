"""Blocks with a full-image receptive field, found by name. Only torch is imported."""

from __future__ import annotations

import functools
import importlib
import inspect
import sys
from collections.abc import Callable
from typing import Any, get_type_hints

from torch import nn

from ..errors import unknown_name
from ..transforms import TRANSFORMS, FourierVolume, Modes, Transform, create_transform
from ..transforms.base import Size, check_size
from .attention import LinearAttentionBlock, SelfAttentionBlock
from .compact_generalized import CompactGeneralizedBlock
from .convolutions import ConvolutionBlock
from .criss_cross import CrissCrossAttention, RecurrentCrissCrossBlock
from .double_attention import DoubleAttentionBlock
from .fast_fourier import FastFourierBlock
from .frames import FoldedVideoBlock
from .gated import TimmBlock
from .global_filter import GlobalFilterBlock
from .non_local import NonLocalBlock
from .spectral import SpectralReLU, SRLBlock
from .spectral_video import SRLVideoBlock
from .temporal_shift import TemporalShift

ImageSize = tuple[int, int]
VideoSize = tuple[int, int, int]
MapSize = ImageSize | VideoSize
Constructor = Callable[..., nn.Module]


def _srl(make: Callable[[Any, Modes], Transform], few: Modes = None, **own: Any) -> Constructor:
    """Builder of SRL blocks with the transform ``make(size, modes)``, and defaults of its own."""

    @functools.wraps(SRLBlock, updated=())
    def build(channels: int, size: Size, *, modes: Modes = few, **options: Any) -> nn.Module:
        return SRLBlock(channels, size, make(size, modes), **(own | options))

    return build


def _srl_of_frames(transform: str) -> Constructor:
    @functools.wraps(SRLVideoBlock, updated=())
    def build(channels: int, size: VideoSize, *, modes: Modes = None, **options: Any) -> nn.Module:
        frames, *frame = size
        spectral = create_transform(transform, tuple(frame), modes)
        return SRLVideoBlock(channels, tuple(frame), spectral, frames=frames, **options)

    return build


def _any_size(block: Callable[..., nn.Module]) -> Constructor:
    """Builder of a block whose weights do not depend on the map's size."""

    @functools.wraps(block, updated=())
    def build(channels: int, size: Size, **options: Any) -> nn.Module:
        return block(channels, **options)

    return build


def _fourier_volume(size: Size, modes: Modes) -> Transform:
    return FourierVolume(modes=modes, size=size)


def _depthwise(channels: int, *, kernel_size: int = 7) -> nn.Module:
    return ConvolutionBlock(channels, kernel_size=kernel_size, depthwise=True)


def _convolution(channels: int, *, kernel_size: int = 3) -> nn.Module:
    return ConvolutionBlock(channels, kernel_size=kernel_size)


def _of_timm(layer: str) -> Callable[[int], nn.Module]:
    return lambda channels: TimmBlock(channels, layer=layer)


_FOR_BOTH: dict[str, Constructor] = {
    "non-local": _any_size(NonLocalBlock),
    "a2": _any_size(DoubleAttentionBlock),
    "cgnl": _any_size(CompactGeneralizedBlock),
}
_FOR_IMAGES: dict[str, Constructor] = {
    "srl": _srl(functools.partial(create_transform, "dct"), 12, groups=1),
    **{f"srl-{name}": _srl(functools.partial(create_transform, name)) for name in TRANSFORMS},
    **_FOR_BOTH,
    "rcca": _any_size(RecurrentCrissCrossBlock),
    "ffc": _any_size(FastFourierBlock),
    "gfnet": GlobalFilterBlock,
    "self-attention": _any_size(SelfAttentionBlock),
    "linear-attention": _any_size(LinearAttentionBlock),
    "global-context": _any_size(_of_timm("GlobalContext")),
    "se": _any_size(_of_timm("SEModule")),
    "depthwise": _any_size(_depthwise),
    "conv": _any_size(_convolution),
}
_FOR_VIDEOS: dict[str, Constructor] = {
    "srl": _srl(_fourier_volume, 7, groups=1, alpha=0.5, spread=0.5),
    **{f"srl-{name}": _srl_of_frames(name) for name in TRANSFORMS},
    "srl-fft-3d": _srl(_fourier_volume),
    **_FOR_BOTH,
    "tsm": _any_size(TemporalShift),
}

TIMM_BLOCKS = ("global-context", "se")
"""Blocks for images that need the package timm, and are in no list of all blocks."""

BLOCKS: tuple[str, ...] = tuple(name for name in _FOR_IMAGES if name not in TIMM_BLOCKS)
VIDEO_BLOCKS: tuple[str, ...] = tuple(_FOR_VIDEOS)


def create_block(name: str, channels: int, size: Size, **options: Any) -> nn.Module:
    """Build a block by name.

    Parameters
    ----------
    name : str
        A block of your own as ``"package.module:function"``, which is called with channels, size
        and the options; or one of `BLOCKS`; for videos, one of `VIDEO_BLOCKS`. Spectral residual
        learning with few frequencies, the recommended form: ``srl``. The paper's blocks, `SRLBlock`
        and, for videos, `SRLVideoBlock`: ``srl-fft`` (Fourier), ``srl-lo`` (learnable orthogonal),
        ``srl-dct``, ``srl-wht`` (Walsh-Hadamard), ``srl-haar``, ``srl-slant``; for videos alone
        ``srl-fft-3d``, whose Fourier transform reaches over the frames too. For comparison:
        ``non-local``
        (`NonLocalBlock`), ``a2`` (`DoubleAttentionBlock`), ``cgnl`` (`CompactGeneralizedBlock`),
        ``rcca`` (`RecurrentCrissCrossBlock`), ``ffc`` (`FastFourierBlock`), ``gfnet``
        (`GlobalFilterBlock`), ``self-attention`` (`SelfAttentionBlock`), ``linear-attention``
        (`LinearAttentionBlock`), timm's ``global-context`` and ``se`` (`TimmBlock`), ``depthwise``
        and ``conv`` (`ConvolutionBlock`); for videos alone ``tsm`` (`TemporalShift`).
    channels : int
        Channels C of the feature map it will get, (N, C, H, W) or (N, C, T, H, W).
    size : (int, int) or (int, int, int)
        Height and width (H, W) of that map, or frames, height and width (T, H, W). Only the SRL
        blocks and ``gfnet`` have weights that depend on it.
    **options
        Keyword-only arguments of the block's class, e.g. for `SRLBlock`: ``reduction``,
        ``groups``, ``kernel_size``, ``order``, ``alpha``, ``spread``. All SRL blocks take
        ``modes``, one number m or one for each axis: only the lowest m x m frequencies are kept
        (see `Transform`), so that neither the weights nor the work between the transforms depend
        on the map's size.

    Returns
    -------
    nn.Module
        Maps (N, C, H, W) or (N, C, T, H, W), as `size` has it, to the same shape (``non-local``,
        ``a2`` and ``cgnl`` take both). The identity at the start, but for ``tsm``, which shifts
        channels in time, for timm's, and for blocks with an ``alpha`` other than 0, as ``srl`` for
        videos has it. Its ``extra_operations(input_shape)`` gives the operations per sample that
        none of its layers accounts for.

    Raises
    ------
    ValueError
        If the name or an option is unknown (the nearest is suggested), a value is invalid, or
        the block is not defined for videos and `size` is that of one, or not for images.
    """
    video = isinstance(size, (tuple, list)) and len(size) == 3
    size = check_size(size, 3 if video else 2)
    if ":" in name:
        try:
            block = _imported(name)(channels, size, **options)
        except TypeError as error:
            raise ValueError(f"block {name!r} does not take its arguments: {error}") from error
        if not isinstance(block, nn.Module):
            raise ValueError(f"{name} must return a module, got {type(block).__name__}")
        return block
    check_options(name, options, video=video)
    return (_FOR_VIDEOS if video else _FOR_IMAGES)[name](channels, size, **options)


def check_options(name: str, options: dict[str, Any], *, video: bool = False) -> None:
    """Raise ValueError for a block that does not exist, or an option that it does not have.

    Parameters
    ----------
    name : str
        Name for `create_block`.
    options : dict
        Options for `create_block`; their values are not looked at.
    video : bool, default False
        Whether the block is to be built for videos (N, C, T, H, W).
    """
    if ":" in name:
        _imported(name)
        return
    known_blocks = tuple(_FOR_IMAGES | _FOR_VIDEOS)
    if name not in known_blocks:
        raise unknown_name("block", name, known_blocks)
    blocks = _FOR_VIDEOS if video else _FOR_IMAGES
    if name not in blocks:
        kind, names = ("videos", VIDEO_BLOCKS) if video else ("images", BLOCKS)
        expected, got = ("(H, W)", "(T, H, W)") if video else ("(T, H, W)", "(H, W)")
        raise ValueError(
            f"block {name!r} is not defined for {kind}: expected a size {expected}, got {got}; "
            f"blocks for {kind}: {', '.join(names)}"
        )
    known = _keywords(blocks[name])
    for option in options:
        if option == "kernel" and name.startswith("srl"):
            raise ValueError(
                f"option 'kernel' of block {name!r} has gone: every block has one form, in plain "
                "PyTorch, for computing, compiling and exporting; explain() says which"
            )
        if option not in known:
            raise unknown_name(f"option of block {name!r}", option, known)


def check_imported(name: str | None) -> None:
    """Raise ValueError for a block by import path that is not loaded, or makes no module.

    For names that come from a file, such as a checkpoint: opening it must run no code that its
    user has not chosen. What it may name are classes of modules, and functions whose annotation
    says that they return one.
    """
    if name is None or ":" not in name:
        return
    if name.partition(":")[0] not in sys.modules:
        raise ValueError(
            f"the file names the block {name!r}, which is code outside this package: import "
            f"{name.partition(':')[0]} before, if you trust it"
        )
    made: Any = _imported(name)
    if not inspect.isclass(made):
        try:
            made = get_type_hints(made).get("return")
        except (TypeError, NameError):
            made = None
    if not (inspect.isclass(made) and issubclass(made, nn.Module)):
        raise ValueError(
            f"the file names the block {name!r}; expected a class of nn.Module, or a function "
            "annotated to return one (-> nn.Module)"
        )


def option_names(name: str, *, video: bool = False) -> list[str]:
    """Names of the options that `create_block` takes for a block."""
    return _keywords((_FOR_VIDEOS if video else _FOR_IMAGES)[name])


def size_for_all(name: str, options: dict[str, Any]) -> Size:
    """Size to build a block for images for whose weights are to serve maps of every size.

    Raises
    ------
    ValueError
        If there is none, or the block or an option is unknown.
    """
    if ":" in name:
        raise ValueError(f"expected the name of a block, got {name!r}: give the function itself")
    check_options(name, options)
    build = _FOR_IMAGES[name]
    parameters = inspect.signature(build, follow_wrapped=False).parameters
    if "modes" in parameters and name != "srl-lo":
        modes = options.get("modes", parameters["modes"].default)
        if (kept := create_transform("dct", (1, 1), modes).modes) and None not in kept:
            return tuple(m for m in kept if m is not None)
    elif "size" not in inspect.signature(getattr(build, "__wrapped__", build)).parameters:
        return (1, 1)
    raise ValueError(
        f"block {name!r} with options {options} has weights for maps of one size, which is not "
        "known here: expected 'srl', another SRL block with modes (but for 'srl-lo'), or a block "
        "that fits every size; insert_blocks knows the sizes"
    )


def _imported(name: str) -> Constructor:
    """Function of a name ``"package.module:function"``; ValueError if there is none."""
    module_name, _, function_name = name.partition(":")
    if module_name.startswith("."):
        raise ValueError(f"block {name!r} must be named by an absolute path")
    try:
        function = getattr(importlib.import_module(module_name), function_name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"block {name!r} cannot be imported: {error}") from error
    if not callable(function):
        raise ValueError(f"block {name!r} must be callable, got {type(function).__name__}")
    return function


def _keywords(constructor: Constructor) -> list[str]:
    """Options of a block: keywords of its builder, and of the class that the builder wraps."""
    functions = [constructor, getattr(constructor, "__wrapped__", constructor)]
    signatures = [inspect.signature(f, follow_wrapped=False).parameters for f in functions]
    found = [p for parameters in signatures for p in parameters.values() if p.name != "frames"]
    return list(dict.fromkeys(p.name for p in found if p.kind is p.KEYWORD_ONLY))


__all__ = [
    "BLOCKS",
    "TIMM_BLOCKS",
    "VIDEO_BLOCKS",
    "CompactGeneralizedBlock",
    "ConvolutionBlock",
    "CrissCrossAttention",
    "DoubleAttentionBlock",
    "FastFourierBlock",
    "FoldedVideoBlock",
    "GlobalFilterBlock",
    "LinearAttentionBlock",
    "NonLocalBlock",
    "RecurrentCrissCrossBlock",
    "SRLBlock",
    "SRLVideoBlock",
    "SelfAttentionBlock",
    "SpectralReLU",
    "TemporalShift",
    "TimmBlock",
    "check_imported",
    "check_options",
    "create_block",
    "option_names",
    "size_for_all",
]
