"""Evaluates data of odd sizes on one or several processes and writes what came out; for a test."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import lightning
import torch
from keypoint_files import SIGMAS

from spectral_residual.pose.data_module import Joints, KeypointDataModule, Loading, Split
from spectral_residual.pose.network import PoseNetwork
from spectral_residual.pose.task import PoseTask


class Seen(PoseTask):
    """Keeps which samples were measured and what was found; fails if it is asked to."""

    fails = False

    def evaluate(self, split, found, folder):
        if self.fails:
            raise ValueError("the evaluation failed")
        self.seen = [found[name].tolist() for name in ("index", "keypoints")]
        return super().evaluate(split, found, folder)


def main(root: str, output: str, processes: int, counts: list[str]) -> None:
    torch.set_num_threads(1)
    trainer = lightning.Trainer(
        accelerator="cpu",
        devices=processes,
        strategy="ddp" if processes > 1 else "auto",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=output,
    )
    for count in counts:
        lightning.seed_everything(0)
        split = "val3" if count == "fails" else f"val{count}"
        data = KeypointDataModule(
            root,
            train=Split(f"{split}.json", split),
            val=Split(f"{split}.json", split),
            input_size=(64, 64),
            joints=Joints(sigmas=SIGMAS),
            loading=Loading(batch_size=2, workers=0),
        )
        network = PoseNetwork(backbone="resnet18", stages=2, deconv_channels=8)
        task = Seen(network, input_size=(64, 64), skeleton=data.skeleton)
        task.fails = count == "fails"
        trainer.validate(task, datamodule=data, verbose=False)
        result = {"metrics": task.metrics, "seen": getattr(task, "seen", None)}
        path = Path(output) / f"{count}_of{processes}_rank{trainer.global_rank}.json"
        path.write_text(json.dumps(result))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4:])
