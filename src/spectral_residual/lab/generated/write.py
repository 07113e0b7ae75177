"""Writing generated scenes in the files and layout of COCO 2017."""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from ...pose.skeleton import COCO
from .render import Scene
from .samples import SPLITS, make_sample

Record = dict[str, Any]

GENERATOR_VERSION = 1
"""Raised whenever the same parameters give other images or labels."""

_DESCRIPTION = "Generated articulated people with COCO keypoints"
_VAL_ID_OFFSET = 500_000
_IDS_PER_IMAGE = 10
_MIN_SIDE = 64
_JPEG_QUALITY = 92


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


def _image_folder(root: Path, split: str) -> Path:
    return root / f"{split}2017"


def _bounding_box(mask: NDArray[np.bool_]) -> list[int]:
    """x, y, w, h of the smallest box that holds all true pixels, of which there must be one."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    x, y = int(columns[0]), int(rows[0])
    return [x, y, int(columns[-1]) - x + 1, int(rows[-1]) - y + 1]


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


def _run_lengths(mask: NDArray[np.bool_]) -> dict[str, list[int]]:
    """COCO's uncompressed run lengths: column by column, the first run is of false pixels."""
    flat = np.concatenate([[False], mask.ravel(order="F"), [False]])
    changes = np.flatnonzero(flat[1:] != flat[:-1])
    ends = np.concatenate([[0], changes, [mask.size]])
    counts = np.diff(ends).tolist()
    if counts[-1] == 0:
        counts.pop()
    return {"size": list(mask.shape), "counts": counts}


def _person_record(scene: Scene, person: int, image_id: int) -> Record:
    """COCO annotation; box, area and polygons are of the whole silhouette inside the image."""
    mask, keypoints = scene.silhouettes[person], scene.keypoints[person]
    flat: list[float] = []
    for x, y, v in keypoints.tolist():
        flat += [round(x, 1), round(y, 1), int(v)]
    return {
        "id": image_id * _IDS_PER_IMAGE + person,
        "image_id": image_id,
        "category_id": 1,
        "iscrowd": 0,
        "bbox": _bounding_box(mask),
        "area": int(mask.sum()),
        "segmentation": _polygons(mask),
        "num_keypoints": int((keypoints[:, 2] > 0).sum()),
        "keypoints": flat,
    }


def _crowd_record(mask: NDArray[np.bool_], image_id: int) -> Record:
    return {
        "id": image_id * _IDS_PER_IMAGE + _IDS_PER_IMAGE - 1,
        "image_id": image_id,
        "category_id": 1,
        "iscrowd": 1,
        "bbox": _bounding_box(mask),
        "area": int(mask.sum()),
        "segmentation": _run_lengths(mask),
        "num_keypoints": 0,
        "keypoints": [0] * (3 * COCO.num_joints),
    }


def _write_split(root: Path, split: str, count: int, parameters: Record, progress: bool) -> int:
    """Write images and annotation file of one split; return the number of single people."""
    height, width = parameters["image_size"]
    folder, file = _image_folder(root, split), _annotation_file(root, split)
    folder.mkdir(parents=True)
    file.parent.mkdir(exist_ok=True)
    images, annotations = [], []
    console = Console(stderr=True)
    label = f"{split} images"
    for index in track(range(count), label, console=console, disable=not progress):
        sample = make_sample(
            split,
            index,
            image_size=(height, width),
            seed=parameters["seed"],
            upright=parameters["upright"],
        )
        image_id = index + 1 + (_VAL_ID_OFFSET if split == "val" else 0)
        name = f"{image_id:012d}.jpg"
        picture = cv2.cvtColor(sample.scene.image, cv2.COLOR_RGB2BGR)
        if not cv2.imwrite(str(folder / name), picture, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]):
            raise OSError(f"could not write image {folder / name}")
        images.append({"id": image_id, "file_name": name, "width": width, "height": height})
        people = range(len(sample.scene.keypoints))
        annotations += [_person_record(sample.scene, person, image_id) for person in people]
        if sample.crowd is not None:
            annotations.append(_crowd_record(sample.crowd, image_id))
    category = {
        "id": 1,
        "name": "person",
        "supercategory": "person",
        "keypoints": list(COCO.names),
        "skeleton": [[first + 1, second + 1] for first, second in COCO.edges],
    }
    content = {
        "info": {"description": _DESCRIPTION, "parameters": parameters},
        "licenses": [],
        "images": images,
        "annotations": annotations,
        "categories": [category],
    }
    file.write_text(json.dumps(content, separators=(",", ":")), encoding="utf-8")
    return sum(record["iscrowd"] == 0 for record in annotations)


def _existing_people(root: Path, parameters: Record) -> list[int] | None:
    """People per split of the same data set at ``root``; None if the place is free."""
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return None
    people = []
    for split in SPLITS:
        file = _annotation_file(root, split)
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
            info = content["info"]
            described, held = info["description"], info["parameters"]
            people.append(sum(record["iscrowd"] == 0 for record in content["annotations"]))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise FileExistsError(
                f"{root} exists and is no generated data set ({file} cannot be read as one); "
                "expected a new or empty folder"
            ) from error
        if described != _DESCRIPTION or {"upright": False, **held} != parameters:
            raise FileExistsError(
                f"{root} holds another data set: {file}, field 'info', got parameters {held}, "
                f"expected {parameters}; choose a new folder"
            )
        expected = [record["file_name"] for record in content["images"]]
        found = sorted(path.name for path in _image_folder(root, split).glob("*.jpg"))
        if found != expected:
            raise ValueError(
                f"{_image_folder(root, split)}: got {len(found)} images, expected the "
                f"{len(expected)} that {file} lists; delete {root} and generate it again"
            )
    return people


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

    In the annotations, v = 2 marks a joint that can be seen in the rendered image, v = 1 one that
    is covered or turned away (eyes and nose of a person seen from behind), v = 0 one outside the
    image. Box, area and polygons describe the whole silhouette inside the image, as if nobody
    stood before it. Every 25th image shows nobody. In a split of 50 images or more, one has a
    crowd (``iscrowd`` 1, run lengths).

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

    Returns
    -------
    DatasetSummary
        Counts of images and people.

    Raises
    ------
    FileExistsError
        If ``root`` holds something else.
    ValueError
        If a number is out of range, or ``root`` holds this data set with images missing.
    """
    counts = {"train": train_images, "val": val_images}
    for split, count in counts.items():
        if not 1 <= count < _VAL_ID_OFFSET:
            raise ValueError(
                f"{split}_images must be from 1 to {_VAL_ID_OFFSET - 1:,}, got {count}"
            )
    if len(image_size) != 2 or min(image_size) < _MIN_SIDE:
        raise ValueError(f"image_size must be (H, W) of at least {_MIN_SIDE}, got {image_size}")
    if seed < 0:
        raise ValueError(f"seed must be 0 or more, got {seed}")
    root = Path(root)
    parameters: Record = {
        "generator_version": GENERATOR_VERSION,
        "train_images": train_images,
        "val_images": val_images,
        "image_size": list(image_size),
        "seed": seed,
        "upright": upright,
    }
    people = _existing_people(root, parameters)
    if people is None:
        root.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{root.name}.", dir=root.parent) as temporary:
            stage = Path(temporary) / "data"
            people = [
                _write_split(stage, split, count, parameters, progress)
                for split, count in counts.items()
            ]
            if root.exists():
                root.rmdir()
            stage.rename(root)
    return DatasetSummary(root, train_images, val_images, *people)


def people(arguments: list[str]) -> int:
    """Command line of ``srl data people``."""
    parser = argparse.ArgumentParser(
        allow_abbrev=False,
        prog="srl data people",
        description="Generate articulated people with the 17 COCO keypoints, in COCO's files and "
        "layout; the same seed gives the same bytes.",
    )
    parser.add_argument("folder", type=Path, help="new folder for the data set")
    parser.add_argument("--train-images", type=int, default=700)
    parser.add_argument("--val-images", type=int, default=200)
    parser.add_argument("--image-size", type=int, nargs=2, default=(192, 192), metavar=("H", "W"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--upright", action="store_true", help="only people who stand or walk upright"
    )
    own = parser.parse_args(arguments)
    summary = generate_dataset(
        own.folder,
        train_images=own.train_images,
        val_images=own.val_images,
        image_size=tuple(own.image_size),
        seed=own.seed,
        upright=own.upright,
    )
    print(summary)
    return 0
