"""Photographs seen by a virtual camera that pans, zooms or turns: clips for tests.

The two classes of a pair hold the same frames in opposite order: what a camera sees on its way and
on its way back. A single frame, or all of them without their order, says nothing about the class
within a pair.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

CLASSES = ("left", "right", "up", "down", "in", "out", "clockwise", "anticlockwise")
PAIRS = (("left", "right"), ("up", "down"), ("in", "out"), ("clockwise", "anticlockwise"))


def read_photographs(folder: Path, number: int, short_side: int = 96) -> list[np.ndarray]:
    """The first photographs of a folder by name, (H, W, 3) uint8 RGB, short side resized."""
    photographs = []
    for path in sorted(folder.iterdir())[:number]:
        image = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
        scale = short_side / min(image.shape[:2])
        photographs.append(
            cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        )
    return photographs


def move_camera(
    photograph: np.ndarray,
    name: str,
    rng: np.random.Generator,
    frames: int = 8,
    size: int = 64,
) -> Tensor:
    """Film a photograph: (3, T, size, size) float32, about standardised.

    From the first frame to the last the camera moves by an eighth to three eighths of its view, or
    zooms by a factor of 1.2 to 1.8, or turns by 15 to 60 degrees, about a random middle.
    """
    half = np.linspace(-0.5, 0.5, frames)
    kind = next(i for i, pair in enumerate(PAIRS) if name in pair)
    way = half if name == PAIRS[kind][0] else -half
    height, width = photograph.shape[:2]
    zoom = np.full(frames, rng.uniform(0.65, 1.0) * min(height, width) / size)
    turn = np.zeros(frames)
    middle = np.tile(rng.uniform(0.4, 0.6, size=2) * (width, height), (frames, 1))
    if kind < 2:
        middle[:, kind] -= way * rng.uniform(0.125, 0.375) * zoom * size
    elif kind == 2:
        zoom *= np.exp(-way * np.log(rng.uniform(1.2, 1.8)))
    else:
        turn = way * np.radians(rng.uniform(15, 60))
    clip = [_view(photograph, middle[t], zoom[t], turn[t], size) for t in range(frames)]
    return torch.from_numpy(np.stack(clip)).permute(3, 0, 1, 2).float().sub_(114).div_(58)


def _view(
    photograph: np.ndarray, middle: np.ndarray, zoom: float, turn: float, size: int
) -> np.ndarray:
    """What the camera sees: its pixels' positions in the photograph."""
    linear = zoom * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    offset = middle - linear @ np.full(2, (size - 1) / 2)
    return cv2.warpAffine(
        photograph,
        np.column_stack((linear, offset)),
        (size, size),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REFLECT_101,
    )


class MovedPhotographs(Dataset):
    """Clips and classes; those of one index are always the same."""

    def __init__(self, photographs: list[np.ndarray], clips: int, seed: int) -> None:
        self.photographs, self.clips, self.seed = photographs, clips, seed

    def __len__(self) -> int:
        return self.clips

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        rng = np.random.default_rng((self.seed, index))
        label = index % len(CLASSES)
        photograph = self.photographs[rng.integers(len(self.photographs))]
        return move_camera(photograph, CLASSES[label], rng), label
