"""Damaged and hostile annotation files: an error that names file, record and field, or it works."""

from __future__ import annotations

import copy
import json
import random

import numpy as np
import pytest
import torch
from keypoint_files import SIGMAS, write_split

from spectral_residual.pose.annotations import (
    annotated_instances,
    detected_instances,
    read_annotations,
)
from spectral_residual.pose.coco import evaluate_keypoints
from spectral_residual.pose.data_module import Joints, KeypointDataModule, Loading, Split
from spectral_residual.pose.images import ImageError

HOSTILE = [
    None, True, False, 0, -1, 1, 2, 99, 0.5, 1e300, 10**400, -(10**30), 2**63, float("nan"),
    float("inf"), "", "1", "0.5", "../../../etc/passwd", "/dev/zero", "\x1b[2J", "a\0b", "\ud800",
    "x" * 5000, [], {}, [[]], [None], {"a": 1}, [1, 2], ["1", "2", "3", "4"], [1e308] * 4, [[1] * 4],
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
    refused = 0
    for number in range(200):
        path.write_text(mutated(content, rng), encoding="utf-8", errors="surrogatepass")
        try:
            use(root, path)
        except (ValueError, ImageError) as error:
            message = str(error)
            refused += 1
            if type(error) is not ValueError and not isinstance(error, ImageError):
                raise
            if not any(
                word in message for word in (str(path), "train.images", "no person", "/train/")
            ):
                raise AssertionError(f"{number}: no file in {message!r}") from error
            if len(message) > 5000 or not message.replace("\n", "").isprintable():
                raise AssertionError(f"{number}: {message!r}") from error
    assert 100 < refused < 200
