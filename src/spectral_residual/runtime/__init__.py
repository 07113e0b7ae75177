"""Exported networks without torch: poses of images, classes of videos.

Needs numpy, OpenCV and onnxruntime, for videos PyAV too. The folders are those of ``srl export``.

>>> from spectral_residual.runtime import PosePredictor
>>> PosePredictor("exported")("people.jpg", boxes=[[10, 20, 100, 300]])  # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazy import names_when_used

if TYPE_CHECKING:
    from .pose import PosePredictor as PosePredictor
    from .pose import Poses as Poses
    from .video import VideoClasses as VideoClasses
    from .video import VideoPredictor as VideoPredictor

_MODULE_OF = {
    "PosePredictor": "pose",
    "Poses": "pose",
    "VideoClasses": "video",
    "VideoPredictor": "video",
}

__all__ = [*_MODULE_OF]

__getattr__, __dir__ = names_when_used(__name__, _MODULE_OF)
