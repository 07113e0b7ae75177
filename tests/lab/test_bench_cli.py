"""The command line of ``srl bench``."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch
from bench_rows import TINY

from spectral_residual.cli import _command
from spectral_residual.lab.bench.measure import measure
from spectral_residual.lab.bench.report import BenchReport, read_report
from spectral_residual.lab.bench.rows import Row
from spectral_residual.lab.bench.steps import block_jobs

CPU = torch.device("cpu")


def main(arguments):
    return _command(["bench", *arguments])


@pytest.fixture
def rows_file(tmp_path):
    def write(entries):
        path = tmp_path / "rows.json"
        path.write_text(entries if isinstance(entries, str) else json.dumps(entries))
        return path

    return write


def _milder(report, *, memory):
    """The report with times 1e9 times as large, and less memory: as if stored long ago."""
    rows = [
        m
        if m.mode == "copy"
        else dataclasses.replace(
            m,
            per_round=tuple(1e9 * ms for ms in m.per_round),
            peak_bytes=m.peak_bytes / memory,
        )
        for m in report.rows
    ]
    return dataclasses.replace(report, rows=rows)


def test_command(rows_file, tmp_path, capsys):
    arguments = ["--rows", str(rows_file(TINY)), "--rounds", "3", "--budget", "0.001"]
    stored, plot = tmp_path / "stored.json", tmp_path / "plot.png"
    assert main([*arguments, "--json", str(stored), "--plot", str(plot)]) == 0
    printed = capsys.readouterr().out
    assert "non-local-plain" in printed
    assert "3 rounds" in printed
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert main(["show", str(stored)]) == 0
    assert capsys.readouterr().out == printed
    page = tmp_path / "page.md"
    assert main(["show", str(stored), str(stored), "--markdown", str(page)]) == 0
    assert page.read_text().count(f"```text\n{printed.rstrip()}\n```") == 2
    report = read_report(stored)
    assert len(report.rows) == 2 + 2 * 4

    small = [*arguments, "--blocks", "a2", "--sizes", "6x5", "--mode", "training"]
    assert main([*small, "--json", "-", "--batch", "3", "--dtype", "bfloat16"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert [(row["name"], row["batch"]) for row in values["rows"]] == [("copy", 3), ("a2", 3)]
    assert values["dtype"] == "bfloat16"

    # Memory is the same in every run; times are made not to matter by the stored ratios.
    for factor, code in ((1.3, 1), (1.0, 0)):
        stored.write_text(_milder(report, memory=factor).to_json())
        assert main([*small, "--compare", str(stored)]) == code
        error = capsys.readouterr().err
        assert f"{code} of 2 ratios are worse than the stored ones by more than 25%" in error
        line = "WORSE  a2, 16 channels at 6x5, batch 2, training, memory"
        assert (line in error) == bool(code)
    stored.write_text(_milder(report, memory=1.3).to_json())
    assert main([*small, "--compare", str(stored), "--tolerance", "1e9"]) == 0


def test_ratios_and_growth(rows_file, tmp_path, capsys):
    larger = {**TINY[0], "shape": [12, 10]}
    reference = {**TINY[1], "name": "srl-fft-one-group", "options": {"groups": 1}}
    path = rows_file([*TINY, reference, larger])
    arguments = ["--rows", str(path), "--rounds", "3", "--budget", "0.001", "--mode", "training"]
    stored = tmp_path / "stored.json"
    assert main([*arguments, "--json", str(stored)]) == 0
    printed = capsys.readouterr().out
    assert "growth from 6x5 to 12x10, 4 times the positions, 16 channels, batch 2: copy" in printed
    values = json.loads(stored.read_text())
    assert [(g["name"], g["mode"]) for g in values["growth"]] == [
        ("copy", "copy"),
        ("a2", "training"),
    ]
    assert values["pairs"] == [["srl-fft", "a2"]]

    asked = ["--ratio", "a2/srl-fft", "--ratio", "a2/non-local-plain", "--json", "-"]
    assert main([*arguments, *asked]) == 0
    found = json.loads(capsys.readouterr().out)["ratios"]
    pairs = [(r["numerator"], r["denominator"], r["group"]) for r in found]
    group = "16 channels at 6x5, batch 2"
    assert pairs == [("a2", "srl-fft", group), ("a2", "non-local-plain", group)]
    peaks = {(m.row.name, m.row.group): m.peak_bytes for m in read_report(stored).rows}
    assert found[0]["memory"] == peaks["a2", group] / peaks["srl-fft", group]


@pytest.mark.parametrize(("factor", "code"), [(1.3, 1), (1.0, 0)])
def test_a_worse_ratio_of_a_pair_alone_exits_with_1(rows_file, tmp_path, capsys, factor, code):
    """Every row is as before, but one has grown beside the other."""
    arguments = ["--rows", str(rows_file(TINY[:2])), "--rounds", "3", "--budget", "0.001"]
    arguments += ["--mode", "inference"]
    stored = tmp_path / "stored.json"
    main([*arguments, "--json", str(stored)])
    values = json.loads(stored.read_text())
    times = {"copy": 1e-9, "a2": 1.0, "srl-fft": 1e9}
    for row in values["rows"]:
        row["per_round"] = [times[row["name"]]] * 3
        row["peak_bytes"] *= factor if row["name"] == "a2" else 1
    stored.write_text(json.dumps(values))
    assert main([*arguments, "--ratio", "srl-fft/a2", "--compare", str(stored)]) == code
    error = capsys.readouterr().err
    assert f"{code} of 6 ratios are worse" in error
    line = "WORSE  srl-fft/a2, 16 channels at 6x5, batch 2, inference, memory"
    assert (line in error) == bool(code)


def test_threads_are_set_and_restored(rows_file, capsys):
    before = torch.get_num_threads()
    path = rows_file(TINY[3:])
    arguments = ["--rows", str(path), "--rounds", "3", "--budget", "0.001", "--json", "-"]
    assert main([*arguments, "--threads", str(before + 1)]) == 0
    assert json.loads(capsys.readouterr().out)["threads"] == before + 1
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--blocks", "srl-ftf"], "'srl-ftf'; did you mean 'srl-fft'"),
        (["--sizes", "64x49"], "'64x49'; did you mean '64x48'"),
        (["--rounds", "2"], "--rounds must be 3 or more, got 2"),
        (["--threads", "0"], "--threads must be positive, got 0"),
        (["--batch", "-1"], "--batch must be positive, got -1"),
        (["--budget", "0"], "--budget must be a positive number of seconds, got 0"),
        (["--tolerance", "-0.1"], "--tolerance must be a number from 0, got -0.1"),
        (["--ratio", "srl-fft/a3"], "unknown row of --ratio 'a3'; did you mean 'a2'"),
        (["--ratio", "a2"], "--ratio must be NUMERATOR/DENOMINATOR, two names of rows, got 'a2'"),
        (["--ratio", "/a2"], "--ratio must be .* got '/a2'"),
        (["--ratio", "a/a2/b"], "--ratio must be .* got 'a/a2/b'"),
        (
            ["--blocks", "a2,gfnet,cgnl", "--sizes", "32x24,4x14x14", "--ratio", "gfnet/srl-fft"],
            "unknown row of --ratio 'srl-fft'",
        ),
        (["--plot", "bench.jpeg2000"], r"--plot needs a file \.png, \.pdf or \.svg"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        main(arguments)


@pytest.mark.parametrize(
    "arguments",
    [["--budget", "nan"], ["--mode", "train"], ["--dtype", "float64"], ["--device", "tpu"]],
)
def test_values_of_another_type_are_named(arguments, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    error = capsys.readouterr().err
    assert f"error: {arguments[0]}: Expected" in error
    assert f"Got value: {arguments[1]}" in error


@pytest.mark.parametrize("option", ["--rows", "--json", "--plot", "--compare"])
def test_missing_files_and_folders(tmp_path, option):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        main(["--blocks", "a2", option, str(tmp_path / "nowhere" / "x.png")])


def test_cuda_missing(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="finds no CUDA device here"):
        main(["--device", "cuda"])


def test_a_stored_report_of_another_dtype_is_refused_before_measuring(tmp_path):
    row = Row("a2", "a2", 8, (4, 3))
    jobs = block_jobs([row], device=CPU, dtype=torch.float16)
    measured = measure(jobs, device=CPU, rounds=3, budget=0.001)
    stored = tmp_path / "stored.json"
    values = {"device_name": "a processor", "rounds": 3, "seconds": 1.0}
    report = BenchReport(**values, dtype="float16", rows=measured)
    stored.write_text(report.to_json())
    with pytest.raises(ValueError, match="has dtype 'float16', this one has 'float32'"):
        main(["--compare", str(stored)])
