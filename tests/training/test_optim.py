"""Learning rate and weight decay of single parameters."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from keypoint_files import write_split
from torch import nn
from torch.optim import SGD, AdamW
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, OneCycleLR, SequentialLR

from spectral_residual import insert_blocks
from spectral_residual.pose.commands import pose_cli
from spectral_residual.training.optim import (
    ParameterOptions,
    build_optimizer,
    parameter_groups,
    with_schedule,
)


@pytest.fixture
def model():
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 1))
    return insert_blocks(network, ["0", "2"], input_size=(3, 10, 8), options={"groups": 1})


def rates(model, optimizer, key="lr"):
    values = {id(p): group[key] for group in optimizer.param_groups for p in group["params"]}
    return {name: values[id(p)] for name, p in model.named_parameters()}


def test_without_options_there_are_two_groups(model):
    decayed, kept = parameter_groups(model)
    assert set(decayed) == {"params"}
    assert kept["weight_decay"] == 0
    assert sum(map(len, (decayed["params"], kept["params"]))) == len(list(model.parameters()))


def test_patterns_name_parameters_and_the_last_one_counts(model):
    options = {
        "*.relu.*": ParameterOptions(weight_decay=0.2),
        "*_srl.alpha": ParameterOptions(lr_mult=10),
        "2_srl.*": ParameterOptions(lr_mult=0.5),
        "2.*": ParameterOptions(lr_mult=3.0, weight_decay=0.0),
    }
    optimizer = build_optimizer(model, lambda g: AdamW(g, lr=0.01, weight_decay=0.1), options)
    lr, decay = rates(model, optimizer), rates(model, optimizer, "weight_decay")
    assert set(lr) == {name for name, _ in model.named_parameters()}
    for name in lr:
        expected = {"0_srl.alpha": 0.1, "2.weight": 0.03, "2.bias": 0.03}.get(
            name, 0.005 if name.startswith("2_srl") else 0.01
        )
        assert lr[name] == pytest.approx(expected), name
        usual = 0.1 if name.endswith("weight") and "bn" not in name and name != "1.weight" else 0
        usual = 0 if name.endswith("relu.weight") or name == "2.weight" else usual
        assert decay[name] == (0.2 if name.startswith("0_srl.relu") else usual), name


def test_a_step_is_as_much_larger(model):
    options = {"0_srl.alpha": ParameterOptions(lr_mult=7.0)}
    optimizer = build_optimizer(model, lambda g: SGD(g, lr=0.1), options)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    named = dict(model.named_parameters())
    assert named["0_srl.alpha"].item() == pytest.approx(-0.7)
    assert named["2_srl.alpha"].item() == pytest.approx(-0.1)


def test_the_command_line_takes_them(tmp_path):
    write_split(tmp_path, "train", 2, seed=1)
    write_split(tmp_path, "val", 2, seed=2)
    arguments = [
        "--data.root", str(tmp_path),
        "--data.train", '{"annotations": "train.json", "images": "train"}',
        "--data.val", '{"annotations": "val.json", "images": "val"}',
        "--data.input_size", "[64, 64]",
        "--model.network.backbone", "resnet18", "--model.network.deconv_channels", "8",
        "--model.network.block", "srl-fft", "--trainer.accelerator", "cpu",
        "--model.parameter_options", '{"*.alpha": {"lr_mult": 10}}',
    ]  # fmt: skip
    task = pose_cli(arguments, run=False).model
    assert task.parameter_options == {"*.alpha": ParameterOptions(lr_mult=10)}
    lr = rates(task.network, task.configure_optimizers())
    assert lr["d1.srl.alpha"] == pytest.approx(10 * lr["d1.0.weight"])


def test_frozen_parameters_stay_out(model):
    for parameter in model[0].parameters():
        parameter.requires_grad_(False)
    grouped = {id(p) for group in parameter_groups(model) for p in group["params"]}
    assert grouped == {id(p) for p in model.parameters() if p.requires_grad}
    with pytest.raises(ValueError, match=r"unknown pattern of parameter names '0\.\*'"):
        parameter_groups(model, {"0.*": ParameterOptions()})


def test_a_misspelt_pattern(model):
    with pytest.raises(ValueError, match=r"'0_srl.alfa'; did you mean .*'0_srl.alpha'"):
        parameter_groups(model, {"0_srl.alfa": ParameterOptions(lr_mult=2)})


@pytest.mark.parametrize("values", [{"lr_mult": -1}, {"lr_mult": math.nan}, {"weight_decay": -1}])
def test_values_are_checked(values):
    with pytest.raises(ValueError, match=f"{next(iter(values))} must be a finite number"):
        ParameterOptions(**values)


def warmed_up(optimizer):
    parts = [LinearLR(optimizer, 0.1, total_iters=2), CosineAnnealingLR(optimizer, 6)]
    return SequentialLR(optimizer, parts, milestones=[2])


@pytest.mark.parametrize("schedule", [lambda o: CosineAnnealingLR(o, 4), warmed_up])
def test_schedules_scale_every_rate(model, schedule):
    options = {"*.alpha": ParameterOptions(lr_mult=10)}
    optimizer = build_optimizer(model, lambda g: SGD(g, lr=0.1), options)
    scheduler = with_schedule(optimizer, schedule, "epoch")["lr_scheduler"]["scheduler"]
    for _ in range(4):
        lr = rates(model, optimizer)
        assert lr["0_srl.alpha"] == pytest.approx(10 * lr["0.weight"], abs=1e-12)
        optimizer.step()
        scheduler.step()


def test_a_schedule_that_forgets_the_factor_is_refused(model):
    def one_cycle(optimizer):
        return OneCycleLR(optimizer, max_lr=0.1, total_steps=5)

    plain = build_optimizer(model, lambda g: SGD(g, lr=0.1))
    assert with_schedule(plain, None, "epoch") is plain
    assert with_schedule(plain, one_cycle, "step")["lr_scheduler"]["interval"] == "step"
    options = {"*.alpha": ParameterOptions(lr_mult=10)}
    optimizer = build_optimizer(model, lambda g: SGD(g, lr=0.1), options)
    with pytest.raises(ValueError, match="OneCycleLR sets one learning rate"):
        with_schedule(optimizer, one_cycle, "step")


@pytest.mark.parametrize(
    "make",
    [lambda p: AdamW(p, lr=0.1), lambda p: SGD(p, lr=0.1, momentum=0.9)],
    ids=["AdamW", "SGD"],
)
def test_goes_on_with_the_state_of_a_training_in_whose_time_alpha_had_no_axis(model, make):
    """Equal to going on with today's state; whoever resumes such a training does both loads."""
    x = torch.randn(2, 3, 10, 8)
    model(x).square().mean().backward()
    optimizer = build_optimizer(model, make)
    optimizer.step()
    weights, state = copy.deepcopy(model.state_dict()), copy.deepcopy(optimizer.state_dict())
    optimizer.step()
    expected = copy.deepcopy(model.state_dict())
    reshaped = 0
    for name in weights:
        if name.endswith(".alpha"):
            weights[name] = weights[name].reshape(())
    for of_parameter in state["state"].values():
        for name, value in of_parameter.items():
            if name != "step" and value.shape == (1,):
                of_parameter[name] = value.reshape(())
                reshaped += 1
    assert reshaped >= 2
    model.load_state_dict(weights)
    resumed = build_optimizer(model, make)
    resumed.load_state_dict(state)
    resumed.step()
    torch.testing.assert_close(model.state_dict(), expected)
