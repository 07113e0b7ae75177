"""The networks of the page, and what it shows of pose networks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from page_networks import INPUT_SIZE, pose_model, video_model
from torch import nn

from spectral_residual.lab.page import poses
from spectral_residual.lab.page.networks import Sources, default_sources, load_networks
from spectral_residual.lab.viz.receptive_field import ReceptiveField
from spectral_residual.pose.skeleton import COCO
from spectral_residual.training import hub
from spectral_residual.training.pretrained import About

BOX = (30.0, 20.0, 60.0, 100.0)


@pytest.fixture
def picture():
    return np.random.default_rng(0).integers(0, 256, (160, 120, 3), np.uint8)


def test_without_packaged_networks_there_are_none(tmp_path, monkeypatch):
    monkeypatch.setattr(hub, "PACKAGED", tmp_path)
    assert default_sources() == Sources()
    networks = load_networks(Sources())
    assert (networks.poses, networks.video) == ((), None)


def test_packaged_networks_that_belong_together(tmp_path, monkeypatch):
    monkeypatch.setattr(hub, "PACKAGED", tmp_path)
    other = replace(COCO, sigmas=None)
    pose_model(skeleton=other).save_pretrained(tmp_path / "a")
    about = About(data="generated people", metrics={"val (a.json)": {"PCK": 0.614, "AP": -1.0}})
    pose_model(about=about).save_pretrained(tmp_path / "b")
    pose_model("srl").save_pretrained(tmp_path / "c")
    video_model().save_pretrained(tmp_path / "d")
    assert default_sources() == Sources("c", "b", "d")
    networks = load_networks(Sources())
    assert [shown.title for shown in networks.poses] == ["no block", "srl"]
    said = networks.poses[0].said
    assert "trained on generated people; PCK 61.4 % on val (a.json)" in said
    assert "AP" not in said
    assert said.startswith("b: ")
    assert "human pose estimation with resnet18; no block" in said
    assert networks.poses[1].said.endswith(
        "its data are not recorded; its accuracy is not recorded"
    )
    assert networks.video is not None
    alone = load_networks(Sources(pose=str(tmp_path / "c")))
    assert [shown.title for shown in alone.poses] == ["srl"]


def test_networks_side_by_side_have_the_same_joints(tmp_path):
    names = ("head", *COCO.names[1:])
    pose_model(skeleton=replace(COCO, names=names)).save_pretrained(tmp_path / "a")
    pose_model("srl").save_pretrained(tmp_path / "b")
    with pytest.raises(ValueError, match="expected the same joints"):
        load_networks(Sources(str(tmp_path / "b"), str(tmp_path / "a")))


def test_joints_are_those_of_predict(picture):
    model = pose_model("srl")
    found = poses.find_pose(model, picture, BOX)
    expected = model.predict(picture, [BOX])
    np.testing.assert_allclose(found.points, expected.keypoints[0])
    np.testing.assert_allclose(found.scores, expected.scores[0])
    rows = poses.joint_rows(model.skeleton.names, [found, found])
    assert len(rows) == 17
    assert rows[1][0] == "left eye"
    assert rows[1][1:4] == rows[1][4:7]
    assert rows[1][1:3] == pytest.approx(expected.keypoints[0, 1], abs=0.05)


def test_pictures(picture):
    model = pose_model()
    found = poses.find_pose(model, picture, BOX)
    drawn = poses.skeleton_picture(model, picture, found)
    assert drawn.shape == picture.shape
    assert (drawn != picture).any()
    height, width = INPUT_SIZE
    heatmaps = poses.heatmap_picture(found)
    assert heatmaps.shape[0] / heatmaps.shape[1] == height / width
    dark = replace(found, heatmaps=torch.zeros_like(found.heatmaps))
    light = replace(found, heatmaps=torch.ones_like(found.heatmaps))
    assert (
        poses.heatmap_picture(dark).mean() < heatmaps.mean() < poses.heatmap_picture(light).mean()
    )


def test_the_field_is_where_the_point_is(picture):
    model = pose_model()
    model.network = nn.Sequential(nn.AvgPool2d(4), nn.Conv2d(3, 17, 1))
    near = poses.field_at(model, picture, BOX, (60, 60))
    assert near.radius <= np.hypot(4, 4)
    bright = np.argwhere(near.picture.sum(axis=2) > 500).mean(axis=0) / near.picture.shape[:2]
    found = poses.find_pose(pose_model(), picture, BOX)
    x, y = found.matrix @ (60, 60, 1)
    np.testing.assert_allclose(bright, (y / INPUT_SIZE[0], x / INPUT_SIZE[1]), atol=0.06)


def test_a_spectral_block_widens_the_field(picture):
    local, block = pose_model(), pose_model("srl")
    for name, value in block.network.named_parameters():
        if name.endswith("alpha"):
            value.data.fill_(5.0)
    radii = [poses.field_at(model, picture, BOX, (60, 70)).radius for model in (local, block)]
    assert radii[0] < radii[1]


def test_a_point_outside_of_the_crop(picture):
    with pytest.raises(ValueError, match="outside of what the network sees"):
        poses.field_at(pose_model(), picture, (80, 100, 20, 30), (5, 5))


def test_energy_radius():
    energy = np.zeros((9, 9))
    energy[4, 4], energy[4, 7], energy[0, 0] = 0.6, 0.35, 0.05
    field = ReceptiveField(np.sqrt(energy), energy)
    assert poses.energy_radius(field, (4, 4)) == 3
    assert poses.energy_radius(field, (7, 4)) == 3
