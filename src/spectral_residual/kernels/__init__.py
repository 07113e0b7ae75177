"""Ways to compute the spectral branch of a block, in plain PyTorch."""

from __future__ import annotations

from .reference import spectral_branch
from .watched import is_watched

__all__ = ["is_watched", "spectral_branch"]
