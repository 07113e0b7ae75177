"""Memory and handles over a long time; `make test-long` runs it.

``SRL_SOAK_MINUTES`` sets how long each training lasts (30).
"""

from __future__ import annotations

import gc
import os
import random
import time
from pathlib import Path

import coloured_videos
import keypoint_files
import lightning
import pytest
import torch

from spectral_residual import create_block
from spectral_residual.pose.commands import pose_cli
from spectral_residual.video.commands import video_cli

MINUTES = float(os.environ.get("SRL_SOAK_MINUTES", "30"))
WARM_UP = 1 / 6
MOST_GROWTH = 1.02


def resident() -> int:
    """Resident memory of this process in bytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def handles() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


class Watch(lightning.Callback):
    """Stops after some time; keeps memory and handles of every epoch."""

    def __init__(self) -> None:
        self.start = time.monotonic()
        self.seen: list[tuple[float, int, int]] = []

    def on_train_epoch_end(self, trainer, pl_module) -> None:
        gc.collect()
        share = (time.monotonic() - self.start) / (60 * MINUTES)
        self.seen.append((share, resident(), handles()))
        trainer.should_stop = share >= 1

    def check(self) -> None:
        warm = [row for row in self.seen if row[0] >= WARM_UP]
        third = max(1, len(warm) // 3)
        first, last = (max(row[1] for row in part) for part in (warm[:third], warm[-third:]))
        print(f"{len(self.seen)} epochs, {first / 2**20:.0f} to {last / 2**20:.0f} MiB")
        assert last <= MOST_GROWTH * first
        assert warm[-1][2] <= warm[0][2] + 2


@pytest.mark.parametrize("task", ["pose", "video"])
def test_training_does_not_grow(task, tmp_path):
    keypoint_files.write_split(tmp_path, "train", 16, seed=1)
    keypoint_files.write_split(tmp_path, "val", 4, seed=2)
    coloured_videos.write_split(tmp_path / "videos", "train", 2, seed=1)
    coloured_videos.write_split(tmp_path / "videos", "val", 1, seed=2)
    common = [
        *("--trainer.accelerator", "cpu", "--trainer.max_epochs", "-1"),
        *("--trainer.enable_progress_bar", "false", "--data.loading.workers", "1"),
        *("--trainer.default_root_dir", str(tmp_path / "runs"), "--trainer.logger", "false"),
    ]
    if task == "pose":
        cli = pose_cli(
            [
                *common,
                *("--data.root", str(tmp_path), "--data.input_size", "[64,64]"),
                *("--data.train", '{"annotations": "train.json", "images": "train"}'),
                *("--data.val", '{"annotations": "val.json", "images": "val"}'),
                *("--data.joints.sigmas", str(keypoint_files.SIGMAS).replace("'", '"')),
                *("--data.loading.batch_size", "4", "--model.network.backbone", "resnet18"),
                *("--model.network.stages", "2", "--model.network.deconv_channels", "8"),
                *("--model.network.block", "srl", "--model.network.block_after", "[d1]"),
            ],
            run=False,
        )
    else:
        cli = video_cli(
            [
                *common,
                *("--data.root", str(tmp_path / "videos"), "--data.input_size", "[32,32]"),
                *("--data.clip.frames", "4", "--data.clip.stride", "2", "--data.short_side", "36"),
                *("--data.loading.batch_size", "3", "--model.network.block", "srl"),
            ],
            run=False,
        )
    cli.trainer.callbacks = [
        callback
        for callback in cli.trainer.callbacks
        if "LearningRate" not in type(callback).__name__
    ]
    watch = Watch()
    cli.trainer.callbacks.append(watch)
    cli.trainer.fit(cli.model, datamodule=cli.datamodule)
    watch.check()


@pytest.mark.parametrize("name", ["srl", "srl-fft", "srl-dct", "non-local", "a2", "ffc"])
def test_inference_at_many_sizes_does_not_grow(name):
    """10,000 inferences at 500 sizes: nothing is kept for every size."""
    block = create_block(name, 16, (24, 20)).eval()
    rng = random.Random(0)
    sizes = [(rng.randint(4, 64), rng.randint(4, 64)) for _ in range(500)]
    seen = []
    with torch.inference_mode():
        for number in range(10_000):
            block(torch.randn(1, 16, *sizes[number % 500]))
            if number % 1000 == 999:
                gc.collect()
                seen.append(resident())
    print(f"{name}: {seen[1] / 2**20:.0f} to {max(seen[-3:]) / 2**20:.0f} MiB")
    assert max(seen[-3:]) <= MOST_GROWTH * max(seen[1:4])
