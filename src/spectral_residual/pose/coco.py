"""COCO keypoint results: building, writing and evaluating them.

The metrics are those of the COCO keypoint challenge (Lin et al., "Microsoft COCO: Common Objects
in Context", ECCV 2014), computed by faster-coco-eval and equal to those of pycocotools, for any
number of joints.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster

from ..errors import printable
from ..report.files import write_file
from ..report.table import format_table
from .checks import check_shape, number_field, short, typed_field
from .oks import Poses, check_sigmas
from .person import person_fields

KEYPOINT_METRICS = ("AP", "AP50", "AP75", "AP(M)", "AP(L)", "AR", "AR50", "AR75", "AR(M)", "AR(L)")
"""Names of the ten COCO keypoint metrics, in COCO's order."""


def coco_results(poses: Poses, category_id: int) -> list[dict[str, Any]]:
    """Put predicted poses into the COCO results format.

    Parameters
    ----------
    poses : dict of ndarray
        M poses, M may be 0: ``image_id`` (M,) int; ``keypoints`` (M, K, 2), [x, y] in pixels of the
        image; ``joint_scores`` (M, K), which COCO's evaluation ignores; ``score`` (M,), higher is
        better. See `rescored_poses`.
    category_id : int
        Category of the poses; COCO's person is 1.

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
        If the image ids are not integers.
    """
    ids, points, joint_scores, scores = (
        poses[name] for name in ("image_id", "keypoints", "joint_scores", "score")
    )
    check_shape("keypoints", points, "M", "K", 2)
    count, joints, _ = points.shape
    check_shape("image_id", ids, count)
    check_shape("joint_scores", joint_scores, count, joints)
    check_shape("score", scores, count)
    if count and ids.dtype.kind not in "iu":
        raise TypeError(f"image_id: got dtype {ids.dtype}, expected integers")
    flat = np.concatenate([points, joint_scores[..., None]], axis=2, dtype=np.float64)
    rows = flat.reshape(count, 3 * joints)
    return [
        {"image_id": image, "category_id": int(category_id), "keypoints": row, "score": score}
        for image, row, score in zip(ids.tolist(), rows.tolist(), scores.tolist(), strict=True)
    ]


def write_results(path: str | Path, entries: Sequence[Mapping[str, Any]]) -> None:
    """Write results as JSON, in one step: no reader ever sees a half-written file.

    Parameters
    ----------
    path : str or Path
        File to create or replace; missing parent folders are created.
    entries : sequence of dict
        As built by :func:`coco_results`.

    Raises
    ------
    ValueError
        If an entry holds NaN or an infinity, which JSON cannot.
    TypeError
        If an entry holds other than plain Python values.
    """
    try:
        text = json.dumps(list(entries), allow_nan=False)
    except ValueError as error:
        raise ValueError(
            f"results for {printable(path)}: got NaN or infinity, expected numbers"
        ) from error
    write_file(path, text)


def evaluate_keypoints(
    annotations: Mapping[str, Any], results: Sequence[Mapping[str, Any]], sigmas: Sequence[float]
) -> dict[str, float]:
    """Compute the ten COCO keypoint metrics.

    As in COCO's own evaluation, the 20 best poses of an image count; annotations that are crowds
    or have no labelled keypoints are ignored together with the poses matched to them; the size of
    a person is the annotation's ``area``, that of an unmatched pose the extent of its keypoints
    (other fields of a result, such as ``bbox``, are not read). Poses in images without people
    are false positives. Categories without keypoints beside one that has some are left out with
    their annotations. Two traps of that evaluation are removed: annotation ids play no part
    (there, an id of 0 is never matched), and results of an unknown category are an error rather
    than dropped.

    Parameters
    ----------
    annotations : dict
        Content of a COCO keypoint file: ``images`` (``id``), ``categories`` (``id``),
        ``annotations`` (``image_id``, ``category_id``, ``keypoints``, ``bbox``, and
        ``num_keypoints``, ``area`` and ``iscrowd``, which `person_fields` derives if missing).
    results : sequence of dict
        As returned by :func:`coco_results`; may be empty.
    sigmas : sequence of float
        K standard deviations of OKS, as fractions of the object's scale.

    Returns
    -------
    dict of float
        The names of `KEYPOINT_METRICS` and fractions in [0, 1], or COCO's -1 where there is no
        person to be found. The arguments are not modified.

    Raises
    ------
    ValueError
        For annotations or results with missing or wrong fields, keypoints that are not 3K
        numbers, unknown images or categories, ids given twice, and annotations without images.
    """
    deviations = check_sigmas(sigmas)
    truth = _checked_annotations(annotations, 3 * len(deviations))
    found = _checked_results(results, truth, 3 * len(deviations))
    evaluation = COCOeval_faster(
        COCO(truth, print_function=_silent),
        COCO({**truth, "annotations": found}, print_function=_silent),
        iouType="keypoints",
        kpt_oks_sigmas=deviations.tolist(),
        print_function=_silent,
    )
    evaluation.run()
    return {
        name: float(value) for name, value in zip(KEYPOINT_METRICS, evaluation.stats, strict=True)
    }


def metrics_table(metrics: Mapping[str, Mapping[str, float]]) -> str:
    """Lay out metrics as a table in percent, which is also valid Markdown.

    Parameters
    ----------
    metrics : dict
        Results of :func:`evaluate_keypoints` by the name of their model or file.

    Returns
    -------
    str
        One line for each model under a header of `KEYPOINT_METRICS`, one decimal; ``-`` for -1.
    """
    rows = []
    for model, row in metrics.items():
        values = [row[name] for name in KEYPOINT_METRICS]
        cells = ["-" if value == -1 else f"{100 * value:.1f}" for value in values]
        rows.append([printable(model), *cells])
    return format_table(("model", *KEYPOINT_METRICS), rows)


def _silent(*_: object) -> None:
    """Take the place of the evaluator's ``print``."""


def _checked_annotations(content: Mapping[str, Any], length: int) -> dict[str, Any]:
    """Check annotations and copy the fields that count, with ids of our own from 1 on."""
    truth: dict[str, Any] = {
        name: [
            {"id": int(typed_field(entry, "id", f"{name}[{index}]", Integral))}
            for index, entry in enumerate(typed_field(content, name, "annotations", list))
        ]
        for name in ("images", "categories")
    }
    if not truth["images"]:
        raise ValueError("annotations: got no image to evaluate, expected at least one")
    for name, records in truth.items():
        twice = [i for i, times in Counter(r["id"] for r in records).items() if times > 1]
        if twice:
            raise ValueError(f"{name}: id: got {short(twice)} more than once, expected once")
    known = _known(truth)
    with_joints = [c["id"] for c in content["categories"] if c.get("keypoints")]
    without = {c["id"] for c in truth["categories"]} - set(with_joints) if with_joints else set()
    truth["categories"] = [c for c in truth["categories"] if c["id"] not in without]
    truth["annotations"] = []
    for index, entry in enumerate(typed_field(content, "annotations", "annotations", list)):
        where = f"annotations[{index}]"
        ids = _ids(entry, where, known)
        if ids["category_id"] not in without:
            fields = person_fields(entry, where, length)
            truth["annotations"].append({**fields, **ids, "id": index + 1})
    return truth


def _checked_results(
    results: Sequence[Any], truth: Mapping[str, Any], length: int
) -> list[dict[str, Any]]:
    """Check results and copy the fields that count.

    The size of an unmatched pose is taken from its ``area``: the extent of its keypoints.
    """
    known, found = _known(truth), []
    for index, entry in enumerate(results):
        where = f"results[{index}]"
        fields: dict[str, Any] = _ids(entry, where, known)
        keypoints = number_field(entry, "keypoints", where, length)
        points = keypoints.reshape(-1, 3)[:, :2]
        low = points.min(axis=0)
        width, height = (points.max(axis=0) - low).tolist()
        fields |= {"keypoints": keypoints.tolist()}
        fields |= {"id": index + 1, "score": number_field(entry, "score", where).item()}
        fields |= {"area": width * height, "bbox": [*low.tolist(), width, height], "iscrowd": 0}
        found.append(fields)
    return found


def _known(truth: Mapping[str, Any]) -> dict[str, set[int]]:
    lists = {"image_id": truth["images"], "category_id": truth["categories"]}
    return {name: {record["id"] for record in records} for name, records in lists.items()}


def _ids(entry: Any, where: str, known: Mapping[str, set[int]]) -> dict[str, int]:
    """Ids of the image and the category of a record, which must be known."""
    ids = {name: int(typed_field(entry, name, where, Integral)) for name in known}
    for name, allowed in known.items():
        if ids[name] not in allowed:
            raise ValueError(
                f"{where}: {name}: got unknown {ids[name]}, expected one of the {len(allowed)} "
                "in the annotations"
            )
    return ids
