"""COCO keypoint metrics against pycocotools, and the laws they must obey."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import os
import stat

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from spectral_residual.pose.coco import (
    KEYPOINT_METRICS,
    coco_results,
    evaluate_keypoints,
    metrics_table,
    write_results,
)
from spectral_residual.pose.oks import oks_nms

HALF_BODY = [0.026, *[0.025] * 2, *[0.035] * 2, *[0.079] * 2, *[0.072] * 2, *[0.062] * 2]
COCO_SIGMAS = [*HALF_BODY, *[0.107] * 2, *[0.087] * 2, *[0.089] * 2]
LSP_HALF = [0.089, 0.087, 0.107]
LSP_SIGMAS = [*LSP_HALF, *LSP_HALF[::-1], 0.062, 0.072, 0.079, 0.079, 0.072, 0.062, 0.079, 0.079]

REAL = [
    "coco_mini/annotations/person_keypoints_val2017.json",
    "coco_mini/annotations/person_keypoints_train2017.json",
    "coco_detections/test_coco.json",
]


@pytest.fixture
def real_annotations(shared_data):
    """Function from a name in REAL to the content of that file."""
    return lambda name: json.loads(shared_data(name).read_text())


def results_entries(image_ids, keypoints, joint_scores, scores):
    """Results of the category 1."""
    poses = {"image_id": image_ids, "keypoints": keypoints, "joint_scores": joint_scores}
    arrays = {name: np.asarray(values) for name, values in {**poses, "score": scores}.items()}
    return coco_results(arrays, 1)


def reference(annotations, results, sigmas):
    """The ten metrics of pycocotools."""
    with contextlib.redirect_stdout(io.StringIO()):
        truth, found = COCO(), COCO()
        truth.dataset = copy.deepcopy(annotations)
        truth.createIndex()
        if results:
            found = truth.loadRes(copy.deepcopy(results))
        else:
            found.dataset = {**truth.dataset, "annotations": []}
            found.createIndex()
        evaluation = COCOeval(truth, found, "keypoints")
        evaluation.params.kpt_oks_sigmas = np.array(sigmas)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return dict(zip(KEYPOINT_METRICS, evaluation.stats.tolist(), strict=True))


def assert_equals_reference(annotations, results, sigmas):
    got = evaluate_keypoints(annotations, results, sigmas)
    expected = reference(annotations, results, sigmas)
    assert list(got) == list(KEYPOINT_METRICS)
    assert got == pytest.approx(expected, rel=0, abs=1e-12)
    return got


def labelled(annotations):
    return [a for a in annotations["annotations"] if a["num_keypoints"] and not a["iscrowd"]]


def perfect(annotations, scores=None):
    """The labelled people as results."""
    people = labelled(annotations)
    points = np.array([person["keypoints"] for person in people], dtype=float)
    points = points.reshape(len(people), -1, 3)
    return results_entries(
        [person["image_id"] for person in people],
        points[..., :2],
        points[..., 2],
        np.ones(len(people)) if scores is None else scores,
    )


def noisy(annotations, rng, noise, digits=None):
    """Results of a mediocre model: misses, noise, duplicates, inventions and the ignored."""
    joints = len(annotations["annotations"][0]["keypoints"]) // 3
    images = [image["id"] for image in annotations["images"]]
    ids, poses = [], []
    for person in annotations["annotations"]:
        points = np.array(person["keypoints"], dtype=float).reshape(joints, 3)[:, :2]
        x, y, width, height = person["bbox"]
        inside = rng.uniform([x, y], [x + width, y + height], (joints, 2))
        points = np.where((points == 0).all(axis=1, keepdims=True), inside, points)
        copies = int(rng.choice([0, 1, 2, 4], p=[0.1, 0.6, 0.2, 0.1]))
        if person["iscrowd"]:
            copies = 3
        for _ in range(copies):
            ids.append(person["image_id"])
            scale = noise * np.sqrt(person["area"] + 1) * rng.uniform(0, 2)
            poses.append(points + rng.normal(0, scale, points.shape))
    for image in rng.choice(images, len(images)):
        ids.append(int(image))
        poses.append(rng.uniform(0, 300) + rng.uniform(0, rng.choice([20, 60, 300]), (joints, 2)))
    ids += [images[0]] * 25
    poses += list(rng.uniform(0, 200, (25, joints, 2)))
    scores = rng.uniform(0, 1, len(ids))
    scores = scores if digits is None else scores.round(digits)
    order = rng.permutation(len(ids))
    entries = results_entries(ids, poses, rng.uniform(0, 1, (len(ids), joints)), scores)
    return [entries[index] for index in order]


def random_annotations(rng, joints, images=25, categories=(1,)):
    """Crowds, people without labels, empty images, and areas at the very bounds of the sizes."""
    people = []
    ids = (rng.permutation(5 * images)[:images] + 1).tolist()
    for image in ids:
        for _ in range(int(rng.choice([0, 1, 2, 6, 23], p=[0.3, 0.3, 0.2, 0.15, 0.05]))):
            size = rng.uniform(10, 250, 2)
            corner = rng.uniform(0, 300, 2)
            points = rng.uniform(corner, corner + size, (joints, 2)).round(2)
            visible = rng.choice([0, 1, 2], joints, p=[0.3, 0.2, 0.5])
            crowd = bool(rng.uniform() < 0.08)
            if crowd or rng.uniform() < 0.15:
                visible[:] = 0
            keypoints = np.concatenate([points, visible[:, None]], axis=1)
            keypoints[visible == 0] = 0
            area = rng.choice([32.0**2, 96.0**2, size.prod() * rng.uniform(0.3, 0.8)])
            people.append(
                {
                    "id": len(people) + 1,
                    "image_id": image,
                    "category_id": int(rng.choice(categories)),
                    "keypoints": keypoints.ravel().tolist(),
                    "num_keypoints": int((visible > 0).sum()),
                    "area": float(area),
                    "bbox": [*corner.tolist(), *size.tolist()],
                    "iscrowd": int(crowd),
                }
            )
    return {
        "images": [{"id": image} for image in ids],
        "categories": [{"id": category} for category in categories],
        "annotations": people,
    }


@pytest.mark.parametrize("name", REAL)
@pytest.mark.parametrize(("noise", "digits"), [(0.03, None), (0.1, 1)])
def test_real_annotations_equal_pycocotools(real_annotations, name, noise, digits):
    annotations = real_annotations(name)
    results = noisy(annotations, np.random.default_rng(0), noise, digits)
    got = assert_equals_reference(annotations, results, COCO_SIGMAS)
    assert 0.02 < got["AP"] < 0.9


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("sigmas", [LSP_SIGMAS, COCO_SIGMAS, [0.05]], ids=["14", "17", "1"])
def test_random_annotations_equal_pycocotools(seed, sigmas):
    rng = np.random.default_rng(seed)
    annotations = random_annotations(rng, len(sigmas))
    results = noisy(annotations, rng, noise=0.05, digits=1 if seed % 2 else None)
    with_people = {person["image_id"] for person in annotations["annotations"]}
    assert {entry["image_id"] for entry in results} - with_people
    got = assert_equals_reference(annotations, results, sigmas)
    assert 0 < got["AP"] < 1


def test_several_categories_equal_pycocotools():
    rng = np.random.default_rng(7)
    annotations = random_annotations(rng, 14, categories=(1, 5))
    annotations["categories"].append({"id": 9})
    results = noisy(annotations, rng, noise=0.05)
    for entry in results:
        entry["category_id"] = int(rng.choice([1, 5, 9]))
    assert_equals_reference(annotations, results, LSP_SIGMAS)


def test_empty_results():
    annotations = random_annotations(np.random.default_rng(9), 14)
    got = assert_equals_reference(annotations, [], LSP_SIGMAS)
    assert set(got.values()) == {0.0}


def test_no_people_is_undefined():
    annotations = random_annotations(np.random.default_rng(10), 17)
    results = noisy(annotations, np.random.default_rng(10), noise=0.05)
    ignored = copy.deepcopy(annotations)
    for person in ignored["annotations"]:
        person["num_keypoints"] = 0
    for empty in ({**annotations, "annotations": []}, ignored):
        for found in (results, []):
            got = assert_equals_reference(empty, found, COCO_SIGMAS)
            assert set(got.values()) == {-1.0}


@pytest.mark.parametrize("name", REAL)
def test_annotations_as_results_are_perfect(real_annotations, name):
    annotations = real_annotations(name)
    got = evaluate_keypoints(annotations, perfect(annotations), COCO_SIGMAS)
    assert set(got.values()) == {1.0}


def test_duplicates_cost_and_suppression_restores(real_annotations):
    annotations = real_annotations(REAL[0])
    people = labelled(annotations)
    scores = np.random.default_rng(11).uniform(0.5, 1, len(people))
    results = perfect(annotations, scores)
    doubled = results + perfect(annotations, 0.99 * scores)
    assert evaluate_keypoints(annotations, doubled, COCO_SIGMAS)["AP"] < 0.9
    kept = []
    for image in {entry["image_id"] for entry in doubled}:
        entries = [entry for entry in doubled if entry["image_id"] == image]
        poses = np.array([entry["keypoints"] for entry in entries]).reshape(-1, 17, 3)[..., :2]
        areas = np.ptp(poses, axis=1).prod(axis=1)
        of_image = np.array([entry["score"] for entry in entries])
        chosen = oks_nms(poses, of_image, areas, np.array(COCO_SIGMAS), 0.9)
        kept += [entries[index] for index in chosen]
    assert len(kept) == len(results)
    assert set(evaluate_keypoints(annotations, kept, COCO_SIGMAS).values()) == {1.0}


def test_people_in_empty_images_cost_if_scored_high(real_annotations):
    annotations = real_annotations(REAL[0])
    results = perfect(annotations)
    with_people = {person["image_id"] for person in annotations["annotations"]}
    empty = [i["id"] for i in annotations["images"] if i["id"] not in with_people]
    assert len(empty) == 40
    poses = np.random.default_rng(12).uniform(0, 200, (40, 17, 2))
    metrics = {}
    for score in (0.1, 2.0):
        invented = results_entries(empty, poses, np.ones((40, 17)), np.full(40, score))
        metrics[score] = evaluate_keypoints(annotations, results + invented, COCO_SIGMAS)["AP"]
    assert metrics[0.1] == 1.0
    assert metrics[2.0] < 0.7


def test_ids_of_annotations_play_no_part():
    annotations = random_annotations(np.random.default_rng(13), 17)
    results = perfect(annotations)
    for number, person in enumerate(annotations["annotations"]):
        person["id"] = number
    assert evaluate_keypoints(annotations, results, COCO_SIGMAS)["AP"] == 1.0


def test_size_of_a_result_is_that_of_its_keypoints():
    """An invention of medium size lowers AP(M) only, whatever box it carries."""
    annotations = random_annotations(np.random.default_rng(14), 17)
    square = np.zeros((1, 17, 2))
    square[0, 0] = 50
    invented = results_entries([annotations["images"][0]["id"]], square, np.ones((1, 17)), [2.0])
    invented[0]["bbox"] = [0.0, 0.0, 400.0, 400.0]
    got = evaluate_keypoints(annotations, perfect(annotations) + invented, COCO_SIGMAS)
    assert got["AP(M)"] < 1.0
    assert got["AP(L)"] == 1.0


def test_crowd_flag_may_be_missing():
    annotations = random_annotations(np.random.default_rng(15), 17)
    results = noisy(annotations, np.random.default_rng(15), noise=0.05)
    expected = evaluate_keypoints(annotations, results, COCO_SIGMAS)
    for person in annotations["annotations"]:
        if not person["iscrowd"]:
            del person["iscrowd"]
    assert evaluate_keypoints(annotations, results, COCO_SIGMAS) == expected


def test_arguments_stay_as_they_are_and_nothing_is_printed(capfd):
    annotations = random_annotations(np.random.default_rng(16), 14)
    results = noisy(annotations, np.random.default_rng(16), noise=0.05)
    before = copy.deepcopy((annotations, results))
    first = evaluate_keypoints(annotations, results, LSP_SIGMAS)
    assert (annotations, results) == before
    assert evaluate_keypoints(annotations, results, LSP_SIGMAS) == first
    assert capfd.readouterr() == ("", "")


def test_files_keep_every_digit(tmp_path):
    rng = np.random.default_rng(17)
    annotations = random_annotations(rng, 14)
    results = noisy(annotations, rng, noise=0.05)
    target = tmp_path / "made" / "here" / "results.json"
    write_results(str(target), results)
    written = json.loads(target.read_text())
    assert written == results
    expected = evaluate_keypoints(annotations, results, LSP_SIGMAS)
    assert evaluate_keypoints(annotations, written, LSP_SIGMAS) == expected


def test_results_entries():
    keypoints = np.array([[[1.5, 2.0], [3.0, 4.0]]], dtype=np.float32)
    scores = np.array([[0.25, 0.5]], dtype=np.float32)
    entries = results_entries(np.array([7], dtype=np.int32), keypoints, scores, [np.float32(0.75)])
    assert entries == [
        {
            "image_id": 7,
            "category_id": 1,
            "keypoints": [1.5, 2.0, 0.25, 3.0, 4.0, 0.5],
            "score": 0.75,
        }
    ]
    assert type(entries[0]["image_id"]) is int
    assert {type(value) for value in [*entries[0]["keypoints"], entries[0]["score"]]} == {float}
    assert results_entries([], np.zeros((0, 17, 2)), np.zeros((0, 17)), []) == []


def test_results_entries_errors():
    with pytest.raises(ValueError, match=r"keypoints: got shape \(2, 3\), expected \(M, K, 2\)"):
        results_entries([1], np.zeros((2, 3)), np.zeros((1, 3)), [1.0])
    with pytest.raises(ValueError, match=r"image_id: got shape \(1,\), expected \(2\)"):
        results_entries([1], np.zeros((2, 3, 2)), np.zeros((2, 3)), [1.0, 1.0])
    with pytest.raises(ValueError, match="joint_scores: got shape"):
        results_entries([1], np.zeros((1, 3, 2)), np.zeros((1, 2)), [1.0])
    with pytest.raises(TypeError, match="image_id: got dtype float64"):
        results_entries([1.0], np.zeros((1, 3, 2)), np.zeros((1, 3)), [1.0])


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "results.json"
    old = results_entries([1], np.zeros((1, 2, 2)), np.zeros((1, 2)), [1.0])
    write_results(path, old)
    with pytest.raises(ValueError, match=r"results\.json: got NaN"):
        write_results(path, [{"score": float("nan")}])

    def fail(*_):
        raise OSError("disk")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk"):
        write_results(path, [])
    assert json.loads(path.read_text()) == old
    assert list(tmp_path.iterdir()) == [path]


def test_written_files_have_the_usual_permissions(tmp_path):
    usual = tmp_path / "usual"
    usual.touch()
    write_results(tmp_path / "results.json", [])
    modes = {stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()}
    assert len(modes) == 1


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("keypoints", [0.0] * 50, r"results\[1\]: keypoints: got 50 numbers, expected 51"),
        ("keypoints", [1, 2, [3]], r"results\[1\]: keypoints: .*expected 51 finite numbers"),
        ("keypoints", [float("nan")] * 51, r"results\[1\]: keypoints: .*expected 51 finite numb"),
        ("image_id", 10**6, r"results\[1\]: image_id: got unknown 1000000, expected one of the 25"),
        ("image_id", "1", r"results\[1\]: image_id: got '1', expected an integer"),
        ("category_id", 3, r"results\[1\]: category_id: got unknown 3"),
        ("score", float("nan"), r"results\[1\]: score: got nan"),
        ("score", None, r"results\[1\]: score: got None, expected one finite number"),
        ("score", [1], r"results\[1\]: score: got \[1\], expected one finite number"),
    ],
)
def test_errors_of_results(field, value, message):
    annotations = random_annotations(np.random.default_rng(18), 17)
    results = perfect(annotations)
    results[1][field] = value
    with pytest.raises(ValueError, match=message):
        evaluate_keypoints(annotations, results, COCO_SIGMAS)
    del results[1][field]
    with pytest.raises(ValueError, match=rf"results\[1\]: missing field '{field}'"):
        evaluate_keypoints(annotations, results, COCO_SIGMAS)
    with pytest.raises(ValueError, match=r"results\[0\]: got int, expected an object"):
        evaluate_keypoints(annotations, [3], COCO_SIGMAS)


@pytest.mark.parametrize("field", ["image_id", "category_id", "keypoints", "bbox"])
def test_errors_of_annotations(field):
    annotations = random_annotations(np.random.default_rng(19), 17)
    del annotations["annotations"][2][field]
    with pytest.raises(ValueError, match=rf"annotations\[2\]: missing field '{field}'"):
        evaluate_keypoints(annotations, [], COCO_SIGMAS)


def test_errors_of_the_whole():
    annotations = random_annotations(np.random.default_rng(20), 17)
    with pytest.raises(
        ValueError, match=r"annotations\[0\]: keypoints: got 51 numbers, expected 42"
    ):
        evaluate_keypoints(annotations, [], LSP_SIGMAS)
    with pytest.raises(ValueError, match="missing field 'categories'"):
        evaluate_keypoints({"images": []}, [], COCO_SIGMAS)
    with pytest.raises(ValueError, match="sigmas"):
        evaluate_keypoints(annotations, [], [])
    with pytest.raises(ValueError, match="got no image"):
        evaluate_keypoints({**annotations, "images": []}, [], COCO_SIGMAS)
    annotations["annotations"][1]["iscrowd"] = "no"
    with pytest.raises(ValueError, match=r"annotations\[1\]: iscrowd: got 'no', expected an int"):
        evaluate_keypoints(annotations, [], COCO_SIGMAS)


def test_table():
    ours = dict.fromkeys(KEYPOINT_METRICS, 0.7036)
    undefined = {**ours, "AP(M)": -1.0, "AP": 1.0}
    assert metrics_table({"ours": ours, "other": undefined}).splitlines() == [
        "| model |    AP | AP50 | AP75 | AP(M) | AP(L) |   AR | AR50 | AR75 | AR(M) | AR(L) |",
        "| ----- | ----: | ---: | ---: | ----: | ----: | ---: | ---: | ---: | ----: | ----: |",
        "| ours  |  70.4 | 70.4 | 70.4 |  70.4 |  70.4 | 70.4 | 70.4 | 70.4 |  70.4 |  70.4 |",
        "| other | 100.0 | 70.4 | 70.4 |     - |  70.4 | 70.4 | 70.4 | 70.4 |  70.4 |  70.4 |",
    ]
