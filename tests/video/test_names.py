"""Names of files and classes: printed without control characters, each with a picture of its own;
and the commands that need no PyAV."""

from __future__ import annotations

import ast
import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from coloured_videos import coloured_frames, write_split, write_video
from video_setup import save_trained

import spectral_residual
from spectral_residual.cli import main
from spectral_residual.video.results import VideoScores, print_evaluation, write_evaluation

PACKAGE = Path(spectral_residual.__file__).parent


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    root = tmp_path_factory.mktemp("videos")
    write_split(root, "train", 2, seed=1)
    write_split(root, "val", 1, seed=2)
    return save_trained(root, root / "model.ckpt")


def test_names_of_any_kind_are_predicted_on(trained, tmp_path, capfd):
    """Control characters, no Unicode, 250 letters, and one name in two folders."""
    names = [
        "a/same.mp4",
        "b/same.mp4",
        "a/same.avi",
        "a/\x1b]0;title\x07.mp4",
        "a/two\nlines.mp4",
        "a/\u202egpj.mp4",
        os.fsdecode(b"a/\xff\xfe.mp4"),
        "a/" + "ü" * 120 + ".mp4",
        "a/$x$ %d {}.mp4",
    ]
    frames = coloured_frames(0, np.random.default_rng(0))
    write_video(tmp_path / "plain.mp4", frames)
    files = [tmp_path / name for name in names]
    for file in files:
        file.parent.mkdir(exist_ok=True)
        file.write_bytes((tmp_path / "plain.mp4").read_bytes())
    broken = tmp_path / "a/\x1b[2Jbroken.mp4"
    broken.write_text("no video")
    out = tmp_path / "out"
    arguments = ["--ckpt", str(trained), "--output", str(out), *map(str, [*files, broken])]
    assert main(["video", "predict", *arguments]) == 0
    printed = "".join(capfd.readouterr())
    assert all(line.isprintable() for line in printed.split("\n"))
    assert r"\x1b]0;title\x07.mp4" in printed
    assert r"\x1b[2Jbroken.mp4" in printed
    entries = json.loads((out / "predictions.json").read_text())["videos"]
    assert [entry["video"] for entry in entries] == [str(file) for file in files]
    pictures = [entry["picture"] for entry in entries]
    assert len(set(pictures)) == len(files)
    assert sorted(pictures) == sorted(path.name for path in out.glob("*.png"))
    assert all(picture.isprintable() for picture in pictures)


def test_errors_and_messages_are_printed_in_plain_characters(tmp_path, capsys):
    assert main(["video", "predict", "--ckpt", "x", "\x1b[2J.mp4", "line\nbreak.mp4"]) == 2
    error = capsys.readouterr().err
    assert r"no video file \x1b[2J.mp4, line\nbreak.mp4" in error
    assert main(["video", "score", "\x1b[2J.npz"]) == 2
    assert "\x1b" not in capsys.readouterr().err
    logging.getLogger("spectral_residual.test").warning("left out: %s", "\x1b[2J\x07")
    assert capsys.readouterr().err == "WARNING left out: \\x1b[2J\\x07\n"


def test_tables_and_pictures_of_classes(tmp_path, capsys):
    scores = np.full((2, 1, 2), 0.5, np.float32)
    names = ["\x1b[31mred", "blue\r\n$"]
    found = VideoScores(scores, np.array([0, 1]), ["a", "b"], names)
    print_evaluation(found, found.metrics())
    write_evaluation(tmp_path, "val", found, found.metrics())
    assert "\x1b" not in capsys.readouterr().out
    assert (tmp_path / "confusion_val.png").is_file()


WITHOUT_AV = """
import sys
sys.modules["av"] = None
from spectral_residual.cli import main
for words in sys.argv[1:]:
    try:
        status = main(words.split())
    except SystemExit as stop:
        status = stop.code
    print(words, "->", status)
    if status: print(words, status, file=sys.stderr)
"""


def test_all_but_videos_goes_without_pyav(tmp_path):
    """As after ``pip install ".[pose]"``."""
    fine = ["pose fit --help", "pose speed --help", "pose predict --help", "data people --help"]
    fine += ["demo pose --help", "viz --help", "cost --help", "bench --help", "tables"]
    fine += [
        "experiment list --help",
        f"data people {tmp_path}/people --train-images 2 --val-images 1",
    ]
    needing = ["video fit --help", "video predict --ckpt a b.mp4", "video score a.npz"]
    needing += [f"data videos {tmp_path}/videos", "demo video --help"]
    run = subprocess.run(
        [sys.executable, "-c", WITHOUT_AV, *fine, *needing],
        capture_output=True, text=True, check=True, timeout=200,
    )  # fmt: skip
    for words in fine:
        assert f"{words} -> 0" in run.stdout, run.stderr
    for words in needing:
        assert f"{words} -> 2" in run.stdout, words
    assert run.stderr.count('pip install "spectral_residual[video]"') == len(needing)


def test_only_the_room_of_videos_imports_pyav():
    for path in PACKAGE.rglob("*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if any(name.split(".")[0] == "av" for name in names):
                assert path.parent.name == "video", path
