"""The video task: training, views, metrics, checkpoints."""

from __future__ import annotations

import logging
import shutil

import lightning
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from coloured_videos import CLASSES, write_split
from torch.optim import SGD, AdamW
from torch.optim.lr_scheduler import StepLR
from video_setup import (
    BASE,
    SIZE,
    WITH_BLOCK,
    fit,
    make_data,
    make_task,
    make_trainer,
    save_trained,
)

from spectral_residual.training.optim import parameter_groups
from spectral_residual.video.augment import VideoAugment, normalise_video
from spectral_residual.video.data_module import VideoLoading
from spectral_residual.video.network import VideoNetwork, load_video_network, view_probabilities
from spectral_residual.video.reader import VideoError
from spectral_residual.video.results import read_scores
from spectral_residual.video.sampling import Views
from spectral_residual.video.task import VideoEvaluation, VideoTask

SCORES = "scores_val.npz"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("videos")
    write_split(root, "train", 4, seed=1)
    write_split(root, "val", 2, seed=2)
    return root


@pytest.fixture(scope="module")
def trained(root, tmp_path_factory):
    return save_trained(root, tmp_path_factory.mktemp("trained") / "model.ckpt")


class Oracle(VideoTask):
    """In place of a prediction: certainty of the true class, moved by `shift`."""

    shift = 0

    def validation_step(self, batch, batch_idx):
        self.truth = (batch["label"] + self.shift) % len(self.class_names)
        super().validation_step(batch, batch_idx)

    def predict(self, batch):
        one_hot = F.one_hot(self.truth, len(self.class_names)).float()
        views = batch["video"].shape[1]
        return {**super().predict(batch), "scores": one_hot[:, None].expand(-1, views, -1)}


@pytest.mark.parametrize(("shift", "expected"), [(0, 1.0), (1, 0.0)])
def test_true_scores_are_right_and_others_wrong(root, tmp_path, shift, expected):
    data = make_data(root)
    evaluation = VideoEvaluation(pairs=[("blue", "red")])
    task = make_task(data, kind=Oracle, evaluation=evaluation)
    task.shift = shift
    make_trainer(tmp_path).validate(task, datamodule=data, verbose=False)
    assert task.metrics["top1"] == task.metrics["mean_class"] == expected
    assert task.metrics["top5"] == 1.0
    assert task.metrics["direction"] == {0: 1.0, 1: 0.25}[shift]
    assert (task.metrics["videos"], task.metrics["missing"]) == (6, 0)


def test_learns_and_logs(root, tmp_path):
    class Losses(lightning.Callback):
        values: list[float] = []  # noqa: RUF012

        def on_train_batch_end(self, trainer, task, outputs, batch, batch_idx):
            self.values.append(float(outputs["loss"]))

    data = make_data(root)
    task = make_task(data, WITH_BLOCK, optimizer=lambda p: AdamW(p, lr=1e-3))
    trainer = fit(
        tmp_path, task, data, max_epochs=5, callbacks=[Losses()], limit_val_batches=1.0,
        check_val_every_n_epoch=5,
    )  # fmt: skip
    assert len(Losses.values) == 10
    assert Losses.values[0] > 0.8 * np.log(3)
    assert np.mean(Losses.values[-2:]) < 0.5 * np.log(3), "brightness of channels is easy"
    names = {"train/loss", "train/clips_per_second", "val/top1", "val/top5", "val/mean_class"}
    assert names <= set(trainer.callback_metrics)
    assert not list(tmp_path.glob("scores*")), "files are written outside of training only"


@pytest.mark.parametrize("network", [BASE, WITH_BLOCK])
def test_views_of_a_video_do_not_leak_into_others(root, tmp_path, network):
    """Any batch and chunk size gives what each view gives by itself."""
    results = []
    for batch, chunk in ((1, 100), (4, 3)):
        data = make_data(root, eval_batch_size=batch, views=Views(2, "even", crops=1))
        task = make_task(data, network, evaluation=VideoEvaluation(clips_per_forward=chunk))
        make_trainer(tmp_path / str(batch)).validate(task, datamodule=data, verbose=False)
        results.append(read_scores(tmp_path / str(batch) / SCORES).scores)
    np.testing.assert_allclose(results[0], results[1], atol=1e-6)
    dataset = data.datasets["val"]
    task.eval()
    with torch.no_grad():
        for index in range(len(dataset)):
            views = dataset[index]["video"]
            alone = torch.cat([task(view[None]) for view in views]).softmax(dim=1)
            np.testing.assert_allclose(results[1][index], alone, atol=1e-6)
    assert np.ptp(results[0], axis=0).max() > 1e-4, "the videos do differ"


def test_larger_crops_are_scored_at_every_position(root):
    task = make_task(make_data(root), WITH_BLOCK).eval()
    network = task.network
    views = torch.randint(0, 256, (2, 3, 4, 96, 64, 3), dtype=torch.uint8)
    found = view_probabilities(network, views, SIZE, clips_per_forward=4)
    assert found.shape == (2, 3, 3)
    for video in range(2):
        for view in range(3):
            frames = normalise_video(views[video, view][None])[0].transpose(0, 1)
            with torch.no_grad():
                early = network.backbone.first_stage(frames)
                maps = network.backbone.later_stages(torch.maximum(early[::2], early[1::2]))
                positions = [
                    network.fc(maps[:, :, y, x].mean(dim=0)).softmax(dim=0)
                    for y in range(3)
                    for x in range(2)
                ]
            expected = torch.stack(positions).mean(dim=0)
            torch.testing.assert_close(found[video, view], expected, rtol=1e-4, atol=1e-6)
    with pytest.raises(ValueError, match="32x32 that the network was built for"):
        view_probabilities(network, views[:, :, :, :16], SIZE)


def test_accumulated_batches_equal_one_batch(root, tmp_path):
    network = VideoNetwork(dropout=0.0, frozen_bn=True)
    states = []
    for batch in (6, 3):
        data = make_data(root, batch_size=batch)
        task = make_task(data, network)
        fit(tmp_path, task, data, accumulate_grad_batches=6 // batch)
        states.append(task.network.state_dict())
    for name, value in states[0].items():
        torch.testing.assert_close(states[1][name], value, rtol=1e-4, atol=1e-6, msg=name)


def test_frozen_normalisations_of_the_trunk_keep_their_statistics(root, tmp_path):
    data = make_data(root)
    for frozen in (True, False):
        network = VideoNetwork(block="srl-fft", block_after=["backbone.layer3.1"], frozen_bn=frozen)
        task = make_task(data, network)
        before = {k: v.clone() for k, v in task.network.state_dict().items()}
        fit(tmp_path, task, data, max_steps=2, limit_val_batches=1.0)
        moved = {
            name
            for name, value in task.network.state_dict().items()
            if name.endswith("running_mean") and not torch.equal(value, before[name])
        }
        blocks = {name for name in moved if "srl" in name}
        assert blocks, "blocks have no statistics to keep"
        assert (moved == blocks) is frozen


def test_mixup_and_label_smoothing(root):
    data = make_data(root)
    task = make_task(data, mixup=0.4, label_smoothing=0.1).eval()
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    torch.manual_seed(5)
    loss = task.loss(batch)
    torch.manual_seed(5)
    share = torch.distributions.Beta(0.4, 0.4).sample()
    partner = torch.randperm(6)
    clips = normalise_video(batch["video"])
    targets = F.one_hot(batch["label"], 3) * 0.9 + 0.1 / 3
    targets = share * targets + (1 - share) * targets[partner]
    logits = task.network(share * clips + (1 - share) * clips[partner])
    expected = -(targets * logits.log_softmax(dim=1)).sum(dim=1).mean()
    torch.testing.assert_close(loss, expected)
    plain = make_task(data).eval()
    expected = F.cross_entropy(plain(batch["video"]), batch["label"])
    torch.testing.assert_close(plain.loss(batch), expected)


def test_resume_gives_what_an_unbroken_run_gives(root, tmp_path):
    def run(epochs, ckpt=None):
        data = make_data(root, augment=VideoAugment(jitter="tsn"))
        task = make_task(
            data, WITH_BLOCK, optimizer=lambda p: SGD(p, lr=0.01, momentum=0.9),
            lr_scheduler=lambda o: StepLR(o, 1, 0.5),
        )  # fmt: skip
        trainer = fit(tmp_path, task, data, ckpt, max_epochs=epochs, limit_train_batches=1)
        trainer.save_checkpoint(tmp_path / "last.ckpt")
        return task.network.state_dict(), trainer.optimizers[0].param_groups[0]["lr"]

    run(1)
    resumed, rate = run(2, ckpt=tmp_path / "last.ckpt")
    whole, expected_rate = run(2)
    assert rate == expected_rate == 0.0025
    for name, value in whole.items():
        torch.testing.assert_close(resumed[name], value, rtol=1e-5, atol=1e-6, msg=name)


def test_checkpoint_builds_the_network_again(root, trained):
    data = make_data(root)
    task = make_task(data, WITH_BLOCK)
    task.load_state_dict(torch.load(trained, weights_only=True)["state_dict"])
    network, stored = load_video_network(trained)
    assert stored["classes"] == list(CLASSES)
    assert (stored["frames"], stored["input_size"]) == (4, list(SIZE))
    assert (stored["sampling"]["stride"], stored["sampling"]["short_side"]) == (2, 36)
    assert Views(**stored["sampling"]["views"]) == data.views
    clips = torch.randn(1, 3, 4, *SIZE)
    torch.testing.assert_close(network(clips), task.network.eval()(clips))


def test_checkpoint_of_another_model_is_refused(root, trained, tmp_path):
    def validate(task, data):
        make_trainer(tmp_path).validate(task, datamodule=data, ckpt_path=trained, weights_only=True)

    data = make_data(root)
    with pytest.raises(ValueError, match="network.block: 'srl-fft' in the checkpoint, None here"):
        validate(make_task(data), data)
    for split in ("train", "val"):
        for name, new in zip((*CLASSES, "red"), ("blue", "grey", "red", "white"), strict=True):
            shutil.copytree(root / split / name, tmp_path / "other" / split / new)
    data = make_data(tmp_path / "other")
    pattern = "3 in the checkpoint, 4 here; .* class 1: 'green' in the checkpoint, 'grey' here"
    with pytest.raises(ValueError, match=pattern):
        validate(make_task(data, WITH_BLOCK), data)
    text = tmp_path / "text.ckpt"
    torch.save({"state_dict": {}}, text)
    with pytest.raises(ValueError, match=r"text\.ckpt.*not a checkpoint of a video model"):
        load_video_network(text)
    text.write_text("text")
    with pytest.raises(ValueError, match=r"text\.ckpt: not a readable checkpoint"):
        load_video_network(text)
    with pytest.raises(FileNotFoundError, match=r"none\.ckpt"):
        load_video_network(tmp_path / "none.ckpt")


@pytest.fixture
def damaged(tmp_path):
    """Data of which one training and one validation video are no videos."""
    write_split(tmp_path, "train", 4, seed=1)
    write_split(tmp_path, "val", 2, seed=2)
    for split in ("train", "val"):
        (tmp_path / split / "green" / "1.mp4").write_text("no video")
    return tmp_path


def times_named(caplog, name):
    return sum(name in record.getMessage() for record in caplog.records)


def test_broken_videos_are_counted(damaged, tmp_path, caplog):
    out = tmp_path / "out"
    data = make_data(damaged, loading=VideoLoading(6, workers=0, max_broken_share=0.1))
    task = make_task(data)
    with caplog.at_level(logging.WARNING):
        fit(out, task, data, max_epochs=2, limit_val_batches=1.0)
    assert times_named(caplog, "train/green/1.mp4") == times_named(caplog, "val/green/1.mp4") == 1
    assert (task.metrics["videos"], task.metrics["missing"]) == (5, 1)

    with pytest.raises(VideoError, match="val/green/1.mp4"):
        make_trainer(out).validate(task, datamodule=make_data(damaged), verbose=False)
    counting = make_data(damaged, on_broken="count")
    make_trainer(out).validate(task, datamodule=counting, verbose=False)
    scores = read_scores(out / SCORES)
    assert (len(scores.videos), task.metrics["missing"]) == (5, 1)
    assert scores.missing[0].endswith("val/green/1.mp4")

    strict = make_data(damaged, loading=VideoLoading(6, workers=0, max_broken_share=0.05))
    with pytest.raises(ValueError, match="max_broken_share"):
        fit(out, make_task(strict), strict, max_epochs=4)


def test_settings(root):
    data = make_data(root)
    groups = make_task(data).configure_optimizers().param_groups
    assert all(group["nesterov"] and group["momentum"] == 0.9 for group in groups)
    assert [group["weight_decay"] for group in groups] == [1e-4, 0.0]
    task = make_task(data)
    spared = {id(p) for p in parameter_groups(task.network)[1]["params"]}
    names = {name for name, p in task.network.named_parameters() if id(p) in spared}
    assert "backbone.bn1.weight" in names
    assert not any("conv" in name for name in names)
    with pytest.raises(ValueError, match="did you mean 'green'"):
        make_task(data, evaluation=VideoEvaluation(pairs=[("blue", "gren")]))
    with pytest.raises(ValueError, match="two different classes"):
        make_task(data, evaluation=VideoEvaluation(pairs=[("blue", "blue")]))
    with pytest.raises(ValueError, match="label_smoothing in"):
        make_task(data, label_smoothing=2.0)
    with pytest.raises(ValueError, match="clips_per_forward"):
        VideoEvaluation(clips_per_forward=0)
    with pytest.raises(ValueError, match="class_names"):
        VideoTask()
