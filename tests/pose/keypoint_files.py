"""A tiny keypoint data set for tests: every labelled joint is a dot of its own colour."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np

NAMES = ["head", "left_hand", "right_hand", "left_foot", "right_foot"]
EDGES = [[1, 2], [1, 3], [1, 4], [1, 5]]
COLOURS = [(255, 40, 40), (40, 255, 40), (40, 40, 255), (255, 255, 40), (40, 255, 255)]
SIGMAS = {"head": 0.05, **dict.fromkeys(NAMES[1:], 0.08)}


def data_options(root: Path, batch_size: int = 4, workers: int = 0) -> dict[str, Any]:
    """Options ``data`` of ``srl pose fit`` for the splits "train" and "val" of `write_split`."""
    return {
        "root": str(root),
        "train": {"annotations": "train.json", "images": "train"},
        "val": {"annotations": "val.json", "images": "val"},
        "input_size": [64, 64],
        "joints": {"sigmas": SIGMAS},
        "loading": {"batch_size": batch_size, "workers": workers},
    }


def write_split(root: Path, split: str, images: int, seed: int, people: int = 1) -> None:
    """Write ``root/split/*.png`` and ``root/split.json``; the dots are RGB `COLOURS`."""
    rng = np.random.default_rng(seed)
    folder = root / split
    folder.mkdir(parents=True, exist_ok=True)
    records, annotations = [], []
    for i in range(images):
        height, width = (int(v) for v in rng.integers(90, 140, 2))
        picture = np.zeros((height, width, 3), np.uint8)
        for _ in range(people):
            points = _scattered(rng, width, height)
            v = rng.choice([0, 1, 2], len(NAMES), p=[0.1, 0.2, 0.7])
            v[0] = 2
            for point, colour, seen in zip(points, COLOURS, v, strict=True):
                if seen:
                    at = tuple(round(c * 16) for c in point)
                    cv2.circle(picture, at, 16 * 4, colour[::-1], -1, cv2.LINE_AA, 4)
            low, high = points[v > 0].min(0) - 6, points[v > 0].max(0) + 6
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": i + 1,
                    "category_id": 1,
                    "iscrowd": 0,
                    "bbox": [*low.tolist(), *(high - low).tolist()],
                    "area": float((high - low).prod()),
                    "num_keypoints": int((v > 0).sum()),
                    "keypoints": [
                        float(n)
                        for (x, y), seen in zip(points, v, strict=True)
                        for n in ((x, y, seen) if seen else (0, 0, 0))
                    ],
                }
            )
        name = f"{i + 1:04d}.png"
        cv2.imwrite(str(folder / name), picture)
        records.append({"id": i + 1, "file_name": name, "width": width, "height": height})
    category = {"id": 1, "name": "thing", "keypoints": NAMES, "skeleton": EDGES}
    content = {"images": records, "annotations": annotations, "categories": [category]}
    (root / f"{split}.json").write_text(json.dumps(content))


def _scattered(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """Points at least 18 pixels from the border and from each other."""
    while True:
        points = rng.uniform([18, 18], [width - 18, height - 18], (len(NAMES), 2)).round(1)
        distances = np.linalg.norm(points[:, None] - points[None], axis=2)
        if distances[np.triu_indices(len(NAMES), 1)].min() > 18:
            return points
