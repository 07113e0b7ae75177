"""Small data modules, tasks and trainers for tests of the video task."""

from __future__ import annotations

import lightning

from spectral_residual.video.augment import VideoAugment
from spectral_residual.video.data_module import VideoDataModule, VideoLoading
from spectral_residual.video.network import VideoNetwork
from spectral_residual.video.sampling import Clip, Views
from spectral_residual.video.task import VideoTask

SIZE = (32, 32)
BASE = VideoNetwork(dropout=0.0)
WITH_BLOCK = VideoNetwork(
    dropout=0.0, block="srl-fft", block_after=["backbone.layer3"], block_options={"alpha": 0.5}
)


def make_data(root, batch_size=6, eval_batch_size=1, **options):
    options = {
        "clip": Clip(frames=4, stride=2),
        "input_size": SIZE,
        "short_side": 36,
        "augment": VideoAugment(jitter="none", flip_probability=0.0),
        "views": Views(clips=2, placing="even", crops=3),
        "loading": VideoLoading(batch_size, workers=0, eval_batch_size=eval_batch_size),
        **options,
    }
    return VideoDataModule(str(root), **options)


def make_task(data, network=BASE, kind=VideoTask, **options):
    lightning.seed_everything(0, verbose=False)
    return kind(network, clip_frames=4, input_size=SIZE, class_names=data.class_names, **options)


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
            "limit_val_batches": 0 if "max_epochs" in options else 1.0,
            **options,
        }
    )


def fit(tmp_path, task, data, ckpt=None, **options):
    trainer = make_trainer(tmp_path, **{"max_epochs": 1, **options})
    trainer.fit(task, datamodule=data, ckpt_path=ckpt, weights_only=True)
    return trainer


def save_trained(root, path):
    """Train `WITH_BLOCK` one step and save a checkpoint."""
    data = make_data(root)
    trainer = fit(path.parent, make_task(data, WITH_BLOCK), data, max_steps=1)
    trainer.save_checkpoint(path)
    return path
