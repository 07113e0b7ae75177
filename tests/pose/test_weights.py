"""The trained networks that come with the package."""

from __future__ import annotations

import json

import lightning
import numpy as np
import pytest
from torch import nn

from spectral_residual.blocks import SRLBlock
from spectral_residual.lab.page.networks import default_sources
from spectral_residual.pose import from_pretrained
from spectral_residual.pose.data_module import Joints, KeypointDataModule, Loading, Split
from spectral_residual.pose.network import PoseNetwork
from spectral_residual.pose.task import PoseTask
from spectral_residual.training.hub import PACKAGED, packaged_names

NAMES = ("lspet-lite0", "lspet-lite0-srl")


def test_names_and_sizes():
    assert tuple(packaged_names()) == NAMES
    assert sum(path.stat().st_size for path in PACKAGED.rglob("*")) < 6e6


@pytest.mark.parametrize(("name", "blocks"), [(NAMES[0], 0), (NAMES[1], 3)])
def test_they_load_and_predict(name, blocks):
    model = from_pretrained(name)
    assert sum(isinstance(module, SRLBlock) for module in model.network.modules()) == blocks
    assert all(p.isfinite().all() for p in model.network.parameters())
    assert any(isinstance(module, nn.BatchNorm2d) for module in model.network.modules())
    image = np.random.default_rng(0).integers(0, 255, (150, 90, 3), dtype=np.uint8)
    poses = model.predict(image)
    assert poses.keypoints.shape == (1, 14, 2)
    assert poses.scores.shape == (1, 14)


@pytest.mark.parametrize("name", NAMES)
def test_the_card_is_written_from_the_description(name):
    card = (PACKAGED / name / "README.md").read_text(encoding="utf-8")
    assert card == from_pretrained(name).card(name)


def test_the_page_shows_them():
    sources = default_sources()
    assert (sources.pose_base, sources.pose) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_what_the_card_says_is_what_is_measured(name, shared_data, tmp_path):
    """On the first 200 persons of the validation set, where the whole gives 85.0 and 86.2 %."""
    folder = shared_data("lspet")
    model = from_pretrained(name)
    stated = json.loads((PACKAGED / name / "config.json").read_text())
    pck = stated["about"]["metrics"]["val (lspet: lspet_val.json)"]["PCK"]
    content = json.loads((folder / "lspet_val.json").read_text())
    content["annotations"] = content["annotations"][:200]
    (tmp_path / "part.json").write_text(json.dumps(content))
    split = Split(str(tmp_path / "part.json"), "val", files_outside=True)
    size = tuple(model.input_size)
    task = PoseTask(PoseNetwork(**stated["network"]), input_size=size, skeleton=model.skeleton)
    task.network.load_state_dict(model.network.state_dict())
    data = KeypointDataModule(
        folder, train=split, val=split, input_size=size,
        joints=Joints(sigmas=dict(zip(model.skeleton.names, model.skeleton.sigmas, strict=True))),
        loading=Loading(32, 0),
    )  # fmt: skip
    trainer = lightning.Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, enable_checkpointing=False,
        default_root_dir=tmp_path,
    )  # fmt: skip
    found = trainer.validate(task, data, verbose=False)[0]["val/PCK"]
    assert found == pytest.approx(pck, abs=0.03)
    assert found > 0.78
