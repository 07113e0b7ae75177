"""Data as people have them: other categories, missing fields, phones, folders, links, names."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import logging
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from keypoint_files import SIGMAS, write_split
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from test_coco_eval import COCO_SIGMAS, noisy, random_annotations, reference
from test_pose_task import make_data, make_task, make_trainer

from spectral_residual.pose.annotations import (
    annotated_instances,
    detected_instances,
    read_annotations,
)
from spectral_residual.pose.coco import evaluate_keypoints, metrics_table
from spectral_residual.pose.data_module import Joints, Loading, PredictSource, Split
from spectral_residual.pose.dataset import ImageError
from spectral_residual.pose.drawing import picture_names
from spectral_residual.pose.person import mask_area


@pytest.fixture
def root(tmp_path):
    write_split(tmp_path, "train", 8, seed=1)
    write_split(tmp_path, "val", 3, seed=2)
    return tmp_path


@pytest.fixture
def change(root):
    """Function that changes an annotation file by a function of its content."""

    def change(split, function):
        path = root / f"{split}.json"
        content = json.loads(path.read_text())
        function(content)
        path.write_text(json.dumps(content))
        return path

    return change


def put(*keys):
    """Function that sets a value in a content: keys, then the value."""
    *above, key, value = keys

    def function(content):
        for step in above:
            content = content[step]
        content[key] = value

    return function


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (put("images", 1, "id", 1), r"images\[1\] \(id 1\): id: got 1, .*images\[0\] as well"),
        (put("annotations", 2, "id", 1), r"annotations\[2\] \(id 1\): id: got 1, .*\[0\]"),
        (lambda c: c["categories"].append({"id": 1}), r"categories\[1\] \(id 1\): id: got 1"),
        (put("images", 0, "id", "1"), r"images\[0\]: id: got '1', expected an integer"),
        (put("images", 0, "id", 1.0), r"images\[0\]: id: got 1\.0, expected an integer"),
        (put("images", 0, "id", True), r"images\[0\]: id: got True, expected an integer"),
        (put("images", 0, "id", None), r"images\[0\]: id: got None, expected an integer"),
        (put("images", 0, "id", 2**63), r"images\[0\]: id: got 9223.*of 64 bits"),
        (put("annotations", 0, "image_id", "1"), r"annotations\[0\] .*image_id: got '1'"),
        (put("annotations", 0, "image_id", 77), r"annotations\[0\] .*image_id 77 is not in"),
        (put("annotations", 0, "category_id", "1"), r"\[0\] .*category_id: got '1', .*integer"),
        (put("annotations", 0, "category_id", 1.0), r"\[0\] .*category_id: got 1\.0, .*integer"),
        (put("annotations", 0, "category_id", True), r"\[0\] .*category_id: got True"),
        (put("annotations", 0, "category_id", None), r"\[0\] .*category_id: got None"),
        (put("annotations", 0, "category_id", 99), r"category_id: got 99, expected one of \[1\]"),
        (put("categories", 0, "id", "1"), r"categories\[0\]: id: got '1', expected an integer"),
        (put("categories", 0, "keypoints", "nose"), r"categories\[0\] .*keypoints: got 'nose'"),
        (put("images", 0, "width", 0), r"images\[0\] .*width: got 0, expected at least 1"),
        (put("images", 0, "height", "80"), r"images\[0\] .*height: got '80', expected an integer"),
        (put("images", 0, "file_name", ""), r"images\[0\] .*file_name: got ''"),
        (put("images", 0, "file_name", "a\0b"), r"images\[0\] .*file_name: got 'a\\x00b'"),
        (put("annotations", 0, "bbox", ["1", "2", "3", "4"]), "bbox: got '1', expected 4 finite"),
        (put("annotations", 0, "bbox", [1, 2, 3, True]), "bbox: got True, expected 4 finite"),
        (
            put("annotations", 0, "bbox", [1, 2, 3, 1e300]),
            r"bbox: got 1e\+300, .*1e\+15",
        ),
        (put("annotations", 0, "keypoints", 4, "7"), "keypoints: got '7', expected 15 finite"),
        (put("annotations", 0, "keypoints", 4, float("nan")), "keypoints: got nan, expected 15"),
        (put("annotations", 0, "iscrowd", "0"), "iscrowd: got '0', expected an integer"),
        (put("annotations", 0, "iscrowd", -1), "iscrowd: got -1, expected at least 0"),
        (put("annotations", 0, "num_keypoints", -1), "num_keypoints: got -1, expected at least 0"),
        (put("annotations", 0, "area", "12"), "area: got '12', expected one finite number"),
        (put("annotations", 0, "area", -1), r"area: got -1\.0, expected at least 0"),
        (put("annotations", 0, "area", None), "area: got None, expected one finite number"),
    ],
)
def test_faults_are_found_before_anything_runs(change, root, fault, message):
    path = change("train", fault)
    with pytest.raises(ValueError, match=message) as error:
        read_annotations(path)
    assert str(path) in str(error.value)
    with pytest.raises(ValueError, match=message):
        make_data(root).setup("fit")


@pytest.mark.parametrize("sigma", ["0.1", True, 10**400])
def test_sigmas_are_numbers(change, root, sigma):
    change("val", put("categories", 0, "sigmas", [sigma] * 5))
    with pytest.raises(ValueError, match=r"val\.json: sigmas: got .* for 'head', expected a pos"):
        make_data(root)


@pytest.mark.parametrize("field", ["image_id", "category_id", "score", "bbox"])
@pytest.mark.parametrize("value", ["1", True, None, [1], float("nan")])
def test_faults_of_detections(root, field, value):
    annotations = read_annotations(root / "val.json")
    box = {"image_id": 1, "category_id": 1, "bbox": [1.0, 2.0, 30.0, 40.0], "score": 0.5}
    path = root / "detections.json"
    path.write_text(json.dumps([box, {**box, field: value}]))
    with pytest.raises(ValueError, match=rf"detections\.json: entry 1: {field}: got"):
        detected_instances(path, annotations, root / "val")


def bag(content):
    """A category without keypoints, first, with annotations of its own."""
    content["categories"].insert(0, {"id": 7, "name": "bag"})
    first = content["annotations"][0]
    other = {"id": 10**6, "image_id": first["image_id"], "category_id": 7, "bbox": [1, 2, 3, 4]}
    content["annotations"].insert(0, other)


@pytest.mark.parametrize("names", [None, [], "left out"])
def test_a_category_without_keypoints_is_left_out_as_by_pycocotools(names):
    rng = np.random.default_rng(3)
    annotations = random_annotations(rng, 17)
    results = noisy(annotations, rng, noise=0.05)
    annotations["categories"][0]["keypoints"] = [f"joint {i}" for i in range(17)]
    bag(annotations)
    if names != "left out":
        annotations["categories"][0]["keypoints"] = names
    annotations["annotations"][0]["num_keypoints"] = 0
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = copy.deepcopy(annotations)
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(copy.deepcopy(results)), "keypoints")
        evaluation.params.kpt_oks_sigmas = np.array(COCO_SIGMAS)
        evaluation.params.catIds = [1]
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    got = evaluate_keypoints(annotations, results, COCO_SIGMAS)
    np.testing.assert_allclose(list(got.values()), evaluation.stats, atol=1e-12)
    assert 0 < got["AP"] < 1


def test_training_and_evaluation_beside_another_category(change, root, tmp_path):
    change("train", bag)
    change("val", bag)
    data = make_data(root)
    trainer = make_trainer(tmp_path / "out", max_epochs=1)
    trainer.fit(make_task(data), datamodule=data)
    assert data.category_id == 1
    assert len(data.datasets["val"]) == 3
    assert "AP" in trainer.lightning_module.metrics


def test_missing_fields_are_derived():
    rng = np.random.default_rng(5)
    annotations = random_annotations(rng, 17)
    for person in annotations["annotations"]:
        x, y, w, h = person["bbox"]
        person["area"] = w * h
        if person["id"] % 2:
            person["segmentation"] = [[x, y, x + w, y, x + w, y + h / 2, x, y + h / 2]]
            person["area"] = w * h / 2
    results = noisy(annotations, rng, noise=0.05)
    bare = copy.deepcopy(annotations)
    for person in bare["annotations"]:
        del person["area"], person["num_keypoints"]
        if not person["iscrowd"]:
            del person["iscrowd"]
    got = evaluate_keypoints(bare, results, COCO_SIGMAS)
    assert got == pytest.approx(reference(annotations, results, COCO_SIGMAS), abs=1e-12)


def test_areas_of_masks_are_cocos(shared_data):
    path = shared_data("coco_mini") / "annotations/person_keypoints_val2017.json"
    for record in json.loads(path.read_text())["annotations"]:
        assert isinstance(record["segmentation"], list) or record["iscrowd"]
        area = mask_area(record["segmentation"], "here")
        assert area == pytest.approx(record["area"], rel=0.12 if record["iscrowd"] else 1e-6)


def test_areas_of_run_lengths():
    from pycocotools import mask as coco_mask

    pixels = np.random.default_rng(0).random((50, 70)) > 0.5
    runs = coco_mask.encode(np.asfortranarray(pixels.astype(np.uint8)))
    text = runs["counts"].decode()
    assert mask_area({"size": [50, 70], "counts": text}, "here") == pixels.sum()
    assert mask_area({"size": [2, 3], "counts": [1, 2, 1, 2]}, "here") == 4
    for wrong in ({}, "1", [[1, 2, 3]], [["1"] * 6], {"counts": "\x1b"}, {"counts": [None]}, [4]):
        with pytest.raises(ValueError, match="here"):
            mask_area(wrong, "here")


def test_sigmas_and_pairs_are_asked_for_before_the_first_step(change, root, tmp_path):
    def rename(content):
        content["categories"][0]["keypoints"] = ["a", "b", "c", "d", "e"]

    change("train", rename)
    change("val", rename)
    data = make_data(root, joints=Joints())
    trainer = make_trainer(tmp_path / "out", max_epochs=1)
    with pytest.raises(ValueError, match=r"flip_pairs: .*data\.joints\.sigmas are missing as well"):
        trainer.fit(make_task(data), datamodule=data)
    data = make_data(root, joints=Joints(flip_pairs=[]))
    trainer = make_trainer(tmp_path / "out", max_epochs=1)
    with pytest.raises(ValueError, match="no OKS sigma for the joints"):
        trainer.fit(make_task(data), datamodule=data)
    assert trainer.global_step == 0
    trainer = make_trainer(tmp_path / "out", max_epochs=1, limit_val_batches=0)
    trainer.fit(make_task(data), datamodule=data)


def turn(path, orientation):
    """Store a picture turned back, with the orientation that makes it upright again."""
    picture = Image.open(path)
    tags = Image.Exif()
    tags[0x112] = orientation
    back = {6: Image.Transpose.ROTATE_90, 3: Image.Transpose.ROTATE_180}[orientation]
    picture.transpose(back).save(path, exif=tags)


@pytest.mark.parametrize("orientation", [3, 6])
def test_prediction_turns_phone_photographs(root, tmp_path, orientation):
    plain = make_data(root, predict=PredictSource(str(root / "val")))
    plain.setup("predict")
    upright = [plain.datasets["predict"][i] for i in range(3)]
    for path in (root / "val").iterdir():
        turn(path, orientation)
    data = make_data(root, predict=PredictSource(str(root / "val")))
    data.setup("predict")
    for index, sample in enumerate(upright):
        turned = data.datasets["predict"][index]
        np.testing.assert_array_equal(turned["image"], sample["image"])
        np.testing.assert_array_equal(turned["center"], sample["center"])
    make_trainer(tmp_path / "out").predict(make_task(data), datamodule=data)
    first = data.datasets["predict"].instances[0]
    drawn = cv2.imread(str(tmp_path / "out/predictions/overlays/0001.jpg"))
    assert drawn.shape[1::-1] == (first.box[2] + 1, first.box[3] + 1)


def test_annotations_of_turned_pictures_by_option(root):
    plain = make_data(root)
    plain.setup("validate")
    for path in (root / "val").iterdir():
        turn(path, 6)
    data = make_data(root)
    data.setup("validate")
    with pytest.raises(ImageError, match="EXIF orientation 6"):
        data.datasets["val"][0]
    data = make_data(root, val=Split("val.json", "val", apply_exif=True))
    data.setup("validate")
    for index in range(3):
        sample, expected = data.datasets["val"][index], plain.datasets["val"].instances[index]
        assert sample["visible"].tolist() == expected.visible.tolist()
        assert sample["image"].any()
    box = {"image_id": 1, "category_id": 1, "bbox": [1.0, 2.0, 30.0, 40.0], "score": 0.5}
    (root / "boxes.json").write_text(json.dumps([box]))
    split = Split("val.json", "val", "boxes.json", apply_exif=True)
    data = make_data(root, test=split)
    data.setup("test")
    assert data.datasets["test"][0]["image"].any()


@pytest.mark.parametrize("kind", ["dots", "absolute", "link", "linked folder", "folder's name"])
def test_files_stay_in_their_folder(change, root, tmp_path, kind):
    outside = tmp_path / "elsewhere"
    outside.mkdir()
    (root / "val" / "0001.png").rename(outside / "secret.png")
    (root / "val2").mkdir()
    (root / "val2" / "secret.png").write_bytes((outside / "secret.png").read_bytes())
    names = {
        "dots": "../elsewhere/secret.png",
        "absolute": str(outside / "secret.png"),
        "link": "link.png",
        "linked folder": "more/secret.png",
        "folder's name": "../val2/secret.png",
    }
    (root / "val" / "link.png").symlink_to(outside / "secret.png")
    (root / "val" / "more").symlink_to(outside)
    change("val", put("images", 0, "file_name", names[kind]))
    data = make_data(root)
    with pytest.raises(ValueError, match=r"val\.json: image 1: file_name: .*files_outside: true"):
        data.setup("validate")
    data = make_data(root, val=Split("val.json", "val", files_outside=True))
    data.setup("validate")
    assert data.datasets["val"][0]["image"].any()


def test_links_that_stay_inside_and_a_linked_root(change, root, tmp_path):
    (root / "val" / "sub").mkdir()
    (root / "val" / "0001.png").rename(root / "val" / "sub" / "real.png")
    (root / "val" / "0001.png").symlink_to("sub/real.png")
    change("val", put("images", 1, "file_name", "sub/../0002.png"))
    (tmp_path / "linked").symlink_to(root / "val")
    annotations = read_annotations(root / "val.json")
    assert len(annotated_instances(annotations, tmp_path / "linked")) == 3


def test_names_of_pictures():
    names = {
        "cam1/1.jpg": "cam1_1",
        "cam2/1.jpg": "cam2_1",
        "a.jpg": "a_jpg",
        "a.png": "a_png",
        "b.JPG": "b_JPG_2",
        "B.jpg": "B_jpg",
        "c.x": "c",
    }
    expected = {Path(file): name for file, name in names.items()}
    assert picture_names(expected) == expected
    files = [Path(p) for p in ("x/1.jpg", "x/y/1.jpg", "z/y/1.jpg", "y_1.jpg", "x_1.jpg")]
    found = picture_names(files)
    assert found[Path("y_1.jpg")] == "y_1"
    assert len({name.casefold() for name in found.values()}) == len(files)


def test_one_picture_for_each_image(change, root, tmp_path):
    def rename(content):
        for record, name in zip(
            content["images"], ["cam1/1.png", "cam2/1.png", "2.png"], strict=True
        ):
            (root / "val" / name).parent.mkdir(exist_ok=True)
            (root / "val" / record["file_name"]).rename(root / "val" / name)
            record["file_name"] = name

    change("val", rename)
    data = make_data(root)
    make_trainer(tmp_path / "out").predict(make_task(data), datamodule=data)
    drawn = {p.name for p in (tmp_path / "out/predictions/overlays").iterdir()}
    assert drawn == {"cam1_1.jpg", "cam2_1.jpg", "2.jpg"}


def test_results_of_a_folder_name_their_files(root, tmp_path, capsys):
    folder = tmp_path / "photos"
    folder.mkdir()
    picture = cv2.imread(str(root / "val" / "0001.png"))
    for name in ("a.jpg", "a.png", "b.jpg"):
        cv2.imwrite(str(folder / name), picture)
    os.mkfifo(folder / "pipe.jpg")
    data = make_data(root, predict=PredictSource(str(folder)))
    make_trainer(tmp_path / "out").predict(make_task(data), datamodule=data)
    path = tmp_path / "out/predictions/results.json"
    results = json.loads(path.read_text())
    assert [(r["image_id"], r["file_name"]) for r in results] == [
        (0, "a.jpg"), (1, "a.png"), (2, "b.jpg"),
    ]  # fmt: skip
    drawn = {p.name for p in (tmp_path / "out/predictions/overlays").iterdir()}
    assert drawn == {"a_jpg.jpg", "a_png.jpg", "b.jpg"}
    truth = COCO()
    truth.dataset = {
        "images": [{"id": i} for i in range(4)], "categories": [{"id": 1}], "annotations": [],
    }  # fmt: skip
    truth.createIndex()
    assert len(truth.loadRes(str(path)).anns) == 3
    assert "3 pictures" in capsys.readouterr().out


def test_control_characters_are_not_printed(change, root, tmp_path, caplog, capsys):
    name = "a\x1b[2J\n.png"
    change("val", put("images", 0, "file_name", name))
    (root / "val" / name).write_text("no picture")
    data = make_data(root)
    with caplog.at_level(logging.INFO):
        make_trainer(tmp_path / "out").predict(make_task(data), datamodule=data)
    data.setup("fit")
    data.datasets["train"].instances[0] = data.datasets["val"].instances[0]
    text = caplog.text + capsys.readouterr().out + data.sample_name(0)
    assert r"a\x1b[2J\n.png" in text
    assert "\x1b" not in text
    metrics = dict.fromkeys(
        ["AP", "AP50", "AP75", "AP(M)", "AP(L)", "AR", "AR50", "AR75", "AR(M)", "AR(L)"], 0.5
    )
    assert metrics_table({"\x1b\nx": metrics}).splitlines()[2].startswith(r"| \x1b\nx")


def test_no_stack_trace_of_a_worker(root):
    (root / "val" / "0002.png").write_bytes(b"")
    data = make_data(root, loading=Loading(1, workers=1))
    data.setup("validate")
    with pytest.raises(ImageError) as error:
        list(data.val_dataloader())
    assert str(error.value) == f"image {root / 'val' / '0002.png'}: the file is empty"


def test_no_message_hides_why_images_are_unreadable(root):
    for path in (root / "train").iterdir():
        path.write_bytes(b"")
    data = make_data(root, joints=Joints(sigmas=SIGMAS))
    data.setup("fit")
    with pytest.raises(ImageError, match=r"20 random images in a row .*\.png: the file is empty"):
        data.datasets["train"][(0, 0)]
