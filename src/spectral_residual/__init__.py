"""Spectral residual learning: full-image receptive fields for any vision network.

>>> from spectral_residual import insert_blocks
>>> insert_blocks(resnet50(), after=["layer3", "layer4"], block="srl",
...               input_size=(3, 224, 224))  # doctest: +SKIP

Importing this package needs torch and nothing else.
"""

from __future__ import annotations

from .blocks import (
    BLOCKS,
    VIDEO_BLOCKS,
    SpectralReLU,
    SRLBlock,
    SRLVideoBlock,
    TemporalShift,
    create_block,
)
from .insertion import insert_blocks, output_shapes
from .transforms import (
    TRANSFORMS,
    FixedOrthogonalTransform,
    FourierTransform,
    FourierVolume,
    LearnableOrthogonal,
    Transform,
    create_transform,
)

__version__ = "0.1.0"

__all__ = [
    "BLOCKS",
    "TRANSFORMS",
    "VIDEO_BLOCKS",
    "FixedOrthogonalTransform",
    "FourierTransform",
    "FourierVolume",
    "LearnableOrthogonal",
    "SRLBlock",
    "SRLVideoBlock",
    "SpectralReLU",
    "TemporalShift",
    "Transform",
    "__version__",
    "create_block",
    "create_transform",
    "insert_blocks",
    "output_shapes",
]
