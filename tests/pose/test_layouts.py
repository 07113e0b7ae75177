"""Folders of COCO-format data as tools write them: found, or an error that says what to give."""

from __future__ import annotations

import json
import logging
import re
import shutil

import pytest
import yaml
from keypoint_files import SIGMAS, write_split

from spectral_residual.cli import main
from spectral_residual.pose.data_module import KeypointDataModule, Split


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """``train.json``, ``train/``, ``val.json``, ``val/``; file names are the same in both."""
    root = tmp_path_factory.mktemp("parts")
    write_split(root, "train", 12, seed=1)
    write_split(root, "val", 4, seed=2)
    return root


# Where a tool puts annotations and images; None for the split: all splits have this one folder.
LAYOUTS = {
    "plain": ("{}.json", "{}"),
    "coco": ("annotations/person_keypoints_{}2017.json", "{}2017"),
    "coco 2014": ("annotations/person_keypoints_{}2014.json", "images/{}2014"),
    "roboflow": ("{}/_annotations.coco.json", "{}"),
    "cvat": ("annotations/person_keypoints_{}.json", "images/{}"),
    "fiftyone": ("{}/labels.json", "{}/data"),
    "capital": ("Annotations/{}.JSON.json", "Images/{}"),
}
WORDS = {"roboflow": {"val": "valid"}, "cvat": {"train": "Training", "val": "Validation"}}


def laid_out(parts, folder, layout):
    expected = {}
    for split in ("train", "val"):
        word = WORDS.get(layout, {}).get(split, split)
        annotations, images = (place.format(word) for place in LAYOUTS[layout])
        for place in (annotations, images):
            (folder / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(parts / split, folder / images, dirs_exist_ok=True)
        shutil.copy(parts / f"{split}.json", folder / annotations)
        expected[split] = (annotations, images)
    return expected


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(parts, tmp_path, layout):
    expected = laid_out(parts, tmp_path, layout)
    # What lies beside it in COCO's own folder, and what is hidden, is no keypoint file.
    instances = {"images": [], "annotations": [], "categories": [{"id": 1, "name": "cat"}]}
    (tmp_path / "instances_train2017.json").write_text(json.dumps(instances))
    (tmp_path / "results_val.json").write_text('[{"keypoints": [], "image_id": 1}]')
    (tmp_path / ".old").mkdir()
    shutil.copy(parts / "train.json", tmp_path / ".old")
    data = KeypointDataModule(str(tmp_path))
    found = {n: (s.annotations, s.images) for n, s in data.splits.items()}
    assert found == {**expected, "test": expected["val"]}
    data.setup("fit")
    assert len(data.datasets["train"]) == 12
    assert all(instance.file.is_file() for instance in data.datasets["val"].instances)


def test_official_names_win_and_given_ones_too(parts, tmp_path):
    laid_out(parts, tmp_path, "coco")
    shutil.copy(parts / "train.json", tmp_path / "annotations/person_keypoints_train_small.json")
    assert KeypointDataModule(str(tmp_path)).splits["train"].images == "train2017"
    small = Split(annotations="annotations/person_keypoints_train_small.json")
    data = KeypointDataModule(str(tmp_path), train=small)
    assert data.splits["train"] == Split(small.annotations, "train2017")
    test = Split("annotations/person_keypoints_val2017.json")
    assert KeypointDataModule(str(tmp_path), test=test).splits["test"].images == "val2017"


def test_several_files(parts, tmp_path):
    laid_out(parts, tmp_path, "plain")
    shutil.copy(parts / "train.json", tmp_path / "train_2.json")
    data = KeypointDataModule(str(tmp_path))
    data.setup("validate")
    with pytest.raises(FileNotFoundError, match=r"for train: train.json, train_2.json; choose one"):
        data.setup("fit")
    KeypointDataModule(str(tmp_path), train=Split("train_2.json")).setup("fit")


def test_several_folders(parts, tmp_path):
    laid_out(parts, tmp_path, "plain")
    (tmp_path / "train").rename(tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    data = KeypointDataModule(str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"train.json: a, b; choose one with --data\.train"):
        data.setup("fit")


def test_nothing_found_names_all_of_it_at_once(parts, tmp_path):
    shutil.copy(parts / "train.json", tmp_path / "result.json")
    with pytest.raises(FileNotFoundError) as caught:
        KeypointDataModule(str(tmp_path))
    message = str(caught.value)
    assert "data.train.annotations: no COCO keypoint file" in message
    assert "data.val.annotations: no COCO keypoint file" in message
    assert "files there: result.json" in message
    assert f"srl data split {tmp_path / 'result.json'}" in message


def test_a_missing_image_hides_no_folder(parts, tmp_path):
    expected = laid_out(parts, tmp_path, "coco 2014")
    (tmp_path / "images/train2014/0001.png").unlink()
    assert KeypointDataModule(str(tmp_path)).splits["train"] == Split(*expected["train"])


def test_images_that_are_elsewhere(parts, tmp_path):
    for split in ("train", "val"):
        shutil.copy(parts / f"{split}.json", tmp_path)
    data_and_message = r"none of the folders .* has the images that train.json names, such as 0001"
    with pytest.raises(FileNotFoundError, match=data_and_message):
        KeypointDataModule(str(tmp_path))


def test_only_validation_data_are_enough_to_validate(parts, tmp_path):
    shutil.copytree(parts / "val", tmp_path / "val")
    shutil.copy(parts / "val.json", tmp_path)
    data = KeypointDataModule(str(tmp_path))
    data.setup("validate")
    with pytest.raises(FileNotFoundError, match=r"data\.train\.annotations: no COCO"):
        data.setup("fit")


def test_split(parts, tmp_path, capsys):
    shutil.copytree(parts / "train", tmp_path / "images")
    shutil.copy(parts / "train.json", tmp_path / "result.json")
    assert main(["data", "split", str(tmp_path / "result.json"), "--share", "0.25"]) == 0
    assert "3 images" in capsys.readouterr().out
    data = KeypointDataModule(str(tmp_path))
    data.setup("fit")
    files = {n: {i.file for i in data.datasets[n].instances} for n in ("train", "val")}
    assert len(files["train"]) == 9
    assert len(files["val"]) == 3
    assert not files["train"] & files["val"]
    assert main(["data", "split", str(tmp_path / "result.json")]) == 2
    assert "is there already" in capsys.readouterr().err
    assert main(["data", "split", str(tmp_path / "result.json"), "--share", "0.01"]) == 2
    assert "expected at least one" in capsys.readouterr().err


def test_fit_validate_and_predict_without_a_configuration(parts, tmp_path, capsys, caplog):
    """Own data, from the folder to the overlay: two commands, no file edited."""
    data, runs = tmp_path / "data", tmp_path / "runs"
    laid_out(parts, data, "roboflow")
    logging.getLogger("spectral_residual").propagate = True
    common = ["--data.root", str(data), "--data.joints.sigmas", json.dumps(SIGMAS)]
    common += ["--trainer.default_root_dir", str(runs), "--trainer.accelerator", "cpu"]
    common += ["--trainer.enable_progress_bar", "false", "--data.loading.workers", "0"]
    small = ["--data.input_size", "[64,64]", "--data.loading.batch_size", "4"]
    small += ["--model.network.deconv_channels", "8", "--trainer.max_epochs", "1"]
    assert main(["pose", "fit", *common, *small]) == 0
    saved = yaml.safe_load(next(runs.rglob("config.yaml")).read_text())
    assert saved["model"]["network"]["block"] == "srl"
    assert saved["model"]["optimizer"]["class_path"] == "torch.optim.AdamW"
    told = capsys.readouterr().err
    assert re.search(r"no --config: taking .*configs/pose/own\.yaml", told)
    assert "data.train: annotations train/_annotations.coco.json, images train" in told
    # The network and the size of its crops are those of the checkpoint.
    assert main(["pose", "validate", *common, "--ckpt_path", "last"]) == 0
    assert main(["pose", "predict", *common, "--ckpt_path", "last"]) == 0
    assert list(runs.rglob("*.jpg"))
    assert main(["pose", "validate", *common, "--ckpt_path", "absent.ckpt"]) == 2
    assert "no checkpoint absent.ckpt" in capsys.readouterr().err
