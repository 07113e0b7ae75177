"""C++ for CPUs, compiled on the machine that it runs on.

The first call compiles it with the C++ compiler of the machine, in about six seconds, and keeps
the result in the user's cache folder (``$XDG_CACHE_HOME`` or ``~/.cache``), as Triton does for
GPUs. It shares the threads of PyTorch. Without it, see `unavailable_reason`, everything is computed
by PyTorch alone; ``SRL_NATIVE=0`` in the environment asks for that.
"""

from __future__ import annotations

from .build import takes, unavailable_reason
from .convolution import derive, mix_into
from .spectrum import (
    spectral_covariance,
    spectral_filter,
    spectral_filter_backward,
    spectral_statistics,
)

__all__ = [
    "derive",
    "mix_into",
    "spectral_covariance",
    "spectral_filter",
    "spectral_filter_backward",
    "spectral_statistics",
    "takes",
    "unavailable_reason",
]
