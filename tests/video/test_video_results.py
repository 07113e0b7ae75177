"""Scores of videos: collected, averaged, written, predicted."""

from __future__ import annotations

import json
import logging
import shutil

import numpy as np
import pytest
import torch
from coloured_videos import CLASSES, write_split
from video_setup import WITH_BLOCK, make_data, make_task, make_trainer, save_trained

from spectral_residual.video.predict import predict_files
from spectral_residual.video.results import VideoScores, read_scores

FILES = ("scores_val.npz", "metrics_val.json", "confusion_val.png")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("videos")
    write_split(root, "train", 2, seed=1)
    write_split(root, "val", 2, seed=2)
    (root / "broken.mp4").write_text("no video")
    return root


def test_files_of_validation(root, tmp_path, capsys):
    data = make_data(root)
    task = make_task(data)
    make_trainer(tmp_path).validate(task, datamodule=data, verbose=False)
    printed = capsys.readouterr().out
    for text in ("top-1 (%)", "top-5 (%)", "worst classes", "top-5 says nothing with 3 classes"):
        assert text in printed
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(FILES)
    scores = read_scores(tmp_path / FILES[0])
    assert scores.class_names == list(CLASSES)
    assert scores.scores.shape == (6, 2 * 3, 3)
    assert (scores.clips, scores.crops) == (2, 3)
    assert list(scores.labels) == [0, 0, 1, 1, 2, 2]
    assert scores.videos[2].endswith("val/green/0.mp4")
    np.testing.assert_allclose(scores.scores.sum(axis=-1), 1, rtol=1e-5)
    assert scores.metrics() == task.metrics
    assert json.loads((tmp_path / FILES[1]).read_text()) == task.metrics
    np.testing.assert_array_equal(
        scores.first_clips(1).averaged(), scores.scores[:, :3].mean(axis=1)
    )
    with pytest.raises(ValueError, match="clips: got 3, expected 1 to 2"):
        scores.first_clips(3)


def test_prediction(root, tmp_path, capsys, caplog):
    trained = save_trained(root, tmp_path / "model.ckpt")
    files = [str(root / name) for name in ("val/red/0.mp4", "broken.mp4", "val/blue/1.mp4")]
    data = make_data(root, predict=files)
    task = make_task(data, WITH_BLOCK)
    with caplog.at_level(logging.WARNING):
        make_trainer(tmp_path / "a").predict(
            task, datamodule=data, ckpt_path=trained, weights_only=True
        )
    assert sum("broken.mp4" in record.getMessage() for record in caplog.records) == 1
    printed = capsys.readouterr().out
    assert "red/0.mp4 (red)" in printed
    folder = tmp_path / "a" / "predictions"
    found = json.loads((folder / "predictions.json").read_text())
    assert [entry["label"] for entry in found["videos"]] == ["red", "blue"]
    assert len(found["missing"]) == 1
    for entry in found["videos"]:
        assert (folder / entry["picture"]).read_bytes()[:4] == b"\x89PNG"
        scores = [guess["score"] for guess in entry["guesses"]]
        assert scores == sorted(scores, reverse=True)
        assert sum(scores) == pytest.approx(1, abs=1e-5)

    shutil.copy(files[2], tmp_path / "a\x1bb.mp4")
    files = [*files, str(tmp_path / "a\x1bb.mp4")]
    predict_files(trained, files, tmp_path / "b")
    again = json.loads((tmp_path / "b" / "predictions.json").read_text())
    assert again["videos"].pop()["picture"] == "0002_a_x1bb.png"
    for one, other in zip(found["videos"], again["videos"], strict=True):
        guesses, others = (dict(map(dict.values, e["guesses"])) for e in (one, other))
        assert guesses == pytest.approx(others, abs=1e-5)
    with pytest.raises(ValueError, match="none of the videos could be read"):
        predict_files(trained, files[1:2], tmp_path / "c")
    with pytest.raises(FileNotFoundError, match="none.mp4"):
        predict_files(trained, ["none.mp4"], tmp_path / "c")


def test_scores_file(tmp_path):
    scores = VideoScores(
        scores=np.random.default_rng(0).random((2, 4, 3), dtype=np.float32),
        labels=np.array([2, -1]),
        videos=["a b.mp4", "ü.mp4"],
        class_names=list(CLASSES),
        crops=2,
    )
    with pytest.raises(ValueError, match=r"got shape \(2, 4, 3\) with 3 crops"):
        VideoScores(scores.scores, scores.labels, scores.videos, scores.class_names, crops=3)
    assert scores.metrics()["videos"] == 1
    other = tmp_path / "other.npz"
    np.savez(other, scores=scores.scores)
    text = tmp_path / "text.npz"
    text.write_text("text")
    for path in (other, text):
        with pytest.raises(ValueError, match="not a scores file"):
            read_scores(path)
    with pytest.raises(FileNotFoundError, match="none.npz"):
        read_scores(tmp_path / "none.npz")


@pytest.mark.parametrize("command", ["validate", "test", "predict"])
def test_scores_that_are_not_finite_name_their_videos(root, tmp_path, command):
    data = make_data(root)
    task = make_task(data)
    with torch.no_grad():
        task.network.fc.bias[1] = float("nan")
    run = getattr(make_trainer(tmp_path), command)
    with pytest.raises(ValueError, match=r"(?s)scores are not finite.*val/blue/0\.mp4"):
        run(task, datamodule=data)
    assert not list(tmp_path.iterdir())
