"""Clips as samples, the data module, broken videos, the cache."""

from __future__ import annotations

import logging
import os
import shutil

import lightning
import numpy as np
import pytest
import torch
from encoded_videos import decode_plainly, moving_frames, write_broken, write_video

from spectral_residual.training.broken import BrokenSamples
from spectral_residual.training.sampler import EpochSampler
from spectral_residual.video import augment
from spectral_residual.video.augment import VideoAugment
from spectral_residual.video.data_module import VideoDataModule, VideoLoading
from spectral_residual.video.dataset import ClipDataset, _CachedReader
from spectral_residual.video.reader import VideoError
from spectral_residual.video.sampling import Clip, Views, view_indices
from spectral_residual.video.sources import VideoItem, VideoSource

SIZE = (24, 24)
FRAMES = 20
COUNTS = {"train": 6, "val": 2}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("videos")
    for split, count in COUNTS.items():
        for name in ("jump", "sit"):
            (root / split / name).mkdir(parents=True)
            for number in range(count):
                movie = moving_frames(FRAMES, (32, 40), seed=len(split + name) * 10 + number)
                write_video(root / split / name / f"{number}.mp4", movie)
    return root


def make(root, stage=None, **options):
    options = {
        "clip": Clip(4, 3),
        "input_size": SIZE,
        "short_side": 28,
        "views": Views(3, "random", 3),
        "loading": VideoLoading(batch_size=4, workers=0),
        **options,
    }
    data = VideoDataModule(str(root), **options)
    if stage is not None:
        data.setup(stage)
    return data


def assert_same(first, second):
    assert first.keys() == second.keys()
    for key in first:
        assert torch.equal(first[key], second[key]), key


def test_training_sample(root):
    data = make(root, "fit")
    assert (data.class_names, data.num_classes, data.clip_frames) == (["jump", "sit"], 2, 4)
    dataset = data.datasets["train"]
    assert len(dataset) == 12
    assert [dataset[i]["label"].item() for i in range(12)] == [0] * 6 + [1] * 6
    sample = dataset[(1, 7)]
    assert sample["video"].shape == (4, *SIZE, 3)
    assert sample["video"].dtype == torch.uint8
    assert (sample["index"].item(), sample["broken"].item()) == (7, -1)
    assert {sample[key].dtype for key in ("label", "index", "broken")} == {torch.int64}


def test_training_clips_are_frames_of_the_video(root):
    """Without scaling a crop is found in the frames start, start + 3, ... of the full decode."""
    options = {"input_size": (28, 28), "augment": VideoAugment("none", flip_probability=0.0)}
    dataset = make(root, "fit", **options).datasets["train"]
    frames = decode_plainly(dataset.items[3].path)
    assert round(28 * 256 / 224) == 32  # the videos' own short side
    starts = set()
    for epoch in range(6):
        clip = dataset[(epoch, 3)]["video"].numpy()
        found = [
            (start, y, x)
            for start in range(FRAMES - 12 + 1)
            for y in range(5)
            for x in range(13)
            if np.array_equal(clip[0], frames[start, y : y + 28, x : x + 28])
        ]
        assert len(found) == 1
        start, y, x = found[0]
        np.testing.assert_array_equal(clip, frames[start : start + 12 : 3, y : y + 28, x : x + 28])
        starts.add(start)
    assert len(starts) > 2


def test_samples_depend_on_seed_epoch_and_index_alone(root):
    train, again, other = (make(root, "fit", seed=s).datasets["train"] for s in (0, 0, 1))
    assert_same(train[(3, 5)], again[(3, 5)])
    assert not torch.equal(train[(3, 5)]["video"], train[(4, 5)]["video"])
    assert not torch.equal(train[(3, 5)]["video"], other[(3, 5)]["video"])
    test, retest, other = (make(root, "test", seed=s).datasets["test"] for s in (0, 0, 1))
    assert_same(test[(7, 2)], retest[2])
    assert not torch.equal(test[2]["video"], other[2]["video"])


@pytest.mark.parametrize("views", [Views(3, "random", 3), Views(4, "even"), Views(1, "centre", 3)])
def test_views_are_clips_then_crops(root, views):
    dataset = make(root, "test", views=views, seed=5).datasets["test"]
    sample = dataset[2]
    assert sample["video"].shape == (views.clips * views.crops, 4, *SIZE, 3)
    frames = decode_plainly(dataset.items[2].path)
    indices = view_indices(Clip(4, 3), views, FRAMES, np.random.default_rng((5, 2)))
    for number, clip in enumerate(indices):
        expected = augment.test_crops(frames[clip], SIZE, 28, views.crops)
        part = sample["video"][number * views.crops : (number + 1) * views.crops]
        np.testing.assert_array_equal(part.numpy(), expected)


def test_stages(root):
    data = make(root, "fit", val_views=Views(2, "even"))
    assert [len(data.datasets[name]) for name in ("train", "val")] == [12, 4]
    assert next(iter(data.val_dataloader()))["video"].shape[:2] == (1, 2)
    data.setup("validate")
    assert next(iter(data.val_dataloader()))["video"].shape[:2] == (1, 9)
    data.setup("test")
    assert data.datasets["test"].items == data.datasets["val"].items
    batch = next(iter(make(root, "test", loading=VideoLoading(4, 0, 0, 3)).test_dataloader()))
    assert batch["video"].shape == (3, 9, 4, *SIZE, 3)
    assert batch["label"].tolist() == [0, 0, 1]


def test_workers_change_nothing(root):
    batches = []
    for workers in (0, 2):
        data = make(root, "fit", loading=VideoLoading(batch_size=4, workers=workers))
        batches.append([*data.train_dataloader(), *data.val_dataloader()])
    assert len(batches[0]) == 3 + 4
    for first, second in zip(*batches, strict=True):
        assert_same(first, second)


def test_training_order_changes_with_the_epoch(root):
    loader = make(root, "fit").train_dataloader()
    assert isinstance(loader.sampler, EpochSampler)
    orders = []
    for epoch in range(2):
        loader.sampler.set_epoch(epoch)
        orders.append([index for batch in loader for index in batch["index"].tolist()])
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(12))
    assert orders[0] != orders[1]


def test_resumed_training_starts_with_its_epoch(root):
    data = make(root, "fit")
    data.trainer = lightning.Trainer(accelerator="cpu", logger=False)
    data.trainer.fit_loop.epoch_progress.current.processed = 3
    expected = EpochSampler(data.datasets["train"], 1, 0, shuffle=True, seed=0, drop_last=True)
    expected.set_epoch(3)
    assert list(data.train_dataloader().sampler) == list(expected)
    assert {epoch for epoch, _ in expected} == {3}


def test_prediction_on_files_needs_no_classes(root, tmp_path, monkeypatch):
    monkeypatch.chdir(root / "val")
    files = ["jump/0.mp4", str(root / "val/sit/1.mp4")]
    data = make(tmp_path, "predict", predict=files)
    assert data.class_names == []
    batches = list(data.predict_dataloader())
    assert [batch["label"].item() for batch in batches] == [-1, -1]
    assert [str(item.path) for item in data.datasets["predict"].items] == files
    assert len(make(root, "predict").datasets["predict"]) == 4
    with pytest.raises(FileNotFoundError, match=r"data\.predict: no file none\.mp4"):
        make(root, "predict", predict=["none.mp4"])


@pytest.fixture
def broken(root, tmp_path):
    """100 good training videos among which 4 are broken, and a broken validation video."""
    good = root / "train" / "jump" / "0.mp4"
    for split, count in (("train", 100), ("val", 2)):
        folder = tmp_path / split / "jump"
        folder.mkdir(parents=True)
        for number in range(count):
            os.link(good, folder / f"{number:03d}.mp4")
    paths = write_broken(tmp_path, good)
    for place, path in enumerate(paths):
        path.rename(tmp_path / "train/jump" / f"{20 * place:03d}_{path.name}")
    (tmp_path / "val/jump/001.mp4").unlink()
    (tmp_path / "val/jump/001.mp4").write_text("no video")
    return tmp_path


def counter(dataset, max_share):
    return BrokenSamples(len(dataset), lambda i: str(dataset.items[i].path), max_share, "video")


def test_training_goes_on_with_broken_videos(broken, caplog):
    data = make(broken, "fit", loading=VideoLoading(batch_size=7, workers=2))
    dataset = data.datasets["train"]
    assert len(dataset) == 105
    watch = counter(dataset, 0.05)
    loader = data.train_dataloader()
    with caplog.at_level(logging.WARNING):
        for epoch in range(2):
            loader.sampler.set_epoch(epoch)
            batches = list(loader)
            assert len(batches) == 15
            for batch in batches:
                watch.update(batch)
                assert batch["video"].shape == (7, 4, *SIZE, 3)
                assert all(video.max() > 0 for video in batch["video"])
    names = [path.name for path in (broken / "train" / "jump").iterdir() if "_" in path.name]
    warnings = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(watch.indices) == len(names) == len(warnings) == 5
    assert all(caplog.text.count(name) == 1 for name in names)
    strict = counter(dataset, 0.03)
    with pytest.raises(
        ValueError, match=r"4 of 105 .* unreadable videos \(3\.8%\), more than data"
    ):
        strict.update({"broken": torch.tensor(sorted(watch.indices))})


def test_broken_videos_in_evaluation(broken):
    data = make(broken, "fit")
    assert [batch["broken"].item() for batch in data.val_dataloader()] == [-1, 1]
    data.setup("validate")
    with pytest.raises(VideoError, match=r"val/jump/001\.mp4: not a video") as caught:
        list(data.val_dataloader())
    # So a loader raises what a worker raised; any other signature would make a RuntimeError.
    assert str(type(caught.value)("a message")) == "a message"
    batches = list(make(broken, "validate", on_broken="count").val_dataloader())
    assert [batch["broken"].item() for batch in batches] == [-1, 1]
    assert batches[1]["video"].shape == batches[0]["video"].shape
    assert batches[1]["video"].max() == 0
    predicted = make(broken, "predict").predict_dataloader()
    assert [batch["broken"].item() for batch in predicted] == [-1, 1]


def test_all_videos_broken_is_an_error(tmp_path):
    (tmp_path / "a.mp4").write_text("no video")
    items = [VideoItem(tmp_path / "a.mp4", 0)] * 3
    dataset = ClipDataset(items, Clip(), SIZE, VideoAugment(), on_broken="replace")
    with pytest.raises(VideoError, match=r"a\.mp4: 20 random videos in a row"):
        dataset[0]


def test_files_and_maps_are_closed(root):
    """Neither files nor mapped memory stay open, with or without the cache."""

    def in_use():
        with open("/proc/self/maps") as maps:
            return len(os.listdir("/proc/self/fd")), sum(".npy" in line for line in maps)

    for cache in (None, "cache"):
        data = make(root, "fit", loading=VideoLoading(4, 0, cache=cache))
        before = in_use()
        for index in range(8):
            data.datasets["train"][index]
            data.datasets["val"][index % 4]
        assert in_use() == before


def test_cache_changes_nothing(root, tmp_path):
    loading = VideoLoading(batch_size=4, workers=0, cache=str(tmp_path / "cache"))
    for stage, split in (("fit", "train"), ("test", "test")):
        plain = make(root, stage).datasets[split]
        cached = make(root, stage, loading=loading).datasets[split]
        for _ in range(2):
            for index in range(0, len(plain), 3):
                assert_same(plain[(2, index)], cached[(2, index)])
    files = list((tmp_path / "cache").iterdir())
    assert len(files) == 4 + 2
    assert {file.suffix for file in files} == {".npy"}


def test_cached_video_is_read_from_the_cache_until_it_changes(root, tmp_path):
    path = tmp_path / "a.mp4"
    shutil.copy(root / "train/jump/1.mp4", path)
    frames = decode_plainly(path)
    with _CachedReader(path, tmp_path / "cache") as reader:
        assert reader.num_frames == FRAMES
        np.testing.assert_array_equal(reader.read([3, 0, 3]), frames[[3, 0, 3]])
        with pytest.raises(IndexError, match="got frame 20"):
            reader.read([20])
    (file,) = (tmp_path / "cache").iterdir()
    marked = np.load(file)
    marked[5] = 7
    np.save(file, marked)
    with _CachedReader(path, tmp_path / "cache") as reader:
        assert (reader.read([5]) == 7).all()
    write_video(path, moving_frames(9))
    with _CachedReader(path, tmp_path / "cache") as reader:
        np.testing.assert_array_equal(reader.read(range(9)), decode_plainly(path))


def test_broken_video_leaves_nothing_in_the_cache(root, tmp_path):
    for path in write_broken(tmp_path, root / "train/jump/0.mp4"):
        with pytest.raises(VideoError, match=path.name):
            _CachedReader(path, tmp_path / "cache")
    with pytest.raises(VideoError, match=r"none\.mp4"):
        _CachedReader(tmp_path / "none.mp4", tmp_path / "cache")
    assert not (tmp_path / "cache").exists() or not list((tmp_path / "cache").iterdir())


def test_class_file_and_unlabelled_training_videos(root, tmp_path):
    (tmp_path / "classes.txt").write_text("sit\nrun\njump\n")
    data = make(root, "validate", classes=str(tmp_path / "classes.txt"))
    assert [item.label for item in data.datasets["val"].items] == [2, 2, 0, 0]
    (tmp_path / "list.txt").write_text(f"{root}/train/jump/0.mp4 -1\n{root}/train/sit/0.mp4 0\n")
    with pytest.raises(ValueError, match=r"data\.train: 1 of the 2 videos have no label.*jump"):
        make(root, "fit", train=VideoSource(str(tmp_path / "list.txt")))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"train": VideoSource("none")}, FileNotFoundError, "no folder, csv or list of videos"),
        ({"classes": "none.txt"}, FileNotFoundError, r"classes: no file .*none\.txt"),
        ({"loading": VideoLoading(99, 0)}, ValueError, "99 on 1 process.* 12 training videos"),
        ({"short_side": 20}, ValueError, "short_side: got 20, expected at least"),
        ({"input_size": (24, 16)}, ValueError, "'tsn' needs a square input"),
    ],
)
def test_wrong_settings(root, change, error, message):
    with pytest.raises(error, match=message):
        make(root, "fit", **change).train_dataloader()


def test_missing_root_and_bad_loading(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"data\.root: no folder"):
        make(tmp_path / "absent")
    with pytest.raises(ValueError, match="eval_batch_size: expected at least 1"):
        VideoLoading(eval_batch_size=0)
    with pytest.raises(ValueError, match=r"max_broken_share in \[0, 1\]"):
        VideoLoading(max_broken_share=1.5)
