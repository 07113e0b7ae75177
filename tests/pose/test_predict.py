"""``srl pose predict --ckpt``: poses in image files with nothing but a trained network."""

from __future__ import annotations

import json
import logging

import cv2
import lightning
import numpy as np
import pytest
import torch
from keypoint_files import NAMES, data_options, write_split
from test_everybodys_data import turn

from spectral_residual.cli import main
from spectral_residual.pose import PoseModel, PoseNetwork, from_pretrained, predict
from spectral_residual.pose.drawing import draw_poses
from spectral_residual.pose.predict import predict_images
from spectral_residual.pose.skeleton import Skeleton
from spectral_residual.training import hub


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("dots")
    write_split(root, "train", 16, seed=1)
    write_split(root, "val", 4, seed=2)
    return root


@pytest.fixture(scope="module")
def checkpoint(root):
    """Of a network that has learnt a little, so that its joints differ from image to image."""
    options = data_options(root, batch_size=8)
    network = '{"backbone": "resnet18", "stages": 2, "deconv_channels": 16, "block": "srl"}'
    after = '["backbone.layer2"]'
    common = [
        *("--model.network", network, "--model.network.block_after", after),
        *("--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false"),
        *("--trainer.default_root_dir", str(root / "runs")),
    ]
    data = [word for key, value in options.items() for word in (f"--data.{key}", json.dumps(value))]
    data[1] = str(root)
    (root / "config.yaml").write_text("{}")
    arguments = ["fit", "--config", str(root / "config.yaml"), *common, *data]
    assert main(["pose", *arguments, "--trainer.max_epochs", "5"]) == 0
    (last,) = root.glob("runs/**/last.ckpt")
    return last


def results(folder):
    return json.loads((folder / "results.json").read_text())


def test_the_same_as_with_the_data_set(root, checkpoint, tmp_path, capsys):
    """The old form, through Lightning and the data module, finds the same poses."""
    capsys.readouterr()
    arguments = ["--ckpt", str(checkpoint), str(root / "val"), "--output", str(tmp_path / "new")]
    assert main(["pose", "predict", *arguments]) == 0
    printed = capsys.readouterr().out
    assert printed.count(str(tmp_path / "new")) == 2
    options = data_options(root)
    old = ["--data.root", str(root), "--ckpt_path", str(checkpoint)]
    old += ["--data.joints.sigmas", json.dumps(options["joints"]["sigmas"])]
    old += ["--data.predict.images", str(root / "val"), "--trainer.accelerator", "cpu"]
    assert main(["pose", "predict", *old, "--trainer.default_root_dir", str(tmp_path)]) == 0
    (folder,) = tmp_path.glob("lightning_logs/*/predictions")
    pairs = list(zip(results(tmp_path / "new"), results(folder), strict=True))
    assert len(pairs) == 4
    for new, expected in pairs:
        assert new["file_name"] == str(root / "val" / expected["file_name"])
        np.testing.assert_allclose(new["keypoints"], expected["keypoints"], atol=1e-4)
        np.testing.assert_allclose(new["score"], expected["score"], atol=1e-6)
    drawn, other = (
        sorted(path.name for path in where.iterdir())
        for where in (tmp_path / "new/overlays", folder / "overlays")
    )
    assert drawn == other == [f"{number:04d}.jpg" for number in range(1, 5)]


def test_last_and_best_are_the_newest_of_the_runs(root, checkpoint, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    image = str(root / "val" / "0002.png")
    for command in (["pose", "predict", image], ["export", "--output", "out"]):
        assert main([*command, "--ckpt", "best"]) == 2
        assert "--ckpt best: no best.ckpt below runs" in capsys.readouterr().err
    (tmp_path / "best").mkdir()
    assert main(["export", "--output", "out", "--ckpt", "best"]) == 2
    assert "the best that is here is ./best" in capsys.readouterr().err
    folder = tmp_path / "runs/pose/lightning_logs/version_0/checkpoints"
    folder.mkdir(parents=True)
    (folder / "best.ckpt").symlink_to(checkpoint)
    for option in ("--ckpt", "--ckpt_path"):
        assert main(["pose", "predict", image, option, "best"]) == 0
        assert "version_0/checkpoints/best.ckpt" in capsys.readouterr().err
        assert len(results(tmp_path / "runs/pose/predictions")) == 1
    assert main(["publish", "--ckpt", "best", "--output", "out"]) == 0
    assert (tmp_path / "out/config.json").is_file()


def test_images_are_not_dropped_for_options_of_data_sets(root, checkpoint, capsys):
    image = str(root / "val" / "0002.png")
    more = ["--ckpt", str(checkpoint), "--data.root", str(root)]
    assert main(["pose", "predict", image, *more]) == 2
    assert "got images and --data.root, which is of" in capsys.readouterr().err


def test_in_memory_as_in_files(root, checkpoint, tmp_path):
    found = predict_images(checkpoint, [root / "val" / "0002.png"], tmp_path / "out")
    image = cv2.imread(str(root / "val/0002.png"))[:, :, ::-1]
    model = from_pretrained(checkpoint)
    poses = model.predict(image)
    (entry,) = found.poses
    triples = np.concatenate([poses.keypoints, poses.scores[..., None]], axis=2)
    np.testing.assert_allclose(np.ravel(triples), entry["keypoints"], atol=1e-5)
    boxes = [[5, 5, 60, 70], [10, 0, 50, 80]]
    assert model.predict(image, boxes).keypoints.shape == (2, len(NAMES), 2)
    assert model.predict(image, []).scores.shape == (0, len(NAMES))
    np.testing.assert_allclose(
        model.predict(image, boxes).keypoints[1], model.predict(image, boxes[1:]).keypoints[0]
    )
    with pytest.raises(ValueError, match="widths and heights not both zero"):
        model.predict(image, [[0, 0, 0, 0]])
    with pytest.raises(ValueError, match=r"got float64 .*expected uint8"):
        model.predict(image / 255)
    half = from_pretrained(checkpoint, dtype=torch.bfloat16).predict(image)
    assert np.abs(half.scores - poses.scores).max() < 0.05


def test_boxes_of_persons(root, checkpoint, tmp_path, capsys, caplog):
    files = [str(root / "val" / f"000{n}.png") for n in (1, 2)]
    entries = [
        {"file_name": "0002.png", "bbox": [10, 10, 70, 60], "score": 0.5},
        {"file_name": f"{root}/./val//0002.png", "bbox": [10, 10, 70, 60]},
        {"file_name": "0002.png", "bbox": [60, 60, 25, 20]},
    ]
    boxes = tmp_path / "boxes.json"
    boxes.write_text(json.dumps(entries))
    out = tmp_path / "out"
    arguments = ["pose", "predict", "--ckpt", str(checkpoint), *files, "--output", str(out)]
    arguments += ["--boxes", str(boxes), "--json"]
    with caplog.at_level(logging.WARNING):
        assert main(arguments) == 0
    captured = capsys.readouterr()
    printed = json.loads(captured.out.splitlines()[-1])
    assert printed["poses"] == results(out)
    assert [entry["file_name"] for entry in printed["poses"]] == [files[1]] * 2
    # The first box, of a lower score, finds the same pose as the second: it is left out.
    assert [entry["box"] for entry in printed["poses"]] == [[10, 10, 70, 60], [60, 60, 25, 20]]
    assert printed["unreadable"] == []
    assert f"no box in {boxes}: {files[0]}" in captured.err
    assert [path.name for path in (out / "overlays").iterdir()] == ["0002.jpg"]
    for wrong, message in (
        ([{"file_name": "x.png", "bbox": [0, 0, 1, 1]}], "boxes[0]: file_name: x.png is none of"),
        ([{"file_name": "0002.png", "bbox": [0, 0, 1]}], "boxes[0]: bbox"),
        ([{"file_name": "0002.png", "bbox": [0, 0, -1, 1]}], "boxes[0]: boxes: expected widths"),
        ([{"bbox": [0, 0, 1, 1]}], "missing field 'file_name'"),
        ({}, "expected a list of boxes"),
        ([], "got no box"),
    ):
        boxes.write_text(json.dumps(wrong))
        assert main(arguments) == 2
        assert message in capsys.readouterr().err


def test_output_is_tried_before_the_work(root, checkpoint, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(predict, "_found", None)
    taken = tmp_path / "taken"
    (tmp_path / "pictures").mkdir()
    for file in (taken, tmp_path / "pictures/overlays"):
        file.write_text("a file")
    (tmp_path / "poses/results.json").mkdir(parents=True)
    arguments = ["pose", "predict", "--ckpt", str(checkpoint), str(root / "val/0001.png")]
    for out, message in (
        (taken, f"File exists: '{taken}'"),
        (tmp_path / "pictures", f"File exists: '{tmp_path / 'pictures/overlays'}'"),
        (tmp_path / "poses", f"Is a directory: '{tmp_path / 'poses/results.json'}'"),
    ):
        assert main([*arguments, "--output", str(out)]) == 2
        assert message in capsys.readouterr().err


def test_pictures_are_replaced_in_one_step(root, checkpoint, tmp_path):
    old, kept = tmp_path / "out/overlays/0001.jpg", tmp_path / "kept"
    old.parent.mkdir(parents=True)
    old.write_text("old")
    kept.hardlink_to(old)
    predict_images(checkpoint, [root / "val/0001.png"], tmp_path / "out")
    assert kept.read_text() == "old"
    assert old.read_bytes()[:2] == b"\xff\xd8"


@pytest.mark.parametrize("orientation", [3, 6])
def test_phone_photographs_are_turned(root, checkpoint, tmp_path, orientation):
    upright, turned = tmp_path / "upright.png", tmp_path / "turned.png"
    for path in (upright, turned):
        path.write_bytes((root / "val/0003.png").read_bytes())
    turn(turned, orientation)
    found = predict_images(checkpoint, [upright, turned], tmp_path / "out")
    first, second = found.poses
    assert first["keypoints"] == second["keypoints"]
    assert first["box"] == second["box"]
    pictures = [cv2.imread(str(tmp_path / f"out/overlays/{n}.jpg")) for n in ("upright", "turned")]
    np.testing.assert_array_equal(*pictures)


def test_wrong_input(root, checkpoint, tmp_path, capsys, caplog):
    good, text = str(root / "val/0001.png"), tmp_path / "text.png"
    text.write_text("no picture")
    start = ["pose", "predict", "--output", str(tmp_path / "out"), "--ckpt"]
    assert main([*start, str(checkpoint), good, str(text), "--json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["unreadable"] == [str(text)]
    assert captured.err.count("text.png") == 1
    for arguments, message in (
        ([str(checkpoint), str(text)], "none of the images could be read"),
        ([str(checkpoint), "none.png"], "no image none.png"),
        ([str(tmp_path / "none.ckpt"), good], "no checkpoint"),
        ([str(text), good], "text.png: not a readable checkpoint"),
        ([str(root), good], "no config.json; expected a folder of a trained network"),
    ):
        assert main([*start, *arguments]) == 2
        assert message in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*start, str(checkpoint)])
    assert "required: images" in capsys.readouterr().err


def test_by_the_name_of_a_packaged_network(root, checkpoint, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(hub, "PACKAGED", tmp_path / "weights")
    from_pretrained(checkpoint).save_pretrained(tmp_path / "weights/dots-small")
    image, out = str(root / "val/0001.png"), str(tmp_path / "out")
    assert main(["pose", "predict", "--ckpt", "dots-small", image, "--output", out]) == 0
    options = ["--data.root", str(root), "--ckpt", "dots-small", "--trainer.accelerator", "cpu"]
    options += ["--data.joints.sigmas", json.dumps(data_options(root)["joints"]["sigmas"])]
    capsys.readouterr()
    validate = ["pose", "validate", *options, "--trainer.default_root_dir", str(tmp_path)]
    assert main(validate) == 0
    assert "PCK@0.1" in capsys.readouterr().out


def test_without_sigmas_and_pairs(tmp_path):
    """Nothing is suppressed and nothing mirrored where it is not known how."""
    write_split(tmp_path, "val", 1, seed=2)
    lightning.seed_everything(0, verbose=False)
    config = PoseNetwork("resnet18", stages=2, deconv_channels=4)
    skeleton = Skeleton(("a", "b"), (), None, ())
    stored = {
        "network": {"backbone": "resnet18", "stages": 2, "deconv_channels": 4},
        "skeleton": skeleton.to_dict(),
        "input_size": [64, 64],
    }
    model = PoseModel(config.build(2, (64, 64)).eval(), stored)
    model.save_pretrained(tmp_path / "net")
    entry = {"file_name": "0001.png", "bbox": [10, 10, 70, 60]}
    (tmp_path / "boxes.json").write_text(json.dumps([entry, entry]))
    images = [tmp_path / "val"]
    found = predict_images(tmp_path / "net", images, tmp_path / "out", tmp_path / "boxes.json")
    assert len(found.poses) == 2
    assert found.poses[0]["keypoints"] == found.poses[1]["keypoints"]


def test_joints_are_drawn_at_their_places_in_wide_pictures():
    image = np.zeros((20, 65000, 3), np.uint8)
    points = [[[10.0, 10.0], [64000.0, 10.0]]]
    drawn = draw_poses(image, points, [[0.0, 1.0]], Skeleton(("a", "b"), (), None, ()))
    places = np.flatnonzero(drawn.any(axis=(0, 2)))
    assert places.min() >= 63990
    assert places.max() <= 64010
