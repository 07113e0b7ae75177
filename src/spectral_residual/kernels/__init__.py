"""Ways to compute the spectral branch of a block; `reference` is the plain truth."""

from __future__ import annotations

from .reference import spectral_branch

__all__ = ["spectral_branch"]
