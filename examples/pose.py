"""Pose estimation on data of your own: a folder of COCO-format files, ``srl pose fit``, pictures.

The objects are clocks with three joints: centre, tip of the hour hand, tip of the minute hand. The
commands that are run are printed:

    python examples/pose.py [FOLDER]
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np
import torch

from spectral_residual.cli import main

SIDE, RADIUS = 96, 36
JOINTS = ["centre", "hour_tip", "minute_tip"]
CATEGORY = {"id": 1, "name": "clock", "keypoints": JOINTS, "skeleton": [[1, 2], [1, 3]]}


def write_split(folder: Path, split: str, count: int, seed: int) -> None:
    """Write pictures and one annotation file, as COCO has them, of a clock in each picture."""
    rng = np.random.default_rng(seed)
    (folder / split).mkdir(parents=True)
    images, annotations = [], []
    for number in range(1, count + 1):
        picture = rng.normal(150, 12, (SIDE, SIDE, 3)).clip(0, 255).astype(np.uint8)
        centre = rng.uniform(RADIUS + 4, SIDE - RADIUS - 4, 2)
        angles = rng.uniform(0, 2 * np.pi, 2)
        ends = centre + np.array([[16], [30]]) * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        points = [tuple(round(v) for v in point) for point in (centre, *ends)]
        cv2.circle(picture, points[0], RADIUS, (250, 250, 250), -1, cv2.LINE_AA)
        cv2.line(picture, points[0], points[1], (30, 30, 30), 6, cv2.LINE_AA)
        cv2.line(picture, points[0], points[2], (200, 60, 30), 2, cv2.LINE_AA)
        cv2.imwrite(str(folder / split / f"{number}.png"), picture)
        images.append({"id": number, "file_name": f"{number}.png", "width": SIDE, "height": SIDE})
        left, top = (centre - RADIUS).tolist()
        annotations.append(
            {
                **{"id": number, "image_id": number, "category_id": 1, "iscrowd": 0},
                "bbox": [left, top, 2 * RADIUS, 2 * RADIUS],
                "area": 4 * RADIUS**2,
                "keypoints": [value for x, y in points for value in (x, y, 2)],
                "num_keypoints": 3,
            }
        )
    content = {"images": images, "annotations": annotations, "categories": [CATEGORY]}
    (folder / f"{split}.json").write_text(json.dumps(content))


def srl(*arguments: str) -> None:
    """Run a command of ``srl`` in this process, as a shell would in another."""
    print("\n$ srl " + " ".join(arguments), flush=True)
    if main(arguments):
        raise RuntimeError(f"srl {' '.join(arguments[:2])} failed")


if __name__ == "__main__":
    torch.set_num_threads(1)
    root = Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp())
    write_split(root / "clocks", "train", 160, seed=1)
    write_split(root / "clocks", "val", 24, seed=2)
    common = ["--data.root", str(root / "clocks"), "--trainer.default_root_dir", str(root / "runs")]
    common += ["--data.joints.sigmas", json.dumps(dict.fromkeys(JOINTS, 0.08))]
    common += ["--data.joints.flip_pairs", "[]"]  # no joint is the left or right one of two
    common += ["--data.loading.workers", "0", "--trainer.accelerator", "cpu"]
    common += ["--trainer.enable_progress_bar", "false"]
    small = ["--model.network.stages", "2", "--model.network.deconv_channels", "64"]
    small += ["--model.network.block_after", "[backbone.layer2,d1]"]
    small += ["--data.input_size", "[96,96]", "--data.loading.batch_size", "16"]
    small += ["--trainer.max_epochs", "4", "--trainer.check_val_every_n_epoch", "4"]
    srl("pose", "fit", *common, *small)
    srl("pose", "validate", *common, "--ckpt_path", "last")
    srl("pose", "predict", *common, "--ckpt_path", "last")
    (metrics,) = root.glob("runs/**/metrics_val.json")
    print(f"\nPCK {100 * json.loads(metrics.read_text())['PCK']:.1f} % on clocks not trained with")
    print(f"found joints, drawn: {next(root.glob('runs/**/*.jpg')).parent}")
