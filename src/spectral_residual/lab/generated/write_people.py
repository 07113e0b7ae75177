"""``srl data people``: generated scenes in the files and layout of COCO 2017.

In the annotations, v = 2 marks a joint that can be seen in the rendered image, v = 1 one that is
covered or turned away (eyes and nose of a person seen from behind), v = 0 one outside the image.
Box, area and polygons describe the whole silhouette inside the image, as if nobody stood before
it. Every 25th image shows nobody. In a split of 50 images or more, one has a crowd (``iscrowd`` 1,
run lengths).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ...pose.skeleton import COCO
from .body import FloatArray
from .samples import SPLITS, Sample, make_sample
from .write import (
    Record,
    check_files,
    check_parameters,
    is_free,
    new_folder,
    read_same,
    show_progress,
)

GENERATOR_VERSION = 1
"""Raised whenever the same parameters give other images or labels."""

_DESCRIPTION = "Generated articulated people with COCO keypoints"
_VAL_ID_OFFSET = 500_000
_IDS_PER_IMAGE = 10
_JPEG_QUALITY = 92
_CATEGORY = {
    "id": 1,
    "name": "person",
    "supercategory": "person",
    "keypoints": list(COCO.names),
    "skeleton": [[first + 1, second + 1] for first, second in COCO.edges],
}


@dataclass(frozen=True)
class DatasetSummary:
    """What a generated data set holds.

    Parameters
    ----------
    root : Path
        Its folder.
    train_images, val_images : int
        Images per split.
    train_people, val_people : int
        Annotated single people (no crowds) per split.
    """

    root: Path
    train_images: int
    val_images: int
    train_people: int
    val_people: int


def _annotation_file(root: Path, split: str) -> Path:
    return root / "annotations" / f"person_keypoints_{split}2017.json"


def _image_ids(split: str, count: int) -> range:
    first = 1 + (_VAL_ID_OFFSET if split == "val" else 0)
    return range(first, first + count)


def _polygons(mask: NDArray[np.bool_]) -> list[list[float]]:
    """Outer contours in COCO's continuous coordinates: pixel (0, 0) covers [0, 1] x [0, 1]."""
    quadruple = cv2.resize(mask.view(np.uint8), None, fx=4, fy=4, interpolation=cv2.INTER_NEAREST)
    contours, _ = cv2.findContours(quadruple, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    polygons = []
    for contour in contours:
        outline = cv2.approxPolyDP(contour, 2.0, True)[:, 0]
        if len(outline) >= 3:
            polygons.append(np.round((outline + 0.5) / 4, 2).ravel().tolist())
    return polygons


def _run_lengths(mask: NDArray[np.bool_]) -> Record:
    """COCO's uncompressed run lengths: column by column, the first run is of false pixels."""
    runs = [len(list(run)) for _, run in groupby(mask.ravel(order="F").tolist())]
    return {"size": list(mask.shape), "counts": [0, *runs] if mask[0, 0] else runs}


def _annotation(
    image_id: int, number: int, mask: NDArray[np.bool_], keypoints: FloatArray | None
) -> Record:
    """COCO's record of a person, or of a crowd, which has no keypoints.

    Box, area, polygons and run lengths are of the whole silhouette inside the image.
    """
    is_crowd = keypoints is None
    flat: list[float] = [0] * (3 * COCO.num_joints)
    if keypoints is not None:
        flat = [n for x, y, v in keypoints.tolist() for n in (round(x, 1), round(y, 1), int(v))]
    return {
        "id": image_id * _IDS_PER_IMAGE + number,
        "image_id": image_id,
        "category_id": 1,
        "iscrowd": int(is_crowd),
        "bbox": list(cv2.boundingRect(mask.view(np.uint8))),
        "area": int(mask.sum()),
        "segmentation": _run_lengths(mask) if is_crowd else _polygons(mask),
        "num_keypoints": sum(v > 0 for v in flat[2::3]),
        "keypoints": flat,
    }


def _annotations(sample: Sample, image_id: int) -> list[Record]:
    people = zip(sample.scene.silhouettes, sample.scene.keypoints, strict=True)
    records = [_annotation(image_id, number, *person) for number, person in enumerate(people)]
    if sample.crowd is not None:
        records.append(_annotation(image_id, _IDS_PER_IMAGE - 1, sample.crowd, None))
    return records


def _write_split(root: Path, split: str, info: Record, progress: bool) -> int:
    """Write images and annotation file of one split; return the number of single people."""
    parameters = info["parameters"]
    height, width = parameters["image_size"]
    folder, file = root / f"{split}2017", _annotation_file(root, split)
    folder.mkdir()
    file.parent.mkdir(exist_ok=True)
    images, annotations = [], []
    ids = _image_ids(split, parameters[f"{split}_images"])
    for index, image_id in show_progress(enumerate(ids), f"{split} images", len(ids), progress):
        sample = make_sample(
            split,
            index,
            image_size=(height, width),
            seed=parameters["seed"],
            upright=parameters["upright"],
        )
        name = f"{image_id:012d}.jpg"
        picture = cv2.cvtColor(sample.scene.image, cv2.COLOR_RGB2BGR)
        if not cv2.imwrite(str(folder / name), picture, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]):
            raise OSError(f"could not write image {folder / name}")
        images.append({"id": image_id, "file_name": name, "width": width, "height": height})
        annotations += _annotations(sample, image_id)
    content = {
        "info": info,
        "licenses": [],
        "images": images,
        "annotations": annotations,
        "categories": [_CATEGORY],
    }
    file.write_text(json.dumps(content, separators=(",", ":")), encoding="utf-8")
    return sum(record["iscrowd"] == 0 for record in annotations)


def _check_split(root: Path, split: str, info: Record) -> int:
    """Check that the data set exists with all its images; return the number of single people."""
    content = read_same(root, _annotation_file(root, split), info, defaults={"upright": False})
    ids = _image_ids(split, info["parameters"][f"{split}_images"])
    check_files(root, root / f"{split}2017", [f"{image_id:012d}.jpg" for image_id in ids])
    return sum(record["iscrowd"] == 0 for record in content["annotations"])


def generate_dataset(
    root: str | Path,
    *,
    train_images: int = 700,
    val_images: int = 200,
    image_size: tuple[int, int] = (192, 192),
    seed: int = 0,
    upright: bool = False,
    progress: bool = True,
) -> DatasetSummary:
    """Generate articulated people in COCO's files and layout.

    Writes ``annotations/person_keypoints_{train,val}2017.json``, ``train2017/`` and ``val2017/``
    with JPEG files. Image i of a split depends on the seed, the split, i, the image size and
    `upright` only, not on the number of images. Nothing is left at ``root`` if the run is
    interrupted. A folder that holds the very same data set is left as it is.

    Parameters
    ----------
    root : str or Path
        New or empty folder.
    train_images, val_images : int
        Images per split, 1 to 499,999.
    image_size : tuple of int
        (H, W) in pixels, at least 64 each.
    seed : int
        0 or more.
    upright : bool
        Only people who stand or walk upright, which a network learns in minutes; otherwise they
        also sit, squat, kick, lean, lie and stand on their hands.
    progress : bool
        Whether to show a bar on standard error.

    Raises
    ------
    FileExistsError
        If ``root`` holds something else.
    ValueError
        If a number is out of range, or ``root`` holds this data set with images missing.
    """
    root = Path(root)
    parameters: Record = {
        "generator_version": GENERATOR_VERSION,
        "train_images": train_images,
        "val_images": val_images,
        "image_size": list(image_size),
        "seed": seed,
        "upright": upright,
    }
    check_parameters(parameters, "images", _VAL_ID_OFFSET - 1)
    info = {"description": _DESCRIPTION, "parameters": parameters}
    if is_free(root):
        with new_folder(root) as stage:
            people = [_write_split(stage, split, info, progress) for split in SPLITS]
    else:
        people = [_check_split(root, split, info) for split in SPLITS]
    return DatasetSummary(root, train_images, val_images, *people)


def people(
    folder: Path,
    *,
    train_images: int = 700,
    val_images: int = 200,
    image_size: tuple[int, int] = (192, 192),
    seed: int = 0,
    upright: bool = False,
) -> None:
    """Generate articulated people with the 17 COCO keypoints, in COCO's files and layout.

    The same seed gives the same bytes.

    Parameters
    ----------
    folder : Path
        New folder for the data set.
    train_images : int
        From 1 to 499,999.
    val_images : int
        From 1 to 499,999.
    image_size : tuple of int
        Height and width in pixels, at least 64 each.
    seed : int
        0 or more.
    upright : bool
        Only people who stand or walk upright.
    """
    summary = generate_dataset(
        folder,
        train_images=train_images,
        val_images=val_images,
        image_size=image_size,
        seed=seed,
        upright=upright,
    )
    print(summary)
