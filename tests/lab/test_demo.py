"""The demo on a few images: everything it promises is there."""

from __future__ import annotations

from spectral_residual.cli import main


def test_demo_and_generated_data(tmp_path, capsys):
    arguments = ["--train-images", "30", "--val-images", "8", "--epochs", "3"]
    assert main(["demo", "pose", "--output", str(tmp_path / "demo"), *arguments]) == 0
    printed = capsys.readouterr().out
    table = [line for line in printed.splitlines() if line.startswith("| ")]
    assert any(line.startswith("| SimpleBaseline") for line in table)
    assert any(line.startswith("| + srl") for line in table)
    for heading in ("AP", "AR", "parameters", "GFLOPs", "ms/image"):
        assert heading in printed
    report = tmp_path / "demo/report.html"
    assert f"Report: {report}" in printed
    page = report.read_text()
    assert page.count("<img") >= 5, "curves, filters and three sheets of skeletons"
    assert (tmp_path / "demo/data/annotations/person_keypoints_val2017.json").is_file()
    assert list((tmp_path / "demo").glob("**/*.ckpt"))
