"""Classes of videos without torch are those of the PyTorch pipeline."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import coloured_videos
import numpy as np
import pytest
from exported import save_video

import spectral_residual
from spectral_residual.video.export import export_video
from spectral_residual.video.network import VideoNetwork
from spectral_residual.video.predict import predict_files

pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")

from spectral_residual.runtime import VideoPredictor

CLASSES = ["blue", "green", "red", "yellow"]
CONFIG = VideoNetwork("resnet18", block="srl", block_after=["backbone.layer3.0"])
VIEWS = {
    "random": {"clips": 5, "placing": "random", "crops": 1},
    "even": {"clips": 2, "placing": "even", "crops": 3},
    "centre": {"clips": 1, "placing": "centre", "crops": 3},
}


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    root = tmp_path_factory.mktemp("videos")
    coloured_videos.write_split(root, "val", 1, seed=2)
    return sorted(root.glob("val/*/*.mp4"))


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Checkpoint and exported folder for views of a name, made once."""
    root = tmp_path_factory.mktemp("exported")
    made = {}

    def get(name):
        if name not in made:
            sampling = {"stride": 2, "short_side": 36, "views": VIEWS[name]}
            path = root / f"{name}.ckpt"
            save_video(path, CONFIG, CLASSES, (32, 32), 4, sampling)
            report = export_video(path, root / name, rounds=1)
            assert report.error <= 1e-4
            made[name] = path, root / name
        return made[name]

    return get


@pytest.mark.parametrize("name", VIEWS)
def test_same_probabilities(name, videos, exported, tmp_path, shared_data):
    files = [*videos, *sorted(shared_data("video_samples").glob("test.*"))]
    checkpoint, folder = exported(name)
    expected = predict_files(checkpoint, files, tmp_path)
    predictor = VideoPredictor(folder)
    rows = []
    for number, file in enumerate(files):
        found = predictor(file, number=number)
        np.testing.assert_allclose(found.views, expected.scores[number], atol=1e-5)
        np.testing.assert_allclose(found.probabilities, expected.averaged()[number], atol=1e-5)
        assert found.probabilities.sum() == pytest.approx(1, abs=1e-5)
        rows.append(found.probabilities)
    assert np.std(rows, axis=0).max() > 1e-3
    best = found.best(2)
    assert [name for name, _ in best] == [CLASSES[i] for i in np.argsort(-rows[-1])[:2]]
    if name == "random":
        other = predictor(files[-1], number=0).views
        assert not np.allclose(other, found.views, atol=1e-5)


def test_without_torch(videos, exported):
    _, folder = exported("even")
    program = (
        "import sys, json\n"
        "sys.modules['torch'] = None\n"
        "from spectral_residual.runtime import VideoPredictor\n"
        f"found = VideoPredictor({str(folder)!r})({str(videos[0])!r})\n"
        "print(json.dumps(found.best()))"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(spectral_residual.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True, text=True, check=False, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    here = VideoPredictor(folder)(videos[0]).best()
    got = json.loads(done.stdout)
    assert [name for name, _ in got] == [name for name, _ in here]
    assert [score for _, score in got] == pytest.approx([score for _, score in here], abs=1e-6)


def test_errors(videos, exported, tmp_path):
    _, folder = exported("even")
    predictor = VideoPredictor(folder)
    with pytest.raises(ValueError, match=r"absent.mp4: no such file"):
        predictor(tmp_path / "absent.mp4")
    content = json.loads((folder / "model.json").read_text())
    (tmp_path / "model.onnx").write_bytes((folder / "model.onnx").read_bytes())
    del content["classes"], content["sampling"]["stride"]
    (tmp_path / "model.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match="sampling: missing field 'stride'\n.*'classes'"):
        VideoPredictor(tmp_path)
    for part, change, message in (
        ("sampling", {"views": 5}, "views: got 5, expected an object"),
        ("sampling", {"views": {"clips": 0.5}}, "views: clips: got 0.5, expected integers"),
        ("sampling", {"views": {"clips": 1, "more": 1}}, "sampling: views: .*'more'"),
        ("sampling", {"frames": "4"}, "sampling: frames: got '4'"),
        ("sampling", {"frames": 8}, r"got one input \(3, 8, 32, 32\) .*3, 4, 32, 32\]"),
        (None, {"classes": ["a", "b"]}, r"classes of .*got one output \(2,\) .*'batch', 4\]"),
        (None, {"classes": [1, 2, 3, 4]}, r"classes: got \[1, 2, 3, 4\], expected a list of nam"),
        (None, {"classes": ["a"] * 4}, r"classes: got \[.a., .*expected different names"),
        ("sampling", {"short_side": 10**9}, "short_side: got 1000000000, expected integers from"),
    ):
        content = json.loads((folder / "model.json").read_text())
        (content if part is None else content[part]).update(change)
        (tmp_path / "model.json").write_text(json.dumps(content))
        with pytest.raises(ValueError, match=message):
            VideoPredictor(tmp_path)
    content = json.loads((folder / "model.json").read_text())
    content["sampling"]["short_side"] = 20
    (tmp_path / "model.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match="short_side: got 20"):
        VideoPredictor(tmp_path)


def test_a_checkpoint_without_sampling(tmp_path):
    import torch

    path = tmp_path / "old.ckpt"
    save_video(path, CONFIG, CLASSES, (32, 32), 4, {})
    content = torch.load(path, weights_only=True)
    del content["spectral_residual_video"]["sampling"]
    torch.save(content, path)
    with pytest.raises(ValueError, match=r"old.ckpt: it does not say how clips are sampled"):
        export_video(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()
