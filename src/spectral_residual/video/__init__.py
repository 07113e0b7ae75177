"""Video classification: files of many kinds, clips, C2D, accuracy over many views."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .data_module import VideoDataModule as VideoDataModule
    from .network import VideoNetwork as VideoNetwork
    from .network import load_video_network as load_video_network
    from .task import VideoEvaluation as VideoEvaluation
    from .task import VideoTask as VideoTask

_MODULE_OF = {
    "VideoDataModule": "data_module",
    "VideoNetwork": "network",
    "load_video_network": "network",
    "VideoEvaluation": "task",
    "VideoTask": "task",
}

__all__ = [*_MODULE_OF]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used (PEP 562): its module loads Lightning."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
