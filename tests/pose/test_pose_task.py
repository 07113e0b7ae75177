"""The pose task: geometry end to end, metrics, training, checkpoints."""

from __future__ import annotations

import json
import logging
import shutil

import lightning
import numpy as np
import pytest
import torch
from keypoint_files import NAMES, SIGMAS, write_split
from torch.optim import AdamW
from torch.optim.lr_scheduler import StepLR

from spectral_residual.pose.augment import AugmentConfig
from spectral_residual.pose.data_module import (
    Joints,
    KeypointDataModule,
    Loading,
    PredictSource,
    Split,
)
from spectral_residual.pose.network import PoseNetwork, load_pose_network
from spectral_residual.pose.oks import rescored_poses
from spectral_residual.pose.task import PoseEvaluation, PoseTask, keypoint_mse
from spectral_residual.training.optim import parameter_groups
from spectral_residual.training.task import gather

SIZE = (64, 64)
SMALL = PoseNetwork(backbone="resnet18", deconv_channels=8)
WITH_BLOCKS = PoseNetwork(backbone="resnet18", deconv_channels=8, block="srl-fft")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("dots")
    write_split(root, "train", 16, seed=1)
    write_split(root, "val", 12, seed=2, people=1)
    return root


def make_data(root, **options):
    options = {
        "train": Split("train.json", "train"),
        "val": Split("val.json", "val"),
        "input_size": SIZE,
        "joints": Joints(sigmas=SIGMAS),
        "augment": AugmentConfig(scale=0.0, rotation_probability=0.0, flip_probability=0.0),
        "loading": Loading(batch_size=8, workers=0),
        **options,
    }
    return KeypointDataModule(str(root), **options)


def make_task(data, network=SMALL, **options):
    lightning.seed_everything(0, verbose=False)
    return PoseTask(network, input_size=SIZE, skeleton=data.skeleton, **options)


def make_trainer(tmp_path, **options):
    return lightning.Trainer(
        **{
            "accelerator": "cpu",
            "logger": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "enable_checkpointing": False,
            "default_root_dir": tmp_path,
            "num_sanity_val_steps": 0,
            **options,
        }
    )


class Oracle(PoseTask):
    """Returns the targets in place of a prediction."""

    def validation_step(self, batch, batch_idx):
        self.truth, _ = self.codec.encode(batch["joints"], batch["visible"])
        super().validation_step(batch, batch_idx)

    def predict_heatmaps(self, images):
        return self.truth


def test_true_heatmaps_give_the_ceiling_of_rounding(root, tmp_path):
    """Crop, encode, decode, map back, rescore, evaluate: a low value means a geometry bug."""
    data = make_data(root, input_size=(128, 96))
    task = Oracle(SMALL, input_size=(128, 96), skeleton=data.skeleton)
    make_trainer(tmp_path).validate(task, datamodule=data, verbose=False)
    assert task.metrics["AP"] > 0.95
    assert task.metrics["PCK"] == 1.0


def test_keypoints_return_to_image_pixels(root, tmp_path):
    data = make_data(root, input_size=(128, 96))
    task = Oracle(SMALL, input_size=(128, 96), skeleton=data.skeleton)
    make_trainer(tmp_path).validate(task, datamodule=data, verbose=False)
    poses = gather(task._batches)
    assert poses["index"].tolist() == list(range(12))
    for i, instance in enumerate(data.datasets["val"].instances):
        seen = instance.visible > 0
        pixel = np.sqrt(poses["area"][i] / (128 * 96))
        error = np.abs(poses["keypoints"][i] - instance.joints)[seen].max()
        assert error < 2.1 * pixel


def test_flip_test_of_a_symmetric_network_is_symmetric(root):
    data = make_data(root)
    task = make_task(data, SMALL).eval()
    images = torch.randint(0, 256, (2, *SIZE, 3), dtype=torch.uint8)
    with torch.no_grad():
        averaged = task.predict_heatmaps(images)
        plain = task(images)
        mirrored = task(images.flip(2)).flip(3)[:, list(data.skeleton.flip_permutation)]
    shifted = torch.cat([mirrored[..., :1], mirrored[..., :-1]], dim=-1)
    torch.testing.assert_close(averaged, (plain + shifted) / 2)
    without = make_task(data, SMALL, evaluation=PoseEvaluation(flip_test=False)).eval()
    with torch.no_grad():
        torch.testing.assert_close(without.predict_heatmaps(images), without(images))


class Losses(lightning.Callback):
    """Keeps the loss of every step."""

    def __init__(self):
        self.values = []

    def on_train_batch_end(self, trainer, task, outputs, batch, batch_idx):
        self.values.append(float(outputs["loss"]))


def constant_loss(data, codec):
    """Loss of the best prediction that does not look at the image."""
    samples = [data.datasets["train"][i] for i in range(len(data.datasets["train"]))]
    joints, visible = (torch.stack([s[key] for s in samples]) for key in ("joints", "visible"))
    targets, weights = codec.encode(joints, visible)
    seen = weights[..., None, None]
    mean = (targets * seen).sum(0) / seen.sum(0).clamp(min=1)
    return float(keypoint_mse(mean.expand_as(targets), targets, weights))


@pytest.mark.parametrize("block", [None, "srl-fft", "srl-lo"])
def test_learns_a_few_samples_by_heart(root, tmp_path, block):
    network = PoseNetwork(backbone="resnet18", deconv_channels=16, block=block)
    data = make_data(root)
    task = make_task(data, network, optimizer=lambda p: AdamW(p, lr=3e-3, eps=1e-15), sigma=2.0)
    losses = Losses()
    make_trainer(tmp_path, max_epochs=25, limit_val_batches=0, callbacks=[losses]).fit(
        task, datamodule=data
    )
    assert len(losses.values) == 50
    blind = constant_loss(data, task.codec)
    assert np.mean(losses.values[-4:]) < 0.9 * blind < 0.9 * losses.values[0]


def test_resume_gives_what_an_unbroken_run_gives(root, tmp_path):
    def run(epochs, ckpt=None, folder="a"):
        data = make_data(root, augment=AugmentConfig())
        task = make_task(
            data, WITH_BLOCKS, optimizer=lambda p: AdamW(p, lr=1e-3),
            lr_scheduler=lambda o: StepLR(o, 1, 0.5),
        )  # fmt: skip
        trainer = make_trainer(tmp_path, max_epochs=epochs, limit_val_batches=0)
        trainer.fit(task, datamodule=data, ckpt_path=ckpt, weights_only=True)
        path = tmp_path / f"{folder}.ckpt"
        trainer.save_checkpoint(path)
        return task, trainer, path

    whole, trainer, _ = run(4)
    _, _, half = run(2, folder="half")
    resumed, again, _ = run(4, ckpt=half, folder="resumed")
    assert again.optimizers[0].param_groups[0]["lr"] == trainer.optimizers[0].param_groups[0]["lr"]
    for name, value in whole.network.state_dict().items():
        torch.testing.assert_close(
            resumed.network.state_dict()[name], value, rtol=1e-6, atol=1e-7, msg=name
        )


def test_checkpoint_builds_the_network_again_and_refuses_others(root, tmp_path):
    data = make_data(root)
    task = make_task(data, WITH_BLOCKS)
    trainer = make_trainer(tmp_path, max_steps=1, limit_val_batches=0)
    trainer.fit(task, datamodule=data)
    path = tmp_path / "model.ckpt"
    trainer.save_checkpoint(path)
    network, skeleton, size = load_pose_network(path)
    assert skeleton == data.skeleton
    assert size == SIZE
    images = torch.randn(1, 3, *SIZE)
    torch.testing.assert_close(network(images), task.network.eval()(images))

    other = make_task(data, SMALL)
    with pytest.raises(ValueError, match="network.block: 'srl-fft' in the checkpoint, None here"):
        make_trainer(tmp_path).validate(other, datamodule=data, ckpt_path=path, weights_only=True)
    renamed = make_data(
        root, joints=Joints(sigmas=SIGMAS, flip_pairs=[("left_hand", "right_hand")])
    )
    stranger = make_task(renamed, WITH_BLOCKS)
    with pytest.raises(ValueError, match=r"skeleton\.flip_pairs"):
        make_trainer(tmp_path).validate(
            stranger, datamodule=renamed, ckpt_path=path, weights_only=True
        )
    text = tmp_path / "text.ckpt"
    torch.save({"state_dict": {}}, text)
    with pytest.raises(ValueError, match=r"text\.ckpt.*not a checkpoint"):
        load_pose_network(text)
    with pytest.raises(FileNotFoundError, match=r"none\.ckpt"):
        load_pose_network(tmp_path / "none.ckpt")


def test_a_trained_network_is_used_with_crops_of_another_size(root, tmp_path):
    task = make_task(make_data(root), WITH_BLOCKS)
    trainer = make_trainer(tmp_path, max_steps=2, limit_val_batches=0)
    trainer.fit(task, datamodule=make_data(root))
    path = tmp_path / "model.ckpt"
    trainer.save_checkpoint(path)

    larger = make_data(root, input_size=(96, 64))
    plain = PoseTask(WITH_BLOCKS, input_size=(96, 64), skeleton=larger.skeleton)
    hint = r"crops of 64x64 .* crops of 96x64, give --model\.trained_size \[64,64\]"
    with pytest.raises(ValueError, match=hint):
        make_trainer(tmp_path).validate(plain, datamodule=larger, ckpt_path=path, weights_only=True)
    other = PoseTask(
        WITH_BLOCKS, input_size=(96, 64), skeleton=larger.skeleton, trained_size=(64, 64)
    )
    make_trainer(tmp_path).validate(other, datamodule=larger, ckpt_path=path, weights_only=True)
    assert set(other.metrics) >= {"AP", "PCK"}
    weights = other.network.state_dict()
    for name, value in task.network.state_dict().items():
        assert torch.equal(weights[name], value), name
    block = other.network.d1.srl
    block.alpha.data.fill_(0.5)
    images = torch.randn(1, 3, 96, 64)
    direct, _, _ = load_pose_network(path)
    direct.d1.srl.alpha.data.fill_(0.5)
    torch.testing.assert_close(other.network.eval()(images), direct(images))
    # Trained further at the new size, it stays a network of the old one.
    again = tmp_path / "again.ckpt"
    trainer = make_trainer(tmp_path, max_steps=1, limit_val_batches=0)
    trainer.fit(other, datamodule=larger)
    trainer.save_checkpoint(again)
    assert load_pose_network(again)[2] == SIZE


def test_prediction_writes_results_and_overlays_and_names_broken_images(tmp_path, caplog):
    write_split(tmp_path, "val", 4, seed=2)
    (tmp_path / "val" / "0002.png").write_text("no picture")
    data = make_data(tmp_path, train=Split("val.json", "val"))
    task = make_task(data)
    with caplog.at_level(logging.WARNING):
        make_trainer(tmp_path / "out").predict(task, datamodule=data)
    results = json.loads((tmp_path / "out/predictions/results.json").read_text())
    assert sorted(r["image_id"] for r in results) == [1, 3, 4]
    assert all(len(r["keypoints"]) == 3 * len(NAMES) and r["category_id"] == 1 for r in results)
    overlays = {p.name for p in (tmp_path / "out/predictions/overlays").iterdir()}
    assert overlays == {"0001.jpg", "0003.jpg", "0004.jpg"}
    assert caplog.text.count("0002.png") == 1


def test_prediction_on_a_folder(root, tmp_path):
    data = make_data(root, predict=PredictSource(images=str(root / "val")))
    make_trainer(tmp_path).predict(make_task(data), datamodule=data)
    assert len(json.loads((tmp_path / "predictions/results.json").read_text())) == 12


def test_validation_prints_the_table_and_writes_results(root, tmp_path, capsys):
    data = make_data(root)
    make_trainer(tmp_path).validate(make_task(data), datamodule=data, verbose=False)
    printed = capsys.readouterr().out
    assert "AP50" in printed
    assert "PCK@0.1" in printed
    assert len(json.loads((tmp_path / "results_val.json").read_text())) == 12
    metrics = json.loads((tmp_path / "metrics_val.json").read_text())
    assert {"AP", "AR", "PCK"} <= set(metrics)


def test_weight_decay_spares_filters_norms_and_scalars(root):
    task = make_task(make_data(root), WITH_BLOCKS)
    decayed, spared = parameter_groups(task.network)
    names = {id(p): n for n, p in task.network.named_parameters()}
    decayed_names = {names[id(p)] for p in decayed["params"]}
    spared_names = {names[id(p)] for p in spared["params"]}
    assert decayed_names | spared_names == set(names.values())
    assert spared["weight_decay"] == 0
    assert {"d1.srl.relu.weight", "d1.srl.relu.bias", "d1.srl.alpha"} <= spared_names
    assert {"d1.srl.conv1.weight", "d1.0.weight", "head.weight"} <= decayed_names
    assert all(names[id(p)].endswith("weight") for p in decayed["params"])


def poses(keypoints, image_ids, box_scores):
    m, k = keypoints.shape[:2]
    return {
        "index": np.arange(m),
        "image_id": np.array(image_ids),
        "keypoints": keypoints,
        "joint_scores": np.full((m, k), 0.8),
        "box_score": np.array(box_scores),
        "area": np.full(m, 1e4),
        "broken": np.full(m, -1),
    }


def test_duplicates_are_suppressed_within_an_image_only():
    rng = np.random.default_rng(0)
    a, b = rng.uniform(0, 300, (2, 5, 2))
    given = poses(np.stack([a, a + 0.1, b, a]), [1, 1, 1, 2], [0.5, 0.9, 0.7, 0.3])
    kept = rescored_poses(given, [0.08] * 5, joint_threshold=0.2, nms_threshold=0.9)
    assert kept["index"].tolist() == [1, 2, 3]
    np.testing.assert_allclose(kept["score"], [0.9 * 0.8, 0.7 * 0.8, 0.3 * 0.8])


def test_mirroring_asks_which_joints_swap(root, tmp_path):
    """Names without sides: an error before training, unless a list, even an empty one, is given."""
    copy = shutil.copytree(root, tmp_path / "copy")
    names = ["snout", "port_hand", "starboard_hand", "port_foot", "starboard_foot"]
    for split in ("train", "val"):
        file = copy / f"{split}.json"
        content = json.loads(file.read_text())
        content["categories"][0] |= {"keypoints": names, "flip_pairs": None}
        file.write_text(json.dumps(content))
    sigmas = dict.fromkeys(names, 0.08)
    data = make_data(copy, joints=Joints(sigmas=sigmas), augment=AugmentConfig())
    with pytest.raises(ValueError, match=r"flip_pairs: data\.augment\.flip_probability .*snout"):
        data.setup("fit")
    data = make_data(copy, joints=Joints(sigmas=sigmas))
    data.setup("fit")
    trainer = make_trainer(tmp_path, fast_dev_run=True)
    with pytest.raises(ValueError, match=r"flip_pairs: model\.evaluation\.flip_test .*\[\]"):
        trainer.fit(make_task(data), datamodule=data)
    trainer = make_trainer(tmp_path, fast_dev_run=True)
    trainer.fit(make_task(data, evaluation=PoseEvaluation(flip_test=False)), datamodule=data)
    for pairs in ([], [("port_hand", "starboard_hand")]):
        data = make_data(copy, joints=Joints(sigmas, pairs), augment=AugmentConfig())
        data.setup("fit")
        assert data.skeleton.flip_pairs == (() if not pairs else ((1, 2),))
