"""A full disk, no folder, killed loaders, damaged states: errors in words, nothing lost."""

from __future__ import annotations

import copy
import os
import signal
import subprocess
import sys
import time

import coloured_videos
import pytest
import torch
import yaml
from coloured_videos import write_split

from spectral_residual.cli import main
from spectral_residual.training.callbacks import find_checkpoint
from spectral_residual.training.checkpoint import read_file

SRL = "import sys; from spectral_residual.cli import main; sys.exit(main())"
# Files of more than 40 MB cannot be written: what a full disk does, without one.
FULL = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (40 * 2**20, -1)); " + SRL


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("videos")
    write_split(root, "train", 2, seed=1)
    write_split(root, "val", 1, seed=2)
    return root


@pytest.fixture(scope="module")
def config(root):
    content = {
        "data": coloured_videos.data_options(root),
        "model": {"network": {"backbone": "resnet18"}},
        "trainer": {
            "accelerator": "cpu",
            "max_epochs": 1,
            "enable_progress_bar": False,
            "default_root_dir": str(root / "runs"),
        },
    }
    file = root / "config.yaml"
    file.write_text(yaml.safe_dump(content))
    return str(file)


@pytest.fixture(scope="module")
def trained(config, root):
    assert main(["video", "fit", "--config", config]) == 0
    return find_checkpoint("last", root / "runs")


def test_a_full_disk_is_named_and_nothing_is_lost(config, trained, tmp_path):
    runs = tmp_path / "runs/lightning_logs/version_0/checkpoints"
    runs.mkdir(parents=True)
    (runs / "last.ckpt").write_bytes(trained.read_bytes())
    command = ["video", "fit", "--config", config, "--ckpt_path", "last"]
    more = ["--trainer.default_root_dir", str(tmp_path / "runs"), "--trainer.max_epochs", "2"]
    done = subprocess.run(
        [sys.executable, "-c", FULL, *command, *more],
        capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr[-3000:]
    assert "Traceback" not in done.stderr
    assert "the checkpoint cannot be written, and what was there stays" in done.stderr
    assert read_file(runs / "last.ckpt")["epoch"] == 0
    assert not [path for path in tmp_path.rglob(".*") if "ckpt" in path.name]


@pytest.mark.parametrize("command", ["fit", "validate", "predict"])
def test_an_output_folder_that_cannot_be(config, trained, tmp_path, command, capsys):
    (tmp_path / "file").write_text("")
    more = ["--ckpt_path", str(trained)] if command != "fit" else []
    folder = str(tmp_path / "file/runs")
    arguments = ["--config", config, *more, "--trainer.default_root_dir", folder]
    assert main(["video", command, *arguments]) == 2
    assert "file/runs" in capsys.readouterr().err


def test_prediction_looks_at_its_folder_first(root, trained, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    video = str(root / "val/red/0.mp4")
    for output in (tmp_path / "file", "/proc/no"):
        arguments = ["--ckpt", str(trained), "--output", str(output), video]
        assert main(["video", "predict", *arguments]) == 2
        found = capsys.readouterr()
        assert str(output) in found.err
        assert "%" not in found.out


def test_a_killed_loader_ends_training_in_words(config, root, tmp_path):
    runs = tmp_path / "runs"
    more = ["--trainer.default_root_dir", str(runs), "--trainer.max_epochs", "1000"]
    more += ["--data.loading.workers", "1"]
    process = subprocess.Popen(
        [sys.executable, "-c", SRL, "video", "fit", "--config", config, *more],
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    give_up = time.monotonic() + 120
    while time.monotonic() < give_up and find_checkpoint("last", runs) is None:
        time.sleep(0.05)
    children = subprocess.run(
        ["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=True
    ).stdout.split()
    os.kill(int(children[-1]), signal.SIGKILL)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 2, errors[-3000:]
    assert "srl: error: a loader process died" in errors
    assert "Traceback" not in errors
    assert read_file(find_checkpoint("last", runs))["epoch"] >= 0


def test_what_a_loader_process_raises_comes_without_its_stack(config, root, trained, capsys):
    broken = root / "val/red/broken.mp4"
    broken.write_text("no video")
    try:
        arguments = ["--config", config, "--ckpt", str(trained), "--data.loading.workers", "1"]
        assert main(["video", "validate", *arguments]) == 2
    finally:
        broken.unlink()
    error = capsys.readouterr().err
    assert f"srl: error: {broken}: not a video" in error
    assert "Traceback" not in error


def without(*place):
    def change(content):
        for key in place[:-1]:
            content = content[key]
        del content[place[-1]]

    return change


def with_(value, *place):
    def change(content):
        for key in place[:-1]:
            content = content[key]
        content[place[-1]] = value

    return change


@pytest.mark.parametrize(
    "change",
    [
        without("optimizer_states"),
        without("pytorch-lightning_version"),
        with_("x", "loops", "fit_loop"),
        with_([1], "loops"),
        with_(3, "optimizer_states"),
        without("optimizer_states", 0, "param_groups", 0),
        with_(None, "optimizer_states", 0, "state", 3),
        with_(torch.zeros(7), "optimizer_states", 0, "state", 3, "momentum_buffer"),
        with_([], "callbacks"),
        without("spectral_residual_video", "input_size"),
        with_(5, "spectral_residual_video", "network"),
        with_(torch.zeros(7), "state_dict", "network.backbone.conv1.weight"),
        without("state_dict", "network.fc.weight"),
        with_(torch.zeros(7), "state_dict", "network.more"),
    ],
)
def test_damaged_states_name_the_checkpoint(config, trained, tmp_path, change, capsys):
    content = copy.deepcopy(read_file(trained))
    change(content)
    torch.save(content, tmp_path / "bad.ckpt")
    runs = ["--trainer.default_root_dir", str(tmp_path / "runs"), "--trainer.max_epochs", "2"]
    arguments = ["--config", config, "--ckpt_path", str(tmp_path / "bad.ckpt"), *runs]
    assert main(["video", "fit", *arguments]) == 2
    error = capsys.readouterr().err
    assert f"srl: error: {tmp_path}/bad.ckpt: " in error
    assert "Traceback" not in error
