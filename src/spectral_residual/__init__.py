"""Spectral residual learning: full-image receptive fields for any vision network.

>>> from spectral_residual import insert_blocks
>>> insert_blocks(resnet50(), after=["layer3", "layer4"], block="srl",
...               input_size=(3, 224, 224))  # doctest: +SKIP

Importing this package needs torch and nothing else; torch itself is imported by the first name
that is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .lazy import names_when_used

if TYPE_CHECKING:
    from .blocks import BLOCKS as BLOCKS
    from .blocks import VIDEO_BLOCKS as VIDEO_BLOCKS
    from .blocks import SpectralReLU as SpectralReLU
    from .blocks import SRLBlock as SRLBlock
    from .blocks import SRLVideoBlock as SRLVideoBlock
    from .blocks import TemporalShift as TemporalShift
    from .blocks import create_block as create_block
    from .export import to_onnx as to_onnx
    from .inserted import inserted_blocks as inserted_blocks
    from .inserted import remove_blocks as remove_blocks
    from .insertion import insert_blocks as insert_blocks
    from .layers import attn_layer as attn_layer
    from .meta import output_shapes as output_shapes
    from .transforms import TRANSFORMS as TRANSFORMS
    from .transforms import FixedOrthogonalTransform as FixedOrthogonalTransform
    from .transforms import FourierTransform as FourierTransform
    from .transforms import FourierVolume as FourierVolume
    from .transforms import LearnableOrthogonal as LearnableOrthogonal
    from .transforms import Transform as Transform
    from .transforms import create_transform as create_transform

__version__ = "0.1.0"

_MODULES = {
    "blocks": [
        "BLOCKS",
        "VIDEO_BLOCKS",
        "SRLBlock",
        "SRLVideoBlock",
        "SpectralReLU",
        "TemporalShift",
        "create_block",
    ],
    "export": ["to_onnx"],
    "inserted": ["inserted_blocks", "remove_blocks"],
    "insertion": ["insert_blocks"],
    "layers": ["attn_layer"],
    "meta": ["output_shapes"],
    "transforms": [
        "TRANSFORMS",
        "FixedOrthogonalTransform",
        "FourierTransform",
        "FourierVolume",
        "LearnableOrthogonal",
        "Transform",
        "create_transform",
    ],
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}

__all__ = ["__version__", *_MODULE_OF]

__getattr__, __dir__ = names_when_used(__name__, _MODULE_OF)
