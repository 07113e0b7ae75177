"""Poses without torch are those of the PyTorch pipeline."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import cv2
import keypoint_files
import numpy as np
import pytest
import torch
from exported import save_pose
from PIL import Image

import spectral_residual
from spectral_residual.pose.data_module import KeypointDataModule, Split
from spectral_residual.pose.export import export_pose
from spectral_residual.pose.network import PoseNetwork, load_pose_network
from spectral_residual.pose.oks import rescore
from spectral_residual.pose.pretrained import PoseModel
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
    finer = PosePredictor(changed(folder, tmp_path / "s", lambda c: c["decoding"].update(stride=2)))
    with pytest.raises(ValueError, match=r"decoding.stride of model.json: got outputs \(5, 32, 24"):
        finer(instance.file, instance.box[None])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(format=2), "format: got 2, expected 1"),
        (lambda c: c.update(task="video"), "task: got 'video', expected 'pose'"),
        (
            lambda c: (c["crop"].clear(), c["decoding"].pop("stride"), c.pop("skeleton")),
            "3 faults.*model.json: crop: missing field 'padding'\n.*"
            "model.json: decoding: missing field 'stride'\n.*model.json: missing field 'skeleton'",
        ),
        (lambda c: c["input"].update(colour="BGR"), "input: colour: got 'BGR'"),
        (lambda c: c["skeleton"].update(flip_pairs=[]), "expected skeleton.flip_pairs"),
        (lambda c: c.update(model=5), "model.json: model: got 5, expected a string"),
        (lambda c: c.update(input=5), "model.json: input: got 5, expected an object$"),
        (lambda c: c.update(input=[]), r"model.json: input: got \[\], expected an object$"),
        (lambda c: c.update(skeleton=[1]), r"model.json: skeleton: got \[1\], expected an object"),
        (lambda c: c["crop"].update(padding=None), "crop: padding: got None, expected one finite"),
        (lambda c: c["crop"].update(padding=0), "crop: padding: got 0, expected numbers from"),
        (lambda c: c["input"].update(size=[64]), "input: size: got 1 numbers, expected 2"),
        (lambda c: c["input"].update(size=[1e9, 48]), "size: got .*expected integers from 1 to 8"),
        (lambda c: c["decoding"].update(flip_shift=12), "flip_shift: got 12, expected less than t"),
        (lambda c: c["input"].update(size=[64, 47.5]), "input: size: got .*expected integers"),
        (lambda c: c["input"].update(deviation=[1, 0, 1]), "input: deviation: got .*numbers from"),
        (lambda c: c["input"].update(any_size="no"), "any_size: got 'no', expected a boolean"),
        (lambda c: c["input"].update(multiple_of=0), "multiple_of: got 0, expected integers from"),
        (lambda c: c["decoding"].update(stride=2.5), "decoding: stride: got 2.5, expected integ"),
        (lambda c: c["decoding"].update(flip_test="yes"), "flip_test: got 'yes', expected a bool"),
        (lambda c: c["skeleton"].update(flip_pairs=[[0, 99]]), "flip_pairs: got 99, expected"),
        (lambda c: c["skeleton"].update(flip_pairs=5), "flip_pairs: got 5, expected a list"),
        (lambda c: c["skeleton"].update(edges=[[0, 0.5]]), "edges: got 0.5, expected"),
        (lambda c: c["skeleton"].update(names="abcde"), "names: got 'abcde', expected a list"),
        (
            lambda c: c["skeleton"].update(
                names=list("abcd"), sigmas=None, flip_pairs=[[0, 1]], edges=[]
            ),
            r"skeleton.names .*got one output \(4, 16, 12\) .*expected \[\['batch', 5",
        ),
        (
            lambda c: c["input"].update(size=[62, 46]),
            r"changed: model.json: input: size: got \(62, 46\), expected .* of 8",
        ),
    ],
)
def test_a_wrong_description(dots, tmp_path, change, message):
    folder = changed(dots[2], tmp_path / "changed", change)
    with pytest.raises(ValueError, match=re.compile(message, re.DOTALL)):
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
    with pytest.raises(ValueError, match="not a JSON file"):
        PosePredictor(folder)
    fixed = changed(dots[2], tmp_path / "b", lambda c: c["input"].update(any_size=False))
    with pytest.raises(ValueError, match=r"got \(96, 64\), expected \(64, 48\)"):
        PosePredictor(fixed, input_size=(96, 64))
    with pytest.raises(ValueError, match=r"got \(96,\), expected height and width"):
        PosePredictor(dots[2], input_size=(96,))
    with pytest.raises(ValueError, match=r"got \(60, 44\), expected .* multiples of 8"):
        PosePredictor(dots[2], input_size=(60, 44))
    old = changed(dots[2], tmp_path / "old", lambda c: c["input"].pop("multiple_of"))
    assert PosePredictor(old, input_size=(96, 64)).input_size == (96, 64)
    with pytest.raises(ValueError, match=r"got \(62, 46\), expected .* multiples of 4"):
        PosePredictor(old, input_size=(62, 46))
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
        (picture[:0], None, r"image: got uint8 \(0, 40, 3\), expected"),
        (tmp_path / "absent.jpg", None, "absent.jpg: No such file"),
        (truncated, None, "half.jpg: the file is truncated"),
        (tmp_path / "text.jpg", None, "not an image"),
        (picture, [[1, 2, 3]], r"boxes: got shape \(1, 3\)"),
        (picture, [[1, 2, 3, np.nan]], "expected finite"),
        (picture, [[1, 2, 3, 4], [1, 2, 0, 0], [0, 0, -1, 5]], "1: .*2: "),
    ):
        with pytest.raises(ValueError, match=message):
            predictor(image, boxes)


def test_the_network_is_that_of_the_description(checked):
    """A network for one size: wrong fields show before the first picture."""
    folder, change = checked
    assert PosePredictor(folder).input_size == (32, 32)
    with pytest.raises(ValueError, match=r"2 faults\n.*input.size .*32, 32\]\]") as raised:
        PosePredictor(change(lambda c: c["input"].update(size=[64, 32])))
    assert "got one output (5, 16, 8)" in str(raised.value)
    anyhow = change(lambda c: c["input"].update(any_size=True))
    with pytest.raises(ValueError, match=r"input.size .*got one input \(3, 64, 64\)"):
        PosePredictor(anyhow, input_size=(64, 64))
    with pytest.raises(ValueError, match=r"got one output \(5, 16, 16\)"):
        PosePredictor(change(lambda c: c["decoding"].update(stride=2)))


@pytest.fixture
def checked(dots, tmp_path):
    """Folder of a network for crops of 32x32 alone, and copies with another description."""
    checkpoint = save_pose(tmp_path / "fixed.ckpt", SMALL, (32, 32), dots[0].skeleton)
    export_pose(checkpoint, tmp_path / "fixed", rounds=1)
    numbers = iter(range(9))
    return tmp_path / "fixed", lambda change: changed(
        tmp_path / "fixed", tmp_path / f"fixed{next(numbers)}", change
    )


def test_images_are_read_as_training_reads_them(dots, tmp_path):
    """What follows the end, turned pictures, too many pixels, one pixel."""
    predictor = PosePredictor(dots[2])
    picture = cv2.imread(str(dots[0].datasets["val"].instances[0].file))[:48]
    expected = predictor(picture[:, :, ::-1])
    png = cv2.imencode(".png", picture)[1].tobytes()
    (tmp_path / "after.png").write_bytes(png + b"more than sixteen bytes behind the end")
    np.testing.assert_array_equal(predictor(tmp_path / "after.png").keypoints, expected.keypoints)
    jpeg = cv2.imencode(".jpg", picture)[1].tobytes()
    (tmp_path / "plain.jpg").write_bytes(jpeg)
    (tmp_path / "motion.jpg").write_bytes(jpeg + b"a film \xff\xda within")
    np.testing.assert_array_equal(
        predictor(tmp_path / "motion.jpg").keypoints, predictor(tmp_path / "plain.jpg").keypoints
    )
    tags = Image.Exif()
    tags[0x112] = 6
    Image.fromarray(picture[:, :, ::-1]).save(tmp_path / "turned.png", exif=tags)
    upright = predictor(np.rot90(picture[:, :, ::-1], -1))
    assert not np.allclose(upright.keypoints, expected.keypoints)
    np.testing.assert_array_equal(predictor(tmp_path / "turned.png").keypoints, upright.keypoints)
    stored = predictor(tmp_path / "turned.png", apply_exif=False)
    np.testing.assert_array_equal(stored.keypoints, expected.keypoints)
    bomb = png[:16] + (60000).to_bytes(4, "big") * 2 + png[24:]
    (tmp_path / "bomb.png").write_bytes(bomb)
    with pytest.raises(ValueError, match="bomb.png: got 60000x60000 pixels .*at most"):
        predictor(tmp_path / "bomb.png")
    model = PoseModel.from_pretrained(dots[1])
    pixel = np.full((1, 1, 3), 200, np.uint8)
    np.testing.assert_allclose(
        predictor(pixel).keypoints, model.predict(pixel).keypoints, atol=1e-3
    )
