"""The examples run, and learn."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Class folders of stripes that lie or stand."""
    root = tmp_path_factory.mktemp("stripes")
    rng = np.random.default_rng(0)
    for split, count in (("train", 24), ("val", 10)):
        for label, name in enumerate(("lying", "standing")):
            (root / split / name).mkdir(parents=True)
            for number in range(count):
                wave = np.sin(np.arange(48) * rng.uniform(0.5, 0.8) + rng.uniform(0, 6))
                image = np.broadcast_to(wave[:, None] if label == 0 else wave, (48, 48))
                noisy = 128 + 80 * image[..., None] + rng.normal(0, 20, (48, 48, 3))
                path = root / split / name / f"{number}.png"
                cv2.imwrite(str(path), noisy.clip(0, 255).astype(np.uint8))
    return root


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(EXAMPLES / "own_task.py"), *arguments],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


def test_classification(folders, tmp_path):
    """It learns stripes, goes on from its checkpoint, and refuses that of another network."""
    common = [
        *("--data.root", str(folders), "--data.input_size", "[32,32]"),
        *("--data.loading.batch_size", "8", "--data.loading.workers", "0"),
        *("--model.block_after", "[layer2]", "--trainer.accelerator", "cpu"),
        *("--trainer.default_root_dir", str(tmp_path), "--trainer.enable_progress_bar", "false"),
    ]
    fitted = run("fit", *common, "--trainer.max_epochs", "3")
    assert fitted.returncode == 0, fitted.stderr[-2000:]
    (checkpoint,) = tmp_path.glob("**/last.ckpt")
    validated = run("validate", *common, "--ckpt_path", str(checkpoint))
    assert validated.returncode == 0, validated.stderr[-2000:]
    (metrics,) = tmp_path.glob("**/metrics_val.json")
    assert json.loads(metrics.read_text())["top1"] >= 0.9
    assert run("predict", *common, "--ckpt_path", str(checkpoint)).returncode == 0
    (predictions,) = tmp_path.glob("**/predictions.npz")
    with np.load(predictions) as found:
        np.testing.assert_allclose(found["scores"].sum(axis=1), np.ones(20), rtol=1e-5)
        assert found["index"].tolist() == list(range(20))
    other = run("validate", *common, "--ckpt_path", str(checkpoint), "--model.block", "a2")
    assert other.returncode != 0
    assert "network.block: 'srl' in the checkpoint, 'a2' here" in other.stderr


def test_an_example_is_short():
    assert len((EXAMPLES / "own_task.py").read_text().splitlines()) < 150
