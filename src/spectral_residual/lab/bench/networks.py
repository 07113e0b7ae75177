"""Time and peak memory of whole pose networks with blocks and without: forward, training step.

A training step is that of ``srl pose fit``: targets, forward, loss, backward, optimiser. Images
and joints are random and in memory already.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import torch

from .measure import Entry, Measurements, measure_entries, wake
from .network_rows import PLAIN, NetworkRow
from .rounds import Clock, Job, Progress, check_rounds
from .rows import group_rows


def measure_networks(
    rows: Sequence[NetworkRow],
    *,
    device: torch.device,
    rounds: int = 20,
    budget: float = 150.0,
    clock: Clock = time.perf_counter,
    progress: Progress = lambda done: None,
) -> Measurements:
    """Measure networks side by side.

    Parameters
    ----------
    rows : sequence of NetworkRow
        What to measure; every group has a row without blocks, which is its base.
    device : torch.device
        Where.
    rounds, budget, clock, progress
        See `measure_jobs`.

    Returns
    -------
    Measurements
        Memory counts beyond parameters, optimiser state and input.

    Raises
    ------
    ValueError
        If `rounds` is less than 3, there are no rows, or a row does not fit in the GPU's memory.
    """
    check_rounds(rounds)
    groups = [
        [_entry(row, device) for row in sorted(group, key=lambda row: row.name != PLAIN)]
        for group in group_rows(rows)
    ]
    return measure_entries(
        groups, device=device, rounds=rounds, budget=budget, clock=clock, progress=progress
    )


def inference_step(row: NetworkRow, device: torch.device) -> Callable[[], object]:
    """Function that predicts heatmaps in evaluation mode, without gradients."""
    network = wake(row.build).to(device).eval()
    images = torch.randn(row.batch, 3, *row.input_size, generator=torch.Generator().manual_seed(0))
    images = images.to(device, memory_format=torch.channels_last)

    @torch.no_grad()
    def step() -> None:
        with _autocast(row, device):
            network(images)

    return step


def training_step(row: NetworkRow, device: torch.device) -> Callable[[], object]:
    """Function that does a training step with AdamW; gradients are dropped at its end.

    Images are uint8 RGB crops, joints lie anywhere in them, and all are visible.
    """
    from ...pose.dataset import normalise
    from ...pose.heatmap import HeatmapCodec, default_sigma
    from ...pose.network import HEATMAP_STRIDE
    from ...pose.task import keypoint_mse

    network = wake(row.build).to(device).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    height, width = row.input_size
    heatmap_size = (height // HEATMAP_STRIDE, width // HEATMAP_STRIDE)
    codec = HeatmapCodec(row.input_size, heatmap_size, default_sigma(row.input_size))
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(
        256, (row.batch, height, width, 3), dtype=torch.uint8, generator=generator
    ).to(device)
    num_joints = network.head.out_channels
    joints = torch.rand(row.batch, num_joints, 2, generator=generator)
    joints = (joints * torch.tensor([width - 1, height - 1])).to(device)
    visible = torch.ones(row.batch, num_joints, device=device)

    def step() -> None:
        with _autocast(row, device):
            targets, weights = codec.encode(joints, visible)
            loss = keypoint_mse(network(normalise(images)), targets, weights)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def _entry(row: NetworkRow, device: torch.device) -> Entry:
    make = training_step if row.training else inference_step
    return Entry(row, row.mode, Job(f"{row.name} in {row.group}", make(row, device)))


def _autocast(row: NetworkRow, device: torch.device) -> torch.autocast:
    """As Lightning has it for the precision of the same name: weights are cast at every use."""
    enabled = row.precision == "bf16-mixed"
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled, cache_enabled=False)
