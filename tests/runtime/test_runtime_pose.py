"""Poses without torch are those of the PyTorch pipeline."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import keypoint_files
import numpy as np
import pytest
import torch
from exported import save_pose

import spectral_residual
from spectral_residual.pose.data_module import KeypointDataModule, Split
from spectral_residual.pose.export import export_pose
from spectral_residual.pose.network import PoseNetwork, load_pose_network
from spectral_residual.pose.oks import rescore
from spectral_residual.pose.task import PoseEvaluation, PoseTask

pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")

from spectral_residual.runtime import PosePredictor

SMALL = PoseNetwork(
    "resnet18", stages=2, deconv_channels=16, block="srl", block_after=["d1"],
    block_options={"modes": 4},
)  # fmt: skip


def task_of(checkpoint, config, size, skeleton, **evaluation):
    """The PyTorch pipeline with the network of a checkpoint."""
    task = PoseTask(
        config, input_size=size, skeleton=skeleton, evaluation=PoseEvaluation(**evaluation)
    )
    task.network.load_state_dict(load_pose_network(checkpoint)[0].state_dict())
    return task.eval()


@torch.no_grad()
def compare(task, dataset, predictor, count):
    """Check joints and scores of the first persons of a data set; the joints, (M, K, 2)."""
    found = []
    for index in range(count):
        sample, instance = dataset[index], dataset.instances[index]
        expected = task.predict({name: value[None] for name, value in sample.items()})
        got = predictor(instance.file, instance.box[None])
        np.testing.assert_allclose(got.keypoints, expected["keypoints"].numpy(), atol=1e-3)
        scores = expected["joint_scores"].numpy()
        np.testing.assert_allclose(got.scores, scores, rtol=1e-4, atol=1e-4 * np.abs(scores).max())
        rescored = rescore(np.ones(1), got.scores, task.evaluation.joint_threshold)
        np.testing.assert_allclose(got.score, rescored)
        found.append(got.keypoints[0])
    return np.stack(found)


@pytest.fixture(scope="module")
def dots(tmp_path_factory):
    """Data, checkpoint and exported folder of a small network."""
    root = tmp_path_factory.mktemp("dots")
    keypoint_files.write_split(root, "train", 4, seed=1)
    keypoint_files.write_split(root, "val", 6, seed=2, people=2)
    data = KeypointDataModule(
        str(root), Split("train.json", "train"), Split("val.json", "val"), input_size=(64, 48)
    )
    data.setup("validate")
    crops = torch.stack([sample["image"] for sample in data.datasets["val"]])
    checkpoint = save_pose(root / "pose.ckpt", SMALL, (64, 48), data.skeleton, crops)
    report = export_pose(checkpoint, root / "exported", dynamic_size=True, rounds=1)
    assert report.error <= 1e-4
    return data, checkpoint, root / "exported"


@pytest.mark.parametrize("flip_test", [True, False])
def test_small_network(dots, flip_test):
    data, checkpoint, folder = dots
    task = task_of(checkpoint, SMALL, (64, 48), data.skeleton, flip_test=flip_test)
    predictor = PosePredictor(folder, flip_test=flip_test)
    joints = compare(task, data.datasets["val"], predictor, 12)
    assert len(np.unique(joints.round(2), axis=0)) == 12


def test_a_hundred_photographs(dots, shared_data, tmp_path):
    """100 photographs at 256x192, to 1e-3 pixels."""
    root = shared_data("lspet")
    data = KeypointDataModule(
        str(root), Split("lspet_train.json", "train"), Split("lspet_val.json", "val"),
        input_size=(256, 192),
    )  # fmt: skip
    data.setup("validate")
    config = PoseNetwork("resnet18", deconv_channels=64, block="srl")
    crops = torch.stack([data.datasets["val"][index]["image"] for index in range(16)])
    checkpoint = save_pose(tmp_path / "pose.ckpt", config, (256, 192), data.skeleton, crops)
    export_pose(checkpoint, tmp_path / "exported", rounds=1)
    task = task_of(checkpoint, config, (256, 192), data.skeleton)
    joints = compare(task, data.datasets["val"], PosePredictor(tmp_path / "exported"), 100)
    boxes = np.stack([each.box for each in data.datasets["val"].instances[:100]])
    places = (joints - boxes[:, None, :2]) / boxes[:, None, 2:]
    assert (places.std(axis=0) > 0.05).mean() > 0.5, "the heatmaps of all persons are alike"
    assert len(np.unique(joints.round(1).reshape(-1, 2), axis=0)) > 500


def test_many_boxes_at_once_and_none(dots):
    data, _, folder = dots
    dataset, predictor = data.datasets["val"], PosePredictor(folder)
    image = cv2.imread(str(dataset.instances[0].file))[:, :, ::-1]
    boxes = np.random.default_rng(0).uniform(1, 60, (20, 4))
    together = predictor(image, boxes)
    assert together.keypoints.shape == (20, 5, 2)
    for row in (0, 15, 16, 19):
        alone = predictor(image, boxes[row : row + 1])
        np.testing.assert_allclose(alone.keypoints[0], together.keypoints[row], atol=1e-3)
    assert predictor(image, []).keypoints.shape == (0, 5, 2)
    whole = predictor(image, [[0, 0, image.shape[1] - 1, image.shape[0] - 1]])
    np.testing.assert_array_equal(predictor(image).keypoints, whole.keypoints)


def test_crops_of_another_size(dots):
    data, checkpoint, folder = dots
    task = PoseTask(SMALL, input_size=(96, 64), skeleton=data.skeleton, trained_size=(64, 48))
    task.network.load_state_dict(load_pose_network(checkpoint)[0].state_dict())
    dataset = data.datasets["val"]
    dataset.input_size = (96, 64)
    try:
        compare(task.eval(), dataset, PosePredictor(folder, input_size=(96, 64)), 6)
    finally:
        dataset.input_size = (64, 48)


def test_without_torch(dots):
    """The whole prediction in a process that cannot import torch."""
    data, _, folder = dots
    instance = data.datasets["val"].instances[0]
    program = (
        "import sys, json\n"
        "sys.modules['torch'] = None\n"
        "import spectral_residual.runtime as runtime\n"
        "assert 'torch' not in {n for n in sys.modules if sys.modules[n] is not None}\n"
        f"poses = runtime.PosePredictor({str(folder)!r})({str(instance.file)!r}, "
        f"[{instance.box.tolist()!r}])\n"
        "names = {n.partition('.')[0] for n in sys.modules if sys.modules[n] is not None}\n"
        "assert not names & {'torch', 'lightning', 'torchvision', 'matplotlib'}, names\n"
        "print(json.dumps(poses.keypoints.tolist()))"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(spectral_residual.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True, text=True, check=False, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    here = PosePredictor(folder)(instance.file, instance.box[None]).keypoints
    np.testing.assert_allclose(json.loads(done.stdout), here, atol=1e-6)


def test_importing_loads_no_torch():
    program = (
        "import sys, spectral_residual.runtime as r\n"
        "for name in r.__all__: getattr(r, name)\n"
        "assert 'torch' not in sys.modules"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(spectral_residual.__file__).parents[1])}
    subprocess.run([sys.executable, "-c", program], check=True, env=environment)


@pytest.mark.parametrize(
    ("missing", "command"),
    [("onnxruntime", "pip install onnxruntime"), ("av", "pip install av")],
)
def test_a_missing_package_is_named_with_the_command(missing, command):
    name = "VideoPredictor" if missing == "av" else "PosePredictor"
    program = (
        f"import sys\nsys.modules[{missing!r}] = None\nfrom spectral_residual.runtime import {name}"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(spectral_residual.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True, text=True, check=False, env=environment,
    )  # fmt: skip
    assert done.returncode == 1
    assert command in done.stderr.splitlines()[-1]


def changed(folder, target, change):
    """Copy of an exported folder with another description."""
    target.mkdir()
    for file in folder.iterdir():
        (target / file.name).write_bytes(file.read_bytes())
    content = json.loads((target / "model.json").read_text())
    change(content)
    (target / "model.json").write_text(json.dumps(content))
    return target


def test_what_the_description_says_is_done(dots, tmp_path):
    """No field is there for nothing: each changes the poses."""
    data, _, folder = dots
    instance = data.datasets["val"].instances[0]
    before = PosePredictor(folder)(instance.file, instance.box[None])
    changes = {
        "padding": lambda c: c["crop"].update(padding=2.0),
        "mean": lambda c: c["input"].update(mean=[0.0, 0.0, 0.0]),
        "deviation": lambda c: c["input"].update(deviation=[9.0, 99.0, 999.0]),
        "stride": lambda c: c["decoding"].update(stride=2),
        "pairs": lambda c: c["skeleton"].update(flip_pairs=[[0, 3], [1, 4]]),
        "shift": lambda c: c["decoding"].update(flip_shift=4),
        "flip": lambda c: c["decoding"].update(flip_test=False),
    }
    for name, change in changes.items():
        after = PosePredictor(changed(folder, tmp_path / name, change))
        found = after(instance.file, instance.box[None])
        assert not np.allclose(found.scores, before.scores) or not np.allclose(
            found.keypoints, before.keypoints
        ), name
    high = changed(folder, tmp_path / "t", lambda c: c["decoding"].update(joint_threshold=1e9))
    assert PosePredictor(high)(instance.file, instance.box[None]).score == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(format=2), "format: got 2, expected 1"),
        (lambda c: c.update(task="video"), "task: got 'video', expected 'pose'"),
        (
            lambda c: (c["crop"].clear(), c["decoding"].pop("stride"), c.pop("skeleton")),
            "missing fields: crop.padding, decoding.stride, skeleton",
        ),
        (lambda c: c["input"].update(colour="BGR"), "input.colour: got 'BGR'"),
        (lambda c: c["skeleton"].update(flip_pairs=[]), "expected skeleton.flip_pairs"),
    ],
)
def test_a_wrong_description(dots, tmp_path, change, message):
    folder = changed(dots[2], tmp_path / "changed", change)
    with pytest.raises(ValueError, match=message):
        PosePredictor(folder)


def test_wrong_files(dots, tmp_path):
    with pytest.raises(FileNotFoundError, match="'srl export' writes it"):
        PosePredictor(tmp_path)
    folder = changed(dots[2], tmp_path / "a", lambda c: None)
    (folder / "model.onnx").write_bytes(b"no network")
    with pytest.raises(ValueError, match="ONNX Runtime does not take it"):
        PosePredictor(folder)
    (folder / "model.onnx").unlink()
    with pytest.raises(FileNotFoundError, match="model.onnx, which is not there"):
        PosePredictor(folder)
    (folder / "model.json").write_text("{")
    with pytest.raises(ValueError, match="not JSON"):
        PosePredictor(folder)
    fixed = changed(dots[2], tmp_path / "b", lambda c: c["input"].update(any_size=False))
    with pytest.raises(ValueError, match=r"got \(96, 64\), expected \(64, 48\)"):
        PosePredictor(fixed, input_size=(96, 64))
    with pytest.raises(ValueError, match="providers: got .*Absent"):
        PosePredictor(dots[2], providers=["AbsentProvider"])


def test_wrong_images_and_boxes(dots, tmp_path):
    predictor = PosePredictor(dots[2])
    grey = np.zeros((40, 40), np.uint8)
    picture = np.zeros((40, 40, 3), np.uint8)
    truncated = tmp_path / "half.jpg"
    content = cv2.imencode(".jpg", np.random.default_rng(0).integers(0, 255, picture.shape))[1]
    truncated.write_bytes(content.tobytes()[: len(content) // 2])
    (tmp_path / "text.jpg").write_text("no picture")
    for image, boxes, message in (
        (grey, None, r"got uint8 \(40, 40\), expected"),
        (picture.astype(float), None, "got float64"),
        (tmp_path / "absent.jpg", None, "absent.jpg: No such file"),
        (truncated, None, "half.jpg: the file is truncated"),
        (tmp_path / "text.jpg", None, "not an image"),
        (picture, [[1, 2, 3]], r"boxes: got shape \(1, 3\)"),
        (picture, [[1, 2, 3, np.nan]], "expected finite"),
        (picture, [[1, 2, 3, 4], [1, 2, 0, 0], [0, 0, -1, 5]], "1: .*2: "),
    ):
        with pytest.raises(ValueError, match=message):
            predictor(image, boxes)
