"""The command line, as a user types it."""

from __future__ import annotations

import json
import logging
import re
import subprocess
import sys

import keypoint_files
import pytest
import yaml
from keypoint_files import write_split

from spectral_residual import __version__
from spectral_residual.cli import _COMMANDS, _function, main
from spectral_residual.configs import FOLDER


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("dots")
    write_split(root, "train", 16, seed=1)
    write_split(root, "val", 6, seed=2)
    boxes = [
        {"image_id": i + 1, "category_id": 1, "bbox": [5.0, 5.0, 80.0, 80.0], "score": 0.9 - i / 9}
        for i in range(6)
        for _ in range(2)
    ]
    (root / "boxes.json").write_text(json.dumps(boxes))
    return root


@pytest.fixture
def config(root, tmp_path):
    """Writes a configuration file with changes and gives its path."""

    def write(**changes):
        content = {
            "data": keypoint_files.data_options(root, batch_size=8),
            "model": {"network": {"backbone": "resnet18", "deconv_channels": 8}},
            "trainer": {
                "accelerator": "cpu",
                "max_epochs": 1,
                "enable_progress_bar": False,
                "default_root_dir": str(tmp_path / "runs"),
            },
        }
        for key, value in changes.items():
            *path, last = key.split("__")
            place = content
            for step in path:
                place = place.setdefault(step, {})
            place[last] = value
        file = tmp_path / "config.yaml"
        file.write_text(yaml.safe_dump(content))
        return str(file)

    return write


def test_fit_validate_test_predict(config, root, tmp_path, capsys):
    path = config(
        model__network__block="srl-fft",
        data__test={"annotations": "val.json", "images": "val", "detections": "boxes.json"},
    )
    assert main(["pose", "fit", "--config", path]) == 0
    run = tmp_path / "runs/lightning_logs/version_0"
    checkpoint = run / "checkpoints/last.ckpt"
    assert checkpoint.is_file()
    printed = capsys.readouterr()
    assert "weights_only" not in printed.out + printed.err
    assert "Tip:" not in printed.out + printed.err
    said = f"checkpoint of the best epoch (val/AP): {run / 'checkpoints/best.ckpt'}"
    assert said in printed.err
    assert (run / "config.yaml").is_file()
    assert any(p.name.startswith("events.out.tfevents") for p in run.iterdir())

    more = ["--config", path, "--ckpt_path", str(checkpoint)]
    capsys.readouterr()
    assert main(["pose", "validate", *more]) == 0
    printed = capsys.readouterr().out
    assert "AP75" in printed
    assert "PCK@0.1" in printed
    assert main(["pose", "test", *more]) == 0
    printed = capsys.readouterr().out
    assert "AP75" in printed
    assert "PCK" not in printed
    (results,) = tmp_path.glob("runs/**/results_test.json")
    assert len(json.loads(results.read_text())) == 6, "equal boxes give one pose after OKS-NMS"
    assert main(["pose", "predict", *more, "--data.predict.images", str(root / "val")]) == 0
    (overlays,) = tmp_path.glob("runs/**/overlays")
    assert len(list(overlays.iterdir())) == 6
    assert "predictions/results.json" in capsys.readouterr().out


def test_resume(config, tmp_path):
    path = config()
    assert main(["pose", "fit", "--config", path]) == 0
    checkpoint = tmp_path / "runs/lightning_logs/version_0/checkpoints/last.ckpt"
    more = ["--ckpt_path", str(checkpoint), "--trainer.max_epochs", "2"]
    assert main(["pose", "fit", "--config", path, *more]) == 0
    assert (tmp_path / "runs/lightning_logs/version_1/checkpoints/last.ckpt").is_file()


def test_several_configurations_are_merged(config, tmp_path, capsys):
    block = tmp_path / "block.yaml"
    block.write_text("model: {network: {block: srl-dct}}")
    with pytest.raises(SystemExit, match="0"):
        main(["pose", "fit", "--config", config(), "--config", str(block), "--print_config"])
    network = yaml.safe_load(capsys.readouterr().out)["model"]["network"]
    assert network["block"] == "srl-dct"
    assert network["backbone"] == "resnet18"


@pytest.mark.parametrize("task", ["pose", "video"])
def test_what_is_printed_is_what_is_trained(task, tmp_path, capsys):
    with pytest.raises(SystemExit, match="0"):
        main([task, "fit", "--data.root", str(tmp_path), "--print_config"])
    printed = yaml.safe_load(capsys.readouterr().out)
    own = yaml.safe_load((FOLDER / task / "own.yaml").read_text())
    assert printed["trainer"]["max_epochs"] == own["trainer"]["max_epochs"]
    assert printed["model"]["network"]["block"] == own["model"]["network"]["block"] == "srl"
    assert printed["data"]["root"] == str(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model__network__block": "srl-ftt"}, "did you mean 'srl-fft'"),
        (
            {"model__network": {"backbone": "resnet18", "block": "a2", "block_after": ["d4"]}},
            "unknown module 'd4'; did you mean",
        ),
        (
            {
                "model__network": {
                    "backbone": "resnet18", "block": "srl-fft", "block_options": {"grups": 2},
                }
            },
            "did you mean 'groups'",
        ),
        ({"model__network__backbone": "resnet19"}, "did you mean 'resnet1"),
        ({"model__network__weights": "none.pth"}, "no weights file none.pth"),
        ({"data__input_size": [60, 64]}, "height must be a multiple of 32.*60x64"),
        ({"data__root": "nowhere"}, "data.root: no folder nowhere"),
        ({"data__val__annotations": "none.json"}, "none.json"),
        ({"data__train__images": "nowhere"}, "data.train.images: no folder .*nowhere"),
        ({"data__joints__sigmas": None}, "sigma"),
    ],
)  # fmt: skip
def test_wrong_settings_end_with_a_clear_error(config, capsys, monkeypatch, changes, message):
    monkeypatch.setattr(logging, "raiseExceptions", False)
    path = config(trainer__fast_dev_run=True, **changes)
    try:
        status = main(["pose", "fit", "--config", path])
    except SystemExit as stop:
        status = stop.code
    assert status == 2
    errors = capsys.readouterr().err
    assert re.search(message, errors), errors
    assert "Traceback" not in errors


def test_wrong_checkpoint(config, tmp_path, capsys):
    path = config()
    assert main(["pose", "fit", "--config", path]) == 0
    checkpoint = tmp_path / "runs/lightning_logs/version_0/checkpoints/last.ckpt"
    other = config(model__network__block="srl-fft")
    assert main(["pose", "validate", "--config", other, "--ckpt_path", str(checkpoint)]) == 2
    assert "network.block: None in the checkpoint, 'srl-fft' here" in capsys.readouterr().err
    assert main(["pose", "validate", "--config", other, "--ckpt_path", "absent.ckpt"]) == 2
    assert "absent.ckpt" in capsys.readouterr().err


def test_speed(config, capsys):
    arguments = ["--config", config(), "--rounds", "1", "--steps", "1", "--json"]
    assert main(["pose", "speed", *arguments]) == 0
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert min(report[key] for key in ("loader", "step", "training", "ratio")) > 0
    assert report["batch_size"] == 8
    assert main(["pose", "speed", "--config", config(), "--rounds", "0"]) == 2


def test_every_command_leads_to_a_function():
    def functions(commands):
        for found in commands.values():
            yield from [found] if isinstance(found, str) else functions(found)

    paths = list(functions(_COMMANDS))
    assert len(paths) == len(set(paths)) > 20
    assert all(callable(_function(path)) for path in paths)


@pytest.mark.parametrize(
    "arguments", [[], ["--help"], ["pose", "--help"], ["video", "--help"], ["demo"]]
)
def test_help(arguments, capsys):
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert "srl pose fit" in printed
    assert "srl video fit" in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["pos"], "did you mean 'pose'"),
        (["pose", "fitt"], "did you mean 'fit'"),
        (["video", "speeed"], "did you mean 'speed'"),
        (["demo", "pose", "--blocks", "srl-ff"], "did you mean 'srl-fft'"),
    ],
)
def test_misspelt_commands(arguments, message, capsys):
    assert main(arguments) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["bench", "--budg", "1"],
        ["bench", "networks", "--budg", "1"],
        ["bench", "show", "--markd", "x"],
        ["cost", "block", "srl-fft", "--channels", "8", "--size", "8", "8", "--js"],
        ["tables", "--js"],
        ["data", "people", "folder", "--see", "1"],
        ["data", "videos", "folder", "--see", "1"],
        ["demo", "pose", "--epo", "1"],
        ["demo", "video", "--epo", "1"],
    ],
    ids=" ".join,
)
def test_options_are_not_abbreviated(arguments, tmp_path, monkeypatch, capsys):
    """An abbreviation would mean another option as soon as one is added that begins alike."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as error:
        main(arguments)
    assert error.value.code == 2
    assert "unrecognized arguments" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"srl {__version__}\n"


@pytest.mark.parametrize(
    ("missing", "arguments", "extra"),
    [
        ("lightning", ["pose", "fit"], "pose"),
        ("lightning", ["video", "fit"], "video"),
        ("torchvision", ["cost", "model", "resnet18", "--input", "3", "32", "32"], "pose"),
        ("matplotlib", ["viz"], "pose"),
        ("av", ["data", "videos", "somewhere"], "video"),
        ("gradio", ["demo", "page"], "page"),
        ("onnxscript", ["export", "--ckpt", "absent.ckpt", "--output", "x"], "export"),
        ("onnxruntime", ["export", "--ckpt", "absent.ckpt", "--output", "x"], "export"),
    ],
)
def test_a_package_that_is_missing(missing, arguments, extra, tmp_path):
    """In a process of its own, in which the package cannot be imported."""
    program = (
        "import sys\n"
        f"sys.modules[{missing!r}] = None\n"
        "from spectral_residual.cli import main\n"
        f"sys.exit(main({arguments!r}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.strip().endswith(f'pip install "spectral_residual[{extra}]"')
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["tables"], ["cost", "block", "all", "--channels", "64", "--size", "16", "12"]],
)
def test_a_reader_that_goes_away_ends_a_command_quietly(arguments):
    more = [] if arguments[0] != "cost" else ["--size", "16", "12"]
    program = (
        f"import sys; from spectral_residual.cli import main; sys.exit(main({arguments + more!r}))"
    )
    running = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    running.stdout.close()
    assert running.stderr.read() == ""
    assert running.wait() == 141
