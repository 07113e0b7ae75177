"""COCO keypoint files: what is read, what is left out, and how faults are named."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from spectral_residual.pose.annotations import (
    annotated_instances,
    detected_instances,
    read_annotations,
)

NAMES = ["nose", "left_hand", "right_hand"]


def content(**changes):
    data = {
        "images": [
            {"id": 7, "file_name": "a.jpg", "width": 100, "height": 80},
            {"id": 9, "file_name": "b.jpg", "width": 50, "height": 60},
        ],
        "categories": [{"id": 1, "name": "person", "keypoints": NAMES, "skeleton": [[1, 2]]}],
        "annotations": [
            {
                "id": 1,
                "image_id": 7,
                "category_id": 1,
                "iscrowd": 0,
                "bbox": [10.0, 20.0, 30.0, 40.0],
                "area": 500.0,
                "num_keypoints": 2,
                "keypoints": [15, 25, 2, 20, 30, 1, 99, 99, 0],
            }
        ],
    }
    data.update(changes)
    return data


def annotation(**changes):
    return {**content()["annotations"][0], **changes}


@pytest.fixture
def write(tmp_path):
    count = 0

    def write(data):
        nonlocal count
        count += 1
        path = tmp_path / f"file{count}.json"
        path.write_text(data if isinstance(data, str) else json.dumps(data))
        return path

    return write


def test_instances_have_clipped_box_and_labelled_joints(write):
    (instance,) = annotated_instances(read_annotations(write(content())), "pictures")
    assert instance.file == Path("pictures/a.jpg")
    assert instance.image_id == 7
    assert instance.image_size == (80, 100)
    np.testing.assert_allclose(instance.box, [10, 20, 29, 39])
    np.testing.assert_array_equal(instance.visible, [1, 1, 0])
    np.testing.assert_array_equal(instance.joints, [[15, 25], [20, 30], [0, 0]])


@pytest.mark.parametrize(
    "change",
    [
        {"iscrowd": 1},
        {"keypoints": [0] * 9, "num_keypoints": 0},
        {"bbox": [10, 10, 0, 0]},
        {"bbox": [200, 10, 30, 30]},
        {"bbox": [10, -90, 30, 30]},
        {"category_id": 3},
    ],
    ids=["crowd", "no joint", "empty box", "right of image", "above image", "other category"],
)
def test_what_is_left_out(write, change):
    data = content(annotations=[annotation(), annotation(id=2, **change)])
    data["categories"].append({"id": 3, "name": "bag"})
    assert len(annotated_instances(read_annotations(write(data)), ".")) == 1


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("{not json", "not a JSON file"),
        ([1, 2], "not a COCO keypoint file: got list, expected an object"),
        ({"images": [], "annotations": []}, "not a COCO keypoint file: missing field 'categories'"),
        (content(images={}), "not a COCO keypoint file: images: got {}, expected a list"),
        (content(categories=[{"id": 1, "name": "cat"}]), "exactly one category"),
        (content(images=[{"id": 7, "file_name": "a.jpg", "width": 3}]), r"images\[0\].*'height'"),
        (content(images=[{"id": True, "file_name": "a"}]), r"images\[0\]: id: .*an integer"),
        (
            content(images=[{"id": 7, "file_name": 3}]),
            r"images\[0\] \(id 7\): file_name: .*a string",
        ),
        (content(annotations=[annotation(keypoints=[1, 2, 2])]), "keypoints: got 3 .*expected 9"),
        (content(annotations=[annotation(image_id=8)]), "image_id 8 is not in 'images'"),
        (
            content(annotations=[annotation(bbox=[1, 2, 3])]),
            "bbox: got 3 .*expected 4 finite",
        ),
        (content(annotations=[annotation(bbox=[1, 2, 3, "x"])]), "bbox: .*'x'.*expected 4 finite"),
        (content(annotations=["text"]), r"annotations\[0\]: got str, expected an object"),
    ],
)
def test_faults_name_file_and_field(write, data, message):
    path = write(data)
    with pytest.raises(ValueError, match=message) as error:
        read_annotations(path)
    assert str(path) in str(error.value)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"absent\.json"):
        read_annotations(tmp_path / "absent.json")


def detection(**changes):
    return {
        "image_id": 7, "category_id": 1, "bbox": [10.0, 20.0, 30.0, 40.0], "score": 0.5, **changes,
    }  # fmt: skip


def test_detections_keep_box_and_score(write):
    annotations = read_annotations(write(content()))
    path = write([detection(), detection(category_id=2), detection(score=0.05)])
    found = detected_instances(path, annotations, "x", minimum_score=0.1)
    assert [i.score for i in found] == [0.5]
    np.testing.assert_array_equal(found[0].box, [10, 20, 30, 40])
    assert found[0].visible.tolist() == [0, 0, 0]
    assert len(detected_instances(path, annotations, "x")) == 2


@pytest.mark.parametrize("box", [[10, 20, 0, 40], [10, 20, 30, -1], [100, 0, 5, 5], [-9, 0, 9, 9]])
def test_detections_empty_or_outside_are_left_out(write, box):
    annotations = read_annotations(write(content()))
    path = write([detection(bbox=box), detection()])
    assert len(detected_instances(path, annotations, "x")) == 1


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"a": 1}, "expected a list of detections"),
        ([detection(image_id=1)], "entry 0: image_id 1 is not an image of"),
        ([detection(), {"image_id": 7}], "entry 1: missing field 'category_id'"),
        ([detection(bbox=None)], "bbox: got None, expected 4 finite numbers"),
        ([detection(score="high")], "score: got 'high', expected one finite number"),
    ],
)
def test_faults_of_detections(write, data, message):
    annotations = read_annotations(write(content()))
    with pytest.raises(ValueError, match=message):
        detected_instances(write(data), annotations, "x")
