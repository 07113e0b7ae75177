"""``srl video`` as a user types it, and the configuration files."""

from __future__ import annotations

import json
import re
from pathlib import Path

import coloured_videos
import pytest
import torch
import yaml
from coloured_videos import CLASSES, write_split

from spectral_residual.cli import main
from spectral_residual.training.cli import split_files
from spectral_residual.video import from_pretrained
from spectral_residual.video.network import VideoNetwork
from spectral_residual.video.reader import VideoError

CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "video"
WHOLE = sorted(CONFIGS.glob("*.yaml"))
BLOCKS = sorted(CONFIGS.glob("blocks/*.yaml"))


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("videos")
    write_split(root, "train", 2, seed=1)
    write_split(root, "val", 1, seed=2)
    return root


@pytest.fixture(scope="module")
def config(root):
    content = {
        "data": coloured_videos.data_options(root, batch_size=6, clips=2),
        "model": {"network": {"backbone": "resnet18", "block": "tsm"}},
        "trainer": {
            "accelerator": "cpu",
            "max_epochs": 1,
            "log_every_n_steps": 1,
            "enable_progress_bar": False,
            "default_root_dir": str(root / "runs"),
        },
    }
    file = root / "config.yaml"
    file.write_text(yaml.safe_dump(content))
    return str(file)


@pytest.fixture(scope="module")
def checkpoint(config, root):
    assert main(["video", "fit", "--config", config]) == 0
    run = root / "runs/lightning_logs/version_0"
    assert (run / "config.yaml").is_file()
    assert any(p.name.startswith("events.out.tfevents") for p in run.iterdir())
    return str(run / "checkpoints/last.ckpt")


def test_own_videos_without_a_configuration(root, tmp_path, monkeypatch, capsys):
    """From class folders to classes: two commands, no file edited."""
    monkeypatch.chdir(tmp_path)
    common = ["--data.root", str(root), "--trainer.enable_progress_bar", "false"]
    small = ["--data.input_size", "[32,32]", "--data.short_side", "37", "--data.clip.stride", "1"]
    small += ["--data.loading.workers", "0", "--data.loading.batch_size", "2"]
    small += ["--trainer.max_epochs", "1"]
    assert main(["video", "fit", *common, *small, "--trainer.accelerator", "cpu"]) == 0
    told = capsys.readouterr().err
    assert re.search(r"no --config: taking .*configs/video/own\.yaml", told)
    assert "best.ckpt" in told
    video = next((root / "val").rglob("*.mp4"))
    assert main(["video", "predict", "--ckpt", "best", str(video)]) == 0
    written = (tmp_path / "runs/video/predictions/predictions.json").read_text()
    (said,) = json.loads(written)["videos"]
    assert {guess["class"] for guess in said["guesses"]} <= set(CLASSES)
    assert main(["video", "fit", "--data.root", "absent"]) == 2
    assert "absent" in capsys.readouterr().err


def test_validate_test_and_score(config, checkpoint, root, capsys):
    tables = {}
    for command, split in (("validate", "val"), ("test", "test")):
        capsys.readouterr()
        assert main(["video", command, "--config", config, "--ckpt", checkpoint]) == 0
        printed = capsys.readouterr().out
        assert "top-1 (%)" in printed
        (folder,) = {p.parent for p in root.glob(f"runs/**/metrics_{split}.json")}
        assert (folder / f"confusion_{split}.png").is_file()
        tables[split] = printed[printed.index("top-1 (%)") :].splitlines()[2]
    scores = str(folder / "scores_test.npz")
    assert main(["video", "score", scores]) == 0
    assert tables["test"] in capsys.readouterr().out
    assert main(["video", "score", scores, "--clips", "1", "--pair", "blue", "red"]) == 0
    assert "direction (%)" in capsys.readouterr().out
    assert main(["video", "score", scores, "--pair", "blue", "rad"]) == 2
    assert "did you mean 'red'" in capsys.readouterr().err


def test_predict_from_the_checkpoint_alone(checkpoint, root, tmp_path, capsys):
    videos = [str(root / "val" / name / "0.mp4") for name in CLASSES[:2]]
    out = tmp_path / "out"
    arguments = ["--ckpt", checkpoint, videos[0], "--output", str(out), videos[1]]
    assert main(["video", "predict", *arguments]) == 0
    printed = capsys.readouterr().out
    assert sorted(re.findall(r"\d %  (\w+)", printed)[:3]) == sorted(CLASSES)
    found = json.loads((out / "predictions.json").read_text())["videos"]
    assert [entry["video"] for entry in found] == videos
    assert len(list(out.glob("*.png"))) == 2
    assert main(["video", "predict", "--ckpt", checkpoint, str(tmp_path / "none.mp4")]) == 2
    assert "no video file" in capsys.readouterr().err
    assert main(["video", "predict", "--ckpt", str(tmp_path / "none.ckpt"), *videos]) == 2
    assert "no checkpoint" in capsys.readouterr().err
    assert main(["video", "predict", "--ckpt", videos[0], *videos]) == 2
    assert "0.mp4: not a readable checkpoint" in capsys.readouterr().err


def test_predict_from_a_folder_and_in_memory(checkpoint, config, root, tmp_path, capsys):
    folder = from_pretrained(checkpoint).save_pretrained(tmp_path / "colours")
    video, out = str(root / "val/red/0.mp4"), tmp_path / "out"
    assert main(["video", "predict", "--ckpt", str(folder), video, "--output", str(out)]) == 0
    (entry,) = json.loads((out / "predictions.json").read_text())["videos"]
    found = from_pretrained(folder).predict(video)
    assert list(found) == [guess["class"] for guess in entry["guesses"]]
    assert list(found.values()) == pytest.approx([guess["score"] for guess in entry["guesses"]])
    assert sum(found.values()) == pytest.approx(1)
    half = from_pretrained(folder, dtype=torch.bfloat16).predict(video)
    assert half == pytest.approx(found, abs=0.05)
    assert main(["video", "validate", "--config", config, "--ckpt", str(folder)]) == 0
    (tmp_path / "none.mp4").write_text("no video")
    with pytest.raises(VideoError, match=r"none\.mp4"):
        from_pretrained(folder).predict(tmp_path / "none.mp4")
    assert main(["video", "fit", "--config", config, "--ckpt_path", str(folder)]) == 2
    assert "cannot go on" in capsys.readouterr().err


def test_predict_with_a_configuration(config, checkpoint, root, capsys):
    arguments = ["--config", config, "--ckpt", checkpoint]
    assert main(["video", "predict", *arguments, str(root / "val/red/0.mp4")]) == 0
    (path,) = root.glob("runs/**/predictions.json")
    assert len(json.loads(path.read_text())["videos"]) == 1
    path.unlink()
    assert main(["video", "predict", *arguments]) == 0
    (path,) = root.glob("runs/**/predictions.json")
    labels = [entry["label"] for entry in json.loads(path.read_text())["videos"]]
    assert labels == list(CLASSES), "without files, the test split"


def test_speed(config, capsys):
    arguments = ["--config", config, "--rounds", "1", "--steps", "1"]
    assert main(["video", "speed", *arguments, "--json"]) == 0
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert min(report[key] for key in ("loader", "step", "training", "ratio")) > 0
    assert report["batch_size"] == 6
    assert main(["video", "speed", *arguments]) == 0
    assert "clips/s" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (["--model.network.block", "srl-fft-3"], "did you mean 'srl-fft-3d'"),
        (["--model.network.backbone", "resnet19"], "did you mean 'resnet1"),
        (["--data.clip.frames", "3"], "frames must be even"),
        (["--data.root", "nowhere"], "data.root: no folder nowhere"),
        (["--model.evaluation.pairs", "[[blue, gren]]"], "did you mean 'green'"),
    ],
)
def test_wrong_settings_end_with_a_clear_error(config, capsys, setting, message):
    try:
        status = main(["video", "fit", "--config", config, *setting])
    except SystemExit as stop:
        status = stop.code
    assert status == 2
    errors = capsys.readouterr().err
    assert message in errors, errors
    assert "Traceback" not in errors


@pytest.mark.parametrize(
    ("arguments", "options", "files"),
    [
        (["--ckpt", "a", "b.mp4", "c.mp4"], ["--ckpt", "a"], ["b.mp4", "c.mp4"]),
        (["b.mp4", "--ckpt=a"], ["--ckpt=a"], ["b.mp4"]),
        (["--ckpt", "a", "--", "-b_c.mp4"], ["--ckpt", "a"], ["-b_c.mp4"]),
        (["-c", "x.yaml", "--help", "b.mp4"], ["-c", "x.yaml", "--help"], ["b.mp4"]),
        (["b.mp4", "--ckpt"], ["--ckpt"], ["b.mp4"]),
    ],
)
def test_files_are_parted_from_options(arguments, options, files):
    assert split_files(arguments) == (options, files)


def parsed(capsys, *configs):
    arguments = [argument for config in configs for argument in ("--config", str(config))]
    with pytest.raises(SystemExit, match="0"):
        main(["video", "fit", *arguments, "--print_config"])
    return yaml.safe_load(capsys.readouterr().out)


@pytest.mark.parametrize("path", WHOLE, ids=lambda path: path.stem)
def test_configurations_parse(path, capsys):
    config = parsed(capsys, path)
    written = yaml.safe_load(path.read_text())
    for part in ("data", "model", "trainer"):
        for key, value in written[part].items():
            if not isinstance(value, dict):
                assert config[part][key] == value, key
    if path.stem.startswith("kinetics"):
        batch = config["data"]["loading"]["batch_size"] * config["trainer"]["devices"]
        rate = config["model"]["optimizer"]["init_args"]["lr"]
        assert batch == (128 if "resnet18" in path.stem else 64)
        assert rate == pytest.approx(0.01 * batch / 64)


@pytest.mark.parametrize("path", BLOCKS, ids=lambda path: path.stem)
def test_block_configurations_build(path, capsys):
    depth = "resnet50" if "resnet50" in path.stem else "resnet18"
    config = parsed(capsys, CONFIGS / f"kinetics400_c2d_{depth}.yaml", path)
    options = config["model"]["network"]
    assert options["backbone"] == depth
    with torch.device("meta"):
        network = VideoNetwork(**{**options, "weights": None}).build(
            400, config["data"]["clip"]["frames"], tuple(config["data"]["input_size"])
        )
        scores = network.eval()(torch.zeros(1, 3, 8, 224, 224))
    assert scores.shape == (1, 400)
    blocks = [n for n, _ in network.named_modules() if re.search(r"(\.|_)srl$", n)]
    assert len(blocks) == len(options["block_after"])
