"""Small generated videos in class folders: a brighter colour channel per class."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np

CLASSES = ("blue", "green", "red")
SIZE = (40, 48)
FRAMES = 12


def write_video(path: Path, frames: np.ndarray) -> None:
    """Write (F, H, W, 3) uint8 RGB as MPEG-4, nearly without loss."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.bit_rate = 4_000_000
        for image in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))


def coloured_frames(label: int, rng: np.random.Generator) -> np.ndarray:
    """Frames (F, H, W, 3) that brighten with time, with some noise in blocks of 8 pixels."""
    height, width = SIZE
    noise = rng.integers(0, 60, (1, height // 8, width // 8, 3)).repeat(8, axis=1).repeat(8, axis=2)
    frames = np.repeat(noise, FRAMES, axis=0) + np.arange(FRAMES)[:, None, None, None] * 4
    frames[..., 2 - label] += 100
    return frames.astype(np.uint8)


def data_options(
    root: Path, batch_size: int = 3, workers: int = 0, clips: int = 1
) -> dict[str, Any]:
    """Options ``data`` of ``srl video fit`` for the splits "train" and "val" of `write_split`."""
    return {
        "root": str(root),
        "clip": {"frames": 4, "stride": 2},
        "input_size": [32, 32],
        "short_side": 36,
        "views": {"clips": clips, "placing": "even", "crops": 1},
        "loading": {"batch_size": batch_size, "workers": workers},
    }


def write_split(root: Path, split: str, per_class: int, seed: int) -> None:
    """Write ``root/split/CLASS/NUMBER.mp4``."""
    rng = np.random.default_rng(seed)
    for label, name in enumerate(CLASSES):
        for number in range(per_class):
            write_video(root / split / name / f"{number}.mp4", coloured_frames(label, rng))
