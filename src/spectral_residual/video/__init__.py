"""Video classification: files of many kinds, clips, C2D, accuracy over many views."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazy import names_when_used

if TYPE_CHECKING:
    from .data_module import VideoDataModule as VideoDataModule
    from .network import VideoNetwork as VideoNetwork
    from .network import load_video_network as load_video_network
    from .pretrained import VideoModel as VideoModel
    from .pretrained import from_pretrained as from_pretrained
    from .task import VideoEvaluation as VideoEvaluation
    from .task import VideoTask as VideoTask

_MODULE_OF = {
    "VideoDataModule": "data_module",
    "VideoNetwork": "network",
    "load_video_network": "network",
    "VideoModel": "pretrained",
    "from_pretrained": "pretrained",
    "VideoEvaluation": "task",
    "VideoTask": "task",
}

__all__ = [*_MODULE_OF]

__getattr__, __dir__ = names_when_used(__name__, _MODULE_OF)
