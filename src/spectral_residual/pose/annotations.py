"""COCO keypoint files: annotations and person detections, read and checked."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

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

    @property
    def num_joints(self) -> int:
        """Joints K of the category."""
        return len(self.category["keypoints"])


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
    content = read_json(path)
    if not isinstance(content, Mapping):
        raise ValueError(
            f"{path}: expected a COCO keypoint file, a JSON object with images, annotations and "
            f"categories, got a {type(content).__name__}"
        )
    for field in ("images", "annotations", "categories"):
        if not isinstance(content.get(field), list):
            raise ValueError(
                f"{path}: not a COCO keypoint file: field {field!r} must be a list, "
                f"got {type(content.get(field)).__name__}"
            )
    category = _keypoint_category(content["categories"], path)
    images = {}
    for i, record in enumerate(content["images"]):
        where = f"{path}: images[{i}]"
        _require(record, {"id": int, "file_name": str, "width": int, "height": int}, where)
        images[record["id"]] = record
    annotations = [a for a in content["annotations"] if _belongs(a, category, path)]
    for i, record in enumerate(annotations):
        _check_annotation(record, i, images, len(category["keypoints"]), path)
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
        outside = not _overlaps(np.asarray(record["bbox"]), image["width"], image["height"])
        if record.get("iscrowd", 0) or outside or box is None or not visible.any():
            continue
        instances.append(
            Instance(
                image_id=record["image_id"],
                file=Path(folder) / image["file_name"],
                image_size=(image["height"], image["width"]),
                box=box,
                score=1.0,
                joints=(keypoints[:, :2] * visible[:, None]).astype(np.float32),
                visible=visible.astype(np.float32),
            )
        )
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
    path = Path(path)
    content = read_json(path)
    if not isinstance(content, list):
        raise ValueError(
            f"{path}: expected a list of detections in COCO's results format, "
            f"got a {type(content).__name__}"
        )
    joints = np.zeros((annotations.num_joints, 2), dtype=np.float32)
    instances = []
    for i, record in enumerate(content):
        where = f"{path}: entry {i}"
        _require(record, {"image_id": int, "category_id": int, "score": (int, float)}, where)
        box = _box(record, where)
        image = annotations.images.get(record["image_id"])
        if image is None:
            raise ValueError(
                f"{where}: image_id {record['image_id']} is not an image of {annotations.path}"
            )
        if (
            record["category_id"] != annotations.category["id"]
            or record["score"] < minimum_score
            or not _overlaps(box, image["width"], image["height"])
        ):
            continue
        instances.append(
            Instance(
                image_id=record["image_id"],
                file=Path(folder) / image["file_name"],
                image_size=(image["height"], image["width"]),
                box=box,
                score=float(record["score"]),
                joints=joints,
                visible=joints[:, 0],
            )
        )
    return instances


def read_json(path: Path) -> Any:
    """Read a JSON file; errors name it.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If its content is no JSON.
    """
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
    category = dict(found[0])
    if not isinstance(category.get("id"), int):
        raise ValueError(f"{path}: categories: field 'id' must be an integer")
    return category


def _belongs(record: Any, category: Mapping[str, Any], path: Path) -> bool:
    if not isinstance(record, Mapping):
        raise ValueError(f"{path}: annotations must be objects, got {type(record).__name__}")
    return record.get("category_id", category["id"]) == category["id"]


def _check_annotation(
    record: Mapping[str, Any], i: int, images: Mapping[int, Any], num_joints: int, path: Path
) -> None:
    where = f"{path}: annotations[{i}] (id {record.get('id')})"
    _require(record, {"id": int, "image_id": int}, where)
    if record["image_id"] not in images:
        raise ValueError(f"{where}: image_id {record['image_id']} is not in 'images'")
    _box(record, where)
    keypoints = record.get("keypoints")
    if not isinstance(keypoints, list) or len(keypoints) != 3 * num_joints:
        got = len(keypoints) if isinstance(keypoints, list) else type(keypoints).__name__
        raise ValueError(
            f"{where}: field 'keypoints' must have {3 * num_joints} numbers "
            f"(x, y, v of {num_joints} joints), got {got}"
        )


def _require(record: Any, fields: Mapping[str, Any], where: str) -> None:
    if not isinstance(record, Mapping):
        raise ValueError(f"{where}: expected an object, got {type(record).__name__}")
    for field, kind in fields.items():
        value = record.get(field)
        if not isinstance(value, kind) or isinstance(value, bool):
            raise ValueError(f"{where}: field {field!r} is missing or of the wrong type: {value!r}")


def _box(record: Mapping[str, Any], where: str) -> NDArray[np.float64]:
    box = record.get("bbox")
    try:
        numbers = np.asarray(box, dtype=np.float64)
    except (TypeError, ValueError):
        numbers = np.empty(0)
    if numbers.shape != (4,) or not np.isfinite(numbers).all():
        raise ValueError(
            f"{where}: field 'bbox' must be 4 finite numbers x, y, width, height, got {box!r}"
        )
    return numbers


def _overlaps(box: NDArray[np.float64], width: int, height: int) -> bool:
    x, y, w, h = box
    return bool(w > 0 and h > 0 and x < width and y < height and x + w > 0 and y + h > 0)
