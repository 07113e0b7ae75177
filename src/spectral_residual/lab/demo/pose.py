"""``srl demo pose``: generate people, train with and without SRL blocks, compare, report."""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import lightning
import numpy as np
import torch
from torch import nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import OneCycleLR

from ...blocks import BLOCKS
from ...cost import measure_cost
from ...pose.augment import AugmentConfig
from ...pose.data_module import KeypointDataModule, Loading
from ...pose.network import PoseNetwork
from ...pose.skeleton import COCO
from ...pose.task import PoseTask
from ...report.figures import contact_sheet
from ...report.page import Picture
from ..generated import PeopleOptions, generate_dataset
from ..viz.filters import filter_figure
from ..viz.pictures import DRAWN_SCORE, annotated, draw_crops
from .common import compared, fast_precision, train
from .report import Run, summary_table, write_report

INPUT_SIZE = (96, 64)
BATCH_SIZE = 16
LEARNING_RATE = 1.5e-3
# A short receptive field (table 4 of the paper): the trunk ends after res3, one deconvolution.
NETWORK = PoseNetwork(
    backbone="resnet18",
    stages=2,
    deconv_channels=128,
    block_after=["backbone.layer2.0", "backbone.layer2.1", "d1"],
)
_TIMED_BATCH = 8
_TIMED_ROUNDS = 9
_DRAWN_PEOPLE = 12


@dataclass(frozen=True)
class PoseDemo:
    """How much the demo does.

    Attributes
    ----------
    output : Path
        Folder for data, checkpoints and the report.
    blocks : list of str
        Blocks to compare with the plain network.
    epochs : int
        Passes over the training people, for each network.
    train_images : int
        Generated images to train with; each shows one to three people.
    val_images : int
        Generated images to validate with.
    seed : int
        Seed of data and training.
    """

    output: Path = Path("demo/pose")
    blocks: list[str] = field(default_factory=lambda: ["srl"])
    epochs: int = 10
    train_images: int = 800
    val_images: int = 160
    seed: int = 0


def pose(options: PoseDemo) -> int:
    """Generate people, train pose networks without and with SRL blocks, compare, report.

    Parameters
    ----------
    options : PoseDemo
        How much to do, and where.

    Raises
    ------
    ValueError
        If a block is not known, or is given twice.
    """
    blocks = compared("SimpleBaseline", options.blocks, BLOCKS, "block")
    folder = options.output / "data"
    people = PeopleOptions(
        options.train_images, options.val_images, seed=options.seed, upright=True
    )
    print(generate_dataset(folder, people))
    trained = {name: _train(name, block, folder, options) for name, block in blocks.items()}
    tasks = {name: task for name, (task, _) in trained.items()}
    times = _inference_milliseconds([task.network for task in tasks.values()])
    runs = [
        _summarise(name, task, history, milliseconds)
        for (name, (task, history)), milliseconds in zip(trained.items(), times, strict=True)
    ]
    print("\n" + summary_table(runs), flush=True)
    figures = {name: filter_figure(task.network) for name, task in tasks.items()}
    report = write_report(
        options.output / "report.html",
        runs=runs,
        filters={name: figure for name, figure in figures.items() if figure is not None},
        pictures=_pictures(tasks, folder),
        details=_details(options),
    )
    print(f"\nReport: {report.resolve()}")
    return 0


class _History(lightning.Callback):
    """Keeps the training loss of every epoch, every measured AP and the training's speed."""

    def __init__(self) -> None:
        self.losses: list[tuple[float, float]] = []
        self.validation: list[tuple[float, float]] = []
        self.images_per_second: list[float] = []

    def on_train_epoch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        loss = float(trainer.callback_metrics["train/loss_epoch"])
        self.losses.append((trainer.current_epoch + 1, loss))
        if isinstance(pl_module, PoseTask):
            self.images_per_second.append(pl_module.samples_per_second)

    def on_validation_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        if trainer.state.fn == "fit":
            ap = float(trainer.callback_metrics["val/AP"])
            self.validation.append((trainer.current_epoch + 1, ap))


def _train(
    name: str, block: str | None, folder: Path, options: PoseDemo
) -> tuple[PoseTask, _History]:
    data = KeypointDataModule(
        str(folder),
        input_size=INPUT_SIZE,
        augment=AugmentConfig(scale=0.1, rotation_probability=0.0),
        loading=Loading(batch_size=BATCH_SIZE, workers=2),
        seed=options.seed,
    )

    def build(steps: int) -> PoseTask:
        return PoseTask(
            NETWORK if block is None else replace(NETWORK, block=block),
            optimizer=lambda p: AdamW(p, lr=LEARNING_RATE, weight_decay=0.01, eps=1e-15),
            lr_scheduler=lambda o: OneCycleLR(o, max_lr=LEARNING_RATE, total_steps=steps),
            schedule_interval="step",
            sigma=2.0,
            input_size=INPUT_SIZE,
            skeleton=data.skeleton,
        )

    history = _History()
    task = train(
        build,
        data,
        name=name,
        output=options.output,
        epochs=options.epochs,
        seed=options.seed,
        callbacks=[history],
        check_val_every_n_epoch=2,
        log_every_n_steps=10,
    )
    return task, history


def _inference_milliseconds(networks: Sequence[nn.Module]) -> list[float]:
    """Median time per image of each network in float32 on the CPU, in interleaved rounds."""
    images = torch.randn(_TIMED_BATCH, 3, *INPUT_SIZE).to(memory_format=torch.channels_last)
    times: list[list[float]] = [[] for _ in networks]
    with torch.inference_mode():
        for _ in range(_TIMED_ROUNDS + 1):
            for network, spent in zip(networks, times, strict=True):
                network.eval()
                start = time.perf_counter()
                network(images)
                spent.append(time.perf_counter() - start)
    return [1000 * statistics.median(spent[1:]) / _TIMED_BATCH for spent in times]


def _summarise(name: str, task: PoseTask, history: _History, milliseconds: float) -> Run:
    cost = measure_cost(task.network, (3, *INPUT_SIZE))
    return Run(
        name=name,
        metrics=task.metrics,
        parameters=cost.parameters,
        gflops=cost.gflops,
        milliseconds=milliseconds,
        images_per_second=statistics.median(history.images_per_second),
        losses=history.losses,
        validation=history.validation,
    )


def _pictures(tasks: Mapping[str, PoseTask], folder: Path) -> list[Picture]:
    """Validation crops with the annotated skeletons and those of every network."""
    data = KeypointDataModule(str(folder), input_size=INPUT_SIZE)
    data.setup("validate")
    dataset = data.datasets["val"]
    samples = [dataset[int(i)] for i in np.linspace(0, len(dataset) - 1, _DRAWN_PEOPLE)]
    images = torch.stack([sample["image"] for sample in samples])
    poses = {"Annotated": annotated(samples)}
    for name, task in tasks.items():
        with torch.inference_mode():
            coords, scores = task.codec.decode(task.eval().predict_heatmaps(images))
        poses[name] = (task.codec.to_crop(coords).numpy(), scores.numpy())
    caption = f"left side orange, right side blue; joints with a score above {DRAWN_SCORE}"
    return [
        Picture(name, caption, contact_sheet(draw_crops(list(images), *found, COCO), columns=6))
        for name, found in poses.items()
    ]


def _details(options: PoseDemo) -> dict[str, str]:
    images = f"{options.train_images} + {options.val_images} generated images"
    schedule = f"batch {BATCH_SIZE}, AdamW, one cycle, {fast_precision()}"
    return {
        "Data": f"{images}, seed {options.seed}",
        "Training": f"{options.epochs} epochs, {schedule}",
        "Input": f"{INPUT_SIZE[0]}x{INPUT_SIZE[1]} (H x W)",
        "Milliseconds per image": (
            f"float32 inference, batch {_TIMED_BATCH}, medians of interleaved rounds"
        ),
        "Device": f"{platform.machine()} CPU, {torch.get_num_threads()} threads",
        "Versions": f"Python {platform.python_version()}, torch {torch.__version__}",
    }
