"""A trained network without torch: ``srl export``, then `spectral_residual.runtime`.

Training and export run in processes of their own; this one never imports torch, as on a machine
without it (docs/export.md). The network is that of pose.py:

    python examples/pose.py FOLDER
    python examples/onnx_runtime.py FOLDER
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from spectral_residual.runtime import PosePredictor

SRL = "import sys; from spectral_residual.cli import main; sys.exit(main())"


def export(folder: Path) -> Path:
    """Export the last checkpoint of pose.py, and return the folder with network and description."""
    checkpoints = sorted(folder.glob("runs/**/last.ckpt"))
    if not checkpoints:
        raise FileNotFoundError(f"{folder}: no checkpoint; first run: examples/pose.py {folder}")
    options = ["--ckpt", str(checkpoints[-1]), "--output", str(folder / "exported")]
    options += ["--rounds", "2"]
    print("$ srl export " + " ".join(options), flush=True)
    subprocess.run([sys.executable, "-c", SRL, "export", *options], check=True)
    return folder / "exported"


def main(folder: Path) -> None:
    """Find the joints of the clocks in ``FOLDER/clocks/val``, and compare them with the drawn."""
    predictor = PosePredictor(export(folder), threads=1)
    content = json.loads((folder / "clocks" / "val.json").read_text())
    annotations = {annotation["image_id"]: annotation for annotation in content["annotations"]}
    errors, seconds = [], 0.0
    for image in content["images"]:
        annotation = annotations[image["id"]]
        start = time.perf_counter()
        poses = predictor(folder / "clocks" / "val" / image["file_name"], [annotation["bbox"]])
        seconds += time.perf_counter() - start
        drawn = np.array(annotation["keypoints"]).reshape(-1, 3)[:, :2]
        errors.append(np.linalg.norm(poses.keypoints[0] - drawn, axis=1))
    for name, error in zip(predictor.joints, np.mean(errors, axis=0), strict=True):
        print(f"{name:12} {error:4.1f} pixels from where it was drawn")
    print(f"{1000 * seconds / len(errors):.0f} ms an image, file and flip test included")
    if "torch" in sys.modules:
        raise RuntimeError("torch was imported: expected a process without it")
    print("torch was not imported")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(f"usage: python examples/onnx_runtime.py FOLDER, got {sys.argv[1:]}")
    try:
        main(Path(sys.argv[1]))
    except FileNotFoundError as error:
        sys.exit(str(error))
