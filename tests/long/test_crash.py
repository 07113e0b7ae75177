"""SIGKILL at random moments, again and again; `make test-long` runs it."""

from __future__ import annotations

import json
import os
import random
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

from spectral_residual.training.callbacks import find_checkpoint
from spectral_residual.training.checkpoint import read_file

KILLS = 20
EPOCHS = {"pose": 40, "video": 120, "experiment": 40}
SRL = [sys.executable, "-c", "import sys; from spectral_residual.cli import main; sys.exit(main())"]


def run_with_kills(arguments: list[str], scratch: Path, seed: int, kills: int = KILLS) -> int:
    """Run a command until it ends by itself, killing it at first; gives the number of kills.

    The temporary folder is `scratch`, on another file system than the output where
    ``/dev/shm`` is one.
    """
    rng = random.Random(seed)
    environment = os.environ | {"TMPDIR": str(scratch), "OMP_NUM_THREADS": "1"}
    for count in range(kills + 1):
        process = subprocess.Popen(
            [*SRL, *arguments], env=environment, start_new_session=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )  # fmt: skip
        if count == kills:
            _, errors = process.communicate(timeout=600)
            assert process.returncode == 0, errors.decode()[-2000:]
            return count
        time.sleep(rng.uniform(3.0, 9.0))
        if process.poll() is not None:
            assert process.returncode == 0, process.stderr.read().decode()[-2000:]
            return count
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    raise AssertionError


@pytest.fixture
def scratch(tmp_path):
    shared = Path("/dev/shm")
    folder = (shared if shared.is_dir() else tmp_path) / f"srl-test-{os.getpid()}"
    folder.mkdir(exist_ok=True)
    yield folder
    for path in folder.iterdir():
        assert ".ckpt" not in path.name, "a checkpoint passed through the temporary folder"
    subprocess.run(["rm", "-r", str(folder)], check=True)


def configuration(task: str, root: Path, runs: Path) -> dict:
    pose = keypoint_files.data_options(root, workers=1)
    video = coloured_videos.data_options(root / "videos", workers=1)
    network = {"stages": 2, "deconv_channels": 8, "block": "srl-lo", "block_after": ["d1"]}
    return {
        "data": pose if task == "pose" else video,
        "model": {"network": {"backbone": "resnet18", **(network if task == "pose" else {})}},
        "trainer": {
            "accelerator": "cpu",
            "max_epochs": EPOCHS[task],
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "default_root_dir": str(runs),
        },
    }


@pytest.mark.parametrize("task", ["pose", "video"])
def test_a_training_that_is_killed_often_ends_as_an_unbroken_one(task, tmp_path, scratch):
    keypoint_files.write_split(tmp_path, "train", 16, seed=1)
    keypoint_files.write_split(tmp_path, "val", 4, seed=2)
    coloured_videos.write_split(tmp_path / "videos", "train", 2, seed=1)
    coloured_videos.write_split(tmp_path / "videos", "val", 1, seed=2)
    ends = {}
    for name, kills in (("unbroken", 0), ("broken", KILLS)):
        file = tmp_path / f"{name}.yaml"
        file.write_text(yaml.safe_dump(configuration(task, tmp_path, tmp_path / name)))
        arguments = [task, "fit", "--config", str(file), "--ckpt_path", "last"]
        count = run_with_kills(arguments, scratch, seed=len(task), kills=kills)
        ends[name] = read_file(find_checkpoint("last", tmp_path / name))
        print(f"{task} {name}: {count} kills")
    assert ends["broken"]["epoch"] == ends["unbroken"]["epoch"] == EPOCHS[task] - 1
    for name, value in ends["unbroken"]["state_dict"].items():
        other = ends["broken"]["state_dict"][name]
        torch.testing.assert_close(value, other, rtol=0, atol=1e-6, msg=name)


def test_an_experiment_that_is_killed_often_gives_the_same_metrics(tmp_path, scratch):
    keypoint_files.write_split(tmp_path, "train", 16, seed=1)
    keypoint_files.write_split(tmp_path, "val", 4, seed=2)
    base = configuration("pose", tmp_path, tmp_path / "unused")
    del base["trainer"]["default_root_dir"]
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(base))
    definition = {
        "title": "tiny",
        "kind": "pose",
        "data": "dots",
        "metrics": ["PCK", "AP"],
        "configs": [str(tmp_path / "base.yaml")],
        "seeds": [0],
        "runs": [{"name": "base"}, {"name": "more", "overrides": {"data.seed": 1}}],
    }
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(definition))
    found = {}
    for name, kills in (("unbroken", 0), ("broken", KILLS)):
        results = tmp_path / f"results-{name}"
        arguments = [
            *("experiment", "run", "tiny", "--experiments", str(tmp_path)),
            *("--results", str(results), "--output", str(tmp_path / f"runs-{name}")),
        ]
        count = run_with_kills(arguments, scratch, seed=3, kills=kills)
        print(f"experiment {name}: {count} kills")
        lines = (results / "tiny.jsonl").read_text().splitlines()
        found[name] = {json.loads(line)["run"]: json.loads(line)["metrics"] for line in lines}
    assert found["broken"].keys() == found["unbroken"].keys()
    for run, metrics in found["unbroken"].items():
        assert found["broken"][run] == pytest.approx(metrics, abs=1e-6)
