"""COCO keypoint files: annotations and person detections, read and checked."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import printable
from .checks import Faults, number_field, read_json, short, typed_field
from .geometry import clip_box
from .person import person_fields


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
    apply_exif : bool
        Box and joints refer to the image turned as its EXIF orientation says.
    """

    image_id: int
    file: Path
    image_size: tuple[int, int] | None
    box: NDArray[np.float64]
    score: float
    joints: NDArray[np.float32]
    visible: NDArray[np.float32]
    apply_exif: bool = False


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


def read_annotations(path: str | Path) -> KeypointAnnotations:
    """Read and check a COCO keypoint annotation file; kept in memory for later calls.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is no JSON, or no COCO keypoint file; the message lists the faults by record
        and field.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no file {printable(path)}")
    status = path.stat()
    return _read_annotations(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=8)
def _read_annotations(path: Path, *version: int) -> KeypointAnnotations:
    content = read_json(path)
    faults = Faults(path)
    where = "not a COCO keypoint file"
    names = ("images", "categories", "annotations") if isinstance(content, dict) else ("images",)
    lists: dict[str, Any] = {
        name: faults.check(typed_field, content, name, where, list) for name in names
    }
    faults.stop()
    images = _by_id(lists["images"], "images", faults, _check_image)
    categories = _by_id(lists["categories"], "categories", faults, _check_category)
    category = faults.check(_keypoint_category, lists["categories"]) or {}
    if not isinstance(category.get("keypoints"), list):
        faults.stop()
    length = 3 * len(category["keypoints"])
    of_category = []

    def check(record: dict[str, Any], where: str) -> None:
        if _category_of(record, where, categories) == category.get("id"):
            of_category.append(record)
            person_fields(record, where, length)
        image_id = typed_field(record, "image_id", where, Integral)
        if image_id not in images:
            raise ValueError(f"{where}: image_id {image_id} is not in 'images'")

    _by_id(lists["annotations"], "annotations", faults, check)
    faults.stop()
    return KeypointAnnotations(path, images, of_category, category, content)


def annotated_instances(
    annotations: KeypointAnnotations,
    folder: str | Path,
    *,
    apply_exif: bool = False,
    files_outside: bool = False,
) -> list[Instance]:
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
    apply_exif : bool
        The annotations refer to pictures that are turned as their EXIF orientation says.
    files_outside : bool
        Image files may lie outside the folder, by ``..``, an absolute name or a symbolic link.

    Raises
    ------
    ValueError
        If an image file lies outside the folder and may not.
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
        instances.append(
            _instance(image, folder, box, 1.0, joints, visible.astype(np.float32), apply_exif)
        )
    if not files_outside:
        _check_inside(instances, folder, annotations)
    return instances


def detected_instances(
    path: str | Path,
    annotations: KeypointAnnotations,
    folder: str | Path,
    minimum_score: float = 0.0,
    *,
    apply_exif: bool = False,
    files_outside: bool = False,
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
    apply_exif, files_outside : bool
        As for `annotated_instances`.

    Raises
    ------
    FileNotFoundError, ValueError
        As for `read_annotations` and `annotated_instances`.
    """
    content = read_json(path)
    if not isinstance(content, list):
        raise ValueError(
            f"{printable(path)}: expected a list of detections in COCO's results format, "
            f"got a {type(content).__name__}"
        )
    category, faults = annotations.category, Faults(path)
    joints = np.zeros((len(category["keypoints"]), 2), dtype=np.float32)
    instances = []

    def read(record: Any, where: str) -> None:
        image_id = typed_field(record, "image_id", where, Integral)
        category_id = typed_field(record, "category_id", where, Integral)
        score = number_field(record, "score", where).item()
        box = number_field(record, "bbox", where, 4)
        if image_id not in annotations.images:
            source = printable(annotations.path)
            raise ValueError(f"{where}: image_id {image_id} is not an image of {source}")
        image = annotations.images[image_id]
        if category_id == category["id"] and score >= minimum_score and _overlaps(box, image):
            instances.append(_instance(image, folder, box, score, joints, joints[:, 0], apply_exif))

    for i, record in enumerate(content):
        faults.check(read, record, f"entry {i}")
    faults.stop()
    if not files_outside:
        _check_inside(instances, folder, annotations)
    return instances


def _by_id(
    records: Sequence[Any], name: str, faults: Faults, check: Callable[[Any, str], object]
) -> dict[int, dict[str, Any]]:
    """Check the records of a list, and give them by their ids, which must differ."""
    place: dict[int, int] = {}
    for i, record in enumerate(records):
        where = f"{name}[{i}]"
        key = faults.check(typed_field, record, "id", where, Integral)
        if key is None:
            continue
        where += f" (id {key})"
        if key in place:
            faults.found.append(
                f"{where}: id: got {key}, which is that of {name}[{place[key]}] as well, "
                "expected another"
            )
        place.setdefault(int(key), i)
        faults.check(check, record, where)
    return {key: records[i] for key, i in place.items()}


def _check_image(record: Any, where: str) -> None:
    name = typed_field(record, "file_name", where, str)
    try:
        usable = b"\0" not in os.fsencode(name) and Path(name).name != ""
    except UnicodeEncodeError:
        usable = False
    if not usable:
        raise ValueError(f"{where}: file_name: got {short(name)}, expected the name of a file")
    for field in ("width", "height"):
        if typed_field(record, field, where, Integral) < 1:
            raise ValueError(f"{where}: {field}: got {record[field]}, expected at least 1")


def _check_category(record: Any, where: str) -> None:
    names = record.get("keypoints") or []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(
            f"{where}: keypoints: got {short(names)}, expected a list of the names of joints"
        )


def _keypoint_category(categories: Sequence[Any]) -> dict[str, Any]:
    found = [c for c in categories if isinstance(c, Mapping) and c.get("keypoints")]
    if len(found) != 1:
        raise ValueError(
            f"field 'categories' must hold exactly one category with 'keypoints', got {len(found)}"
        )
    return dict(found[0])


def _category_of(record: dict[str, Any], where: str, categories: Mapping[int, Any]) -> int:
    """Category of an annotation; where there is but one category, that one by default."""
    if len(categories) == 1:
        record.setdefault("category_id", next(iter(categories)))
    category_id = typed_field(record, "category_id", where, Integral)
    if category_id not in categories:
        known = short(sorted(categories))
        raise ValueError(f"{where}: category_id: got {category_id}, expected one of {known}")
    return int(category_id)


def _check_inside(
    instances: Iterable[Instance], folder: str | Path, annotations: KeypointAnnotations
) -> None:
    """Refuse image files outside a folder; links are found by listing, not file by file."""
    home, faults = Path(folder).resolve(), Faults(annotations.path)
    files = {instance.file: instance.image_id for instance in instances}
    inside = {parent: _is_inside(parent, home) for parent in {file.parent for file in files}}
    links: set[Path] = set()
    for parent in (parent for parent, is_inside in inside.items() if is_inside):
        with contextlib.suppress(OSError), os.scandir(parent) as entries:
            links |= {parent / entry.name for entry in entries if entry.is_symlink()}
    for file, image_id in files.items():
        if not inside[file.parent] or (file in links and not _is_inside(file, home)):
            name = short(annotations.images[image_id]["file_name"])
            faults.found.append(
                f"image {image_id}: file_name: got {name}, which leads out of the folder "
                f"{printable(folder)}; expected a file in it, or files_outside: true for these data"
            )
    faults.stop()


def _is_inside(path: Path, home: Path) -> bool:
    try:
        return path.resolve().is_relative_to(home)
    except (OSError, RuntimeError):
        return False


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
    apply_exif: bool,
) -> Instance:
    file, size = Path(folder) / image["file_name"], (image["height"], image["width"])
    return Instance(image["id"], file, size, box, score, joints, visible, apply_exif)
