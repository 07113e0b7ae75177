"""An annotated person of a COCO keypoint file: fields that are needed, and those derived."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Integral
from typing import Any

import numpy as np

from .checks import number_field, short, typed_field


def person_fields(record: Any, where: str, length: int) -> dict[str, Any]:
    """Fields of an annotated person that the evaluation needs.

    Those that may be missing are derived: ``num_keypoints`` from the joints with v > 0, ``area``
    from the mask in ``segmentation`` and without one from the box, ``iscrowd`` is 0.

    Parameters
    ----------
    record : mapping
        Annotation with ``bbox`` (x, y, width, height) and ``keypoints``.
    where : str
        Place of the record, for messages.
    length : int
        Numbers in ``keypoints``, 3K.

    Returns
    -------
    dict
        ``keypoints``, ``bbox``, ``num_keypoints``, ``area`` and ``iscrowd``, plain Python values.

    Raises
    ------
    ValueError
        If a field is missing or wrong.
    """
    box = number_field(record, "bbox", where, 4).tolist()
    keypoints = number_field(record, "keypoints", where, length)
    labelled, area, crowd = int((keypoints[2::3] > 0).sum()), 0.0, 0
    if "num_keypoints" in record:
        labelled = int(typed_field(record, "num_keypoints", where, Integral))
    if "iscrowd" in record:
        crowd = int(typed_field(record, "iscrowd", where, Integral, bool))
    if "area" in record:
        area = number_field(record, "area", where).item()
    elif record.get("segmentation"):
        area = mask_area(record["segmentation"], f"{where}: segmentation")
    else:
        area = max(box[2], 0.0) * max(box[3], 0.0)
    for name, value in (("num_keypoints", labelled), ("iscrowd", crowd), ("area", area)):
        if value < 0:
            raise ValueError(f"{where}: {name}: got {value}, expected at least 0")
    return {
        "keypoints": keypoints.tolist(),
        "bbox": box,
        "num_keypoints": labelled,
        "area": area,
        "iscrowd": crowd,
    }


def mask_area(mask: Any, where: str) -> float:
    """Area of a mask in COCO's ``segmentation`` format, in square pixels.

    Parameters
    ----------
    mask : list or mapping
        Polygons, each a flat list of x and y, whose areas are added; or run lengths of zeros and
        ones in turn, as ``{"counts": list or compressed str}``.
    where : str
        Place of the mask, for messages.

    Raises
    ------
    ValueError
        If it is neither.
    """
    if isinstance(mask, list):
        return sum(_polygon_area(polygon, f"{where}[{i}]") for i, polygon in enumerate(mask))
    counts = mask.get("counts") if isinstance(mask, Mapping) else None
    if isinstance(counts, str):
        counts = _run_lengths(counts, where)
    if not isinstance(counts, list):
        raise ValueError(f"{where}: got {short(mask)}, expected polygons or run lengths")
    runs = number_field({"counts": counts}, "counts", where, len(counts))
    return float(runs[1::2].sum())


def _polygon_area(polygon: Any, where: str) -> float:
    if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2:
        raise ValueError(f"{where}: got {short(polygon)}, expected x and y of at least 3 corners")
    corners = number_field({"polygon": polygon}, "polygon", where, len(polygon))
    x, y = corners.reshape(-1, 2).T
    return float(abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2)


def _run_lengths(text: str, where: str) -> list[int]:
    """Decode COCO's compressed run lengths: 5 bits a character, signed, less the last but one."""
    counts: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64 or shift > 60:
            raise ValueError(f"{where}: counts: got {short(text)}, expected COCO's run lengths")
        value |= (bits & 0x1F) << shift
        shift += 5
        if not bits & 0x20:
            if bits & 0x10:
                value -= 1 << shift
            counts.append(value + (counts[-2] if len(counts) > 2 else 0))
            value = shift = 0
    return counts
