"""Ways to compute the spectral branch of a block.

`reference` is the plain truth, `rewrite` the same numbers from half of the planes, `gpu`
those on an NVIDIA GPU; `choice` says which of them a block takes, and why. The package triton is
imported when a kernel runs.
"""

from __future__ import annotations

from .choice import KERNELS, choose_form, describe, obstacle
from .gpu.rewrite import describe_triton, triton_block
from .layers import Layers
from .reference import spectral_branch
from .rewrite import rewritten_block

__all__ = [
    "KERNELS",
    "Layers",
    "choose_form",
    "describe",
    "describe_triton",
    "obstacle",
    "rewritten_block",
    "spectral_branch",
    "triton_block",
]
