"""Optimisers and schedules: learning rate and weight decay of every parameter."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn
from torch.optim import Optimizer

from ..blocks import SpectralReLU
from ..errors import unknown_name
from ..transforms import LearnableOrthogonal


@dataclass(frozen=True)
class ParameterOptions:
    """How the parameters that a pattern names are trained.

    Attributes
    ----------
    lr_mult : float
        Factor of the optimiser's learning rate, at least 0.
    weight_decay : float, optional
        Weight decay in place of the optimiser's; by default that of `parameter_groups`.

    Raises
    ------
    ValueError
        If a value is negative or not finite.
    """

    lr_mult: float = 1.0
    weight_decay: float | None = None

    def __post_init__(self) -> None:
        for name, value in (("lr_mult", self.lr_mult), ("weight_decay", self.weight_decay)):
            if value is not None and not 0 <= value < math.inf:
                raise ValueError(f"{name} must be a finite number of at least 0, got {value}")


def parameter_groups(
    model: nn.Module, options: Mapping[str, ParameterOptions] | None = None
) -> list[dict[str, Any]]:
    """Split parameters by what they are trained with.

    Biases, normalisations, scalars such as alpha, the spectral ReLU's W and B (which decay would
    pull from 1 to 0, closing the filter) and learnable orthogonal matrices (whose scale is
    fixed) are not decayed, unless `options` say so.

    Parameters
    ----------
    model : nn.Module
        Network.
    options : mapping, optional
        By shell pattern of names as in ``model.named_parameters()``, e.g. ``"*.alpha"``; where
        several match, the last one counts.

    Returns
    -------
    list of dict
        Groups for any `torch.optim` optimiser: those that are decayed, those that are not, with
        ``weight_decay`` 0, and those with options, which have ``lr_mult``.

    Raises
    ------
    ValueError
        If a pattern matches no trained parameter.
    """
    exempt = {
        id(p)
        for module in model.modules()
        if isinstance(module, (SpectralReLU, LearnableOrthogonal))
        for p in module.parameters(recurse=False)
    }
    named = {name: p for name, p in model.named_parameters() if p.requires_grad}
    chosen = _chosen(list(named), options or {})
    groups: dict[tuple[float | None, float], dict[str, Any]] = {
        (None, 1.0): {"params": []},
        (0.0, 1.0): {"params": [], "weight_decay": 0.0},
    }
    for name, parameter in named.items():
        own = chosen.get(name, ParameterOptions())
        is_kept = parameter.dim() <= 1 or id(parameter) in exempt
        usual = 0.0 if is_kept else None
        decay = usual if own.weight_decay is None else own.weight_decay
        new: dict[str, Any] = {"params": [], "lr_mult": own.lr_mult}
        if decay is not None:
            new["weight_decay"] = decay
        groups.setdefault((decay, own.lr_mult), new)["params"].append(parameter)
    return list(groups.values())


def _chosen(
    names: Sequence[str], options: Mapping[str, ParameterOptions]
) -> dict[str, ParameterOptions]:
    chosen: dict[str, ParameterOptions] = {}
    for pattern, option in options.items():
        matched = [name for name in names if fnmatchcase(name, pattern)]
        if not matched:
            raise unknown_name("pattern of parameter names", pattern, names)
        chosen |= dict.fromkeys(matched, option)
    return chosen


def build_optimizer(
    model: nn.Module,
    make_optimizer: OptimizerCallable,
    options: Mapping[str, ParameterOptions] | None = None,
) -> Optimizer:
    """Optimiser over `parameter_groups`, with the learning rates multiplied by ``lr_mult``.

    It also takes the state of trainings in whose time alpha had no axis.
    """
    optimizer = make_optimizer(parameter_groups(model, options))
    for group in optimizer.param_groups:
        group["lr"] *= group.get("lr_mult", 1.0)
    optimizer.register_load_state_dict_post_hook(_shape_scalars)
    return optimizer


def _shape_scalars(optimizer: Optimizer) -> None:
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            is_average = isinstance(value, Tensor) and name != "step"
            if is_average and value.dim() == 0 and parameter.shape == (1,):
                state[name] = value.reshape(1)


def with_schedule(
    optimizer: Optimizer, make_scheduler: LRSchedulerCallable | None, interval: str
) -> Any:
    """What Lightning's ``configure_optimizers`` returns.

    Raises
    ------
    ValueError
        If some parameters have an ``lr_mult`` and the schedule sets the rates of its own, as
        `OneCycleLR` and `CyclicLR` do.
    """
    if make_scheduler is None:
        return optimizer
    wanted = [group["lr"] for group in optimizer.param_groups]
    scheduler = make_scheduler(optimizer)
    starts = [group.get("initial_lr", group["lr"]) for group in optimizer.param_groups]
    if len(set(wanted)) > 1 and starts != wanted:
        raise ValueError(
            f"model.lr_scheduler: {type(scheduler).__name__} sets one learning rate for all "
            "parameters, which the lr_mult of model.parameter_options does not change; take a "
            "schedule that scales the optimiser's rates, such as CosineAnnealingLR"
        )
    return {
        "optimizer": optimizer,
        "lr_scheduler": {"scheduler": scheduler, "interval": interval},
    }
