"""``srl bench networks``: rows, steps, and the command on tiny networks."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch

from spectral_residual.blocks import SRLBlock
from spectral_residual.cli import _command
from spectral_residual.lab.bench.measure import measure
from spectral_residual.lab.bench.report import base_ratios, read_report
from spectral_residual.lab.bench.rows import NetworkRow, group_rows, load_rows
from spectral_residual.lab.bench.steps import network_jobs, network_step
from spectral_residual.pose.network import SimpleBaseline

CPU = torch.device("cpu")
TRUNK = {"backbone": "resnet18", "stages": 2, "deconv_channels": 8, "num_joints": 3}
PLAIN = {"network": TRUNK, "input_size": [32, 24], "batch": 2}
AFTER = {"after": ["backbone.layer2.0", "d1"]}
FFT = {**PLAIN, "block": "srl-fft", **AFTER}
A2 = {**PLAIN, "block": "a2", **AFTER}
STEP = {"training": True, "precision": "bf16-mixed"}
TINY = [FFT, PLAIN, A2, {**PLAIN, **STEP}, {**FFT, **STEP}]


def main(arguments):
    return _command(["bench", *arguments])


def load_networks(path=None):
    return load_rows(NetworkRow, path)


@pytest.fixture
def networks_file(tmp_path):
    def write(entries):
        path = tmp_path / "networks.json"
        path.write_text(json.dumps(entries))
        return path

    return write


# Rows


def test_packaged_rows():
    groups = group_rows(load_networks())
    assert [[row.name for row in group] for group in groups] == [
        ["none", "srl", "srl-fft"],
        *2 * [["none", "srl", "srl-fft", "a2"]],
    ]
    large, half, full = (group[1] for group in groups)
    assert (large.size, large.batch, large.mode) == ("384x288", 1, "inference")
    assert (half.precision, full.precision) == ("bf16-mixed", "float32")
    for row in (half, full):
        assert (row.size, row.batch, row.mode) == ("128x96", 32, "step")


def test_packaged_networks_have_the_blocks_that_the_issue_names():
    """Channels and sizes; those of the trained network are as the configuration's comment says."""
    found = {}
    for row in load_networks():
        if row.name == "srl-fft":
            with torch.device("meta"):
                network = row.build()
            blocks = [m for m in network.modules() if isinstance(m, SRLBlock)]
            found[row.size] = [(block.channels, block.size) for block in blocks]
    assert found == {
        "384x288": [(256, (24, 18)), (256, (48, 36)), (256, (96, 72))],
        "128x96": [(128, (16, 12)), (128, (16, 12)), (128, (32, 24))],
    }


def test_rows(networks_file):
    rows = load_networks(networks_file(TINY))
    assert [row.name for row in rows] == ["srl-fft", "none", "a2", "none", "srl-fft"]
    title = "resnet18, stages 2, deconv_channels 8, num_joints 3"
    assert rows[0].group == f"{title}: forward, 32x24, batch 2, float32"
    assert rows[4].group == f"{title}: training step, 32x24, batch 2, bf16-mixed"
    network = rows[4].build()
    assert isinstance(network, SimpleBaseline)
    assert network.head.out_channels == 3
    assert network.head.weight.is_contiguous(memory_format=torch.channels_last)
    assert sum(isinstance(module, SRLBlock) for module in network.modules()) == 2


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({**FFT, "block": "srl-ftt"}, "row 2 .*unknown block 'srl-ftt'; did you mean 'srl-fft'"),
        ({**FFT, "blok": "a2"}, "row 2.*'blok'; did you mean 'block'"),
        ({**FFT, "after": []}, r"row 2 .*block 'srl-fft' does not go with after \[\]"),
        ({**FFT, "after": ["d2"]}, "row 2 .*'d2'"),
        ({**FFT, "after": "d1"}, "row 2: after must be a list of module names, got 'd1'"),
        ({**FFT, "options": {"widht": 1}}, "row 2 .*'widht'"),
        ({**FFT, "options": 1}, "row 2: options must be an object, got 1"),
        ({**FFT, "name": "none"}, "row 2 .*a row without a block, and no other, is named 'none'"),
        ({**PLAIN, "name": "a"}, "row 2 .*a row without a block, and no other, is named 'none'"),
        ({**PLAIN, **AFTER}, "row 2 .*block None does not go with after"),
        ({**FFT, "input_size": [32, 25]}, "row 2 .*multiple of 8.* got 25"),
        ({**FFT, "input_size": 32}, r"row 2: input_size must be positive .* got 32"),
        ({**FFT, "network": {"stages": 2}}, "row 2 .*network has no 'backbone'"),
        ({**FFT, "network": {**TRUNK, "stage": 2}}, "row 2 .*'stage'"),
        ({**FFT, "network": "resnet18"}, "row 2: network must be an object, got 'resnet18'"),
        ({**FFT, "batch": 0}, "row 2: batch must be a positive integer, got 0"),
        ({**FFT, "training": 1}, "row 2: training must be true or false, got 1"),
        ({**FFT, "precision": "bf16"}, "row 2: precision must be one of float32, bf16-mixed, got"),
        ({**FFT, "batch": 3}, "a row without a block is missing: resnet18.*batch 3"),
        (PLAIN, "row 2: 'none' with resnet18.* is row 1 too"),
    ],
)
def test_wrong_rows_are_errors_at_load_time(networks_file, row, message):
    with pytest.raises(ValueError, match=message):
        load_networks(networks_file([PLAIN, row]))


# Steps


class Spy(torch.nn.Module):
    """Stands for a network of one joint: one weight, and a record of what it was called with."""

    def __init__(self):
        super().__init__()
        self.head = torch.nn.Conv2d(3, 1, 1)
        self.pool = torch.nn.AvgPool2d(4)
        self.seen = []

    def forward(self, images):
        y = self.head(self.pool(images))
        self.seen.append((images, y, self.training, torch.is_grad_enabled()))
        return y


def spied(networks_file, monkeypatch, entry):
    (row,) = load_networks(networks_file([entry]))
    spy = Spy()
    monkeypatch.setattr(type(row), "build", lambda row: spy)
    return row, spy


@pytest.mark.parametrize(
    ("precision", "dtype"), [("float32", torch.float32), ("bf16-mixed", torch.bfloat16)]
)
def test_steps_run_in_their_mode_and_precision(networks_file, monkeypatch, precision, dtype):
    entry = {**PLAIN, "precision": precision}
    row, spy = spied(networks_file, monkeypatch, entry)
    network_step(row, CPU)()
    row, trained = spied(networks_file, monkeypatch, {**entry, "training": True})
    network_step(row, CPU)()
    for network, training in ((spy, False), (trained, True)):
        ((images, y, *state),) = network.seen
        assert images.shape == (2, 3, 32, 24)
        assert images.is_contiguous(memory_format=torch.channels_last)
        assert y.dtype == dtype
        assert state == [training, training]


def test_a_training_step_changes_every_weight_lowers_the_loss_and_keeps_no_gradient(
    networks_file, monkeypatch
):
    torch.manual_seed(0)
    row, spy = spied(networks_file, monkeypatch, {**PLAIN, "training": True})
    step = network_step(row, CPU)
    before = [parameter.detach().clone() for parameter in spy.parameters()]
    for _ in range(300):
        step()
    after = list(spy.parameters())
    assert all((a != b).all() for a, b in zip(after, before, strict=True))
    assert all(parameter.grad is None for parameter in after)
    first, last = (spy.seen[index][1].detach().square().mean() for index in (0, -1))
    assert last < first / 2  # targets are near zero almost everywhere


# Measuring and command line


def test_the_base_is_the_network_without_blocks(networks_file):
    rows = load_networks(networks_file(TINY))
    got = measure(network_jobs(rows, device=CPU), device=CPU, rounds=3, budget=0.001)
    assert [(m.row.name, m.mode) for m in got] == [
        ("none", "inference"),
        ("srl-fft", "inference"),
        ("a2", "inference"),
        ("none", "step"),
        ("srl-fft", "step"),
    ]
    ratios = base_ratios(got)
    for base, others in ((got[0], ratios[:3]), (got[3], ratios[3:])):
        assert others[0].memory == 1.0
        for ratio in others:
            m = ratio.above
            quotients = [a / b for a, b in zip(m.per_round, base.per_round, strict=True)]
            assert ratio.time.median == pytest.approx(sorted(quotients)[1])
            assert ratio.memory == m.peak_bytes / base.peak_bytes
    with pytest.raises(ValueError, match="--rounds must be 3 or more, got 2"):
        main(["networks", "--rows", str(networks_file(TINY)), "--rounds", "2"])


def test_command(networks_file, tmp_path, capsys):
    stored = tmp_path / "stored.json"
    arguments = ["networks", "--rows", str(networks_file(TINY)), "--rounds", "3"]
    arguments += ["--budget", "0.001"]
    assert main([*arguments, "--json", str(stored)]) == 0
    printed = capsys.readouterr().out
    assert "x none" in printed
    assert "srl-fft/none" in printed
    assert "srl-fft/a2" in printed
    values = json.loads(stored.read_text())
    assert values["kind"] == "networks"
    pairs = [(r["numerator"], r["denominator"], r["mode"]) for r in values["ratios"]]
    assert pairs == [
        ("srl-fft", "none", "inference"),
        ("srl-fft", "none", "step"),
        ("srl-fft", "a2", "inference"),
    ]
    assert len(read_report(stored).rows) == 5

    small = [*arguments, "--blocks", "a2", "--ratio", "a2/none", "--json", "-"]
    assert main([*small, "--compare", str(stored), "--tolerance", "1e9"]) == 0
    output = capsys.readouterr()
    names = [(row["name"], row["mode"]) for row in json.loads(output.out)["rows"]]
    assert names == [("none", "inference"), ("a2", "inference"), ("none", "step")]
    # three rows and one pair, time and memory of each
    assert "0 of 8 ratios are worse" in output.err

    for row in values["rows"]:
        row["peak_bytes"] /= 2 if row["name"] == "a2" else 1
        row["per_round"] = [1e9 if row["name"] == "a2" else 1.0] * 3
    stored.write_text(json.dumps(values))
    assert main([*small, "--compare", str(stored)]) == 1
    error = capsys.readouterr().err
    assert "2 of 8 ratios are worse" in error
    assert "WORSE  a2, resnet18" in error
    assert "WORSE  a2/none, resnet18" in error


def test_reports_of_blocks_are_refused(networks_file, tmp_path):
    entry = {"block": "a2", "channels": 8, "shape": [4, 3]}
    rows, stored = tmp_path / "rows.json", tmp_path / "stored.json"
    rows.write_text(json.dumps([entry]))
    main(["--rows", str(rows), "--rounds", "3", "--budget", "0.001", "--json", str(stored)])
    with pytest.raises(ValueError, match="has kind 'blocks', this one has 'networks'"):
        main(["networks", "--rows", str(networks_file(TINY)), "--compare", str(stored)])


def test_measuring_blocks_imports_no_networks():
    program = (
        "import sys, spectral_residual.lab.bench.commands\n"
        "from spectral_residual.lab.bench.rows import Row, load_rows\n"
        "load_rows(Row)\n"
        "parts = 'torchvision', 'lightning', 'spectral_residual.pose', 'spectral_residual.video'\n"
        "print([part for part in parts if part in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"
