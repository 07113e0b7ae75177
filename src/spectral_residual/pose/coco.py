"""COCO keypoint results: building, writing, reading and evaluating them.

The metrics are those of the COCO keypoint challenge (Lin et al., "Microsoft COCO: Common Objects
in Context", ECCV 2014), computed by faster-coco-eval and equal to those of pycocotools, for any
number of joints.
"""

from __future__ import annotations

import json
import numbers
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster
from numpy.typing import ArrayLike, NDArray

from ..errors import unknown_name
from ..report.files import write_file
from .oks import check_sigmas

KEYPOINT_METRICS = ("AP", "AP50", "AP75", "AP(M)", "AP(L)", "AR", "AR50", "AR75", "AR(M)", "AR(L)")
"""Names of the ten COCO keypoint metrics, in COCO's order."""


def results_entries(
    image_ids: ArrayLike,
    keypoints: ArrayLike,
    joint_scores: ArrayLike,
    scores: ArrayLike,
    category_id: int = 1,
) -> list[dict[str, Any]]:
    """Put predicted poses into the COCO results format.

    Parameters
    ----------
    image_ids : array_like of int, shape (M,)
        Image of every pose; M may be 0.
    keypoints : array_like, shape (M, K, 2)
        [x, y] in pixels of the image.
    joint_scores : array_like, shape (M, K)
        Score of every joint; COCO's evaluation ignores it.
    scores : array_like, shape (M,)
        Score of every pose, higher is better.
    category_id : int, default 1
        COCO's person.

    Returns
    -------
    list of dict
        One per pose, of plain Python numbers: ``image_id``, ``category_id``, ``keypoints`` (3K
        floats x1, y1, score1, x2, ...) and ``score``. Nothing is rounded, so that writing and
        reading cannot change a metric.

    Raises
    ------
    ValueError
        For shapes that do not fit.
    TypeError
        If `image_ids` are not integers.
    """
    ids = np.asarray(image_ids)
    points = np.asarray(keypoints, dtype=np.float64)
    if points.ndim != 3 or points.shape[2] != 2:
        raise ValueError(f"keypoints: got shape {points.shape}, expected (M, K, 2)")
    poses, joints, _ = points.shape
    of_joints = np.asarray(joint_scores, dtype=np.float64)
    of_poses = np.asarray(scores, dtype=np.float64)
    for name, got, expected in (
        ("image_ids", ids.shape, (poses,)),
        ("joint_scores", of_joints.shape, (poses, joints)),
        ("scores", of_poses.shape, (poses,)),
    ):
        if got != expected:
            raise ValueError(f"{name}: got shape {got}, expected {expected}")
    if poses and ids.dtype.kind not in "iu":
        raise TypeError(f"image_ids: got dtype {ids.dtype}, expected integers")
    flat = np.concatenate([points, of_joints[..., None]], axis=2).reshape(poses, 3 * joints)
    return [
        {"image_id": image, "category_id": int(category_id), "keypoints": row, "score": score}
        for image, row, score in zip(ids.tolist(), flat.tolist(), of_poses.tolist(), strict=True)
    ]


def write_results(path: str | Path, entries: Sequence[Mapping[str, Any]]) -> None:
    """Write results as JSON, in one step: no reader ever sees a half-written file.

    Parameters
    ----------
    path : str or Path
        File to create or replace; missing parent folders are created.
    entries : sequence of dict
        As built by :func:`results_entries`.

    Raises
    ------
    ValueError
        If an entry holds NaN or an infinity, which JSON cannot.
    TypeError
        If an entry holds other than plain Python values.
    """
    target = Path(path)
    try:
        text = json.dumps(list(entries), allow_nan=False)
    except ValueError as error:
        raise ValueError(f"results for {target}: got NaN or infinity, expected numbers") from error
    write_file(target, text)


def read_results(path: str | Path) -> list[dict[str, Any]]:
    """Read and check a COCO keypoint results file.

    Parameters
    ----------
    path : str or Path
        JSON file.

    Returns
    -------
    list of dict
        The entries as they stand in the file.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not JSON, not a list, or an entry lacks a field or has a wrong one: keypoints
        must be 3K finite numbers with the same K everywhere. The message names file, entry and
        field.
    """
    entries = _read_json(path)
    _checked_results(entries, str(path), length=None)
    return entries


def evaluate_keypoints(
    annotations: str | Path | Mapping[str, Any],
    results: Sequence[Mapping[str, Any]],
    sigmas: Sequence[float],
    image_ids: Sequence[int] | None = None,
) -> dict[str, float]:
    """Compute the ten COCO keypoint metrics.

    As in COCO's own evaluation, the 20 best poses of an image count; annotations that are crowds
    or have no labelled keypoints are ignored together with the poses matched to them; the size of
    a person is the annotation's ``area``, that of an unmatched pose the extent of its keypoints
    (other fields of a result, such as ``bbox``, are not read). Poses in images without people
    are false positives. Two traps of that evaluation are removed: annotation ids play no part
    (there, an id of 0 is never matched), and results of an unknown category are an error rather
    than dropped.

    Parameters
    ----------
    annotations : str, Path or dict
        COCO keypoint annotations, a JSON file or its content: ``images`` (``id``),
        ``categories`` (``id``), ``annotations`` (``image_id``, ``category_id``, ``keypoints``,
        ``num_keypoints``, ``area``, ``bbox``, and ``iscrowd``, 0 if missing).
    results : sequence of dict
        As returned by :func:`results_entries` or :func:`read_results`; may be empty.
    sigmas : sequence of float
        K standard deviations of OKS, as fractions of the object's scale.
    image_ids : sequence of int, optional
        Images to evaluate; all by default. Results for other known images are left out.

    Returns
    -------
    dict of float
        The names of `KEYPOINT_METRICS` and fractions in [0, 1], or COCO's -1 where there is no
        person to be found. The arguments are not modified.

    Raises
    ------
    FileNotFoundError
        If there is no annotation file.
    ValueError
        For annotations or results with missing or wrong fields, keypoints that are not 3K
        numbers, and unknown images or categories.
    """
    deviations = check_sigmas(sigmas)
    length = 3 * len(deviations)
    if isinstance(annotations, Mapping):
        source, content = "annotations", annotations
    else:
        source, content = str(annotations), _read_json(annotations)
    truth = _checked_annotations(content, source, length)
    known = {image["id"] for image in truth["images"]}
    categories = {category["id"] for category in truth["categories"]}
    found = _checked_results(results, "results", length)
    for index, entry in enumerate(found):
        for field, allowed in (("image_id", known), ("category_id", categories)):
            if entry[field] not in allowed:
                raise ValueError(
                    f"results[{index}].{field}: got unknown {entry[field]}, "
                    f"expected one of the {len(allowed)} in {source}"
                )
    chosen = known if image_ids is None else {int(image) for image in image_ids}
    if not chosen:
        raise ValueError(f"image_ids: got no image to evaluate, expected some of {source}")
    if not chosen <= known:
        raise ValueError(f"image_ids: got {min(chosen - known)}, which is not in {source}")

    evaluation = COCOeval_faster(
        COCO(truth, print_function=_silent),
        COCO({**truth, "annotations": _detections(found)}, print_function=_silent),
        iouType="keypoints",
        kpt_oks_sigmas=deviations.tolist(),
        print_function=_silent,
    )
    evaluation.params.imgIds = sorted(chosen)
    evaluation.params.catIds = sorted(categories)
    evaluation.run()
    return {
        name: float(value) for name, value in zip(KEYPOINT_METRICS, evaluation.stats, strict=True)
    }


def format_table(metrics: Mapping[str, float] | Mapping[str, Mapping[str, float]]) -> str:
    """Lay out metrics as a table in percent, which is also valid Markdown.

    Parameters
    ----------
    metrics : dict
        One result of :func:`evaluate_keypoints`, or several by the name of their model.

    Returns
    -------
    str
        One line for each model under a header of `KEYPOINT_METRICS`, one decimal; ``-`` for -1
        and for a metric that is missing.

    Raises
    ------
    ValueError
        For an empty dict or an unknown metric.
    """
    if not metrics:
        raise ValueError("metrics: got an empty dict, expected at least one metric or model")
    by_model = all(isinstance(value, Mapping) for value in metrics.values())
    rows = cast("Mapping[str, Mapping[str, float]]", metrics if by_model else {"": metrics})
    lines: list[tuple[str, ...]] = [("model", *KEYPOINT_METRICS)]
    for model, row in rows.items():
        for name in row:
            if name not in KEYPOINT_METRICS:
                raise unknown_name("metric", name, KEYPOINT_METRICS)
        values = [row.get(name, -1) for name in KEYPOINT_METRICS]
        lines.append((model, *("-" if value == -1 else f"{100 * value:.1f}" for value in values)))
    columns = []
    for header, *cells in list(zip(*lines, strict=True))[0 if by_model else 1 :]:
        width = max(len(cell) for cell in (header, *cells))
        if header == "model":
            columns.append([cell.ljust(width) for cell in (header, "-" * width, *cells)])
        else:
            rule = "-" * (width - 1) + ":"
            columns.append([cell.rjust(width) for cell in (header, rule, *cells)])
    return "\n".join(f"| {' | '.join(line)} |" for line in zip(*columns, strict=True))


def _silent(*_: object) -> None:
    """Take the place of the evaluator's ``print``."""


def _read_json(path: str | Path) -> Any:
    file = Path(path)
    if not file.is_file():
        raise FileNotFoundError(f"{file}: no such file, expected COCO JSON")
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file}: got invalid JSON, {error}") from error


def _field(entry: Any, name: str, where: str) -> Any:
    if not isinstance(entry, Mapping):
        raise ValueError(f"{where}: got {type(entry).__name__}, expected an object")
    if name not in entry:
        raise ValueError(f"{where}: missing field {name!r}, got {sorted(map(str, entry))}")
    return entry[name]


def _integer(entry: Any, name: str, where: str) -> int:
    value = _field(entry, name, where)
    if not isinstance(value, numbers.Integral):
        raise ValueError(f"{where}.{name}: got {value!r}, expected an integer")
    return int(value)


def _numbers(entry: Any, name: str, where: str, shape: tuple[int, ...] | None) -> Any:
    """Return a field of finite numbers; of length 3K for any K where `shape` is None."""
    value = _field(entry, name, where)
    try:
        array = np.asarray(value)
    except ValueError:
        array = np.empty(0, dtype=object)
    if array.dtype.kind not in "iuf" or not np.isfinite(array).all():
        raise ValueError(f"{where}.{name}: got {value!r}, expected finite numbers")
    fits = (array.ndim == 1 and array.size % 3 == 0) if shape is None else array.shape == shape
    if not fits:
        wanted = "3K" if shape is None else str(shape[0]) if shape else "one"
        raise ValueError(f"{where}.{name}: got {array.size} numbers, expected {wanted}")
    return array.astype(np.float64).tolist()


def _entries(content: Any, where: str) -> Sequence[Any]:
    if isinstance(content, (str, bytes)) or not isinstance(content, Sequence):
        raise ValueError(f"{where}: got {type(content).__name__}, expected a list")
    return content


def _checked_results(content: Any, source: str, length: int | None) -> list[dict[str, Any]]:
    """Check results and copy the fields that count; `length` is 3K, or None to take the first."""
    found = []
    for index, entry in enumerate(_entries(content, source)):
        where = f"{source}[{index}]"
        shape = None if length is None else (length,)
        found.append(
            {
                "image_id": _integer(entry, "image_id", where),
                "category_id": _integer(entry, "category_id", where),
                "keypoints": _numbers(entry, "keypoints", where, shape),
                "score": _numbers(entry, "score", where, ()),
            }
        )
        length = len(found[0]["keypoints"])
    return found


def _checked_annotations(content: Any, source: str, length: int) -> dict[str, Any]:
    """Check annotations and copy the fields that count, with ids of our own from 1 on."""
    parts = {
        name: _entries(_field(content, name, source), f"{source}: {name}")
        for name in ("images", "categories", "annotations")
    }
    truth: dict[str, Any] = {
        name: [
            {"id": _integer(entry, "id", f"{source}: {name}[{index}]")}
            for index, entry in enumerate(parts[name])
        ]
        for name in ("images", "categories")
    }
    truth["annotations"] = []
    for index, entry in enumerate(parts["annotations"]):
        where = f"{source}: annotations[{index}]"
        truth["annotations"].append(
            {
                "id": index + 1,
                "image_id": _integer(entry, "image_id", where),
                "category_id": _integer(entry, "category_id", where),
                "keypoints": _numbers(entry, "keypoints", where, (length,)),
                "num_keypoints": _integer(entry, "num_keypoints", where),
                "area": _numbers(entry, "area", where, ()),
                "bbox": _numbers(entry, "bbox", where, (4,)),
                "iscrowd": _integer(entry, "iscrowd", where) if "iscrowd" in entry else 0,
            }
        )
    return truth


def _detections(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Add ids and the extent of the keypoints, by which COCO sorts unmatched poses into sizes."""
    detections = []
    for index, entry in enumerate(found):
        points: NDArray[np.float64] = np.asarray(entry["keypoints"]).reshape(-1, 3)[:, :2]
        low = points.min(axis=0)
        width, height = (points.max(axis=0) - low).tolist()
        detections.append(
            {
                **entry,
                "id": index + 1,
                "area": width * height,
                "bbox": [*low.tolist(), width, height],
                "iscrowd": 0,
            }
        )
    return detections
