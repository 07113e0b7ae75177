"""Checkpoints and configurations written in November 2026, before the rooms were rearranged.

Each file in ``checkpoints/`` holds the structure of a real checkpoint of ``srl pose fit`` or
``srl video fit`` (see `written_checkpoints`), the configuration that Lightning wrote beside it,
and what the network of that time gave for a fixed input.
"""

from __future__ import annotations

import json
from pathlib import Path

import coloured_videos
import keypoint_files
import pytest
import small_checkpoints
import torch
import yaml

from spectral_residual.cli import main
from spectral_residual.pose import load_pose_network
from spectral_residual.video import load_video_network
from written_checkpoints import unpack

FILES = sorted(Path(__file__).with_name("checkpoints").glob("*.json"))


@pytest.fixture(params=FILES, ids=lambda path: path.stem)
def written(request, tmp_path):
    """Task, checkpoint file, configuration file and expected outputs, with data beside them."""
    text = request.param.read_text().replace("ROOT", str(tmp_path))
    content = json.loads(text)
    torch.save(unpack(content["checkpoint"]), tmp_path / "old.ckpt")
    (tmp_path / "old.yaml").write_text(yaml.safe_dump(content["config"]))
    if content["task"] == "pose":
        keypoint_files.write_split(tmp_path, "train", 16, seed=1)
        keypoint_files.write_split(tmp_path, "val", 6, seed=2)
    else:
        coloured_videos.write_split(tmp_path / "videos", "train", 2, seed=1)
        coloured_videos.write_split(tmp_path / "videos", "val", 1, seed=2)
    return content["task"], tmp_path / "old.ckpt", tmp_path / "old.yaml", content["output"]


def test_the_files_are_there():
    assert len(FILES) == 4


def test_the_network_gives_what_it_gave(written):
    task, checkpoint, _, expected = written
    shape = (1, 3, 64, 64) if task == "pose" else (1, 3, 4, 32, 32)
    load = load_pose_network if task == "pose" else load_video_network
    network = load(checkpoint)[0]
    count = torch.Size(shape).numel()
    with torch.no_grad():
        output = network(torch.sin(0.01 * torch.arange(count).reshape(shape))).flatten()
    got = [output.mean(), output.std(), *output[:: max(1, len(output) // 6)][:6]]
    torch.testing.assert_close(torch.stack(got), torch.tensor(expected), rtol=1e-4, atol=1e-4)


def test_training_goes_on_and_validates(written, tmp_path):
    task, checkpoint, config, _ = written
    more = ["--config", str(config), "--ckpt_path", str(checkpoint)]
    assert main([task, "validate", *more]) == 0
    assert main([task, "fit", *more, "--trainer.max_epochs", "2"]) == 0
    (last,) = tmp_path.glob("runs/**/last.ckpt")
    again = torch.load(last, weights_only=True)
    before = torch.load(checkpoint, weights_only=True)
    assert again["epoch"] == before["epoch"] + 1
    assert again["global_step"] > before["global_step"]
    assert list(again["state_dict"]) == list(before["state_dict"])
    states = [ckpt["optimizer_states"][0]["state"] for ckpt in (before, again)]
    assert {k: {n: v.shape for n, v in s.items()} for k, s in states[0].items()} == {
        k: {n: v.shape for n, v in s.items()} for k, s in states[1].items()
    }


@pytest.mark.parametrize("task", ["pose", "video"])
def test_alpha_without_an_axis(task, tmp_path):
    """As it was before FSDP2 wanted one."""
    content = small_checkpoints.make(task)
    weights = content["state_dict"]
    names = [name for name in weights if name.endswith("alpha")]
    assert names
    for number, name in enumerate(names):
        weights[name] = torch.tensor(0.5 + number)
    torch.save(content, tmp_path / "old.ckpt")
    load = load_pose_network if task == "pose" else load_video_network
    state = load(tmp_path / "old.ckpt")[0].state_dict()
    found = [state[name.removeprefix("network.")] for name in names]
    assert [value.tolist() for value in found] == [[0.5 + n] for n in range(len(names))]
