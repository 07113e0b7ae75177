"""``srl data split``: part one COCO keypoint file into one for training and one for validation."""

from __future__ import annotations

import json
import random
from pathlib import Path

from ..errors import counted
from ..report.files import write_file
from .annotations import read_annotations


def split(file: Path, *, share: float = 0.1, seed: int = 0) -> None:
    """Part a COCO keypoint file by images into two beside it.

    FILE_train.json and FILE_val.json have all fields of the file, and the images and annotations
    of their part; no image is in both. Pictures of one scene should have been parted already:
    neighbouring frames of a video in both parts make the validation too easy.

    Parameters
    ----------
    file : Path
        COCO keypoint file.
    share : float
        Share of the images that are for validation.
    seed : int
        Seed of the choice.

    Raises
    ------
    ValueError
        If the file is no COCO keypoint file, or one part would have no image.
    FileExistsError
        If one of the two files is there already.
    """
    annotations = read_annotations(file)
    ids = sorted(annotations.images)
    count = round(share * len(ids))
    if not 0 < count < len(ids):
        raise ValueError(
            f"--share: got {share}, which is {count} of {counted(len(ids), 'image')} of {file}; "
            "expected at least one for training and one for validation"
        )
    chosen = set(random.Random(seed).sample(ids, count))
    paths = {part: file.with_name(f"{file.stem}_{part}.json") for part in ("train", "val")}
    for path in paths.values():
        if path.exists():
            raise FileExistsError(f"{path} is there already; remove it, or use it")
    for part, path in paths.items():
        kept = chosen if part == "val" else set(ids) - chosen
        content = {
            **annotations.content,
            "images": [r for r in annotations.content["images"] if r["id"] in kept],
            "annotations": [r for r in annotations.content["annotations"] if r["image_id"] in kept],
        }
        write_file(path, json.dumps(content))
        images, persons = (len(content[name]) for name in ("images", "annotations"))
        print(f"{path}: {counted(images, 'image')}, {counted(persons, 'annotation')}")
