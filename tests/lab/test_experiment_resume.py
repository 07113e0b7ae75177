"""An experiment that is killed and started again ends as an unbroken one."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import lightning
import pytest
import torch
import yaml
from experiment_command import main
from torch import nn
from torch.utils.data import DataLoader

from spectral_residual.lab.experiments.definitions import read_experiment
from spectral_residual.lab.experiments.worker import EpochRecorder, execute, read_record
from spectral_residual.lab.generated import PeopleOptions, generate_dataset

EPOCHS = 3


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    """Folder with generated people and the definition of a tiny experiment."""
    folder = tmp_path_factory.mktemp("experiment")
    generate_dataset(folder / "people", PeopleOptions(24, 8, image_size=(96, 96), seed=1))
    config = {
        "data": {
            "root": str(folder / "people"),
            "input_size": [64, 64],
            "loading": {"batch_size": 8, "workers": 1},
        },
        "model": {
            "network": {
                "backbone": "resnet18",
                "stages": 2,
                "deconv_channels": 16,
                "block": "srl-lo",
                "block_after": ["d1"],
            },
            "optimizer": {"class_path": "torch.optim.AdamW", "init_args": {"lr": 0.003}},
            "lr_scheduler": {
                "class_path": "torch.optim.lr_scheduler.CosineAnnealingLR",
                "init_args": {"T_max": EPOCHS},
            },
            "sigma": 2,
        },
        "trainer": {"accelerator": "cpu", "max_epochs": EPOCHS, "enable_progress_bar": False},
    }
    (folder / "base.yaml").write_text(yaml.safe_dump(config))
    definition = {
        "title": "tiny",
        "kind": "pose",
        "data": "generated people",
        "metrics": ["PCK", "AP"],
        "configs": [str(folder / "base.yaml")],
        "runs": [{"name": "base"}],
    }
    (folder / "tiny.yaml").write_text(yaml.safe_dump(definition))
    return folder


@pytest.fixture(scope="module")
def unbroken(experiment):
    """What a run gives that nothing interrupts."""
    return execute_in("unbroken", experiment)


def execute_in(name, folder):
    (folder / name).mkdir(exist_ok=True)
    run = read_experiment(folder, "tiny").runs[0]
    code = {"commit": None, "dirty": False}
    return execute("pose", run.arguments(0), folder / name, 0, code)


def command(folder):
    return [
        "run", "tiny", "--experiments", str(folder), "--results", str(folder / "results"),
        "--output", str(folder / "runs"),
    ]  # fmt: skip


def wait_for_checkpoint(folder, process):
    end = time.monotonic() + 120
    while time.monotonic() < end:
        found = list((folder / "runs/tiny").glob("base-seed0-*/last.ckpt"))
        if found:
            return found[0]
        if process.poll() is not None:
            pytest.fail("the runner ended before its first epoch")
        time.sleep(0.01)
    pytest.fail("no checkpoint after two minutes")


def test_killed_and_started_again(experiment, unbroken, capfd, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", str(torch.get_num_threads()))  # as many as `unbroken` had
    assert unbroken["epochs"] == EPOCHS
    program = "import sys; from spectral_residual.cli import main; main(sys.argv[1:])"
    words = [sys.executable, "-c", program, "experiment", *command(experiment)]
    killed = subprocess.Popen(words)
    checkpoint = wait_for_checkpoint(experiment, killed)
    killed.kill()
    killed.wait()
    checkpoint.with_name("last.ckpt.part").write_bytes(checkpoint.read_bytes()[:1000])
    assert not (experiment / "results").exists()

    assert main(command(experiment)) == 0
    (line,) = (experiment / "results/tiny.jsonl").read_text().splitlines()
    record = json.loads(line)
    sessions = [session["epoch"] for session in record["sessions"]]
    assert len(sessions) == 2
    assert sessions[0] == 0
    assert 0 < sessions[1] < EPOCHS
    assert record["metrics"].keys() == unbroken["metrics"].keys()
    for name, value in unbroken["metrics"].items():
        assert record["metrics"][name] == pytest.approx(value, abs=1e-6), name
    assert [e["epoch"] for e in record["history"]] == list(range(EPOCHS))
    for entry, expected in zip(record["history"], unbroken["history"], strict=True):
        assert entry["loss"] == pytest.approx(expected["loss"], abs=1e-6)
        assert entry["metrics"]["PCK"] == pytest.approx(expected["metrics"]["PCK"], abs=1e-6)
    assert record["samples"] == unbroken["samples"]
    assert record["data"] == unbroken["data"]

    capfd.readouterr()
    assert main(command(experiment)) == 0
    assert "base, seed 0: finished before" in capfd.readouterr().out
    assert len((experiment / "results/tiny.jsonl").read_text().splitlines()) == 1


def test_a_finished_training_whose_result_was_lost_is_only_evaluated(experiment, unbroken):
    again = execute_in("unbroken", experiment)
    assert again["history"] == unbroken["history"]
    assert again["sessions"] == unbroken["sessions"]
    assert again["metrics"] == unbroken["metrics"]
    last = again["history"][-1]["metrics"]
    assert again["metrics"]["PCK"] == pytest.approx(last["PCK"], abs=1e-6)


class Dropping(lightning.LightningModule):
    """Regression whose loss depends on dropout."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(8, 16), nn.Dropout(0.5), nn.Linear(16, 1))

    def training_step(self, batch, batch_idx):
        loss = (self.layers(batch) - batch.sum(1, keepdim=True)).square().mean()
        self.log("train/loss", loss, on_step=True, on_epoch=True)
        return loss

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01)


def train_dropping(folder, epochs, seed=0, resume=None):
    lightning.seed_everything(3, verbose=False)
    task = Dropping()
    recorder = EpochRecorder(folder / "last.ckpt", seed, {"commit": None, "dirty": False})
    trainer = lightning.Trainer(
        accelerator="cpu", max_epochs=epochs, logger=False, callbacks=[recorder],
        enable_progress_bar=False, enable_model_summary=False, default_root_dir=folder,
    )  # fmt: skip
    data = torch.randn(32, 8, generator=torch.Generator().manual_seed(0))
    trainer.fit(task, DataLoader(data, batch_size=8), ckpt_path=resume)
    return task.state_dict()


def test_dropout_is_the_same_in_a_resumed_run(tmp_path):
    folders = [tmp_path / name for name in ("whole", "half", "other")]
    for folder in folders:
        folder.mkdir()
    whole = train_dropping(folders[0], 4)
    train_dropping(folders[1], 2)
    torch.rand(1000)
    resumed = train_dropping(folders[1], 4, resume=folders[1] / "last.ckpt")
    other = train_dropping(folders[2], 4, seed=1)
    for name, value in whole.items():
        torch.testing.assert_close(resumed[name], value, rtol=0, atol=1e-7)
    assert not torch.equal(other["layers.0.weight"], whole["layers.0.weight"])
    record = read_record(folders[1] / "last.ckpt")
    assert [entry["epoch"] for entry in record["epochs"]] == [0, 1, 2, 3]
    assert [session["epoch"] for session in record["sessions"]] == [0, 2]


def test_other_checkpoints_are_refused(tmp_path):
    torch.save({"state_dict": {}}, tmp_path / "other.ckpt")
    with pytest.raises(ValueError, match=r"other\.ckpt: not a checkpoint of an experiment"):
        read_record(tmp_path / "other.ckpt")
