"""The whole way on real files, where ../shared/data is there; skipped by name where not."""

from __future__ import annotations

import json

import lightning
import numpy as np
import pytest
import torch
from pycocotools import coco
from pycocotools.cocoeval import COCOeval

from spectral_residual.pose.coco import evaluate_keypoints
from spectral_residual.pose.data_module import Joints, KeypointDataModule, Loading, Split
from spectral_residual.pose.network import PoseNetwork
from spectral_residual.pose.skeleton import COCO
from spectral_residual.pose.task import PoseTask

SIZE = (64, 64)


def make_task(data):
    lightning.seed_everything(0, verbose=False)
    network = PoseNetwork(backbone="resnet18", deconv_channels=8, block="srl-fft")
    return PoseTask(network, input_size=SIZE, skeleton=data.skeleton)


def make_trainer(folder, **options):
    return lightning.Trainer(
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        default_root_dir=folder,
        **options,
    )


class NearestTruth(PoseTask):
    """In place of a network: the annotated joints of the person nearest to each box."""

    def test_step(self, batch, batch_idx):
        annotations = self.trainer.datamodule.annotations("test").annotations
        joints = torch.zeros(len(batch["image"]), 17, 2)
        visible = torch.zeros(len(batch["image"]), 17)
        for row, image_id in enumerate(batch["image_id"].tolist()):
            center, size = batch["center"][row], batch["size"][row]
            people = [a for a in annotations if a["image_id"] == image_id]
            boxes = torch.tensor([a["bbox"] for a in people], dtype=torch.float64)
            nearest = (boxes[:, :2] + boxes[:, 2:] / 2 - center).norm(dim=1).argmin()
            keypoints = torch.tensor(people[nearest]["keypoints"]).reshape(17, 3).double()
            half = torch.tensor(SIZE[::-1]) / 2
            joints[row] = (keypoints[:, :2] - center) / size[0] * SIZE[1] + half
            visible[row] = keypoints[:, 2] > 0
        self.truth = self.codec.encode(joints, visible)[0]
        super().test_step(batch, batch_idx)

    def predict_heatmaps(self, images):
        return self.truth


def coco_tools(annotations, results, sigmas):
    truth = coco.COCO(str(annotations))
    evaluation = COCOeval(truth, truth.loadRes(str(results)), "keypoints")
    evaluation.params.kpt_oks_sigmas = np.array(sigmas)
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return evaluation.stats


def test_coco_mini_runs_and_counts(shared_data, tmp_path):
    data = KeypointDataModule(
        str(shared_data("coco_mini")), input_size=SIZE, loading=Loading(8, workers=0)
    )
    assert data.skeleton == COCO
    data.setup("fit")
    content = json.loads(data.annotations("train").path.read_text())
    used = [a for a in content["annotations"] if a["num_keypoints"] > 0 and not a["iscrowd"]]
    assert len(data.datasets["train"]) == len(used)
    task = make_task(data)
    make_trainer(tmp_path, max_epochs=1, limit_train_batches=2).fit(task, datamodule=data)
    assert 0 <= task.metrics["AP"] <= 1


def test_detections_with_rescoring_and_nms_equal_pycocotools(shared_data, tmp_path):
    folder = shared_data("coco_detections")
    whole = Split("test_coco.json", ".")
    data = KeypointDataModule(
        str(folder),
        train=whole,
        val=whole,
        test=Split("test_coco.json", ".", detections="test_coco_det_AP_H_56.json"),
        input_size=SIZE,
        loading=Loading(32, workers=0),
    )
    task = NearestTruth(
        PoseNetwork(backbone="resnet18", deconv_channels=8),
        input_size=SIZE,
        skeleton=data.skeleton,
    )
    make_trainer(tmp_path).test(task, datamodule=data, verbose=False)
    results = tmp_path / "results_test.json"
    entries = json.loads(results.read_text())
    detections = json.loads((folder / "test_coco_det_AP_H_56.json").read_text())
    assert 0 < len(entries) <= len(detections)
    stats = coco_tools(folder / "test_coco.json", results, COCO.sigmas)
    names = ["AP", "AP50", "AP75", "AP(M)", "AP(L)", "AR", "AR50", "AR75", "AR(M)", "AR(L)"]
    np.testing.assert_allclose([task.metrics[name] for name in names], stats, atol=1e-12)
    assert 0.05 < stats[0] < 0.95, "some poses are right and some wrong"


def test_lspet_is_read_with_its_own_skeleton(shared_data):
    folder = shared_data("lspet")
    names = json.loads((folder / "lspet_val.json").read_text())["categories"][0]["keypoints"]
    sigmas = dict.fromkeys(names, 0.079)
    data = KeypointDataModule(
        str(folder),
        train=Split("lspet_train.json", "train"),
        val=Split("lspet_val.json", "val"),
        input_size=(128, 96),
        joints=Joints(sigmas=sigmas),
    )
    data.setup("validate")
    assert data.skeleton.num_joints == 14
    pairs = {tuple(data.skeleton.names[i] for i in pair) for pair in data.skeleton.flip_pairs}
    assert {frozenset(p) for p in pairs} == {
        frozenset((f"left_{j}", f"right_{j}"))
        for j in ("ankle", "knee", "hip", "wrist", "elbow", "shoulder")
    }
    assert len(data.datasets["val"]) == 984
    sample = data.datasets["val"][5]
    inside = (sample["joints"] >= 0) & (sample["joints"] < sample["joints"].new_tensor([96, 128]))
    assert inside[sample["visible"] > 0].all()


def test_perfect_results_score_one(shared_data):
    path = shared_data("coco_mini") / "annotations/person_keypoints_val2017.json"
    content = json.loads(path.read_text())
    results = [
        {
            "image_id": a["image_id"],
            "category_id": 1,
            "keypoints": a["keypoints"],
            "score": 1.0,
        }
        for a in content["annotations"]
        if a["num_keypoints"] and not a["iscrowd"]
    ]
    metrics = evaluate_keypoints(content, results, COCO.require_sigmas())
    assert metrics["AP"] == pytest.approx(1.0)
