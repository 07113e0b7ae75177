"""``srl demo pose``: generate people, train with and without SRL blocks, compare, report."""

from __future__ import annotations

import argparse
import logging
import platform
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import TQDMProgressBar
from torch import nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import OneCycleLR

from ...cost import measure_cost
from ...errors import unknown_name
from ...pose.augment import AugmentConfig
from ...pose.data_module import KeypointDataModule, Loading
from ...pose.drawing import draw_poses
from ...pose.network import PoseNetwork
from ...pose.skeleton import COCO
from ...pose.task import PoseTask
from ...report.figures import contact_sheet
from ...report.page import Picture
from ..generated import generate_dataset
from ..viz.figures import filter_figure
from .common import Precision, fast_precision, hidden_warnings
from .page import write_report
from .summary import RunSummary, summary_table

INPUT_SIZE = (96, 64)
DRAWN_SCORE = 0.1
BATCH_SIZE = 16
# A short receptive field (table 4 of the paper): the trunk ends after res3, one deconvolution.
NETWORK = PoseNetwork(
    backbone="resnet18",
    stages=2,
    deconv_channels=128,
    block_after=["backbone.layer2.0", "backbone.layer2.1", "d1"],
)


@dataclass(frozen=True)
class DemoSize:
    """How much the demo does.

    Attributes
    ----------
    train_images, val_images : int
        Generated images; each shows one to three people.
    epochs : int
        Passes over the training people, for each network.
    """

    train_images: int = 800
    val_images: int = 160
    epochs: int = 10


class History(lightning.Callback):
    """Keeps the training loss of every epoch, every measured AP and the training's speed."""

    def __init__(self) -> None:
        self.losses: list[tuple[float, float]] = []
        self.validation: list[tuple[float, float]] = []
        self.images_per_second: list[float] = []

    def on_train_epoch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        """Note the epoch's values."""
        loss = float(trainer.callback_metrics["train/loss_epoch"])
        self.losses.append((trainer.current_epoch + 1, loss))
        if isinstance(pl_module, PoseTask):
            self.images_per_second.append(pl_module.samples_per_second)

    def on_validation_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        """Note AP, while training."""
        if trainer.state.fn == "fit" and "val/AP" in trainer.callback_metrics:
            ap = float(trainer.callback_metrics["val/AP"])
            self.validation.append((trainer.current_epoch + 1, ap))


def run_demo(output: Path, size: DemoSize, blocks: Sequence[str], seed: int) -> Path:
    """Run the demo.

    Parameters
    ----------
    output : Path
        Folder for data, checkpoints and the report; made if it is not there.
    size : DemoSize
        Amount of data and training.
    blocks : sequence of str
        Blocks to compare with the plain network.
    seed : int
        Seed of data and training.

    Returns
    -------
    Path
        The report.
    """
    precision = fast_precision()
    data_folder = output / "data"
    print(
        generate_dataset(
            data_folder,
            train_images=size.train_images,
            val_images=size.val_images,
            seed=seed,
            upright=True,
        )
    )
    tasks: dict[str, PoseTask] = {}
    runs: list[RunSummary] = []
    for block in (None, *blocks):
        name = "SimpleBaseline" if block is None else f"+ {block}"
        print(f"\n{name}: {size.epochs} epochs, {precision}", flush=True)
        network = NETWORK if block is None else replace(NETWORK, block=block)
        task, history = _train(
            network, data_folder, output / name.strip("+ "), size, precision, seed
        )
        cost = measure_cost(task.network, (3, *INPUT_SIZE))
        tasks[name] = task
        runs.append(
            RunSummary(
                name=name,
                metrics=task.metrics,
                parameters=cost.parameters,
                gflops=cost.gflops,
                milliseconds=0.0,
                images_per_second=statistics.median(history.images_per_second),
                losses=history.losses,
                validation=history.validation,
            )
        )
    times = inference_milliseconds([task.network for task in tasks.values()])
    runs = [replace(run, milliseconds=ms) for run, ms in zip(runs, times, strict=True)]
    print("\n" + summary_table(runs), flush=True)
    figures = {name: filter_figure(task.network) for name, task in tasks.items()}
    return write_report(
        output / "report.html",
        title="Spectral residual learning: pose demo",
        lead=(
            "A SimpleBaseline with a short receptive field (ResNet-18 cut after res3, one "
            "deconvolution), trained from scratch on generated people, without and with spectral "
            "blocks in res3 and after the deconvolution. People are seen from all sides, so that "
            "left and right must be told apart by context. AP and AR are COCO's keypoint metrics "
            "on the validation images, with annotated boxes and flip test; one short run each, so "
            "small differences mean nothing."
        ),
        runs=runs,
        filters={name: figure for name, figure in figures.items() if figure is not None},
        pictures=_pictures(tasks, data_folder),
        details={
            "Data": f"{size.train_images} + {size.val_images} generated images, seed {seed}",
            "Training": f"{size.epochs} epochs, batch {BATCH_SIZE}, AdamW, one cycle, {precision}",
            "Input": f"{INPUT_SIZE[0]}x{INPUT_SIZE[1]} (H x W)",
            "Milliseconds per image": "float32 inference, batch 8, medians of interleaved rounds",
            "Device": f"{platform.machine()} CPU, {torch.get_num_threads()} threads",
            "Versions": f"Python {platform.python_version()}, torch {torch.__version__}",
        },
    )


def inference_milliseconds(
    networks: Sequence[nn.Module], batch: int = 8, rounds: int = 9
) -> list[float]:
    """Median time per image of each network in float32 on the CPU, in interleaved rounds."""
    images = torch.randn(batch, 3, *INPUT_SIZE).to(memory_format=torch.channels_last)
    times: list[list[float]] = [[] for _ in networks]
    with torch.inference_mode():
        for round_index in range(rounds + 1):
            for network, spent in zip(networks, times, strict=True):
                network.eval()
                start = time.perf_counter()
                network(images)
                if round_index:
                    spent.append(time.perf_counter() - start)
    return [1000 * statistics.median(spent) / batch for spent in times]


def _train(
    network: PoseNetwork,
    data_folder: Path,
    output: Path,
    size: DemoSize,
    precision: Precision,
    seed: int,
) -> tuple[PoseTask, History]:
    lightning.seed_everything(seed, verbose=False)
    data = KeypointDataModule(
        str(data_folder),
        input_size=INPUT_SIZE,
        augment=AugmentConfig(scale=0.1, rotation_probability=0.0),
        loading=Loading(batch_size=BATCH_SIZE, workers=2),
        seed=seed,
    )
    data.setup("fit")
    steps = size.epochs * len(data.train_dataloader())
    task = PoseTask(
        network,
        optimizer=lambda p: AdamW(p, lr=1.5e-3, weight_decay=0.01, eps=1e-15),
        lr_scheduler=lambda o: OneCycleLR(o, max_lr=1.5e-3, total_steps=steps),
        schedule_interval="step",
        sigma=2.0,
        input_size=INPUT_SIZE,
        skeleton=data.skeleton,
    )
    history = History()
    with hidden_warnings():
        trainer = lightning.Trainer(
            accelerator="cpu",
            precision=precision,
            max_epochs=size.epochs,
            callbacks=[history, TQDMProgressBar()],
            default_root_dir=output,
            num_sanity_val_steps=0,
            check_val_every_n_epoch=2,
            enable_model_summary=False,
            log_every_n_steps=10,
        )
        trainer.fit(task, datamodule=data)
        trainer.validate(task, datamodule=data, verbose=False)
    return task, history


def _pictures(tasks: dict[str, PoseTask], data_folder: Path, count: int = 12) -> list[Picture]:
    """Validation crops with the annotated skeletons and those of every network."""
    data = KeypointDataModule(str(data_folder), input_size=INPUT_SIZE)
    data.setup("validate")
    dataset = data.datasets["val"]
    chosen = np.linspace(0, len(dataset) - 1, count).astype(int)
    samples = [dataset[int(i)] for i in chosen]
    images = torch.stack([sample["image"] for sample in samples])
    poses = {
        "Annotated": (
            np.stack([s["joints"].numpy() for s in samples]),
            np.stack([s["visible"].numpy() for s in samples]),
        )
    }
    for name, task in tasks.items():
        with torch.inference_mode():
            coords, scores = task.codec.decode(task.eval().predict_heatmaps(images))
        poses[name] = (task.codec.to_crop(coords).numpy(), scores.numpy())
    return [
        Picture(
            title=name,
            caption=f"left side orange, right side blue; joints with a score above {DRAWN_SCORE}",
            image=contact_sheet(
                [
                    draw_poses(
                        _enlarged(image.numpy()), 2 * p[None] + 0.5, s[None], COCO, DRAWN_SCORE
                    )
                    for image, p, s in zip(images, joints, scores, strict=True)
                ],
                columns=6,
            ),
        )
        for name, (joints, scores) in poses.items()
    ]


def _enlarged(image: np.ndarray) -> np.ndarray:
    return image.repeat(2, axis=0).repeat(2, axis=1)


def main(arguments: list[str]) -> int:
    """Command line of ``srl demo pose``."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    from ...blocks import BLOCKS

    parser = argparse.ArgumentParser(allow_abbrev=False, prog="srl demo pose", description=__doc__)
    defaults = DemoSize()
    parser.add_argument("--output", type=Path, default=Path("demo/pose"), help="folder to write to")
    parser.add_argument("--blocks", nargs="*", default=["srl"], help="blocks to compare")
    parser.add_argument("--epochs", type=int, default=defaults.epochs)
    parser.add_argument("--train-images", type=int, default=defaults.train_images)
    parser.add_argument("--val-images", type=int, default=defaults.val_images)
    parser.add_argument("--seed", type=int, default=0)
    own = parser.parse_args(arguments)
    for block in own.blocks:
        if block not in BLOCKS:
            raise unknown_name("block", block, BLOCKS)
    size = DemoSize(own.train_images, own.val_images, own.epochs)
    report = run_demo(own.output, size, own.blocks, own.seed)
    print(f"\nReport: {report.resolve()}")
    return 0
