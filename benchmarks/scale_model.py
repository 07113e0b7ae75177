"""Time and memory of the 8-GPU configurations on more GPUs, from what ``scale.py`` measured.

python benchmarks/scale_model.py [FILE] [--batch N] [--total N] [--machine.teraflops X ...]

The formulas are in docs/scale.md; rates of the machine are options, for none was measured.
"""

from __future__ import annotations

import json
import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spectral_residual.commands import run_function
from spectral_residual.report.table import format_table

GPUS = (1, 8, 16, 32, 64, 128, 256, 512, 1024)
GPUS_PER_NODE = 8


@dataclass(frozen=True)
class Machine:
    """Rates of a machine of nodes with eight GPUs.

    Parameters
    ----------
    teraflops : float
        What a GPU sustains in training, 1e12 operations a second (a multiply-accumulate is two).
    inside, between : float
        Bandwidth of an all-reduce for each GPU within a node and between nodes, in GB/s.
    latency : float
        Of one hop, in microseconds.
    images : float
        Images that one core prepares in a second.
    """

    teraflops: float = 75.0
    inside: float = 300.0
    between: float = 40.0
    latency: float = 10.0
    images: float = 450.0


@dataclass(frozen=True)
class Step:
    """One training step: seconds of computing, of the all-reduce, and of it what is not hidden."""

    compute: float
    reduce: float
    exposed: float

    @property
    def seconds(self) -> float:
        """The whole step."""
        return self.compute + self.exposed


def step(row: dict[str, Any], gpus: int, batch: int, machine: Machine) -> Step:
    """Time of a step of `batch` samples on each of some GPUs."""
    compute = 6 * row["giga_macs"] * 1e9 * batch / (machine.teraflops * 1e12)
    if gpus == 1:
        return Step(compute, 0.0, 0.0)
    calls = row["calls"]["all_reduce"]
    bandwidth = machine.inside if gpus <= GPUS_PER_NODE else machine.between
    bytes_sent = 2 * (gpus - 1) / gpus * row["megabytes"]["all_reduce"] * 1e6
    hops = 2 * math.log2(gpus) * calls
    reduce = bytes_sent / (bandwidth * 1e9) + hops * machine.latency * 1e-6
    return Step(compute, reduce, max(reduce / calls, reduce - 2 / 3 * compute))


def memory(row: dict[str, Any], batch: int) -> tuple[float, float]:
    """Gigabytes of a GPU with Adam: all in float32, and with the maps in half precision."""
    weights = (4 + 4 + 8 + 4) * row["parameters"]
    maps = row["kept_megabytes"] * 1e6 * batch
    return (weights + maps) / 1e9, (weights + maps / 2) / 1e9


def main(
    file: Path = Path("results/scale_cpu.json"),
    *,
    batch: int = 32,
    total: int | None = None,
    samples: int = 149_813,
    machine: Machine = Machine(),
) -> None:
    """Print tables.

    Parameters
    ----------
    file : path
        What scale.py wrote.
    batch : int
        Samples of a GPU and step.
    total : int, optional
        Samples of all GPUs and a step, in place of `batch`: as far as one for each GPU.
    samples : int
        Samples of an epoch; by default the persons of COCO train2017.
    machine : Machine
        Rates.
    """
    rows = json.loads(file.read_text())
    for name, row in rows.items():
        full, half = memory(row, batch if total is None else min(total, batch))
        print(
            f"\n{name}: {full:.1f} GB a GPU in float32, {half:.1f} GB with maps in half precision\n"
        )
        table = []
        for gpus in GPUS:
            own = batch if total is None else total // gpus
            if own < 1:
                break
            time = step(row, gpus, own, machine)
            rate = own * min(gpus, GPUS_PER_NODE) / time.seconds
            steps = samples / (own * gpus)
            table.append((
                str(gpus), str(own), f"{1e3 * time.compute:.1f}", f"{1e3 * time.reduce:.2f}",
                f"{1e3 * time.exposed:.2f}", f"{100 * time.compute / time.seconds:.0f}",
                f"{rate / machine.images:.0f}", f"{steps:.1f}", f"{steps * time.seconds:.2f}",
            ))  # fmt: skip
        print(format_table((
            "GPUs", "batch", "compute ms", "all-reduce ms", "not hidden ms", "efficiency %",
            "cores a node for data", "steps an epoch", "s an epoch",
        ), table))  # fmt: skip


if __name__ == "__main__":
    run_function(main, sys.argv[1:], "scale_model.py")
