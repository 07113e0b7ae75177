"""COCO keypoint files: annotations and person detections, read and checked."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .checks import number_field, typed_field
from .geometry import clip_box


@dataclass(frozen=True, eq=False)
class Instance:
    """One person to be cropped out of an image.

    Attributes
    ----------
    image_id : int
        Image id in the annotation file.
    file : Path
        Image file.
    image_size : (int, int) or None
        Height and width (H, W) that the annotation file states; None if no file does.
    box : ndarray
        (4,) x, y, width, height in image pixels.
    score : float
        Score of the box; 1 for annotated boxes.
    joints : ndarray
        (K, 2) x, y in image pixels; 0 where not labelled.
    visible : ndarray
        (K,) 1 for labelled joints (COCO's v 1 and 2), otherwise 0.
    """

    image_id: int
    file: Path
    image_size: tuple[int, int] | None
    box: NDArray[np.float64]
    score: float
    joints: NDArray[np.float32]
    visible: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class KeypointAnnotations:
    """A checked COCO keypoint file.

    Attributes
    ----------
    path : Path
        The file.
    images : dict of int to dict
        Image records by id, each with ``file_name``, ``width`` and ``height``.
    annotations : list of dict
        Annotation records of the category.
    category : dict
        The one category that has keypoints.
    content : dict
        The whole file, for the evaluation.
    """

    path: Path
    images: dict[int, dict[str, Any]]
    annotations: list[dict[str, Any]]
    category: dict[str, Any]
    content: Mapping[str, Any]


@lru_cache(maxsize=8)
def read_annotations(path: str | Path) -> KeypointAnnotations:
    """Read and check a COCO keypoint annotation file; kept in memory for later calls.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is no JSON, or no COCO keypoint file; the message names file and field.
    """
    path = Path(path)
    content = _read_json(path)
    where = f"{path}: not a COCO keypoint file"
    records = {name: typed_field(content, name, where, list) for name in ("images", "annotations")}
    category = _keypoint_category(typed_field(content, "categories", where, list), path)
    images: dict[int, dict[str, Any]] = {}
    for i, record in enumerate(records["images"]):
        where = f"{path}: images[{i}]"
        typed_field(record, "file_name", where, str)
        for name in ("id", "width", "height"):
            typed_field(record, name, where, Integral)
        images[record["id"]] = record
    annotations: list[dict[str, Any]] = []
    for i, record in enumerate(records["annotations"]):
        where = f"{path}: annotations[{i}]"
        if not isinstance(record, dict):
            raise ValueError(f"{where}: got {type(record).__name__}, expected an object")
        if record.get("category_id", category["id"]) == category["id"]:
            _check_annotation(record, where, images, 3 * len(category["keypoints"]))
            annotations.append(record)
    return KeypointAnnotations(path, images, annotations, category, content)


def annotated_instances(annotations: KeypointAnnotations, folder: str | Path) -> list[Instance]:
    """Persons with labelled joints, with their annotated boxes.

    Crowds, persons without labelled joints and boxes that are empty or outside the image are
    left out; boxes are clipped to the image as SimpleBaseline does (one pixel smaller than
    COCO's width and height).

    Parameters
    ----------
    annotations : KeypointAnnotations
        Annotation file.
    folder : path
        Folder of the images.
    """
    instances = []
    for record in annotations.annotations:
        keypoints = np.asarray(record["keypoints"], dtype=np.float64).reshape(-1, 3)
        image = annotations.images[record["image_id"]]
        box = clip_box(record["bbox"], image["width"], image["height"])
        visible = keypoints[:, 2] > 0
        outside = not _overlaps(np.asarray(record["bbox"]), image)
        if record.get("iscrowd", 0) or outside or box is None or not visible.any():
            continue
        joints = (keypoints[:, :2] * visible[:, None]).astype(np.float32)
        instances.append(_instance(image, folder, box, 1.0, joints, visible.astype(np.float32)))
    return instances


def detected_instances(
    path: str | Path,
    annotations: KeypointAnnotations,
    folder: str | Path,
    minimum_score: float = 0.0,
) -> list[Instance]:
    """Persons found by a detector, from a file in COCO's results format.

    Only the persons' category counts. Boxes are used as they are, neither clipped nor shrunk;
    empty boxes and boxes wholly outside their image are left out.

    Parameters
    ----------
    path : path
        JSON list of ``{"image_id", "category_id", "bbox": [x, y, width, height], "score"}``.
    annotations : KeypointAnnotations
        Gives the images and the number of joints.
    folder : path
        Folder of the images.
    minimum_score : float, default 0
        Boxes with a lower score are left out.

    Raises
    ------
    FileNotFoundError, ValueError
        As for `read_annotations`.
    """
    content = _read_json(path)
    if not isinstance(content, list):
        raise ValueError(
            f"{path}: expected a list of detections in COCO's results format, "
            f"got a {type(content).__name__}"
        )
    category = annotations.category
    joints = np.zeros((len(category["keypoints"]), 2), dtype=np.float32)
    instances = []
    for i, record in enumerate(content):
        where = f"{path}: entry {i}"
        image_id = typed_field(record, "image_id", where, Integral)
        category_id = typed_field(record, "category_id", where, Integral)
        score = typed_field(record, "score", where, Real)
        box = number_field(record, "bbox", where, 4)
        if image_id not in annotations.images:
            raise ValueError(f"{where}: image_id {image_id} is not an image of {annotations.path}")
        image = annotations.images[image_id]
        if category_id == category["id"] and score >= minimum_score and _overlaps(box, image):
            instances.append(_instance(image, folder, box, float(score), joints, joints[:, 0]))
    return instances


def _read_json(path: str | Path) -> Any:
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}")
    try:
        return json.loads(path.read_bytes())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not a JSON file: {error}") from error


def _keypoint_category(categories: Sequence[Any], path: Path) -> dict[str, Any]:
    found = [c for c in categories if isinstance(c, Mapping) and c.get("keypoints")]
    if len(found) != 1:
        raise ValueError(
            f"{path}: field 'categories' must hold exactly one category with 'keypoints', "
            f"got {len(found)}"
        )
    typed_field(found[0], "id", f"{path}: categories", Integral)
    return dict(found[0])


def _check_annotation(
    record: Mapping[str, Any], where: str, images: Mapping[int, Any], length: int
) -> None:
    where = f"{where} (id {typed_field(record, 'id', where, Integral)})"
    image_id = typed_field(record, "image_id", where, Integral)
    if image_id not in images:
        raise ValueError(f"{where}: image_id {image_id} is not in 'images'")
    number_field(record, "bbox", where, 4)
    keypoints = typed_field(record, "keypoints", where, list)
    if len(keypoints) != length:
        raise ValueError(
            f"{where}: keypoints: got {len(keypoints)} numbers, expected {length} "
            f"(x, y, v of {length // 3} joints)"
        )


def _overlaps(box: NDArray[np.float64], image: Mapping[str, Any]) -> bool:
    x, y, w, h = box
    inside = x < image["width"] and y < image["height"] and x + w > 0 and y + h > 0
    return bool(w > 0 and h > 0 and inside)


def _instance(
    image: Mapping[str, Any],
    folder: str | Path,
    box: NDArray[np.float64],
    score: float,
    joints: NDArray[np.float32],
    visible: NDArray[np.float32],
) -> Instance:
    file, size = Path(folder) / image["file_name"], (image["height"], image["width"])
    return Instance(image["id"], file, size, box, score, joints, visible)
