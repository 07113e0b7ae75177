"""``srl experiment viz``, and what the reports show of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from experiment_command import cells, main
from keypoint_files import SIGMAS, write_split

from spectral_residual.lab.experiments.definitions import read_experiment
from spectral_residual.lab.experiments.results import append_record
from spectral_residual.pose.commands import pose_cli

NAMES = ("receptive_field.png", "filters_srl.png", "skeletons.png", "heatmaps.png")


@pytest.fixture
def trained(tmp_path, monkeypatch):
    """An experiment of two runs, their checkpoints (untrained) and one result; gives it."""
    monkeypatch.chdir(tmp_path)
    write_split(tmp_path / "data", "train", 4, seed=1)
    write_split(tmp_path / "data", "val", 6, seed=2)
    splits = {name: {"annotations": f"{name}.json", "images": name} for name in ("train", "val")}
    network = {"backbone": "resnet18", "stages": 2, "deconv_channels": 16}
    base = {
        "data": {
            "root": "data", **splits, "input_size": [64, 64], "joints": {"sigmas": SIGMAS},
            "loading": {"workers": 0},
        },
        "model": {"network": network},
    }  # fmt: skip
    Path("base.yaml").write_text(yaml.safe_dump(base))
    definition = {
        "title": "two", "kind": "pose", "data": "dots", "metrics": ["PCK"],
        "configs": ["base.yaml"], "seeds": [0, 1], "compared": "srl",
        "runs": [
            {"name": "base"},
            {"name": "srl", "baseline": "base", "overrides": {
                "model.network.block": "srl-fft", "model.network.block_after": ["d1"]}},
            {"name": "later", "overrides": {"model.sigma": 1.0}},
        ],
    }  # fmt: skip
    Path("defined").mkdir()
    Path("defined/two.yaml").write_text(yaml.safe_dump(definition))
    experiment = read_experiment(Path("defined"), "two")
    for run in experiment.runs[:2]:
        cli = pose_cli(run.arguments(1), run=False)
        if run.name == "srl":
            cli.model.network.d1.srl.alpha.data.fill_(1.0)
        cli.trainer.strategy.connect(cli.model)
        folder = Path("runs/experiments/two") / f"{run.name}-seed1-{run.definition()[:12]}"
        cli.trainer.save_checkpoint(folder / "last.ckpt")
        record = {
            "experiment": "two", "run": run.name, "kind": "pose", "seed": 1, "extra": {},
            "definition": run.definition(), "metrics": {"PCK": 0.5 + 0.1 * (run.name == "srl")},
            "samples": {"train": 4, "val": 6}, "epochs": 1, "device": "abacus", "threads": 1,
            "precision": "32", "torch": "2", "commit": None, "dirty": False,
            "data": {"sha256": "0" * 64}, "parameters": 1, "seconds_per_epoch": 1.0,
            "peak_memory_bytes": 1, "history": [{"epoch": 0, "metrics": {"PCK": 0.5}}],
        }  # fmt: skip
        append_record(Path("results/two.jsonl"), record)
    return experiment


def viz(*more):
    return main(["viz", "two", "--experiments", "defined", "--images", "5", *more])


def report(*more):
    return main(["report", "--experiments", "defined", *more])


def test_pictures_of_all_that_is_trained(trained, capsys):
    assert viz("--seed", "1", "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    shares = printed["receptive_field"]
    assert list(shares) == ["base", "srl"]
    assert 0 <= shares["base"]["energy_outside"] < shares["srl"]["energy_outside"] < 1
    folder = Path("runs/experiments/two/viz")
    assert printed["files"] == [*(str(folder / n) for n in NAMES), "results/two.viz.json"]
    stored = json.loads(Path("results/two.viz.json").read_text())
    assert stored["networks"]["srl"] == {
        "definition": trained.run("srl").definition(), **shares["srl"]
    }  # fmt: skip
    assert stored["command"] == "srl experiment viz two --runs base srl --seed 1 --images 5"
    assert len(stored["data"]["sha256"]) == 64
    assert viz("--seed", "1", "--runs", "base") == 0
    text = capsys.readouterr().out
    assert f"base: {100 * shares['base']['energy_outside']:.1f} % of the gradient energy" in text
    assert "srl" not in json.loads(Path("results/two.viz.json").read_text())["networks"]


def test_reports_show_them_and_pages_for_all_no_photographs(trained, capsys):
    page = Path("docs/page.md")
    page.parent.mkdir()
    marks = "<!-- srl experiment report: begin -->\n<!-- srl experiment report: end -->\n"
    page.write_text(marks)
    viz("--seed", "1")
    capsys.readouterr()
    update = ["--markdown", str(page), "--figures", "docs/images", "--html", "page.html"]
    assert report(*update) == 0
    outside = json.loads(Path("results/two.viz.json").read_text())["networks"]["srl"]
    share = f"{100 * outside['energy_outside']:.1f} %"
    printed = capsys.readouterr().out
    assert "Effective receptive field: share outside the central 25 % of the image" in printed
    text, html = page.read_text(), Path("page.html").read_text()
    assert "Defined, and without a result: later." in text
    assert "Defined, and without a result: later." in html
    assert "later" not in [row[0] for row in cells(text)]
    assert ["srl", share] in [row[:2] for row in cells(text)]
    assert f"<td>{share}</td>" in html
    for name in NAMES[:2]:
        assert f"(images/two/{name})" in text
        source = Path("runs/experiments/two/viz") / name
        assert (Path("docs/images/two") / name).read_bytes() == source.read_bytes()
    assert sorted(p.name for p in Path("docs/images/two").iterdir()) == sorted(NAMES[:2])
    assert html.count("<img ") == 1 + len(NAMES), "curves and all pictures"
    assert html.count("<h3>Skeletons</h3>") == 1
    # On a machine without checkpoints the copied pictures stay.
    assert report("--output", "elsewhere", *update) == 0
    assert page.read_text() == text
    assert Path("page.html").read_text().count("<img ") == 1


def test_a_changed_definition_takes_its_share_away(trained, capsys):
    viz("--seed", "1")
    base = yaml.safe_load(Path("base.yaml").read_text())
    base["model"]["sigma"] = 1.5
    Path("base.yaml").write_text(yaml.safe_dump(base))
    capsys.readouterr()
    report("--json")
    (summary,) = json.loads(capsys.readouterr().out)
    assert summary["views"] is None


def test_one_run_is_compared_with_the_others(trained, capsys):
    report("--json")
    (summary,) = json.loads(capsys.readouterr().out)
    (comparison,) = summary["comparisons"]
    assert (comparison["run"], comparison["other"], comparison["wins"]) == ("srl", "base", 1)
    assert comparison["differences"] == {"1": pytest.approx(10.0)}
    first = trained.run("srl").definition(), trained.run("base").definition()
    for definition, value in zip(first, (0.5, 0.53), strict=True):
        line = Path("results/two.jsonl").read_text().splitlines()[0]
        record = json.loads(line) | {"seed": 4, "metrics": {"PCK": value}, "definition": definition}
        append_record(Path("results/two.jsonl"), record)
    report()
    printed = capsys.readouterr().out
    (row,) = [row for row in cells(printed) if "1 of 2" in row]
    assert row == ["base", "+3.5 ± 9.2", "1 of 2", "+10.00, -3.00"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--runs", "later"], r"no checkpoint runs/.*later-seed1.*srl experiment run two --runs"),
        (["--seed", "2"], "no checkpoint of two with seed 2 in runs/experiments"),
        (["--output", "absent"], "no checkpoint of two with seed 1 in absent"),
    ],
)
def test_missing_checkpoints(trained, arguments, message):
    with pytest.raises(FileNotFoundError, match=message):
        viz("--seed", "1", *arguments)


def test_wrong_input(trained):
    with pytest.raises(ValueError, match="--images must be positive, got 0"):
        viz("--images", "0")
    with pytest.raises(ValueError, match="unknown run of two 'sril'; did you mean 'srl'"):
        viz("--runs", "sril")
    Path("results/two.viz.json").write_text('{"networks": []}')
    with pytest.raises(ValueError, match=r"two\.viz\.json: not written by 'srl experiment viz'"):
        report()
    content = yaml.safe_load(Path("defined/two.yaml").read_text())
    Path("defined/two.yaml").write_text(yaml.safe_dump(content | {"compared": "bas"}))
    with pytest.raises(ValueError, match="unknown compared run in .*'bas'; did you mean 'base'"):
        report()
    Path("defined/two.yaml").write_text(yaml.safe_dump(content | {"kind": "video"}))
    with pytest.raises(ValueError, match="two: pictures are drawn of pose networks, got videos"):
        viz()


def test_accuracy_against_time(tmp_path):
    """Runs without a time are left out; a file of something else is refused."""
    from spectral_residual.lab.experiments.definitions import Experiment, Run
    from spectral_residual.lab.experiments.figures import pareto_figure, read_times
    from spectral_residual.lab.experiments.summary import summarise

    runs = tuple(Run(n, "pose", (), {"model.a": n}, (0, 1), None, {}) for n in ("base", "srl", "x"))
    experiment = Experiment("tiny", "t", "pose", "d", ("PCK",), runs)
    records = [
        {
            "experiment": "tiny",
            "run": run.name,
            "definition": run.definition(),
            "extra": {},
            "seed": seed,
            "metrics": {"PCK": 0.5 + seed / 100},
        }
        for run in runs
        for seed in (0, 1)
    ]
    rows = [{"name": n, "ratio": {"median": r}} for n, r in (("none", 1.0), ("srl", 1.1))]
    times = tmp_path / "times.json"
    times.write_text(json.dumps({"kind": "networks", "rows": rows}))
    assert read_times(times) == {"none": 1.0, "srl": 1.1}
    summary = summarise(experiment, records)
    assert pareto_figure(summary, read_times(times)).startswith(b"\x89PNG")
    with pytest.raises(ValueError, match="no run has both a result and a time"):
        pareto_figure(summary, {"y": 1.0})
    times.write_text(json.dumps({"kind": "blocks", "rows": rows}))
    with pytest.raises(ValueError, match="expected times of networks, got 'blocks'"):
        read_times(times)
    times.write_text("[]")
    with pytest.raises(ValueError, match="expected a file written by srl bench networks"):
        read_times(times)
