"""What files of metrics say for the model card."""

from __future__ import annotations

from dataclasses import asdict

import pytest

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
