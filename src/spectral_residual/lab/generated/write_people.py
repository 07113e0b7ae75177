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
    check_image_size,
    check_number,
    describe,
    is_free,
    new_folder,
    read_same,
    show_progress,
)

GENERATOR_VERSION = 1
"""Raised whenever the same parameters give other images or labels."""

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
class PeopleOptions:
    """All that decides what a data set of people holds.

    Parameters
    ----------
    train_images : int
        From 1 to 499,999.
    val_images : int
        From 1 to 499,999.
    image_size : tuple of int
        Height and width in pixels, at least 64 each.
    seed : int
        0 or more; the same seed gives the same bytes.
    upright : bool
        Only people who stand or walk upright, which a network learns in minutes; otherwise they
        also sit, squat, kick, lean, lie and stand on their hands.

    Raises
    ------
    ValueError
        If a number is out of range.
    """

    train_images: int = 700
    val_images: int = 200
    image_size: tuple[int, int] = (192, 192)
    seed: int = 0
    upright: bool = False

    def __post_init__(self) -> None:
        check_number("train_images", self.train_images, 1, _VAL_ID_OFFSET - 1)
        check_number("val_images", self.val_images, 1, _VAL_ID_OFFSET - 1)
        check_image_size(self.image_size)
        check_number("seed", self.seed, 0)

    def images(self, split: str) -> dict[int, str]:
        """Numbers of a split's images and the names of their files."""
        count, first = getattr(self, f"{split}_images"), 1 + _VAL_ID_OFFSET * (split == "val")
        return {number: f"{number:012d}.jpg" for number in range(first, first + count)}


@dataclass(frozen=True)
class DatasetSummary:
    """Where a data set is; images and annotated single people (no crowds) of its splits."""

    root: Path
    train_images: int
    val_images: int
    train_people: int
    val_people: int


def _annotation_file(root: Path, split: str) -> Path:
    return root / "annotations" / f"person_keypoints_{split}2017.json"


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


def _write_split(root: Path, split: str, options: PeopleOptions, progress: bool) -> int:
    """Write images and annotation file of one split; return the number of single people."""
    size, names = options.image_size, options.images(split)
    folder, file = root / f"{split}2017", _annotation_file(root, split)
    folder.mkdir()
    file.parent.mkdir(exist_ok=True)
    images, annotations = [], []
    label, numbered = f"{split} images", enumerate(names.items())
    for index, (image_id, name) in show_progress(numbered, label, len(names), progress):
        sample = make_sample(
            split, index, image_size=size, seed=options.seed, upright=options.upright
        )
        picture = cv2.cvtColor(sample.scene.image, cv2.COLOR_RGB2BGR)
        if not cv2.imwrite(str(folder / name), picture, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]):
            raise OSError(f"could not write image {folder / name}")
        images.append({"id": image_id, "file_name": name, "width": size[1], "height": size[0]})
        annotations += _annotations(sample, image_id)
    content = {
        "info": _info(options),
        "licenses": [],
        "images": images,
        "annotations": annotations,
        "categories": [_CATEGORY],
    }
    file.write_text(json.dumps(content, separators=(",", ":")), encoding="utf-8")
    return sum(record["iscrowd"] == 0 for record in annotations)


def _info(options: PeopleOptions) -> Record:
    return describe("Generated articulated people with COCO keypoints", GENERATOR_VERSION, options)


def _check_split(root: Path, split: str, options: PeopleOptions) -> int:
    """Check that the data set exists with all its images; return the number of single people."""
    file = _annotation_file(root, split)
    content = read_same(root, file, _info(options), defaults={"upright": False})
    check_files(root, root / f"{split}2017", list(options.images(split).values()))
    try:
        return sum(record["iscrowd"] == 0 for record in content["annotations"])
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"{file}: 'annotations' cannot be read; delete {root} and generate it again"
        ) from error


def generate_dataset(
    root: str | Path, options: PeopleOptions | None = None, *, progress: bool = True
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
    options : PeopleOptions, optional
        What it shall hold.
    progress : bool
        Whether to show a bar on standard error.

    Raises
    ------
    FileExistsError
        If ``root`` holds something else.
    ValueError
        If ``root`` holds this data set with images missing.
    """
    root, options = Path(root), options or PeopleOptions()
    if is_free(root):
        with new_folder(root) as stage:
            people = [_write_split(stage, split, options, progress) for split in SPLITS]
    else:
        people = [_check_split(root, split, options) for split in SPLITS]
    return DatasetSummary(root, options.train_images, options.val_images, *people)


def people(folder: Path, options: PeopleOptions) -> None:
    """Generate articulated people with the 17 COCO keypoints, in COCO's files and layout.

    Parameters
    ----------
    folder : Path
        New folder for the data set.
    options : PeopleOptions
        What it shall hold.
    """
    made = generate_dataset(folder, options)
    print(
        f"{made.root}: {made.train_people} people in {made.train_images} images to train on, "
        f"{made.val_people} in {made.val_images} to validate"
    )
