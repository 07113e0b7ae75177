"""Videos of your own: files in class folders, trained with and without a block that sees time.

A square crosses the picture in eight frames, to the left or to the right. A network that averages
over frames cannot tell which: both directions show the same frames. With `srl`, which for videos
transforms over time too, it can:

    python examples/video.py [FOLDER]
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import av
import numpy as np
import torch
from numpy.typing import NDArray

from spectral_residual.cli import main

SIDE, FRAMES = 48, 8
CONFIG = """
seed_everything: 0
data:
  clip: {frames: 8, stride: 1}
  input_size: [32, 32]
  short_side: 37
  augment: {jitter: none, flip_probability: 0}  # a mirrored video is of the other class
  views: {clips: 1, placing: centre, crops: 1}
  loading: {batch_size: 8, workers: 0}
model:
  optimizer: {class_path: torch.optim.AdamW, init_args: {lr: 0.001}}
trainer: {max_epochs: 4, accelerator: cpu, enable_progress_bar: false, enable_model_summary: false}
"""


def draw(direction: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Frames (T, H, W, 3) of a square that moves by 4 pixels a frame, in noise."""
    frames = rng.normal(60, 20, (FRAMES, SIDE, SIDE, 3))
    top, first = rng.integers(0, SIDE - 12), rng.integers(0, SIDE - 12 - 4 * FRAMES + 5)
    for number in range(FRAMES):
        left = first + 4 * (number if direction else FRAMES - 1 - number)
        frames[number, top : top + 12, left : left + 12] += 120
    return frames.clip(0, 255).astype(np.uint8)


def write_video(path: Path, frames: NDArray[np.uint8]) -> None:
    """Encode frames (T, H, W, 3), RGB, as MPEG-4."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=12)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt, stream.bit_rate = "yuv420p", 4_000_000
        for pixels in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))


def write_data(folder: Path) -> None:
    """Write ``train/CLASS/*.mp4`` and ``val/CLASS/*.mp4``."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 48), ("val", 24)):
        for direction, name in enumerate(("leftwards", "rightwards")):
            for number in range(count):
                write_video(folder / split / name / f"{number}.mp4", draw(direction, rng))


def train(data: Path, runs: Path, *network: str) -> float:
    """Top-1 accuracy in percent of ``srl video fit`` and ``srl video validate``."""
    runs.mkdir(parents=True)
    (runs / "config.yaml").write_text(CONFIG)
    options = ["--config", str(runs / "config.yaml"), "--data.root", str(data)]
    options += ["--trainer.default_root_dir", str(runs)]
    for command in (["fit"], ["validate", "--ckpt", "last"]):
        if main(["video", *command, *options, *network]):
            raise RuntimeError(f"srl video {command[0]} failed")
    (metrics,) = runs.glob("**/metrics_val.json")
    return 100 * float(json.loads(metrics.read_text())["top1"])


if __name__ == "__main__":
    torch.set_num_threads(1)
    root = Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp())
    write_data(root / "data")
    block = ["--model.network.block", "srl", "--model.network.block_after", "[backbone.layer2]"]
    found = {
        "no block": train(root / "data", root / "base"),
        "srl": train(root / "data", root / "srl", *block),
    }
    for name, top1 in found.items():
        print(f"{name:10} {top1:5.1f} % of the directions right")
    print(f"videos, checkpoints and figures: {root}")
