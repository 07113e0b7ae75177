"""``srl demo video``: generate videos of actions, train C2D without and with blocks, compare."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch.optim import AdamW
from torch.optim.lr_scheduler import OneCycleLR

from ...blocks import VIDEO_BLOCKS
from ...cost import measure_cost
from ...report.table import format_table
from ...video.augment import VideoAugment
from ...video.data_module import VideoDataModule, VideoLoading
from ...video.network import VideoNetwork
from ...video.predict import write_predictions
from ...video.results import read_scores
from ...video.sampling import Clip, Views
from ...video.task import VideoEvaluation, VideoTask
from ..generated import ACTION_PAIRS, VideoOptions, generate_action_videos
from .common import compared, train

INPUT_SIZE = (64, 64)
CLIP = Clip(frames=8, stride=3)
BATCH_SIZE = 16
LEARNING_RATE = 3e-3

FROM_SCRATCH: Mapping[str, Any] = {"alpha": 0.5, "spread": 0.5}
"""Options of SRL blocks in a network that is trained from scratch; see docs/video.md."""


@dataclass(frozen=True)
class VideoDemo:
    """How much the demo does.

    Attributes
    ----------
    output : Path
        Folder for videos, checkpoints, scores and pictures.
    blocks : list of str
        Blocks to compare with the plain network.
    epochs : int
        Passes over the training videos, for each network.
    train_videos : int
        Generated videos per class to train with.
    val_videos : int
        Generated videos per class to validate with.
    seed : int
        Seed of data and training.
    """

    output: Path = Path("demo/video")
    blocks: list[str] = field(default_factory=lambda: ["srl", "srl-fft"])
    epochs: int = 8
    train_videos: int = 50
    val_videos: int = 25
    seed: int = 0


@dataclass(frozen=True)
class VideoRun:
    """A trained network: metrics in [0, 1], costs for a clip, and training clips per second."""

    name: str
    metrics: dict[str, float]
    parameters: int
    gflops: float
    clips_per_second: float


def video(options: VideoDemo) -> int:
    """Generate videos of actions, train video networks without and with blocks, compare.

    The videos are of people's actions in pairs that differ in nothing but the direction of time.
    The network is C2D-ResNet-18.

    Parameters
    ----------
    options : VideoDemo
        How much to do, and where.

    Raises
    ------
    ValueError
        If a block is not known, or is given twice.
    """
    blocks = compared("C2D", options.blocks, VIDEO_BLOCKS, "block for videos")
    folder = options.output / "data"
    videos = VideoOptions(options.train_videos, options.val_videos, seed=options.seed)
    print(generate_action_videos(folder, videos, workers=1))
    runs = [_run(name, block, folder, options) for name, block in blocks.items()]
    text = json.dumps([asdict(run) for run in runs], indent=1)
    (options.output / "results.json").write_text(text + "\n")
    print("\n" + video_table(runs))
    print(
        "\ndirection: among the videos of a pair, those with the higher score for the right one "
        "of its two classes; 50 % is chance."
    )
    print(f"Confusion matrices, scores and examples: {options.output.resolve()}")
    return 0


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


def _run(name: str, block: str | None, folder: Path, options: VideoDemo) -> VideoRun:
    """Train a network, and write what it guesses."""
    data = VideoDataModule(
        str(folder),
        clip=CLIP,
        input_size=INPUT_SIZE,
        short_side=73,
        augment=VideoAugment(jitter="none", flip_probability=0.0),
        views=Views(1, "centre"),
        loading=VideoLoading(batch_size=BATCH_SIZE, workers=2, eval_batch_size=32),
        seed=options.seed,
    )
    block_options = dict(FROM_SCRATCH) if block is not None and block.startswith("srl-") else {}

    def build(steps: int) -> VideoTask:
        return VideoTask(
            VideoNetwork(backbone="resnet18", block=block, block_options=block_options),
            optimizer=lambda p: AdamW(p, lr=LEARNING_RATE, weight_decay=0.01),
            lr_scheduler=lambda o: OneCycleLR(o, max_lr=LEARNING_RATE, total_steps=steps),
            schedule_interval="step",
            evaluation=VideoEvaluation(pairs=list(ACTION_PAIRS)),
            clip_frames=CLIP.frames,
            input_size=INPUT_SIZE,
            class_names=data.class_names,
        )

    task = train(
        build,
        data,
        name=name,
        output=options.output,
        epochs=options.epochs,
        seed=options.seed,
        logger=False,
        limit_val_batches=0,
    )
    cost = measure_cost(task.network, (3, CLIP.frames, *INPUT_SIZE))
    print()
    _write_examples(Path(task.trainer.default_root_dir))
    return VideoRun(name, task.metrics, cost.parameters, cost.gflops, task.samples_per_second)


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
