"""Does loading keep up with training? Measured for any task.

Three rates in samples per second, measured in interleaved rounds of one run: the loader alone,
the training step on one batch already in memory, and training with the loader.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor

from .optim import build_optimizer

Batch = dict[str, Tensor]


@dataclass(frozen=True)
class SpeedReport:
    """Medians over rounds, in samples (images or clips) per second.

    Attributes
    ----------
    loader, step, training : float
        The loader alone (with its workers, nothing else running); the training step on a batch
        in memory; both together.
    ratio : float
        training / step, the median of the rounds' ratios: 1 if loading costs nothing.
    rounds, steps, batch_size, workers, threads : int
        What was measured: rounds, steps per round and rate, loader processes, CPU threads.
    device, precision : str
        Where and how.
    """

    loader: float
    step: float
    training: float
    ratio: float
    rounds: int
    steps: int
    batch_size: int
    workers: int
    threads: int
    device: str
    precision: str


def measure_speed(cli: Any, *, rounds: int, steps: int) -> SpeedReport:
    """Measure the rates of a configured training.

    Parameters
    ----------
    cli : TaskCLI
        Built without running.
    rounds, steps : int
        Rounds, and batches per round for each rate.
    """
    data, strategy, precision = cli.datamodule, cli.trainer.strategy, cli.trainer.precision_plugin
    device = strategy.root_device
    data.setup("fit")
    task = cli.model.to(device).train()
    optimizer = build_optimizer(task.network, task.make_optimizer, task.parameter_options)
    loader = data.train_dataloader()
    batches = _endless(loader)

    def step(batch: Batch) -> None:
        batch = {name: value.to(device, non_blocking=True) for name, value in batch.items()}
        with precision.train_step_context():
            value = task.loss(batch)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()

    kept = next(batches)
    jobs: dict[str, Callable[[], Any]] = {
        "loader": lambda: next(batches),
        "step": lambda: step(kept),
        "training": lambda: step(next(batches)),
    }
    times: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(3):
        step(kept)
    for _ in track(range(rounds), "measuring", console=Console(stderr=True)):
        for name, job in jobs.items():
            if name != "step":
                _drain(loader, batches)
            times[name].append(_seconds(job, steps, device))
    rates = {
        n: statistics.median(loader.batch_size * steps / t for t in ts) for n, ts in times.items()
    }
    pairs = zip(times["step"], times["training"], strict=True)
    return SpeedReport(
        **rates,
        ratio=statistics.median(a / b for a, b in pairs),
        rounds=rounds,
        steps=steps,
        batch_size=loader.batch_size,
        workers=loader.num_workers,
        threads=torch.get_num_threads(),
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        precision=str(cli.trainer.precision),
    )


def _endless(loader: Any) -> Iterator[Batch]:
    while True:
        yield from loader


def _drain(loader: Any, batches: Iterator[Batch]) -> None:
    """Use up the batches that the workers have prepared while nothing asked for them."""
    for _ in range(loader.num_workers * (loader.prefetch_factor or 0)):
        next(batches)


def _seconds(job: Callable[[], Any], steps: int, device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    for _ in range(steps):
        job()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start
