"""Ways to compute the spectral branch of a block.

`reference` is the plain truth, `rewrite` the same numbers from half of the planes; `choice` says
which of them a block takes, and why. `triton_ops` is imported on demand.
"""

from __future__ import annotations

from .choice import KERNELS, choose_form, describe, obstacle
from .layers import Layers
from .reference import spectral_branch
from .rewrite import rewritten_block

__all__ = [
    "KERNELS",
    "Layers",
    "choose_form",
    "describe",
    "obstacle",
    "rewritten_block",
    "spectral_branch",
]
