"""Configurations by name, and where data sets come from."""

from __future__ import annotations

import json
import logging
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from spectral_residual.cli import main
from spectral_residual.configs import (
    FOLDER,
    configuration_names,
    find_configuration,
    with_configurations,
)
from spectral_residual.configs.where import known_datasets
from spectral_residual.lab.experiments.definitions import experiment_names, read_experiment

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("kind", ["pose", "video"])
def test_every_file_is_found_by_its_paths_and_names(kind):
    names = configuration_names(kind)
    assert len(names) == len(list((FOLDER / kind).rglob("*.yaml"))) > 10
    for name in names:
        file = FOLDER / kind / f"{name}.yaml"
        for spoken in (name, f"{name}.yaml", f"{kind}/{name}.yaml", f"configs/{kind}/{name}.yaml"):
            assert find_configuration(spoken, kind) == file


@pytest.mark.parametrize(
    ("kind", "name", "file"),
    [
        ("pose", "lspet_short", "pose/lspet_short_128x96.yaml"),
        ("pose", "lspet_resnet18", "pose/lspet_resnet18_128x96.yaml"),
        ("pose", "256x192", "pose/coco/256x192.yaml"),
        ("pose", "base", "pose/coco/base.yaml"),
        ("pose", "short_blocks/srl_fft", "pose/short_blocks/srl_fft.yaml"),
        ("pose", "srl_wht", "pose/blocks/srl_wht.yaml"),
        ("video", "srl_fft", "video/blocks/srl_fft.yaml"),
        ("video", "actions", "video/actions.yaml"),
    ],
)
def test_short_names(kind, name, file):
    assert find_configuration(name, kind) == FOLDER / file


def test_an_existing_path_wins(elsewhere):
    (elsewhere / "lspet_short").write_text("seed_everything: 3\n")
    assert find_configuration("lspet_short", "pose") == Path("lspet_short")
    (elsewhere / "configs/pose").mkdir(parents=True)
    (elsewhere / "configs/pose/coco_mini.yaml").write_text("seed_everything: 3\n")
    assert find_configuration("configs/pose/coco_mini.yaml", "pose").resolve().parent != FOLDER


@pytest.mark.parametrize(
    ("kind", "name", "message"),
    [
        (
            "pose",
            "lspet",
            "'lspet' may be any of lspet_lite0_128x96, lspet_resnet18_128x96, lspet_short_128x96",
        ),
        ("pose", "srl", "'srl' may be any of blocks/srl, short_blocks/srl"),
        ("pose", "lspet_shrot", "file lspet_shrot, and none .* did you mean 'lspet_short_128x96'"),
        ("video", "lspet_short", "no configuration file lspet_short, and none of this name"),
        ("pose", "short", "no configuration file short,"),
        ("pose", "runs/mine.yaml", r"no configuration file runs/mine\.yaml"),
    ],
)
def test_errors(kind, name, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        find_configuration(name, kind)


def test_arguments(caplog):
    short, base = FOLDER / "pose/lspet_short_128x96.yaml", FOLDER / "pose/coco/base.yaml"
    words = ["fit", "--config", "lspet_short", "-c=base", "-c", "base", "--trainer.devices", "base"]
    with caplog.at_level(logging.INFO, "spectral_residual"):
        logging.getLogger("spectral_residual").propagate = True
        found = with_configurations(words, "pose")
    assert found == [
        *("fit", "--config", str(short), f"-c={base}", "-c", str(base)),
        *("--trainer.devices", "base"),
    ]
    assert f"configuration lspet_short: {short}" in caplog.messages
    written_out = ["--config", "{trainer: {max_epochs: 1}}"]
    assert with_configurations(written_out, "pose") == written_out
    assert with_configurations(["--config", "mine"], "other") == ["--config", "mine"]


def test_the_command_takes_names(capsys, elsewhere):
    words = ["--config", "lspet_short", "--config", "short_blocks/srl", "--data.root", "."]
    with pytest.raises(SystemExit, match="0"):
        main(["pose", "fit", *words, "--print_config"])
    shown = yaml.safe_load(capsys.readouterr().out)
    assert shown["model"]["network"]["stages"] == 2
    assert shown["model"]["network"]["block"] == "srl"
    assert main(["pose", "fit", "--config", "lspet_shrot"]) == 2
    assert "did you mean 'lspet_short_128x96'" in capsys.readouterr().err


def test_experiments_elsewhere_are_those_of_the_repository(capsys, elsewhere, monkeypatch):
    listing = ["experiment", "list", "--json", "--results", str(ROOT / "results")]
    assert main(listing) == 0
    packaged = json.loads(capsys.readouterr().out)
    monkeypatch.chdir(ROOT)
    assert main(listing) == 0
    assert json.loads(capsys.readouterr().out) == packaged
    assert sum(row["finished"] for row in packaged) > 0
    monkeypatch.chdir(elsewhere)
    (elsewhere / "configs/experiments").mkdir(parents=True)
    assert main(listing) == 0
    assert json.loads(capsys.readouterr().out) == []


def test_every_configuration_of_an_experiment_is_in_the_package():
    folder = FOLDER / "experiments"
    for name in experiment_names(folder):
        for run in read_experiment(folder, name).runs:
            for path in run.configs:
                assert (FOLDER.parent / path).is_file(), path


def test_where(capsys):
    assert main(["data", "where", "lspet"]) == 0
    text = capsys.readouterr().out
    assert "Johnson and Everingham" in text
    assert "lspet_train.json" in text
    assert main(["data", "where"]) == 0
    every = capsys.readouterr().out
    assert all(f"files in {entry['folder']}:" in every for entry in known_datasets())
    assert main(["data", "where", "coko"]) == 2
    assert "did you mean 'coco'" in capsys.readouterr().err


def test_the_page_has_the_same_data_sets_as_the_command():
    page = (FOLDER / "README.md").read_text()
    for entry in known_datasets():
        assert f"| `{entry['folder']}` | {entry['what']} | {entry['from']} |\n" in page


def test_commands_of_data_sets_name_configurations_that_exist():
    for entry in known_datasets():
        words = entry["command"].split()
        named = [value for option, value in pairwise(words) if option == "--config"]
        assert all(find_configuration(name, words[1]).is_file() for name in named)


@pytest.mark.parametrize("name", ["coco_mini", "coco_detections", "lspet"])
def test_the_layout_is_that_of_the_data(name, shared_data):
    (entry,) = (entry for entry in known_datasets() if entry["name"] == name)
    root = shared_data(name)
    for line in entry["layout"]:
        assert list(root.glob(line.removesuffix(" ..."))), line
