"""Samples, data module, broken images."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from keypoint_files import COLOURS, NAMES, SIGMAS, write_split

from spectral_residual.pose.augment import AugmentConfig
from spectral_residual.pose.data_module import (
    Joints,
    KeypointDataModule,
    Loading,
    PredictSource,
    Split,
)
from spectral_residual.pose.dataset import ImageError, list_images, normalise
from spectral_residual.training.broken import BrokenSamples
from spectral_residual.training.sampler import EpochSampler

SIZE = (96, 64)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("dots")
    write_split(root, "train", 24, seed=1)
    write_split(root, "val", 8, seed=2)
    return root


def make(root, **options):
    options = {
        "train": Split("train.json", "train"),
        "val": Split("val.json", "val"),
        "input_size": SIZE,
        "joints": Joints(sigmas=SIGMAS),
        "loading": Loading(batch_size=4, workers=0),
        **options,
    }
    return KeypointDataModule(str(root), **options)


def dot_centre(image, colour):
    """Centre of a colour's dot in an RGB image, sub-pixel."""
    distance = np.abs(image.astype(float) - np.array(colour, float)).sum(2)
    weights = np.clip(120 - distance, 0, None)
    ys, xs = np.mgrid[: image.shape[0], : image.shape[1]]
    return np.array([(xs * weights).sum(), (ys * weights).sum()]) / weights.sum()


@pytest.mark.parametrize("split", ["train", "val"])
def test_joints_lie_where_the_picture_shows_them(root, split):
    """With random scale, rotation and flip too: one matrix for pixels, one for joints."""
    data = make(root, augment=AugmentConfig(scale=0.2, rotation=30.0))
    data.setup("fit")
    dataset = data.datasets[split]
    swapped = [0, 2, 1, 4, 3]
    errors, flips = [], 0
    for epoch in range(3):
        for index in range(len(dataset)):
            sample = dataset[(epoch, index)]
            image = sample["image"].numpy()
            for joint in range(len(NAMES)):
                x, y = sample["joints"][joint].tolist()
                inside = 6 < x < SIZE[1] - 7 and 6 < y < SIZE[0] - 7
                if not sample["visible"][joint] or not inside:
                    continue
                at = {}
                for name, dot in (("same", joint), ("mirrored", swapped[joint])):
                    close = image[round(y), round(x)].astype(int)
                    if np.abs(close - COLOURS[dot]).sum() < 90:
                        at[name] = np.abs(dot_centre(image, COLOURS[dot]) - [x, y]).max()
                assert at, f"no dot at joint {joint} of sample {index}"
                errors.append(min(at.values()))
                flips += "same" not in at
    assert len(errors) > 50
    assert np.median(errors) < 0.25
    assert (flips > 0) == (split == "train")


def test_sample_depends_on_seed_epoch_and_index_alone(root):
    data = make(root)
    data.setup("fit")
    again = make(root)
    again.setup("fit")
    a, b = data.datasets["train"][(3, 5)], again.datasets["train"][(3, 5)]
    assert all(torch.equal(a[key], b[key]) for key in a)
    other = data.datasets["train"][(4, 5)]
    assert not torch.equal(a["image"], other["image"])
    validation = data.datasets["val"]
    assert torch.equal(validation[(0, 2)]["image"], validation[2]["image"])


def test_sampler_shards_like_one_larger_batch(root):
    data = make(root)
    data.setup("fit")
    dataset = data.datasets["train"]

    def order(processes, rank, epoch):
        sampler = EpochSampler(dataset, processes, rank, shuffle=True, seed=5, drop_last=True)
        sampler.set_epoch(epoch)
        return list(sampler)

    whole, parts = order(1, 0, 2), [order(2, rank, 2) for rank in range(2)]
    assert [pair for both in zip(*parts, strict=True) for pair in both] == whole
    assert {epoch for epoch, _ in whole} == {2}
    assert sorted(i for _, i in whole) == list(range(24))
    assert order(1, 0, 3) != whole


def test_workers_change_nothing(root):
    batches = []
    for workers in (0, 2):
        data = make(root, loading=Loading(batch_size=4, workers=workers))
        data.setup("fit")
        batches.append(list(data.train_dataloader()))
    for a, b in zip(*batches, strict=True):
        assert all(torch.equal(a[key], b[key]) for key in a)


def test_normalise_is_imagenets_and_channels_last():
    images = torch.randint(0, 256, (2, 5, 4, 3), dtype=torch.uint8)
    out = normalise(images)
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    expected = ((images.numpy() / 255.0 - mean) / std).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(out.numpy(), expected, atol=1e-5)
    assert out.is_contiguous(memory_format=torch.channels_last)


@pytest.fixture
def broken(tmp_path):
    write_split(tmp_path, "train", 12, seed=1)
    write_split(tmp_path, "val", 4, seed=2)
    (tmp_path / "train" / "0003.png").write_text("no picture")
    (tmp_path / "val" / "0002.png").unlink()
    return tmp_path


def test_broken_training_image_is_replaced_and_counted(broken, caplog):
    data = make(broken)
    data.setup("fit")
    dataset = data.datasets["train"]
    sample = dataset[(0, 2)]
    assert sample["broken"] == 2
    assert sample["index"] != 2
    assert sample["visible"].any()
    counter = BrokenSamples(len(dataset), lambda i: str(dataset.instances[i].file), 0.1, "image")
    for _ in range(3):
        counter.update({"broken": torch.tensor([-1, 2, 2])})
    assert caplog.text.count("0003.png") == 1
    assert counter.indices == {2}
    with pytest.raises(ValueError, match=r"2 of 12 .*max_broken_share.*0006\.png"):
        counter.update({"broken": torch.tensor([5])})


def test_broken_image_stops_evaluation_but_not_prediction(broken):
    data = make(broken)
    data.setup("validate")
    with pytest.raises(ImageError, match=r"0002\.png"):
        list(data.val_dataloader())
    data.setup("predict")
    batch = next(iter(data.predict_dataloader()))
    assert batch["broken"].tolist() == [-1, 1, -1, -1]
    assert batch["image"][1].max() == 0


def test_all_images_broken_gives_an_error(broken):
    for path in (broken / "train").iterdir():
        path.write_bytes(b"")
    data = make(broken)
    data.setup("fit")
    with pytest.raises(ImageError, match="20 random images in a row"):
        data.datasets["train"][(0, 0)]


def test_prediction_on_a_folder_takes_whole_images(root):
    data = make(root, predict=PredictSource(images=str(root / "val")))
    data.setup("predict")
    dataset = data.datasets["predict"]
    assert len(dataset) == 8
    assert [i.file for i in dataset.instances] == list_images(root / "val")
    instance, sample = dataset.instances[0], dataset[0]
    x, y, w, h = instance.box
    assert (x, y) == (0, 0)
    np.testing.assert_allclose(sample["center"], [w / 2, h / 2])
    assert sample["visible"].sum() == 0


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"val": Split("none.json", "val")}, FileNotFoundError, r"none\.json"),
        ({"train": Split("train.json", "nowhere")}, FileNotFoundError, r"train\.images.*nowhere"),
        ({"joints": Joints(flip_pairs=[("left_hand", "right_hnd")])}, ValueError, "right_hand"),
        ({"joints": Joints(sigmas={"head": 0.1, "hand": 0.1})}, ValueError, "hand"),
        ({"loading": {"batch_size": 99, "workers": 0}}, ValueError, "99 on 1 process"),
    ],
)
def test_wrong_settings(root, change, error, message):
    if isinstance(change.get("loading"), dict):
        change = {"loading": Loading(**change["loading"])}
    with pytest.raises(error, match=message):  # noqa: PT012
        data = make(root, **change)
        data.setup("fit")
        data.train_dataloader()


def test_missing_root_and_bad_loading(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"data\.root"):
        KeypointDataModule(str(tmp_path / "absent"))
    with pytest.raises(ValueError, match="batch_size >= 1"):
        Loading(batch_size=0)


def test_splits_of_different_skeletons_are_refused(root, tmp_path):
    write_split(tmp_path, "train", 4, seed=1)
    write_split(tmp_path, "val", 4, seed=1)
    content = json.loads((tmp_path / "train.json").read_text())
    content["categories"][0]["keypoints"][0] = "skull"
    (tmp_path / "train.json").write_text(json.dumps(content))
    data = make(tmp_path)
    with pytest.raises(ValueError, match=r"train\.json.*skull"):
        data.setup("fit")


def test_no_person_to_train_on(tmp_path):
    write_split(tmp_path, "train", 2, seed=1)
    write_split(tmp_path, "val", 2, seed=1)
    content = json.loads((tmp_path / "train.json").read_text())
    for record in content["annotations"]:
        record["iscrowd"] = 1
    (tmp_path / "train.json").write_text(json.dumps(content))
    data = make(tmp_path)
    with pytest.raises(ValueError, match="train data .* hold no person"):
        data.setup("fit")


def test_empty_folder(tmp_path):
    with pytest.raises(ValueError, match="holds no image"):
        list_images(tmp_path)
    with pytest.raises(FileNotFoundError, match="no folder"):
        list_images(tmp_path / "absent")
