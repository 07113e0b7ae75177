"""What all tasks share."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from spectral_residual.pose.task import PoseTask
from spectral_residual.training.task import gather
from spectral_residual.video.commands import VideoCLI
from spectral_residual.video.task import VideoTask


def test_each_sample_is_kept_once_in_order():
    batch = {"index": np.array([2, 0]), "scores": np.random.default_rng(0).random((2, 3, 2))}
    found = gather([batch, {"index": np.array([1]), "scores": np.zeros((1, 3, 2))}, batch])
    assert found["index"].tolist() == [0, 1, 2]
    np.testing.assert_array_equal(found["scores"][[2, 0]], batch["scores"])
    assert not found["scores"][1].any()


def test_nothing_predicted_is_an_error():
    with pytest.raises(ValueError, match="nothing was predicted"):
        gather([])


@pytest.mark.parametrize("task", [PoseTask, VideoTask])
def test_tasks_say_what_they_are(task):
    assert task.name in ("pose", "video")
    assert task.unit in ("images", "clips")


def test_help_lists_the_options_of_blocks(capsys):
    with pytest.raises(SystemExit, match="0"):
        VideoCLI.build(["fit", "--help"])
    text = capsys.readouterr().out
    assert "model.network.block_options" in text
    assert "non-local for videos: " in text
    assert "a2: reduction" in text
    assert "reduction" in text


def test_loss_of_a_batch_is_that_of_the_training_step(monkeypatch):
    task = VideoTask(class_names=["a", "b"], clip_frames=2, input_size=(32, 32))
    task.log = lambda *args, **options: None
    task._trainer = type("Trainer", (), {"world_size": 3})()
    batch = {
        "video": torch.zeros(2, 2, 32, 32, 3, dtype=torch.uint8),
        "label": torch.tensor([0, 1]),
    }
    task.network.eval()
    assert float(task.training_step(batch, 0)) == float(task.loss(batch))
    assert task._epoch_samples == 6
