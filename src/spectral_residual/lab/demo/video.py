"""``srl demo video``: generate videos of actions, train C2D without and with blocks, compare."""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import lightning
import numpy as np
from lightning.pytorch.callbacks import TQDMProgressBar
from torch.optim import AdamW
from torch.optim.lr_scheduler import OneCycleLR

from ...blocks import VIDEO_BLOCKS
from ...cost import measure_cost
from ...errors import unknown_name
from ...report.table import format_table
from ...video.augment import VideoAugment
from ...video.data_module import VideoDataModule, VideoLoading
from ...video.network import VideoNetwork
from ...video.predict import write_predictions
from ...video.results import read_scores
from ...video.sampling import Clip, Views
from ...video.task import VideoEvaluation, VideoTask
from ..generated import ACTION_PAIRS, generate_action_videos
from .common import fast_precision, hidden_warnings

INPUT_SIZE = (64, 64)
CLIP = Clip(frames=8, stride=3)
BATCH_SIZE = 16
LEARNING_RATE = 3e-3
BLOCKS = ("srl", "srl-fft")

FROM_SCRATCH: Mapping[str, Any] = {"alpha": 0.5, "spread": 0.5}
"""Options of SRL blocks in a network that is trained from scratch; see docs/video.md."""


@dataclass(frozen=True)
class VideoDemoSize:
    """How much the demo does.

    Attributes
    ----------
    train_videos, val_videos : int
        Generated videos per class.
    epochs : int
        Passes over the training videos, for each network.
    """

    train_videos: int = 50
    val_videos: int = 25
    epochs: int = 8


@dataclass(frozen=True)
class VideoRun:
    """One trained network.

    Attributes
    ----------
    name : str
        ``C2D``, or ``+`` and the name of the block.
    metrics : dict of str to float
        top1, top5, mean_class and direction in [0, 1] over the validation videos.
    parameters : int
        Parameters of the network.
    gflops : float
        2^30 multiply-accumulates for a clip, by the paper's accounting.
    clips_per_second : float
        Training clips per second in the last epoch.
    """

    name: str
    metrics: dict[str, float]
    parameters: int
    gflops: float
    clips_per_second: float


def run_video_demo(
    output: Path, size: VideoDemoSize, blocks: Sequence[str], seed: int
) -> list[VideoRun]:
    """Run the demo.

    Parameters
    ----------
    output : Path
        Folder for videos, checkpoints, scores and pictures; made if it is not there.
    size : VideoDemoSize
        Amount of data and training.
    blocks : sequence of str
        Blocks to compare with the plain network.
    seed : int
        Seed of data and training.

    Returns
    -------
    list of VideoRun
        The plain network and one with each block; also in ``results.json`` of `output`.
    """
    videos = output / "data"
    print(
        generate_action_videos(
            videos,
            train_videos=size.train_videos,
            val_videos=size.val_videos,
            image_size=(80, 80),
            seed=seed,
            workers=1,
        )
    )
    runs = []
    for block in (None, *blocks):
        name = "C2D" if block is None else f"+ {block}"
        print(f"\n{name}: {size.epochs} epochs, {fast_precision()}", flush=True)
        folder = output / name.strip("+ ")
        task = _train(_network(block), videos, folder, size, seed)
        cost = measure_cost(task.network, (3, CLIP.frames, *INPUT_SIZE))
        runs.append(
            VideoRun(name, task.metrics, cost.parameters, cost.gflops, task.samples_per_second)
        )
        print()
        _write_examples(folder)
    text = json.dumps([asdict(run) for run in runs], indent=1)
    (output / "results.json").write_text(text + "\n")
    return runs


def video_table(runs: Sequence[VideoRun]) -> str:
    """Table of runs: accuracies in percent, costs, training speed."""
    header = ["model", "top-1 (%)", "top-5 (%)", "direction (%)"]
    header += ["parameters (M)", "GFLOPs", "clips/s"]
    rows = [
        [
            run.name,
            *(f"{100 * run.metrics[metric]:.1f}" for metric in ("top1", "top5", "direction")),
            f"{run.parameters / 1e6:.3f}",
            f"{run.gflops:.3f}",
            f"{run.clips_per_second:.1f}",
        ]
        for run in runs
    ]
    return format_table(header, rows)


def _network(block: str | None) -> VideoNetwork:
    options = dict(FROM_SCRATCH) if block is not None and block.startswith("srl-") else {}
    return VideoNetwork(backbone="resnet18", block=block, block_options=options)


def _train(
    network: VideoNetwork, videos: Path, output: Path, size: VideoDemoSize, seed: int
) -> VideoTask:
    lightning.seed_everything(seed, verbose=False)
    data = VideoDataModule(
        str(videos),
        clip=CLIP,
        input_size=INPUT_SIZE,
        short_side=73,
        augment=VideoAugment(jitter="none", flip_probability=0.0),
        views=Views(1, "centre"),
        loading=VideoLoading(batch_size=BATCH_SIZE, workers=2, eval_batch_size=32),
        seed=seed,
    )
    data.setup("fit")
    steps = size.epochs * len(data.train_dataloader())
    task = VideoTask(
        network,
        optimizer=lambda p: AdamW(p, lr=LEARNING_RATE, weight_decay=0.01),
        lr_scheduler=lambda o: OneCycleLR(o, max_lr=LEARNING_RATE, total_steps=steps),
        schedule_interval="step",
        evaluation=VideoEvaluation(pairs=list(ACTION_PAIRS)),
        clip_frames=CLIP.frames,
        input_size=INPUT_SIZE,
        class_names=data.class_names,
    )
    with hidden_warnings():
        trainer = lightning.Trainer(
            accelerator="cpu",
            precision=fast_precision(),
            max_epochs=size.epochs,
            callbacks=[TQDMProgressBar()],
            default_root_dir=output,
            logger=False,
            num_sanity_val_steps=0,
            limit_val_batches=0,
            enable_model_summary=False,
        )
        trainer.fit(task, datamodule=data)
        trainer.limit_val_batches = 1.0
        trainer.validate(task, datamodule=data, verbose=False)
    return task


def _write_examples(folder: Path) -> None:
    """Pictures of the guesses for one validation video of each class."""
    scores = read_scores(folder / "scores_val.npz")
    rows = [int(np.flatnonzero(scores.labels == c)[0]) for c in range(len(scores.class_names))]
    chosen = replace(
        scores,
        scores=scores.scores[rows],
        labels=scores.labels[rows],
        videos=[scores.videos[row] for row in rows],
    )
    write_predictions(folder / "predictions", chosen, CLIP)


def main(arguments: list[str]) -> int:
    """Command line of ``srl demo video``."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    parser = argparse.ArgumentParser(
        allow_abbrev=False,
        prog="srl demo video",
        description="Generate videos of people's actions in pairs that differ in nothing but the "
        "direction of time, train C2D-ResNet-18 without and with blocks, and compare them.",
    )
    defaults = VideoDemoSize()
    parser.add_argument(
        "--output", type=Path, default=Path("demo/video"), help="folder to write to"
    )
    parser.add_argument("--blocks", nargs="*", default=list(BLOCKS), help="blocks to compare")
    parser.add_argument("--epochs", type=int, default=defaults.epochs)
    parser.add_argument("--train-videos", type=int, default=defaults.train_videos, help="per class")
    parser.add_argument("--val-videos", type=int, default=defaults.val_videos, help="per class")
    parser.add_argument("--seed", type=int, default=0)
    own = parser.parse_args(arguments)
    for block in own.blocks:
        if block not in VIDEO_BLOCKS:
            raise unknown_name("block for videos", block, VIDEO_BLOCKS)
    size = VideoDemoSize(own.train_videos, own.val_videos, own.epochs)
    runs = run_video_demo(own.output, size, own.blocks, own.seed)
    print("\n" + video_table(runs))
    print(
        "\ndirection: among the videos of a pair, those with the higher score for the right one "
        "of its two classes; 50 % is chance."
    )
    print(f"Confusion matrices, scores and examples: {own.output.resolve()}")
    return 0
