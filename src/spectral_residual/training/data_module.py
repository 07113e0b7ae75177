"""What all data modules share: splits, loaders, the order of training samples."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import cv2
import lightning
import torch
from torch.utils.data import DataLoader

from .sampler import EpochSampler


@dataclass(frozen=True)
class Loading:
    """How samples are loaded.

    Attributes
    ----------
    batch_size : int
        Training samples per process and step.
    workers : int
        Loader processes, each of which decodes on one core; 0 loads in the main process.
    max_broken_share : float
        Training stops when more than this share of its samples has an unreadable file; up to
        there they are replaced by others, named and counted.

    Raises
    ------
    ValueError
        If a number is out of range.
    """

    batch_size: int = 32
    workers: int = 2
    max_broken_share: float = 0.05

    def __post_init__(self) -> None:
        if self.batch_size < 1 or self.workers < 0 or not 0 <= self.max_broken_share <= 1:
            raise ValueError(
                "data.loading: expected batch_size >= 1, workers >= 0 and max_broken_share in "
                f"[0, 1], got {self}"
            )


class DataModule(lightning.LightningDataModule):
    """Data sets by split and their loaders; to be derived from.

    `setup` fills `datasets`. The one for training is indexed by (epoch, index), as `EpochSampler`
    gives it, the others by index; samples are dicts of tensors. An unreadable file of the
    training data is to be replaced by another one, with ``broken`` being its index (-1 otherwise).

    Parameters
    ----------
    root : str
        Folder of the data.
    loading : Loading
        Batch size and workers.
    seed : int
        Seed of shuffling and augmentation.

    Attributes
    ----------
    datasets : dict of str to Dataset
        Those of the current stage, by ``"train"``, ``"val"``, ``"test"`` and ``"predict"``.
    eval_batch_size : int
        Samples per step of evaluation; by default those of a training step.
    unit, file_kind : str
        What samples and their files are called in messages; class attributes.

    Raises
    ------
    FileNotFoundError
        If there is no such folder.
    """

    unit: ClassVar[str] = "samples"
    file_kind: ClassVar[str] = "image"

    def __init__(self, root: str, loading: Loading, seed: int) -> None:
        super().__init__()
        self.root = Path(root)
        if not self.root.is_dir():
            raise FileNotFoundError(
                f"data.root: no folder {self.root}; give that of your data with --data.root FOLDER "
                "('srl data where' says where to get known data sets)"
            )
        self.loading = loading
        self.eval_batch_size = loading.batch_size
        self.seed = seed
        self.datasets: dict[str, Any] = {}

    def sample_name(self, index: int) -> str:
        """File of a training sample, for messages."""
        return f"sample {index}"

    @property
    def train_source(self) -> Path:
        """Where the training samples are listed, for messages."""
        return self.root

    def train_dataloader(self) -> DataLoader[Any]:
        """Shuffled, augmented batches; the last incomplete one is dropped."""
        processes = self.trainer.world_size if self.trainer else 1
        rank = self.trainer.global_rank if self.trainer else 0
        dataset, batch_size = self.datasets["train"], self.loading.batch_size
        if len(dataset) < processes * batch_size:
            raise ValueError(
                f"data.loading.batch_size: {batch_size} on {processes} process(es) is more than "
                f"the {len(dataset)} training {self.unit} of {self.train_source}"
            )
        sampler = EpochSampler(
            dataset, processes, rank, shuffle=True, seed=self.seed, drop_last=True
        )
        if self.trainer:
            sampler.begin(self.trainer)
        return self._loader(dataset, batch_size, sampler=sampler, drop_last=True)

    def val_dataloader(self) -> DataLoader[Any]:
        """Validation samples in order."""
        return self._loader(self.datasets["val"], self.eval_batch_size)

    def test_dataloader(self) -> DataLoader[Any]:
        """Test samples in order."""
        return self._loader(self.datasets["test"], self.eval_batch_size)

    def predict_dataloader(self) -> DataLoader[Any]:
        """Samples to predict on, in order."""
        return self._loader(self.datasets["predict"], self.eval_batch_size)

    def _loader(self, dataset: Any, batch_size: int, **options: Any) -> DataLoader[Any]:
        workers = self.loading.workers
        return DataLoader(
            dataset,
            batch_size=batch_size,
            num_workers=workers,
            persistent_workers=workers > 0,
            worker_init_fn=_single_threaded,
            pin_memory=torch.cuda.is_available(),
            **options,
        )


def _single_threaded(worker: int) -> None:
    cv2.setNumThreads(0)
