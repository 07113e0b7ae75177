"""What is timed: copying an input, blocks forward and backward, steps of networks.

A training step of a network is that of ``srl pose fit``: targets, forward, loss, backward,
optimiser. Images and joints are random and in memory already.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn

from .measure import Job
from .rows import PLAIN, NetworkRow, Row, group_rows

MODES = ("inference", "training")
COPY = "copy"

AnyModule = TypeVar("AnyModule", bound=nn.Module)


def block_jobs(
    rows: Sequence[Row],
    *,
    device: torch.device,
    dtype: torch.dtype,
    modes: Sequence[str] = MODES,
) -> list[list[Job]]:
    """Jobs of blocks: for every input its copy, then each row in each mode.

    Weights and input are of type `dtype`; there is no autocast.
    """
    groups = []
    for group in group_rows(rows):
        first = group[0]
        layout = torch.contiguous_format
        if first.channels_last:
            layout = torch.channels_last if len(first.shape) == 2 else torch.channels_last_3d
        generator = torch.Generator().manual_seed(0)
        draws = (torch.randn(first.input_shape, generator=generator) for _ in range(2))
        x, gradient = (draw.to(device, dtype, memory_format=layout) for draw in draws)
        copy = dataclasses.replace(first, name=COPY, block=COPY, options={})
        jobs = [Job(copy, COPY, x.clone)]
        for row, mode in itertools.product(group, modes):
            block = wake(row.build).to(device, dtype).train(mode == "training")
            step = training_step(block, x, gradient) if block.training else inference_step(block, x)
            jobs.append(Job(row, mode, step))
        groups.append(jobs)
    return groups


def network_jobs(rows: Sequence[NetworkRow], *, device: torch.device) -> list[list[Job]]:
    """Jobs of networks, in each group the one without blocks first."""
    return [
        [
            Job(row, row.mode, network_step(row, device))
            for row in sorted(group, key=lambda row: row.name != PLAIN)
        ]
        for group in group_rows(rows)
    ]


def wake(build: Callable[[], AnyModule]) -> AnyModule:
    """Build a module with no parameter at zero, so that no part of it can be skipped.

    Blocks start as the identity, by a scale or weights of 0. They compute everything all the
    same, but a benchmark should not rely on it: parameters that are 0 throughout are drawn
    between 0.1 and 1. The same function gives equal modules.
    """
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        module = build()
        for parameter in module.parameters():
            if not parameter.any():
                parameter.uniform_(0.1, 1.0)
    return module


def inference_step(module: Callable[[Tensor], object], x: Tensor) -> Callable[[], None]:
    """Function that runs a module without gradients."""

    @torch.no_grad()
    def step() -> None:
        module(x)

    return step


def training_step(block: nn.Module, x: Tensor, gradient: Tensor) -> Callable[[], None]:
    """Function that runs a block forward and backward.

    Gradients are computed of the input and of all parameters, from `gradient` at the output, and
    dropped at the end.
    """
    x = x.detach().requires_grad_()

    def step() -> None:
        block(x).backward(gradient)
        x.grad = None
        block.zero_grad(set_to_none=True)

    return step


def network_step(row: NetworkRow, device: torch.device) -> Callable[[], None]:
    """Function that predicts heatmaps or, if ``row.training``, does a training step with AdamW.

    For training, images are uint8 RGB crops, joints lie anywhere in them, and all are visible;
    gradients are dropped at the end. In bfloat16 weights are cast at every use, as by Lightning.
    """
    network = wake(row.build).to(device)
    half = row.precision == "bf16-mixed"
    autocast = torch.autocast(device.type, torch.bfloat16, enabled=half, cache_enabled=False)
    generator = torch.Generator().manual_seed(0)
    height, width = row.input_size
    if not row.training:
        images = torch.randn(row.batch, 3, height, width, generator=generator)
        images = images.to(device, memory_format=torch.channels_last)
        return inference_step(autocast(network.eval()), images)

    from ...pose.dataset import normalise
    from ...pose.heatmap import HeatmapCodec, default_sigma
    from ...pose.network import HEATMAP_STRIDE
    from ...pose.task import keypoint_mse

    network.train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    heatmap_size = (height // HEATMAP_STRIDE, width // HEATMAP_STRIDE)
    codec = HeatmapCodec(row.input_size, heatmap_size, default_sigma(row.input_size))
    shape = (row.batch, height, width, 3)
    crops = torch.randint(256, shape, dtype=torch.uint8, generator=generator).to(device)
    num_joints = network.head.out_channels
    joints = torch.rand(row.batch, num_joints, 2, generator=generator)
    joints = (joints * torch.tensor([width - 1, height - 1])).to(device)
    visible = torch.ones(row.batch, num_joints, device=device)

    def step() -> None:
        with autocast:
            targets, weights = codec.encode(joints, visible)
            loss = keypoint_mse(network(normalise(crops)), targets, weights)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step
