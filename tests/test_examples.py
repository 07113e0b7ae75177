"""The examples run, and what they print means what docs/examples.md says."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
NOTEBOOK = EXAMPLES / "classification.ipynb"


def run(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(EXAMPLES / name), *arguments],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip


def printed(name: str, *arguments: str) -> str:
    result = run(name, *arguments)
    assert result.returncode == 0, result.stderr[-3000:]
    return result.stdout


def number(pattern: str, text: str) -> float:
    found = re.search(pattern, text, re.MULTILINE)
    assert found, text[-3000:]
    return float(found[1])


def test_classification():
    pytest.importorskip("timm", reason="timm is not installed")
    text = printed("classification.py")
    assert number(r"^no block +([\d.]+) % right", text) < 65
    assert number(r"^srl +([\d.]+) % right", text) > 90


def test_segmentation():
    text = printed("segmentation.py")
    assert number(r"^no block .* ([\d.]+)$", text) < 75
    assert number(r"^srl .* ([\d.]+)$", text) > 85


def test_detection():
    text = printed("detection.py")
    assert "backbone.layer2" in text
    assert number(r"^(\d+) of 40 shapes found", text) >= 24


def test_video(tmp_path):
    pytest.importorskip("av", reason="PyAV is not installed")
    text = printed("video.py", str(tmp_path))
    assert 25 <= number(r"^no block +([\d.]+) %", text) <= 75
    assert number(r"^srl +([\d.]+) %", text) >= 90


@pytest.fixture(scope="module")
def clocks(tmp_path_factory):
    """Folder of pose.py, and what it printed."""
    folder = tmp_path_factory.mktemp("clocks")
    return folder, printed("pose.py", str(folder))


def test_pose(clocks):
    folder, text = clocks
    assert number(r"^PCK ([\d.]+) %", text) >= 90
    assert text.count("\n$ srl pose ") == 3
    overlays = Path(re.search(r"^found joints, drawn: (.*)$", text, re.MULTILINE)[1])
    assert len([*overlays.iterdir()]) == 24
    assert overlays.is_relative_to(folder)


def test_onnx_runtime(clocks):
    pytest.importorskip("onnxscript", reason="onnxscript is not installed")
    text = printed("onnx_runtime.py", str(clocks[0]))
    for joint in ("centre", "hour_tip", "minute_tip"):
        assert number(rf"^{joint} +([\d.]+) pixels", text) < 4
    assert text.endswith("torch was not imported\n")


def test_onnx_runtime_says_what_is_missing(tmp_path):
    result = run("onnx_runtime.py", str(tmp_path))
    assert result.returncode == 1
    assert result.stderr == f"{tmp_path}: no checkpoint; first run: examples/pose.py {tmp_path}\n"


def test_notebook():
    nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed")
    nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed")
    pytest.importorskip("ipykernel", reason="ipykernel is not installed")
    pytest.importorskip("timm", reason="timm is not installed")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbclient.NotebookClient(notebook, timeout=600, kernel_name="python3").execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    text = "".join(output.get("text", "") for output in outputs)
    assert "same output: True" in text
    assert number(r"^no block +([\d.]+) % right", text) < 65
    assert number(r"^srl +([\d.]+) % right", text) > 90
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 2


def test_the_notebook_is_kept_without_outputs():
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert len(code) > 3
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in code)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Class folders of stripes that lie or stand."""
    root = tmp_path_factory.mktemp("stripes")
    rng = np.random.default_rng(0)
    for split, count in (("train", 24), ("val", 10)):
        for label, name in enumerate(("lying", "standing")):
            (root / split / name).mkdir(parents=True)
            for n in range(count):
                wave = np.sin(np.arange(48) * rng.uniform(0.5, 0.8) + rng.uniform(0, 6))
                image = np.broadcast_to(wave[:, None] if label == 0 else wave, (48, 48))
                noisy = 128 + 80 * image[..., None] + rng.normal(0, 20, (48, 48, 3))
                path = root / split / name / f"{n}.png"
                cv2.imwrite(str(path), noisy.clip(0, 255).astype(np.uint8))
    return root


def test_own_task(folders, tmp_path):
    """It learns stripes, goes on from its checkpoint, and refuses that of another network."""
    common = [
        *("--data.root", str(folders), "--data.input_size", "[32,32]"),
        *("--data.loading.batch_size", "8", "--data.loading.workers", "0"),
        *("--model.block_after", "[layer2]", "--trainer.accelerator", "cpu"),
        *("--trainer.default_root_dir", str(tmp_path), "--trainer.enable_progress_bar", "false"),
    ]
    printed("own_task.py", "fit", *common, "--trainer.max_epochs", "3")
    (checkpoint,) = tmp_path.glob("**/last.ckpt")
    printed("own_task.py", "validate", *common, "--ckpt_path", str(checkpoint))
    (metrics,) = tmp_path.glob("**/metrics_val.json")
    assert json.loads(metrics.read_text())["top1"] >= 0.9
    printed("own_task.py", "predict", *common, "--ckpt_path", str(checkpoint))
    (predictions,) = tmp_path.glob("**/predictions.npz")
    with np.load(predictions) as found:
        np.testing.assert_allclose(found["scores"].sum(axis=1), np.ones(20), rtol=1e-5)
        assert found["index"].tolist() == list(range(20))
    other = run(
        *("own_task.py", "validate", *common, "--ckpt_path", str(checkpoint)),
        *("--model.block", "a2"),
    )
    assert other.returncode != 0
    assert "network.block: 'srl' in the checkpoint, 'a2' here" in other.stderr


def test_examples_are_short_and_listed():
    names = {path.name for path in EXAMPLES.iterdir() if path.suffix in (".py", ".ipynb")}
    listed = re.findall(r"^\| `examples/([\w.]+)`", (ROOT / "docs/examples.md").read_text(), re.M)
    assert names == set(listed)
    for path in EXAMPLES.glob("*.py"):
        lines = len(path.read_text(encoding="utf-8").splitlines())
        assert lines < (150 if path.name == "own_task.py" else 100), path.name
