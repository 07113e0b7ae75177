"""Defining experiments, running them (with a stand-in for training), and their results."""

from __future__ import annotations

import json
import logging
import math
import statistics
import subprocess
from pathlib import Path

import pytest
import yaml
from experiment_command import cells, main

from spectral_residual.lab.experiments import runner
from spectral_residual.lab.experiments.definitions import Run, read_experiment
from spectral_residual.lab.experiments.results import (
    append_record,
    code_version,
    data_fingerprint,
    read_records,
)

ROOT = Path(__file__).parents[2]


# ---- definitions -------------------------------------------------------------------------------


@pytest.fixture
def defined(tmp_path, monkeypatch):
    """Writes an experiment of two runs and gives the folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data/images").mkdir(parents=True)
    (tmp_path / "data/val.json").write_text("{}")
    (tmp_path / "base.yaml").write_text(
        yaml.safe_dump({"data": {"root": "data", "size": [1, 2]}, "model": {"a": 1, "b": 2}})
    )
    (tmp_path / "block.yaml").write_text("model: {b: 3}")

    def write(**changes):
        content = {
            "title": "two",
            "kind": "pose",
            "data": "nothing",
            "paper": "nobody",
            "metrics": ["AP", "PCK"],
            "configs": ["base.yaml"],
            "seeds": [0, 1],
            "runs": [
                {"name": "base", "paper": {"AP": 70.4}},
                {"name": "block", "configs": ["block.yaml"], "overrides": {"model.c": [4]},
                 "baseline": "base", "paper": {"AP": 70.9}},
            ],
        }  # fmt: skip
        (tmp_path / "defined").mkdir(exist_ok=True)
        (tmp_path / "defined/two.yaml").write_text(yaml.safe_dump(content | changes))
        return read_experiment(tmp_path / "defined", "two")

    write()
    return write


def test_configurations_are_merged_and_overridden(defined):
    run = defined().run("block")
    assert run.configuration() == {
        "data": {"root": "data", "size": [1, 2]},
        "model": {"a": 1, "b": 3, "c": [4]},
    }
    assert run.configuration({"model.a": 7})["model"]["a"] == 7
    assert run.arguments(5, root="there") == [
        "--config", "base.yaml", "--config", "block.yaml", "--model.c", "[4]",
        "--data.root", "there", "--seed_everything", "5", "--data.seed", "5",
    ]  # fmt: skip


def test_a_definition_follows_the_content_and_not_the_place(defined, tmp_path):
    run = defined().run("base")
    before = run.definition()
    base = yaml.safe_load((tmp_path / "base.yaml").read_text())
    base["data"] |= {"root": "elsewhere", "seed": 3, "loading": {"workers": 5}}
    (tmp_path / "base.yaml").write_text("# a comment\n" + yaml.safe_dump(base))
    assert run.definition() == before
    assert run.definition({"model.a": 2}) != before
    assert run.definition({"data.loading.batch_size": 2}) != before
    assert run.definition({"trainer.enable_progress_bar": False}) == before
    assert Run("x", "video", run.configs, {}, (0,), None, {}).definition() != before
    base["model"]["a"] = 5
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(base))
    assert run.definition() != before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tittle": "x"}, "unknown key of experiment in .*two.yaml 'tittle'; did you mean 'title'"),
        ({"kind": "audio"}, "two.yaml: kind must be one of .* got 'audio'"),
        ({"metrics": []}, "two.yaml: metrics is missing"),
        ({"runs": [{"configs": []}]}, "every run needs a name"),
        ({"runs": [{"name": "a"}, {"name": "a"}]}, "two runs have the same name"),
        ({"runs": [{"name": "a", "baseline": "b"}]}, "unknown baseline of run a .* 'b'"),
        ({"runs": [{"name": "a", "paper": {"AR": 1}}]}, "unknown metric of run a .* 'AR'"),
        ({"runs": [{"name": "a", "seeds": ["x"]}]}, "run a: seeds must be integers"),
    ],
)
def test_faulty_definitions(defined, changes, message):
    with pytest.raises(ValueError, match=message):
        defined(**changes)


def test_names_that_do_not_exist(defined):
    with pytest.raises(ValueError, match="unknown experiment 'tow'; did you mean 'two'"):
        main(["run", "tow", "--experiments", "defined"])
    with pytest.raises(ValueError, match="unknown run of two 'bloc'; did you mean 'block'"):
        main(["run", "two", "--experiments", "defined", "--runs", "bloc"])
    with pytest.raises(FileNotFoundError, match="no folder absent of experiments"):
        main(["list", "--experiments", "absent"])
    with pytest.raises(ValueError, match="unknown command after 'srl experiment' 'rum'"):
        main(["rum"])
    with pytest.raises(FileNotFoundError, match=r"no configuration file none\.yaml"):
        defined(configs=["none.yaml"]).run("base").definition()


# ---- running -----------------------------------------------------------------------------------


OUTCOME = {
    "metrics": {"AP": 0.5, "PCK": None},
    "epochs": 2,
    "seconds_per_epoch": 3.0,
    "peak_memory_bytes": 2**20,
    "peak_memory_of": "resident set",
    "parameters": 1_500_000,
    "samples": {"train": 5, "val": 3},
    "data": {"sha256": "0123456789abcdef", "files": 1, "bytes": 1},
    "device": "abacus",
    "threads": 1,
    "precision": "32-true",
    "torch": "2",
    "history": [{"epoch": e, "loss": 1.0, "metrics": {"AP": 0.1 * e}} for e in range(2)],
    "sessions": [{"epoch": 0, "commit": "c" * 40, "dirty": False}],
}


@pytest.fixture
def worker(monkeypatch):
    """Stands in for training: AP is 0.5 + 0.01 seed (+ 0.05 with the block)."""
    calls = []

    def start(request, lock, messages):
        content = json.loads(request.read_text())
        calls.append((content["arguments"], content["seed"]))
        ap = 0.5 + 0.01 * content["seed"] + 0.05 * ("block.yaml" in content["arguments"])
        outcome = OUTCOME | {"metrics": {"AP": ap, "PCK": math.nan}}
        (request.parent / "outcome.json").write_text(json.dumps(outcome))

    monkeypatch.setattr(runner, "_start_worker", start)
    return calls


def run(*more):
    return main(["run", "two", "--experiments", "defined", *more])


def lines():
    return [json.loads(line) for line in Path("results/two.jsonl").read_text().splitlines()]


def test_each_run_and_seed_gives_one_line_and_is_done_once(defined, worker, capsys):
    assert run() == 0
    assert [(r["run"], r["seed"]) for r in lines()] == [
        ("base", 0), ("block", 0), ("base", 1), ("block", 1),
    ]  # fmt: skip
    record = lines()[1]
    assert record["command"] == "srl experiment run two --runs block --seeds 0"
    assert record["fit_command"] == (
        "srl pose fit --config base.yaml --config block.yaml --model.c '[4]' --seed_everything 0 "
        "--data.seed 0"
    )
    assert record["configs"] == ["base.yaml", "block.yaml"]
    assert record["commit"] == "c" * 40
    assert len(worker) == 4
    assert "block, seed 1: AP 56.0 %, PCK -" in capsys.readouterr().out
    assert run() == 0
    assert len(worker) == len(lines()) == 4
    assert run("--runs", "base", "--seeds", "1", "2") == 0
    assert worker[4:] == [([*worker[0][0][:-3], "2", "--data.seed", "2"], 2)]


def test_a_changed_definition_is_run_again(defined, worker):
    run("--seeds", "0")
    Path("block.yaml").write_text("model: {b: 4}")
    run("--seeds", "0")
    assert [r["run"] for r in lines()] == ["base", "block", "block"]


def test_further_options_make_another_run(defined, worker):
    run("--seeds", "0", "--runs", "base", "--limit", "3", "--trainer.max_epochs", "1")
    record = lines()[0]
    assert record["extra"] == {
        "trainer.max_epochs": 1, "trainer.limit_train_batches": 3, "trainer.limit_val_batches": 3,
    }  # fmt: skip
    assert worker[0][0][-6:] == [
        "--trainer.max_epochs", "1", "--trainer.limit_train_batches", "3",
        "--trainer.limit_val_batches", "3",
    ]  # fmt: skip
    run("--seeds", "0", "--runs", "base")
    assert len(lines()) == 2
    with pytest.raises(ValueError, match="unknown argument '--max_epochs'"):
        run("--max_epochs", "3")
    with pytest.raises(ValueError, match="--limit must be positive, got 0"):
        run("--limit", "0")


def test_a_failing_run_does_not_stop_the_others(defined, worker, monkeypatch, capsys):
    good = runner._start_worker

    def start(request, lock, messages):
        if "block.yaml" not in json.loads(request.read_text())["arguments"]:
            raise runner.RunFailed("the training process ended with status 1")
        good(request, lock, messages)

    monkeypatch.setattr(runner, "_start_worker", start)
    assert run("--seeds", "0") == 1
    assert [r["run"] for r in lines()] == ["block"]
    assert "not finished: base, seed 0: the training process ended" in capsys.readouterr().err


def test_two_runners_do_not_train_the_same(defined, worker, monkeypatch):
    monkeypatch.setattr(runner, "_LOCK_SECONDS", 0.2)
    good = runner._start_worker

    def start(request, lock, messages):
        if not nested:
            nested.append(run("--seeds", "0", "--runs", "base"))
        good(request, lock, messages)

    nested = []
    monkeypatch.setattr(runner, "_start_worker", start)
    assert run("--seeds", "0", "--runs", "base") == 0
    assert nested == [1]
    assert len(lines()) == len(worker) == 1


def test_data_that_are_not_there(defined, worker):
    with pytest.raises(FileNotFoundError, match=r"data\.root: no folder 'gone'.*--root"):
        run("--root", "gone")
    assert run("--root", "data/images", "--seeds", "0") == 0
    assert worker[0][0][2:4] == ["--data.root", "data/images"]
    assert "--root DATA" in lines()[0]["command"]


def test_dry_run_and_json(defined, worker, capsys):
    assert run("--dry-run", "--seeds", "3") == 0
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 2
    assert all(line.startswith("srl pose fit --config base.yaml") for line in printed)
    assert run("--json", "--seeds", "0") == 0
    printed = json.loads(capsys.readouterr().out)
    assert [r["run"] for r in printed["results"]] == ["base", "block"]
    assert printed["failures"] == []
    assert main(["list", "--experiments", "defined", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    found = {entry["name"]: (entry["finished"], entry["jobs"]) for entry in listed}
    assert found == {"two": (2, 4)}


# ---- results -----------------------------------------------------------------------------------


def test_unfinished_lines_do_not_spoil_the_file(tmp_path, caplog):
    path = tmp_path / "results/a.jsonl"
    record = {"definition": "d", "seed": 0, "metrics": {}}
    append_record(path, record)
    with path.open("a") as file:
        file.write('{"definition": "d", "se')
    append_record(path, record | {"seed": 1})
    with caplog.at_level(logging.WARNING):
        assert [r["seed"] for r in read_records(path.parent)] == [0, 1]
    assert "a.jsonl: line 2 is not a result" in caplog.text
    assert read_records(tmp_path / "absent") == []


def test_fingerprint_of_data(tmp_path):
    def write(root):
        (root / "images/deep").mkdir(parents=True)
        (root / "val.json").write_text("[1]")
        (root / "images/a.png").write_bytes(b"12")
        (root / "images/deep/b.png").write_bytes(b"345")
        split = {"annotations": "val.json", "images": "images", "detections": None}
        return {"root": str(root), "train": split, "val": split}

    first, second = write(tmp_path / "one"), write(tmp_path / "two")
    fingerprint = data_fingerprint(first)
    assert data_fingerprint(second) == fingerprint
    assert (fingerprint["files"], fingerprint["bytes"]) == (6, 16)
    for change in (
        lambda: (tmp_path / "two/val.json").write_text("[2]"),
        lambda: (tmp_path / "two/images/a.png").write_bytes(b"123"),
        lambda: (tmp_path / "two/images/deep/b.png").rename(tmp_path / "two/images/deep/c.png"),
    ):
        before = data_fingerprint(second)["sha256"]
        change()
        assert data_fingerprint(second)["sha256"] not in (before, fingerprint["sha256"])
    (tmp_path / "two/val.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"data\.train\.annotations: no file or folder"):
        data_fingerprint(second)


def test_code_version():
    head = ["git", "-C", str(ROOT), "rev-parse", "HEAD"]
    found = subprocess.run(head, capture_output=True, text=True, check=False)
    version = code_version()
    assert version["commit"] == (found.stdout.strip() if found.returncode == 0 else None)
    assert isinstance(version["dirty"], bool)


# ---- report ------------------------------------------------------------------------------------


def test_report_gives_mean_spread_and_gain_beside_the_paper(defined, worker, capsys):
    run("--seeds", "0", "1", "2")
    run("--seeds", "0", "--runs", "block", "--limit", "1")
    run("--seeds", "0", "--data.loading.workers", "7")
    capsys.readouterr()
    assert main(["report", "--experiments", "defined", "--json"]) == 0
    (summary,) = json.loads(capsys.readouterr().out)
    base, block, limited = summary["rows"]
    values = [50.0, 51.0, 52.0]
    assert base["metrics"]["AP"]["mean"] == pytest.approx(51.0)
    assert base["metrics"]["AP"]["deviation"] == pytest.approx(statistics.stdev(values))
    assert base["metrics"]["PCK"] is None
    assert block["gain"]["mean"] == pytest.approx(5.0)
    assert block["gain"]["deviation"] == pytest.approx(0.0, abs=1e-9)
    assert block["paper_gain"] == pytest.approx(0.5)
    assert base["gain"] is None
    assert limited["extra"] == {"trainer.limit_train_batches": 1, "trainer.limit_val_batches": 1}
    assert limited["gain"] is None, "the baseline was not run with these options"

    assert main(["report", "two", "--experiments", "defined"]) == 0
    text = capsys.readouterr().out
    assert "51.0 ± 1.0 (70.4)" in text
    assert "+5.0 ± 0.0 (+0.5)" in text
    assert "5 + 3 training and validation samples (data 0123456789ab), 2 epochs" in text
    assert "abacus, 1 threads, 32-true, torch 2; commit cccccccccc." in text


def test_results_of_an_older_definition_are_named_and_left_out(defined, worker, capsys):
    run("--seeds", "0")
    Path("block.yaml").write_text("model: {b: 4}")
    capsys.readouterr()
    main(["report", "--experiments", "defined"])
    text = capsys.readouterr().out
    assert "1 result(s) are left out" in text
    (row,) = [row for row in cells(text) if row[0] == "block"]
    assert row[1:3] == ["-", "- (70.9)"]


def test_the_page_is_made_from_the_results(defined, worker, capsys):
    page = Path("docs/page.md")
    page.parent.mkdir()
    begin, end = "<!-- srl experiment report: begin -->", "<!-- srl experiment report: end -->"
    page.write_text(f"before\n{begin}\nold {end}\nafter\n")
    update = [
        "report",
        "--experiments",
        "defined",
        "--markdown",
        str(page),
        "--figures",
        "docs/images",
    ]
    assert main(update) == 0
    assert "Defined, and not run here: `two`." in page.read_text()
    run("--seeds", "0", "1")
    assert main(update) == 0
    text = page.read_text()
    assert text.startswith(f"before\n{begin}\n")
    assert text.endswith(f"{end}\nafter\n")
    assert "old" not in text
    row = ["base", "2", "50.5 ± 0.7 (70.4)", "-", "-", "1.50", "3.0 ± 0.0", "1"]
    assert row in cells(text)
    assert "![AP over epochs, two](images/two.png)" in text
    assert Path("docs/images/two.png").read_bytes().startswith(b"\x89PNG")
    assert main(update) == 0
    assert page.read_text() == text
    page.write_text("no markers")
    with pytest.raises(ValueError, match=r"page\.md: expected one line .*begin"):
        main(update)
    with pytest.raises(FileNotFoundError, match=r"no page docs/other\.md"):
        main([*update[:4], "docs/other.md"])
