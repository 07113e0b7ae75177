"""What all tasks share: optimiser, metrics over processes, checkpoints, files of results."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar, cast

import lightning
import numpy as np
import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from numpy.typing import NDArray
from torch import Tensor, nn

from ..errors import listed
from ..report.files import replacing
from .broken import BrokenSamples
from .checkpoint import check_weights, checkpoint_key
from .data_module import DataModule
from .optim import ParameterOptions, build_optimizer, with_schedule

Predictions = dict[str, NDArray[Any]]
"""What `Task.predict` gave for all samples of all processes, by name, in the order of samples."""

Module = TypeVar("Module", bound=DataModule)
Result = TypeVar("Result")


class Task(lightning.LightningModule):
    """A network, a loss and metrics; to be derived from.

    A task writes `loss`, `predict` and `evaluate`, and, where it has something to say there,
    `write_predictions` (for ``predict``), `describe` and `check_checkpoint`. Training and
    evaluation over one or many processes, schedules, speed, counts of unreadable samples and
    checkpoints that describe their network come from here.

    Parameters
    ----------
    network : nn.Module
        What is trained.
    optimizer : callable
        Takes parameter groups and returns an optimiser.
    lr_scheduler : callable, optional
        Takes the optimiser and returns a schedule.
    schedule_interval : {"epoch", "step"}
        When the schedule is stepped.
    parameter_options : dict, optional
        Learning rate and weight decay of single parameters by shell pattern of their names, e.g.
        ``{"*.alpha": {"lr_mult": 10}}``; see `ParameterOptions`.

    Attributes
    ----------
    name : str
        Name of the task, as in ``srl pose``; class attribute.
    unit : str
        What the samples are called, as in "images per second"; class attribute.
    shown : tuple of str
        Metrics for the progress bar; class attribute.
    metrics : dict of str to float
        Of the last evaluation.
    """

    name: ClassVar[str]
    unit: ClassVar[str] = "images"
    shown: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self,
        network: nn.Module,
        optimizer: OptimizerCallable,
        lr_scheduler: LRSchedulerCallable | None = None,
        schedule_interval: str = "epoch",
        parameter_options: Mapping[str, ParameterOptions] | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.make_optimizer = optimizer
        self.make_scheduler = lr_scheduler
        self.schedule_interval = schedule_interval
        self.parameter_options = parameter_options
        self.metrics: dict[str, float] = {}
        self._batches: list[Predictions] = []
        self._broken: BrokenSamples | None = None
        self._epoch_start = 0.0
        self._epoch_seconds = 0.0
        self._epoch_samples = 0

    def loss(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Training loss of a batch, a scalar."""
        raise NotImplementedError

    def predict(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What is needed of a batch for metrics and results, the first axis being the samples.

        Among it must be ``index``, (N,) int64, by which samples that several processes or the
        end of a batch repeat are recognised.
        """
        raise NotImplementedError

    def evaluate(self, split: str, found: Predictions, folder: Path | None) -> dict[str, float]:
        """Metrics of a split, ``"val"`` or ``"test"``; called in the first process only.

        Parameters
        ----------
        split : str
            Part of the data.
        found : dict of ndarray
            What `predict` gave, each sample once, in order.
        folder : Path or None
            Where to write results, which are printed as well; None during training.
        """
        raise NotImplementedError

    def write_predictions(self, found: Predictions, folder: Path) -> None:
        """Write and print what was predicted; called in the first process only.

        By default ``predictions.npz`` with the arrays that `predict` gave.
        """
        folder.mkdir(parents=True, exist_ok=True)
        np.savez(folder / "predictions.npz", **cast(Any, found))
        print(f"predictions of {len(found['index'])} {self.unit} in {folder / 'predictions.npz'}")

    def sample_name(self, index: int) -> str:
        """File of a sample that is being evaluated, for messages."""
        return f"sample {index}"

    def describe(self) -> dict[str, Any]:
        """What a checkpoint says of its network, to build it again: plain values."""
        return {}

    def check_checkpoint(self, checkpoint: Mapping[str, Any]) -> None:
        """Raise ValueError if a checkpoint is of another network, and say what differs."""

    def data_of(self, kind: type[Module]) -> Module:
        """Data module of the trainer.

        Raises
        ------
        TypeError
            If it is of another kind.
        """
        data = getattr(self.trainer, "datamodule", None)
        if not isinstance(data, kind):
            raise TypeError(
                f"{type(self).__name__} needs a {kind.__name__}, got {type(data).__name__}: pass "
                "datamodule=... to the trainer"
            )
        return data

    @property
    def samples_per_second(self) -> float:
        """Training samples per second of the last epoch, waiting for the loader included."""
        return self._epoch_samples / self._epoch_seconds

    def configure_optimizers(self) -> Any:
        """Optimiser over parameter groups, and the schedule."""
        optimizer = build_optimizer(self.network, self.make_optimizer, self.parameter_options)
        return with_schedule(optimizer, self.make_scheduler, self.schedule_interval)

    def on_fit_start(self) -> None:
        """Watch for unreadable samples."""
        data = self.data_of(DataModule)
        share = data.loading.max_broken_share
        self._broken = BrokenSamples(
            len(data.datasets["train"]), data.sample_name, share, data.file_kind
        )

    def on_train_epoch_start(self) -> None:
        """Start the clock of the epoch."""
        self._epoch_start, self._epoch_samples = time.perf_counter(), 0

    def training_step(self, batch: Mapping[str, Tensor], batch_idx: int) -> Tensor:
        """Loss of a batch; see `loss`."""
        if self._broken is not None and "broken" in batch:
            self._broken.update(batch)
        loss = self.loss(batch)
        if not torch.isfinite(loss):
            self._stop(loss, batch)
        count = len(next(iter(batch.values())))
        self.log("train/loss", loss, on_step=True, on_epoch=True, prog_bar=True, batch_size=count)
        self._epoch_samples += count * self.trainer.world_size
        return loss

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Stop the clock, so that validation is not counted."""
        self._epoch_seconds = time.perf_counter() - self._epoch_start

    def on_train_epoch_end(self) -> None:
        """Log the epoch's speed."""
        self.log(f"train/{self.unit}_per_second", self.samples_per_second)

    def on_validation_epoch_start(self) -> None:
        """Forget earlier predictions."""
        self._batches = []

    def validation_step(self, batch: Mapping[str, Tensor], batch_idx: int) -> None:
        """Keep what is predicted; all is measured at the end."""
        predicted = self.predict(batch)
        for name, value in predicted.items():
            if value.is_floating_point() and not torch.isfinite(value).all():
                bad = ~torch.isfinite(value.flatten(1) if value.dim() > 1 else value[:, None])
                found = [self.sample_name(int(i)) for i in batch["index"][bad.any(dim=1)]]
                raise ValueError(
                    f"the predicted {name} are not finite: the network has diverged, or its "
                    f"precision does not suffice:{listed(found)}"
                )
        self._batches.append({k: v.detach().cpu().numpy() for k, v in predicted.items()})

    def on_validation_epoch_end(self) -> None:
        """Compute the metrics over all processes."""
        if not self.trainer.sanity_checking:
            self._measure("val")

    on_test_epoch_start = on_predict_epoch_start = on_validation_epoch_start
    test_step = predict_step = validation_step

    def on_test_epoch_end(self) -> None:
        """Compute the metrics over all processes."""
        self._measure("test")

    def on_predict_epoch_end(self) -> None:
        """Write what was predicted; see `write_predictions`."""
        folder = self._folder() / "predictions"
        self._in_first_process(lambda found: self.write_predictions(found, folder))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Store what is needed to build the network again; see `describe`."""
        checkpoint[checkpoint_key(self.name)] = self.describe()

    def on_load_checkpoint(self, checkpoint: Mapping[str, Any]) -> None:
        """Refuse a checkpoint of another network; see `check_checkpoint`."""
        try:
            self.check_checkpoint(checkpoint)
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(
                f"the checkpoint describes no {self.name} model: {type(error).__name__}: {error}"
            ) from error
        check_weights(checkpoint["state_dict"], self.state_dict())

    def _measure(self, split: str) -> None:
        folder = None if self.trainer.state.fn == "fit" else self._folder()
        self.metrics = self._in_first_process(lambda found: self.evaluate(split, found, folder))
        for name, value in self.metrics.items():
            self.log(f"{split}/{name}", value, prog_bar=name in self.shown)

    def _in_first_process(self, use: Callable[[Predictions], Result]) -> Result:
        """Result of a function of all predictions, called in the first process, in all of them.

        An error there is one in all processes: otherwise the others would wait for ever.
        """
        result, failure = None, None
        try:
            found = gather(self._batches)
            if found is not None:
                result = use(found)
        except Exception as error:
            failure = error
        text = None if failure is None else f"{type(failure).__name__}: {failure}"
        result, text = self.trainer.strategy.broadcast((result, text))
        if failure is not None:
            raise failure
        if text is not None:
            raise ValueError(f"the first process failed: {text}")
        return cast(Result, result)

    def _stop(self, loss: Tensor, batch: Mapping[str, Tensor]) -> None:
        """Keep what is needed to look into a loss that is not finite, and raise ValueError."""
        (optimizer,) = self.trainer.optimizers
        rates = sorted({group["lr"] for group in optimizer.param_groups})
        kept = {
            "epoch": self.current_epoch,
            "step": self.global_step,
            "rates": rates,
            "batch": dict(batch),
            "network": self.network.state_dict(),
        }
        path = Path(self.trainer.default_root_dir) / f"diverged_rank{self.global_rank}.pt"
        with replacing(path) as temporary:
            torch.save(kept, temporary)
        raise ValueError(
            f"the training loss is {float(loss)} at epoch {self.current_epoch}, step "
            f"{self.global_step}, learning rate {', '.join(f'{rate:g}' for rate in rates)}: "
            f"training stops. The batch and the weights before it are in {path}; last.ckpt is "
            "that of the last finished epoch"
        )

    def _folder(self) -> Path:
        """Folder of this run; all processes must ask together."""
        return Path(self.trainer.log_dir or self.trainer.default_root_dir)


def gather(batches: Sequence[Predictions]) -> Predictions | None:
    """Join what the processes predicted: each sample once, in order of its ``index``.

    All processes must call it. Only the first gets the result, which may be large, e.g. 1 GB for
    20,000 videos of 30 views and 400 classes; the others get None.

    Raises
    ------
    ValueError
        If nothing was predicted.
    """
    found = list(batches)
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        is_first = torch.distributed.get_rank() == 0
        parts: list[Any] = [None] * torch.distributed.get_world_size()
        torch.distributed.gather_object(found, parts if is_first else None)
        if not is_first:
            return None
        found = [batch for part in parts for batch in part]
    if not found:
        raise ValueError("nothing was predicted: there was no batch")
    joined = {name: np.concatenate([batch[name] for batch in found]) for name in found[0]}
    _, first = np.unique(joined["index"], return_index=True)
    return {name: values[first] for name, values in joined.items()}
