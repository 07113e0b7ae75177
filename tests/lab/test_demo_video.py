"""The video demo on a few videos: everything it promises is there."""

from __future__ import annotations

import json

import pytest

from spectral_residual.cli import main
from spectral_residual.lab.demo.video import VideoRun, video_table


def test_demo_on_a_few_videos(tmp_path, capsys):
    arguments = ["--train-videos", "3", "--val-videos", "1", "--epochs", "1"]
    output = tmp_path / "demo"
    assert main(["demo", "video", "--output", str(output), "--blocks", "tsm", *arguments]) == 0
    printed = capsys.readouterr().out
    printed = printed[printed.index("| model") :]  # each network's own tables stand before
    table = [line for line in printed.splitlines() if line.startswith("| ")]
    assert [line.split("|")[1].strip() for line in table[2:]] == ["C2D", "+ tsm"]
    runs = json.loads((output / "results.json").read_text())
    assert [run["name"] for run in runs] == ["C2D", "+ tsm"]
    assert runs[0]["parameters"] == runs[1]["parameters"], "a temporal shift has no parameters"
    # The two videos of a pair are each other backwards: only order-blind scores are always tied.
    assert runs[0]["metrics"]["direction"] == 0.5
    for name in ("C2D", "tsm"):
        assert (output / name / "confusion_val.png").is_file()
        assert len(list((output / name / "predictions").glob("*.png"))) == 8
        assert list((output / name).glob("**/*.ckpt"))


def test_table_has_percentages_and_units():
    metrics = {"top1": 0.5, "top5": 0.9, "mean_class": 0.5, "direction": 0.25}
    lines = video_table([VideoRun("C2D", metrics, 11_180_000, 0.75, 31.26)]).splitlines()
    assert [cell.strip() for cell in lines[2].strip("|").split("|")] == [
        "C2D", "50.0", "90.0", "25.0", "11.180", "0.750", "31.3",
    ]  # fmt: skip


def test_unknown_block_is_named_before_anything_is_written(tmp_path, capsys):
    output = tmp_path / "demo"
    assert main(["demo", "video", "--output", str(output), "--blocks", "rcca"]) == 2
    assert "unknown block for videos 'rcca'" in capsys.readouterr().err
    assert not output.exists()


@pytest.mark.parametrize("task", ["pose", "video"])
def test_a_block_is_given_once(tmp_path, capsys, task):
    output = tmp_path / "demo"
    command = ["demo", task, "--output", str(output), "--blocks", "srl", "srl"]
    assert main(command) == 2
    assert "--blocks: got 'srl' 2 times, expected once" in capsys.readouterr().err
    assert not output.exists()
