"""A task of your own, image classification: a third on the spine that pose and video share.

A task is a head, a data set and a metric. Everything else, from the optimiser's groups to
checkpoints, resuming and several processes, comes from `spectral_residual.training`:

    python examples/own_task.py fit --data.root FOLDER
    python examples/own_task.py validate --data.root FOLDER --ckpt_path FILE

where FOLDER holds ``train/CLASS/*.jpg`` and ``val/CLASS/*.jpg``.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
import torchvision
from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor, nn
from torch.optim import AdamW
from torch.utils.data import Dataset
from torchvision.transforms import v2

from spectral_residual import insert_blocks
from spectral_residual.training.checkpoint import check_same, description
from spectral_residual.training.cli import TaskCLI
from spectral_residual.training.data_module import DataModule, Loading
from spectral_residual.training.task import Predictions, Task


class ClassFolders(Dataset[dict[str, Tensor]]):
    """Images in folders named as their classes; a sample depends on (seed, epoch, index)."""

    def __init__(self, folder: Path, size: tuple[int, int], seed: int, train: bool) -> None:
        self.images = torchvision.datasets.ImageFolder(str(folder))
        self.seed = seed
        crop: Any = v2.Resize(size)
        if train:
            crop = v2.Compose(
                [v2.RandomResizedCrop(size, scale=(0.5, 1)), v2.RandomHorizontalFlip()]
            )
        scale = v2.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
        self.transform = v2.Compose([crop, v2.ToImage(), v2.ToDtype(torch.float32, True), scale])

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, key: int | tuple[int, int]) -> dict[str, Tensor]:
        epoch, index = key if isinstance(key, tuple) else (0, key)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed((self.seed * 1000 + epoch) * len(self) + index)
            image, label = self.images[index]
            image = self.transform(image)
        return {"image": image, "label": torch.tensor(label), "index": torch.tensor(index)}


class ClassData(DataModule):
    """Class folders ``train`` and ``val`` in `root`, resized to `input_size` (H, W)."""

    unit = "images"

    def __init__(
        self,
        root: str,
        input_size: tuple[int, int] = (128, 128),
        loading: Loading = Loading(),
        seed: int = 0,
    ) -> None:
        super().__init__(root, loading, seed)
        self.input_size = input_size
        self.class_names = sorted(p.name for p in (self.root / "train").iterdir() if p.is_dir())

    def setup(self, stage: str) -> None:
        """Read the folders."""
        for split in ("train", "val") if stage == "fit" else ("val",):
            folder, train = self.root / split, split == "train"
            self.datasets[split] = ClassFolders(folder, self.input_size, self.seed, train)
        self.datasets["test"] = self.datasets["predict"] = self.datasets["val"]


class Classification(Task):
    """A torchvision network with blocks, trained with cross-entropy, measured by accuracy."""

    name = "classification"
    shown = ("top1",)

    def __init__(
        self,
        backbone: str = "resnet18",
        block: str | None = "srl",
        block_after: Sequence[str] = ("layer3", "layer4"),
        block_options: dict[str, Any] | None = None,
        optimizer: OptimizerCallable = lambda p: AdamW(p, lr=1e-3, weight_decay=0.05),
        input_size: tuple[int, int] = (128, 128),
        class_names: Sequence[str] = (),
    ) -> None:
        model: nn.Module = torchvision.models.get_model(backbone, num_classes=len(class_names))
        if block is not None:
            insert_blocks(
                model, block_after, block, input_size=(3, *input_size), block_options=block_options
            )
        super().__init__(model.to(memory_format=torch.channels_last), optimizer)
        config = {"backbone": backbone, "block": block, "block_after": list(block_after)}
        self.config = {**config, "block_options": block_options or {}}
        self.class_names = list(class_names)

    def loss(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Cross-entropy."""
        return F.cross_entropy(self.network(batch["image"]), batch["label"])

    def predict(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Class probabilities (N, classes)."""
        scores = self.network(batch["image"]).float().softmax(dim=1)
        return {"scores": scores, "label": batch["label"], "index": batch["index"]}

    def evaluate(self, split: str, found: Predictions, folder: Path | None) -> dict[str, float]:
        """Share of the images whose class has the highest score."""
        metrics = {"top1": float((found["scores"].argmax(axis=1) == found["label"]).mean())}
        if folder is not None:
            (folder / f"metrics_{split}.json").write_text(json.dumps(metrics) + "\n")
            print(f"top-1 {100 * metrics['top1']:.1f} % of {len(found['label'])} images")
        return metrics

    def describe(self) -> dict[str, Any]:
        """Network and classes."""
        return {"network": self.config, "classes": self.class_names}

    def check_checkpoint(self, checkpoint: Mapping[str, Any]) -> None:
        """Refuse a checkpoint of another network or other classes."""
        check_same(description(checkpoint, self.name), self.describe(), {})


class ClassificationCLI(TaskCLI):
    """Size and classes come from the data."""

    task = Classification
    data = ClassData
    monitor = "val/top1"
    links: ClassVar = {"input_size": "input_size"}
    made: ClassVar = {"class_names": "class_names"}


if __name__ == "__main__":
    ClassificationCLI.build(sys.argv[1:])
