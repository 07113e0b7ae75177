"""The experiments of the paper as they are defined in configs/experiments."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from conftest import SHARED
from networks import create_c2d, create_simple_baseline
from spectral_residual.cost import measure_cost
from spectral_residual.lab.cost.tables import printed_cells
from spectral_residual.lab.experiments.definitions import experiment_names, read_experiment
from spectral_residual.pose.network import PoseNetwork

ROOT = Path(__file__).parents[2]
DEFINED = ROOT / "configs/experiments"
PAPER_TABLES = {"pose": range(2, 7), "video": range(8, 11)}


@pytest.fixture
def in_repository(monkeypatch):
    monkeypatch.chdir(ROOT)


def test_all_tables_are_defined():
    tables = {f"{kind}-table{n}" for kind, numbers in PAPER_TABLES.items() for n in numbers}
    assert set(experiment_names(DEFINED)) == tables | {"lspet-full", "lspet-short", "video-actions"}


def built(run, **changes):
    """Network of a run on the meta device, and its input size."""
    content = run.configuration()
    size = tuple(content["data"]["input_size"])
    network = dict(content["model"]["network"]) | {"weights": None} | changes
    with torch.device("meta"):
        if run.kind == "video":
            frames = content["data"]["clip"]["frames"]
            return create_c2d(**network, frames=frames, input_size=size), (3, frames, *size)
        PoseNetwork(**network)
        return create_simple_baseline(**network, input_size=size), (3, *size)


@pytest.mark.parametrize("name", sorted(p.stem for p in DEFINED.glob("*.yaml")))
def test_every_run_is_another_network_that_can_be_built(name, in_repository):
    experiment = read_experiment(DEFINED, name)
    assert len({run.definition() for run in experiment.runs}) == len(experiment.runs)
    smallest = {}
    for run in experiment.runs:
        height = run.configuration()["data"]["input_size"][0]
        key = (run.name.rsplit("-", 1)[0], run.configuration()["model"]["network"]["backbone"])
        if key not in smallest or height < smallest[key][0]:
            smallest[key] = (height, run)
    for _, run in smallest.values():
        model, _ = built(run)
        has_block = any(".srl" in key or "_srl" in key for key, _ in model.named_modules())
        block = run.configuration()["model"]["network"].get("block")
        assert has_block == (block is not None), run.name


@pytest.mark.parametrize("run", ["base", "srl-fft"])
@pytest.mark.parametrize("backbone", ["resnet50", "resnet101", "resnet152"])
def test_table_2_defines_the_networks_whose_costs_are_printed(run, backbone, in_repository):
    short = backbone.replace("resnet", "r")
    model, size = built(read_experiment(DEFINED, "pose-table2").run(f"{run}-{short}-256x192"))
    cost = measure_cost(model, size)
    printed = {
        cell.column: cell.value
        for cell in printed_cells()
        if (cell.table, cell.input, cell.block, cell.backbone) == (2, "256x192", run, backbone)
    }
    assert cost.gflops == pytest.approx(printed["gflops"], abs=0.01)
    assert cost.parameters / 1e6 == pytest.approx(printed["params"], abs=0.01)


def test_table_4_puts_the_blocks_where_the_text_says(in_repository):
    experiment = read_experiment(DEFINED, "pose-table4")
    model, _ = built(experiment.run("srl-fft-4"))
    places = [name for name, _ in model.named_modules() if name.endswith(".srl")]
    assert places == [*(f"backbone.layer{i}.srl" for i in (2, 3, 4)), "d1.srl"]
    assert model.deconvolutions == ("d1",)
    assert model.backbone.stride == 8
    dilations = {
        run: max(m.dilation[0] for m in built(experiment.run(run))[0].modules()
                 if isinstance(m, torch.nn.Conv2d))
        for run in ("baseline", "baseline-star", "dilated")
    }  # fmt: skip
    assert dilations == {"baseline": 1, "baseline-star": 1, "dilated": 4}


def test_the_paper_prints_these_numbers(in_repository):
    path = SHARED / "paper.txt"
    if not path.exists():
        pytest.skip(f"no {path}")
    lines = [line.replace(" × ", "x") for line in path.read_text().splitlines()]
    checked = 0
    for name in experiment_names(DEFINED):
        digits = 2 if name in ("video-table8", "video-table9") else 1
        for run in read_experiment(DEFINED, name).runs:
            numbers = [f"{value:.{digits}f}" for value in run.paper.values()]
            if not numbers:
                continue
            assert any("\t".join(numbers) in line for line in lines), (name, run.name)
            checked += 1
    assert checked == 18 + 12 + 6 + 6 + 12 + 4 + 6 + 3


def test_the_same_training_in_two_tables_has_one_definition(in_repository):
    def definition(table, run):
        return read_experiment(DEFINED, table).run(run).definition()

    one = definition("pose-table2", "srl-fft-r50-384x288")
    assert definition("pose-table3", "srl-fft-384x288") == one
    assert definition("pose-table5", "d1-d2-d3") == one
    assert definition("pose-table6", "srl-fft-r50-384x288") == one
    assert definition("pose-table5", "d1-d2") != one
    assert definition("video-table8", "srl-fft") == definition("video-table9", "srl-fft-4")
