"""Trains 20 steps on one or several processes and writes what happened; run by a test."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import lightning
import torch
from keypoint_files import SIGMAS
from torch.optim import SGD

from spectral_residual.pose.data_module import Joints, KeypointDataModule, Loading, Split
from spectral_residual.pose.network import PoseNetwork
from spectral_residual.pose.task import PoseTask


class Record(lightning.Callback):
    """Batch normalisation in evaluation mode, and the mean loss of all processes per step."""

    def __init__(self) -> None:
        self.losses: list[float] = []

    def on_train_batch_start(self, trainer, task, batch, batch_idx) -> None:
        for module in task.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.eval()

    def on_train_batch_end(self, trainer, task, outputs, batch, batch_idx) -> None:
        loss = trainer.strategy.reduce(outputs["loss"].detach(), reduce_op="mean")
        self.losses.append(float(loss))


def main(root: str, output: str, processes: int) -> None:
    torch.set_num_threads(1)
    lightning.seed_everything(0)
    data = KeypointDataModule(
        root,
        train=Split("train.json", "train"),
        val=Split("val.json", "val"),
        input_size=(64, 64),
        joints=Joints(sigmas=SIGMAS),
        loading=Loading(batch_size=8 // processes, workers=0),
    )
    network = PoseNetwork(
        backbone="resnet18", deconv_channels=8, block="srl-lo", block_options={"alpha": 0.5}
    )
    task = PoseTask(
        network,
        optimizer=lambda p: SGD(p, lr=0.5, momentum=0.9),
        input_size=(64, 64),
        skeleton=data.skeleton,
    )
    record = Record()
    trainer = lightning.Trainer(
        accelerator="cpu",
        devices=processes,
        strategy="ddp" if processes > 1 else "auto",
        max_steps=20,
        limit_val_batches=0,
        callbacks=[record],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=output,
    )
    trainer.fit(task, datamodule=data)
    matrices = {
        name: value.tolist()
        for name, value in task.network.state_dict().items()
        if name.endswith((".P", ".Q"))
    }
    result = {"losses": record.losses, "matrices": matrices}
    path = Path(output) / f"of{processes}_rank{trainer.global_rank}.json"
    path.write_text(json.dumps(result))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
