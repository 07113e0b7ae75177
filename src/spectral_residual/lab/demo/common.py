"""What the demos share."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch

Precision = Literal["bf16-mixed", "32-true"]


def fast_precision() -> Precision:
    """Bfloat16 where the CPU multiplies it in hardware; elsewhere it is slower than float32."""
    flags = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return "bf16-mixed" if flags.get("avx512_bf16") or flags.get("amx_bf16") else "32-true"


@contextmanager
def hidden_warnings() -> Iterator[None]:
    """Hide Lightning's advice, which a demo has no use for."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=UserWarning)
        warnings.filterwarnings("ignore", category=FutureWarning)
        yield
