"""Damaged and hostile annotation files: an error that names file, record and field, or it works."""

from __future__ import annotations

import copy
import json
import random

import numpy as np
import pytest
import torch
from keypoint_files import SIGMAS, write_split

from spectral_residual.pose.annotations import detected_instances, read_annotations
from spectral_residual.pose.coco import evaluate_keypoints
from spectral_residual.pose.data_module import Joints, KeypointDataModule, Loading, Split
from spectral_residual.pose.dataset import ImageError, KeypointDataset

HOSTILE = [
    None, True, False, 0, -1, 1, 2, 99, 0.5, 1e300, 10**400, -(10**30), 2**63, float("nan"),
    float("inf"), "", "1", "0.5", "../../../etc/passwd", "/dev/zero", "\x1b[2J", "a\0b",
    "\ud800", "x" * 5000, [], {}, [[]], [None], {"a": 1}, [1, 2], ["1", "2", "3", "4"],
    [1e308] * 4, [[1] * 4],
]  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("dots")
    write_split(root, "train", 3, seed=1)
    write_split(root, "val", 2, seed=2)
    return root


@pytest.fixture
def content(root):
    return json.loads((root / "train.json").read_text())


def places(value, path=()):
    """Every place of a JSON value."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in items:
        if isinstance(item, (dict, list)):
            yield from places(item, (*path, key))
        else:
            yield (*path, key)


def mutated(content, rng):
    """Text of a file with one to three faults."""
    content = copy.deepcopy(content)
    for _ in range(rng.choice([1, 1, 3])):
        *above, key = rng.choice(list(places(content))[1:] or [("empty",)])
        if key == "empty":
            break
        inside = content
        for step in above:
            inside = inside[step]
        action = rng.choice(["replace", "replace", "replace", "drop", "double"])
        if action == "replace":
            inside[key] = copy.deepcopy(rng.choice(HOSTILE))
        elif action == "drop":
            del inside[key]
        elif isinstance(inside, list):
            inside.append(copy.deepcopy(inside[key]))
        else:
            inside[f"{key} "] = inside[key]
    text = json.dumps(content)
    kind = rng.random()
    if kind < 0.1:
        return text[: rng.randrange(len(text))]
    if kind < 0.2:
        at = rng.randrange(len(text))
        return text[:at] + rng.choice('{}[],:"0x\\\n\0') + text[at + 1 :]
    return text


def use(root, path):
    """Everything that a file is for: training samples, evaluation of its own annotations."""
    data = KeypointDataModule(
        str(root),
        train=Split(path.name, "train"),
        val=Split("val.json", "val"),
        joints=Joints(sigmas=SIGMAS),
        input_size=(32, 32),
        loading=Loading(1, workers=0),
    )
    data.setup("fit")
    for epoch in range(3):
        sample = data.datasets["train"][(epoch, 0)]
        assert all(torch.isfinite(value).all() for value in sample.values())
    annotations = data.annotations("train")
    results = [
        {
            "image_id": a["image_id"],
            "category_id": data.category_id,
            "keypoints": a["keypoints"],
            "score": 0.5,
        }
        for a in annotations.annotations
    ]
    metrics = evaluate_keypoints(annotations.content, results, data.skeleton.require_sigmas())
    assert all(np.isfinite(value) for value in metrics.values())


def test_mutated_files_are_refused_in_words_or_used(root, content):
    rng = random.Random(0)
    path = root / "mutated.json"
    messages = []
    for _ in range(200):
        path.write_text(mutated(content, rng), encoding="utf-8", errors="surrogatepass")
        try:
            use(root, path)
        except (ValueError, ImageError) as error:
            messages.append((type(error), str(error)))
    assert 100 < len(messages) < 200
    for kind, message in messages:
        assert kind in (ValueError, ImageError)
        assert str(root) in message
        assert message.replace("\n", "").isprintable()
        assert len(message) < 5000


def test_mutated_detections(root, tmp_path):
    annotations = read_annotations(root / "val.json")
    rng, path = random.Random(1), tmp_path / "detections.json"
    box = {"image_id": 1, "category_id": 1, "bbox": [1.0, 2.0, 30.0, 40.0], "score": 0.5}
    read, messages = 0, []
    for _ in range(100):
        path.write_text(mutated([box, {**box, "image_id": 2}], rng), errors="surrogatepass")
        try:
            found = detected_instances(path, annotations, root / "val")
        except ValueError as error:
            messages.append(str(error))
        else:
            read += 1
            dataset = KeypointDataset(found, (32, 32))
            assert [dataset[i]["broken"] for i in range(len(found))] == [-1] * len(found)
    assert 5 < read < 50
    assert all(str(path) in message for message in messages)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not a JSON file"),
        ("\0" * 100, "not a JSON file"),
        ("[" * 100000, "not a JSON file"),
        ("1" * 5000, "not a JSON file"),
        ("null", "not a COCO keypoint file: got NoneType, expected an object"),
        ('"' + "x" * 10**6 + '"', "not a COCO keypoint file: got str"),
        ('{"images": [], "images": []}', r"fields \['images'\] twice .*expected once"),
        ('{"images": [{"id": 1, "id": 2, "file_name": "a"}]}', r"fields \['id'\] twice .*'a'"),
    ],
    ids=["empty", "zeros", "deep", "huge number", "null", "text", "list twice", "id twice"],
)
def test_files_that_are_no_annotations(tmp_path, text, message):
    path = tmp_path / "a\x1b.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=message) as error:
        read_annotations(path)
    assert r"a\x1b.json" in str(error.value)
    assert len(str(error.value)) < 500


def test_deep_values_and_a_file_that_changes(root, content, tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(content))
    assert len(read_annotations(path).annotations) == 3
    deep = "[" * 400 + "]" * 400
    path.write_text(json.dumps(content).replace('"iscrowd": 0', f'"iscrowd": {deep}', 1))
    with pytest.raises(ValueError, match=r"annotations\[0\] \(id 1\): iscrowd: got \[\["):
        read_annotations(path)


def test_faults_are_listed_together(content, tmp_path):
    path = tmp_path / "a.json"
    content["images"][0]["width"] = "60"
    content["annotations"][0]["bbox"] = [1, 2, 3, "4"]
    content["annotations"][1]["category_id"] = 99
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"a\.json: 3 faults") as error:
        read_annotations(path)
    assert str(error.value).splitlines()[1:] == [
        "  images[0] (id 1): width: got '60', expected an integer",
        "  annotations[0] (id 1): bbox: got '4', expected 4 finite numbers",
        "  annotations[1] (id 2): category_id: got 99, expected one of [1]",
    ]
    people = content["annotations"] * 20
    content["annotations"] = [{**a, "image_id": 7, "id": i} for i, a in enumerate(people)]
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="61 faults") as error:
        read_annotations(path)
    assert str(error.value).splitlines()[-1] == "  41 more"
