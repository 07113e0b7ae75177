"""Trainings that are killed go on from the last finished epoch; those that diverge stop."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import coloured_videos
import keypoint_files
import pytest
import torch
import yaml

from spectral_residual.cli import main
from spectral_residual.training.callbacks import find_checkpoint
from spectral_residual.training.checkpoint import read_file

EPOCHS = 3
SRL = [sys.executable, "-c", "import sys; from spectral_residual.cli import main; sys.exit(main())"]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    keypoint_files.write_split(root, "train", 8, seed=1)
    keypoint_files.write_split(root, "val", 4, seed=2)
    coloured_videos.write_split(root / "videos", "train", 2, seed=1)
    coloured_videos.write_split(root / "videos", "val", 1, seed=2)
    return root


@pytest.fixture
def config(root, tmp_path):
    """Writes the configuration of a task with changes to ``model``; logs go to ``tmp_path``."""

    def write(task: str, folder: str = "runs", **model) -> list[str]:
        data = {
            "pose": keypoint_files.data_options(root),
            "video": coloured_videos.data_options(root / "videos"),
        }[task]
        network = {"backbone": "resnet18"}
        network |= {"stages": 2, "deconv_channels": 8} if task == "pose" else {"dropout": 0.5}
        content = {
            "data": data,
            "model": {"network": network, **({"mixup": 0.2} if task == "video" else {}), **model},
            "trainer": {
                "accelerator": "cpu",
                "max_epochs": EPOCHS,
                "enable_progress_bar": False,
                "default_root_dir": str(tmp_path / folder),
            },
        }
        file = tmp_path / f"{folder}.yaml"
        file.write_text(yaml.safe_dump(content))
        return [task, "fit", "--config", str(file)]

    return write


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return read_file(find_checkpoint("last", folder))["state_dict"]


def killed_when(arguments: list[str], folder: Path, epochs: int) -> None:
    """Start a command and kill it once its last checkpoint is of an epoch."""
    environment = os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    process = subprocess.Popen([*SRL, *arguments], env=environment)
    give_up = time.monotonic() + 120
    while time.monotonic() < give_up and process.poll() is None:
        found = find_checkpoint("last", folder)
        if found is not None and read_file(found)["epoch"] >= epochs - 1:
            break
        time.sleep(0.01)
    assert process.poll() is None, "it ended before it was killed"
    process.send_signal(signal.SIGKILL)
    process.wait()


@pytest.mark.parametrize("task", ["pose", "video"])
def test_the_same_command_goes_on_and_ends_as_an_unbroken_run(config, tmp_path, task, caplog):
    unbroken = config(task, "unbroken")
    assert main(unbroken) == 0
    broken = [*config(task, "broken"), "--ckpt_path", "last"]
    killed_when(broken, tmp_path / "broken", epochs=1)
    logging.getLogger("spectral_residual").propagate = True
    assert main(broken) == 0
    assert read_file(find_checkpoint("last", tmp_path / "broken"))["epoch"] == EPOCHS - 1
    for (name, value), other in zip(
        weights(tmp_path / "unbroken").items(), weights(tmp_path / "broken").values(), strict=True
    ):
        torch.testing.assert_close(value, other, rtol=0, atol=1e-6, msg=name)
    assert len(list((tmp_path / "broken").rglob("last.ckpt"))) == 2, "each run has a folder"


def test_the_best_epoch_is_that_of_all_runs(config, tmp_path, capsys):
    command = [*config("pose"), "--trainer.max_epochs", "1"]
    assert main(command) == 0
    (last,) = tmp_path.rglob("last.ckpt")
    (best,) = tmp_path.rglob("best.ckpt")
    content = torch.load(last, weights_only=True)
    (state,) = (s for n, s in content["callbacks"].items() if n.startswith("ModelCheckpoint"))
    high = torch.tensor(0.9)
    state |= {"best_model_score": high, "kth_value": high, "best_k_models": {str(best): high}}
    torch.save(content, last)
    more = [*command[:-1], "2", "--ckpt_path", "last"]
    assert main(more) == 0
    newest = find_checkpoint("best", tmp_path)
    assert newest.parent.parent.name == "version_1"
    assert newest.read_bytes() == best.read_bytes()
    assert f"best epoch (val/AP): {newest}" in capsys.readouterr().err
    # Without the file nothing is known of it.
    newest.unlink()
    assert main([*more[:-3], "3", *more[-2:]]) == 0
    assert "THE BEST EPOCH SO FAR IS FORGOTTEN" in capsys.readouterr().err
    assert read_file(find_checkpoint("best", tmp_path))["epoch"] == 2


def test_the_best_epoch_is_that_of_the_callback(config, capsys):
    callbacks = [{
        "class_path": "lightning.pytorch.callbacks.ModelCheckpoint",
        "init_args": {"monitor": "train/loss", "mode": "min"},
    }]  # fmt: skip
    options = ["--trainer.max_epochs", "1", "--trainer.callbacks", json.dumps(callbacks)]
    assert main([*config("pose"), *options]) == 0
    assert "best epoch (train/loss): " in capsys.readouterr().err


def test_what_is_not_trained_is_said(config, capsys):
    command = config("pose")
    assert main([command[0], "validate", *command[2:]]) == 0
    assert "NO CHECKPOINT" in capsys.readouterr().err


def test_nothing_to_resume_from_is_said(config, tmp_path, capsys):
    assert main([*config("pose"), "--ckpt_path", "last", "--trainer.max_epochs", "1"]) == 0
    assert "NOTHING TO RESUME FROM" in capsys.readouterr().err
    command = config("pose", "nowhere")
    assert main([command[0], "validate", *command[2:], "--ckpt_path", "best"]) == 2
    assert "no best.ckpt below" in capsys.readouterr().err


def test_the_last_checkpoint_is_the_last_epoch(config, tmp_path):
    """With a learning rate of 0 the monitored metric never rises."""
    optimizer = {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.0}}
    assert main(config("pose", optimizer=optimizer)) == 0
    (last,) = tmp_path.rglob("last.ckpt")
    (best,) = tmp_path.rglob("best.ckpt")
    assert read_file(last)["epoch"] == EPOCHS - 1
    assert read_file(best)["epoch"] == 0
    assert not [p for p in last.parent.iterdir() if p.name.startswith(".")]


def test_no_copy_stays_in_the_folder_for_temporary_files(config, tmp_path, monkeypatch):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    command = [*SRL, *config("pose")]
    subprocess.run(command, check=True, capture_output=True)
    assert not list(scratch.rglob("*.ckpt*"))
    assert not [p for p in scratch.iterdir() if p.is_file()]


@pytest.mark.parametrize("task", ["pose", "video"])
def test_a_loss_that_is_not_finite_ends_training(config, tmp_path, task, capsys):
    optimizer = {"class_path": "torch.optim.SGD", "init_args": {"lr": 1e30}}
    assert main(config(task, optimizer=optimizer)) == 2
    message = capsys.readouterr().err
    for part in ("the training loss is", "epoch 0, step", "learning rate 1e+30", "diverged_rank0"):
        assert part in message
    (kept,) = tmp_path.rglob("diverged_rank0.pt")
    content = torch.load(kept, weights_only=True)
    assert {"epoch", "step", "rates", "batch", "network"} <= content.keys()
    assert not list(tmp_path.rglob("last.ckpt")), "no epoch was finished"


@pytest.mark.parametrize("task", ["pose", "video"])
def test_weights_that_are_not_finite_are_refused(config, tmp_path, task, capsys):
    command = config(task)
    assert main([*command, "--trainer.max_epochs", "1"]) == 0
    checkpoint = find_checkpoint("last", tmp_path)
    content = read_file(checkpoint)
    name = next(iter(content["state_dict"]))
    content["state_dict"][name][0] = float("nan")
    torch.save(content, tmp_path / "bad.ckpt")
    for subcommand in ("validate", "fit"):
        more = ["--ckpt_path", str(tmp_path / "bad.ckpt")]
        assert main([task, subcommand, *command[2:], *more]) == 2
        assert f"bad.ckpt: the weights {name} are not finite" in capsys.readouterr().err


def damaged(kind: str, checkpoint: Path, path: Path) -> Path:
    content = checkpoint.read_bytes()
    if kind == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "text":
        path.write_text("no checkpoint\n" * 20)
    elif kind == "flipped":
        middle = len(content) // 3
        path.write_bytes(content[:middle] + bytes(255 - b for b in content[middle : middle + 99]))
    elif kind == "other":
        torch.save({"weights": torch.ones(2)}, path)
    elif kind == "code":
        torch.save({"state_dict": {}, "run": os.system}, path)
    return path


@pytest.mark.parametrize("kind", ["cut", "empty", "text", "flipped", "other", "code"])
def test_a_damaged_checkpoint_is_named(config, tmp_path, kind, capsys):
    command = config("pose")
    assert main([*command, "--trainer.max_epochs", "1"]) == 0
    bad = damaged(kind, find_checkpoint("last", tmp_path), tmp_path / "bad.ckpt")
    for subcommand in ("validate", "fit", "predict"):
        assert main(["pose", subcommand, *command[2:], "--ckpt_path", str(bad)]) == 2
        error = capsys.readouterr().err
        assert "bad.ckpt" in error
        assert "Traceback" not in error


@pytest.mark.parametrize(
    "address", ["http://127.0.0.1:9/a.ckpt", "https://example.org/a.ckpt", "file:///a", "s3://b/c"]
)
def test_addresses_are_refused(config, address, capsys):
    command = config("pose")
    assert main([*command, "--ckpt_path", address]) == 2
    assert "an address; download the file" in capsys.readouterr().err


def test_sigterm_is_not_success(config, tmp_path):
    arguments = [*config("pose"), "--trainer.max_epochs", "1000"]
    process = subprocess.Popen([*SRL, *arguments], stderr=subprocess.DEVNULL)
    give_up = time.monotonic() + 120
    while time.monotonic() < give_up and find_checkpoint("last", tmp_path) is None:
        time.sleep(0.05)
    process.terminate()
    assert process.wait(60) == 128 + signal.SIGTERM
    last = find_checkpoint("last", tmp_path)
    assert json.dumps(read_file(last)["epoch"]).isdigit()
