"""Networks with random numbers everywhere, and checkpoints of them, for tests of export."""

from __future__ import annotations

from dataclasses import asdict

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from spectral_residual.pose.dataset import normalise
from spectral_residual.training.checkpoint import checkpoint_key


@torch.no_grad()
def randomise(network: nn.Module, example: torch.Tensor, seed: int = 0) -> nn.Module:
    """Draw what is constant at the start, and all statistics of normalisations, in place.

    Weights that are drawn at the start already, and orthogonal matrices, stay. The statistics are
    those of `example`, changed at random: so the output depends on the input.
    """
    generator = torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        if parameter.numel() == 1 or parameter.min() == parameter.max():
            scale = 0.3
            if parameter.dim() > 1 and not parameter.any():
                scale = (parameter.numel() / len(parameter)) ** -0.5
            parameter.add_(scale * torch.randn(parameter.shape, generator=generator))
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    for norm in norms:
        norm.momentum = 1.0
    network.train()(example)
    for norm in norms:
        norm.momentum = 0.1
        draws = torch.rand(2, *norm.running_var.shape, generator=generator)
        norm.running_mean += 0.4 * (draws[0] - 0.5) * norm.running_var.sqrt()
        norm.running_var *= 0.5 + 1.5 * draws[1]
    return network.eval()


def save_checkpoint(path, task_name, network, description):
    """Write a checkpoint with what a task would say of its network."""
    state = {f"network.{name}": value for name, value in network.state_dict().items()}
    torch.save({"state_dict": state, checkpoint_key(task_name): description}, path)
    return path


def pose_description(config, size, skeleton):
    network = {k: v for k, v in asdict(config).items() if k != "weights"}
    return {"network": network, "skeleton": skeleton.to_dict(), "input_size": list(size)}


def save_pose(path, config, size, skeleton, images=None):
    """Checkpoint of a random pose network, with statistics of some uint8 crops (N, H, W, 3)."""
    torch.manual_seed(0)
    example = torch.randn(4, 3, *size) if images is None else normalise(images)
    network = randomise(config.build(skeleton.num_joints, size), example)
    return save_checkpoint(path, "pose", network, pose_description(config, size, skeleton))


def save_video(path, config, classes, size, frames, sampling):
    """Checkpoint of a random video network."""
    torch.manual_seed(0)
    example = torch.randn(4, 3, frames, *size)
    network = randomise(config.build(len(classes), frames, size), example)
    kept = {k: v for k, v in asdict(config).items() if k not in ("weights", "dropout", "frozen_bn")}
    description = {
        "network": kept,
        "classes": list(classes),
        "frames": frames,
        "input_size": list(size),
        "sampling": sampling,
    }
    return save_checkpoint(path, "video", network, description)
