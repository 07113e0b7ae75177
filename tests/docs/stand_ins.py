"""Small generated data and networks in place of what the documents name.

COCO, Leeds Sports Pose Extended and FOLDER are a few generated people, Kinetics and the actions a
few generated videos, and CHECKPOINT is what one step of training left.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import torch
import yaml
from documents import ROOT

from spectral_residual.cli import main
from spectral_residual.lab.experiments.definitions import read_experiment
from spectral_residual.lab.experiments.results import CHECKPOINT
from spectral_residual.lab.experiments.runner import OUTPUT, plan

_LSP = [
    *("right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle"),
    *("right_wrist", "right_elbow", "right_shoulder"),
    *("left_shoulder", "left_elbow", "left_wrist", "neck", "head_top"),
]
_ONE_STEP = [
    *("--trainer.max_epochs", "1", "--trainer.limit_train_batches", "1"),
    *("--trainer.precision", "32-true", "--trainer.limit_val_batches", "1"),
    *("--data.loading.workers", "0", "--data.loading.batch_size", "2"),
    *("--trainer.enable_progress_bar", "false", "--trainer.enable_model_summary", "false"),
]
_PUBLISHED = ("pose_resnet_50_256x192.pth.tar", "pose_hrnet_w32_256x192.pth")
_CONFIGS = ROOT / "src/spectral_residual/configs"


def make_stand_ins(root: Path) -> None:
    """Write everything into the empty folder `root`."""
    sizes = ["--train-images", "8", "--val-images", "4", "--image-size", "96", "96"]
    _run("data", "people", root / "people", *sizes)
    _write_lspet(root / "people", root / "lspet")
    _run("data", "videos", root / "actions", "--train-videos", "1", "--val-videos", "1")
    for name, config in (("pose", "lspet_resnet18"), ("short", "lspet_short")):
        _train(root, "pose", config, root / "lspet", name)
    _train(root, "video", "actions", root / "actions", "video")
    _write_config(root, "pose", "pose/lspet_resnet18_128x96.yaml", "lspet")
    _write_config(root, "video", "video/actions.yaml", "actions")
    validate = ["--config", root / "video.yaml", "--ckpt", root / "video.ckpt", *_ONE_STEP[4:]]
    validate += ["--data.views.clips", "25", "--data.views.placing", "random"]
    _run("video", "validate", *validate, "--trainer.default_root_dir", root / "runs/scores")
    (scores,) = (root / "runs/scores").rglob("scores_val.npz")
    shutil.copy(scores, root / "scores.npz")
    shutil.copy(scores.parent / "metrics_val.json", root / "video.json")
    validate = ["--config", root / "pose.yaml", "--ckpt_path", root / "pose.ckpt", *_ONE_STEP[4:]]
    _run("pose", "validate", *validate, "--trainer.default_root_dir", root / "runs/metrics")
    (metrics,) = (root / "runs/metrics").rglob("metrics_val.json")
    shutil.copy(metrics, root / "pose.json")
    _write_photographs(root)
    _write_published(root)


def furnish(folder: Path, root: Path) -> None:
    """Put the stand-ins of `root` where a page names them, its commands being run in `folder`."""
    links = {
        "FOLDER": root / "people",
        "data/coco": root / "people",
        "data/lspet": root / "lspet",
        "data/kinetics400": root / "actions",
        "data/actions": root / "actions",
        "CHECKPOINT": root / "pose.ckpt",
        "FILE": root / "pose.yaml",
        "video.ckpt": root / "video.ckpt",
        "video.yaml": root / "video.yaml",
        "runs/video/lightning_logs/version_0/scores_test.npz": root / "scores.npz",
        "scores_test.npz": root / "scores.npz",
        "network.ckpt": root / "short.ckpt",
        **{name: root / name for name in ("photo.jpg", "more", *_PUBLISHED)},
        "IMAGE": root / "photo.jpg",
        "benchmarks": ROOT / "benchmarks",
        "examples": ROOT / "examples",
    }
    for task in ("pose", "video"):
        logs = f"runs/{task}/lightning_logs"
        links[f"{logs}/version_0/checkpoints/best.ckpt"] = root / f"{task}.ckpt"
        links[f"{logs}/version_1/metrics_val.json"] = root / f"{task}.json"
    clips = sorted((root / "actions/val").rglob("*.mp4"))
    links |= {"clip.mp4": clips[0], "more.mp4": clips[1]}
    for name, target in links.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to(target)
    for name in ("docs", "results"):
        shutil.copytree(ROOT / name, folder / name)
    shutil.copy(root / "people/annotations/person_keypoints_train2017.json", folder / "all.json")
    experiment = read_experiment(_CONFIGS / "experiments", "lspet-short")
    (job,) = plan(experiment, ["base"], [0])
    place = job.folder(folder / OUTPUT) / CHECKPOINT
    place.parent.mkdir(parents=True)
    place.symlink_to(root / "short.ckpt")


def _run(*words: object) -> None:
    if main([str(word) for word in words]) != 0:
        raise RuntimeError(f"srl {' '.join(map(str, words))} failed")


def _train(root: Path, task: str, config: str, data: Path, name: str) -> None:
    runs = root / "runs" / name
    options = ["--data.root", data, "--trainer.default_root_dir", runs, *_ONE_STEP]
    _run(task, "fit", "--config", config, *options)
    (checkpoint,) = runs.rglob("last.ckpt")
    shutil.copy(checkpoint, root / f"{name}.ckpt")


def _write_config(root: Path, task: str, name: str, data: str) -> None:
    """A configuration of the package, with a test split, and the stand-in's folder as root."""
    content = yaml.safe_load((_CONFIGS / name).read_text())
    content["data"] |= {"root": str(root / data), "test": content["data"]["val"]}
    (root / f"{task}.yaml").write_text(yaml.safe_dump(content))


def _write_photographs(root: Path) -> None:
    """photo.jpg, of 640x480, and a folder of it."""
    image = cv2.imread(str(next((root / "people/val2017").iterdir())))
    (root / "more").mkdir()
    for path in (root / "photo.jpg", root / "more/photo.jpg"):
        cv2.imwrite(str(path), cv2.resize(image, (640, 480)))


def _write_published(root: Path) -> None:
    """Random weights by the names of the authors of SimpleBaseline and HRNet."""
    from test_published import HRNet, Microsoft

    for name, network in zip(_PUBLISHED, (Microsoft("resnet18", 8), HRNet()), strict=True):
        torch.save(network.state_dict(), root / name)


def _write_lspet(people: Path, root: Path) -> None:
    """The generated people with the joints and files of Leeds Sports Pose Extended."""
    root.mkdir()
    for split in ("train", "val"):
        (root / split).symlink_to(people / f"{split}2017")
        path = people / f"annotations/person_keypoints_{split}2017.json"
        content = json.loads(path.read_text())
        names = content["categories"][0]["keypoints"]
        for record in content["annotations"]:
            flat = record["keypoints"]
            point = {name: flat[3 * i : 3 * i + 3] for i, name in enumerate(names)}
            point |= {"neck": point["left_shoulder"], "head_top": point["nose"]}
            chosen = [point[name] for name in _LSP]
            record["keypoints"] = [number for each in chosen for number in each]
            record["num_keypoints"] = sum(v > 0 for _, _, v in chosen)
        content["categories"][0] |= {"keypoints": _LSP, "skeleton": []}
        (root / f"lspet_{split}.json").write_text(json.dumps(content))
