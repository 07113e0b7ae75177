"""What files of metrics say for the model card."""

from __future__ import annotations

from dataclasses import asdict

import pytest
import torch
import yaml

from spectral_residual.report.card import model_card
from spectral_residual.training.pretrained import About
from spectral_residual.training.publish import gather_about


def test_metrics_that_nothing_was_measured_of(tmp_path):
    path = tmp_path / "metrics_val.json"
    path.write_text('{"AP": 0.5, "AP(M)": -1.0, "direction": null, "PCK": NaN, "videos": 19101}')
    about = gather_about(tmp_path, [path], About())
    assert about.metrics == {"val": {"AP": 0.5, "videos": 19101}}
    assert "| videos | 19101 |" in model_card("n", "pose", "x", {"Network": "n"}, asdict(about))


def test_metrics_of_the_same_data(tmp_path):
    paths = [tmp_path / name / "metrics_val.json" for name in "ab"]
    for path in paths:
        path.parent.mkdir()
        path.write_text('{"AP": 0.5}')
    with pytest.raises(ValueError, match=f"got {paths[0]} and {paths[1]}, both of val; expected"):
        gather_about(tmp_path, paths, About())
    for path in paths:
        write_config(
            path.parent, data={"root": f"sets/{path.parent.name}", "val": {"annotations": "auto"}}
        )
    assert gather_about(tmp_path, paths, About()).metrics.keys() == {"val (a)", "val (b)"}


def write_config(folder, ckpt_path=None, weights=None, **content):
    content |= {"ckpt_path": ckpt_path, "model": {"network": {"weights": weights}}}
    (folder / "config.yaml").write_text(yaml.safe_dump(content))


def test_initial_weights_of_a_training_that_was_resumed(tmp_path):
    """The run that goes on does not name those that the first began with."""
    runs = [tmp_path / f"version_{number}" for number in range(3)]
    lasts = [run / "checkpoints/last.ckpt" for run in runs]
    for last in lasts:
        last.parent.mkdir(parents=True)
        torch.save({"state_dict": {}, "epoch": 3, "global_step": 9}, last)

    def told():
        return gather_about(lasts[-1], [], About()).training["Initial weights"]

    write_config(runs[2])
    assert told() == "random"
    write_config(runs[2], ckpt_path=str(lasts[1]))
    assert told() == "not stated"
    write_config(runs[1], ckpt_path=str(lasts[0]))
    write_config(runs[0], weights="/home/someone/r18.pth")
    assert told() == "trunk: r18.pth"
    write_config(runs[0])
    assert told() == "random"
    write_config(runs[0], ckpt_path=str(lasts[0]))  # written over by a run in the same folder
    assert told() == "not stated"
