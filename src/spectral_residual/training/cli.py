"""Lightning's command line for any task, with this package's defaults."""

from __future__ import annotations

import json
import logging
import re
import signal
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar

import lightning
import torch
from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.utilities.exceptions import MisconfigurationException, SIGTERMException

from ..blocks import BLOCKS, VIDEO_BLOCKS, option_names
from ..commands import HelpFormatter
from ..configs import FOLDER, with_configurations
from .callbacks import LastCheckpoint, find_checkpoint, named_checkpoint
from .checkpoint import read_file
from .data_module import DataModule
from .hub import locate
from .speed import measure_speed
from .task import Task

log = logging.getLogger(__name__)

Command = Callable[[list[str]], int]

_HARMLESS_WARNINGS = (
    "LightningCLI's args parameter",
    "predict returned None",
    "The dirpath has changed from",
    ".*is not supported by the model summary",
    r".*treespec, LeafSpec",
    ".*does not have many workers",
    r".*module\(s\) in eval mode at the start",
)

_HARMLESS_MESSAGES = ("`weights_only` was not set", "Tip: For seamless cloud")
"""Of Lightning's log: `CheckpointFiles` reads no code, whatever it says."""

WITH_CONFIG = {"-c", "--config", "-h", "--help"}
"""Options with which a command line has all that it needs."""

_WITHOUT_VALUE = ("-h", "--help", "--print_config", "--json")


def prepare() -> None:
    """Hide warnings that say nothing to the user, and allow TensorFloat-32 products."""
    for message in _HARMLESS_WARNINGS:
        warnings.filterwarnings("ignore", message=message)
    for name in ("utilities.rank_zero", "trainer.connectors.checkpoint_connector"):
        logging.getLogger(f"lightning.pytorch.{name}").addFilter(_says_something)
    torch.set_float32_matmul_precision("high")


def _says_something(record: logging.LogRecord) -> bool:
    return not any(text in record.getMessage() for text in _HARMLESS_MESSAGES)


@contextmanager
def plain_errors() -> Iterator[None]:
    """Errors in one piece: what a loader process raised comes without its stack.

    Raises
    ------
    SystemExit
        With 128 + 15 after SIGTERM.
    ChildProcessError
        If a loader process was killed.
    """
    try:
        yield
    except SIGTERMException:
        raise SystemExit(128 + signal.SIGTERM) from None
    except MisconfigurationException as error:
        raise ValueError(str(error)) from error
    except (EOFError, OSError, RuntimeError, ValueError) as error:
        text = str(error)
        if re.match(r"Caught \w+ in DataLoader worker", text):
            _, _, end = text.rpartition('\n  File "')
            found = re.search(r"^(?:\w+\.)*\w+: ", end, re.MULTILINE)
            if found:
                raise type(error)(end[found.end() :].strip()) from error
        # A process that dies while it hands over a batch breaks the connection.
        is_broken = isinstance(error, (EOFError, ConnectionError))
        if is_broken or re.match(r"DataLoader worker \(pid.*(killed|exited)", text):
            reason = (text.strip() or type(error).__name__).splitlines()[0]
            raise ChildProcessError(
                f"a loader process died, perhaps as memory ran out ({reason})"
            ) from error
        raise


class TaskCLI(LightningCLI):
    """Lightning's command line for a task and its data; to be derived from.

    Attributes
    ----------
    task, data : type
        What is built; class attributes, as all of these.
    monitor : str
        Logged metric whose highest value marks the best checkpoint.
    links : mapping
        Options of the model by those of the data that they are taken from.
    made : mapping
        The same for what the data know only when they are built.
    """

    task: ClassVar[type[Task]]
    data: ClassVar[type[DataModule]]
    monitor: ClassVar[str]
    links: ClassVar[dict[str, str]] = {}
    made: ClassVar[dict[str, str]] = {}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Link what the model takes from the data, and list the options of blocks."""
        for source, target in self.links.items():
            parser.link_arguments(f"data.{source}", f"model.{target}")
        for source, target in self.made.items():
            parser.link_arguments(f"data.{source}", f"model.{target}", apply_on="instantiate")
        parser.epilog = _block_help()

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse, find the checkpoint that ``--ckpt_path last`` or ``best`` means, and read it."""
        super().parse_arguments(parser, args)
        subcommand: str | None = self.config.get("subcommand")
        config: Any = self.config[subcommand] if subcommand else None
        wanted = config.get("ckpt_path") if config else None
        if not wanted:
            if subcommand in ("validate", "test", "predict"):
                log.warning("NO CHECKPOINT: without --ckpt the network is not trained")
            return
        if wanted not in ("last", "best"):
            read_file(wanted)
            located = locate(wanted)
            if subcommand == "fit" and located.is_dir():
                raise ValueError(
                    f"--ckpt_path {wanted}: a published network; training cannot go on from it, "
                    "as it has no state of the optimiser"
                )
            config.ckpt_path = str(located)
            return
        folder = Path(config.trainer.default_root_dir)
        if subcommand == "fit" and find_checkpoint(wanted, folder) is None:
            config.ckpt_path = None
            log.warning(
                "NOTHING TO RESUME FROM: no %s.ckpt below %s; training starts from the beginning",
                wanted,
                folder,
            )
            return
        config.ckpt_path = named_checkpoint(wanted, folder)

    def _run_subcommand(self, subcommand: str) -> None:
        """Run it; what fails since a checkpoint's state is damaged names the checkpoint."""
        try:
            super()._run_subcommand(subcommand)
            self._say_checkpoints(subcommand)
        except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
            path = self._get(self.config_init, "ckpt_path")
            if path is None or str(path) in str(error) or not _is_of_restoring(error):
                raise
            text = str(error)
            if not isinstance(error, ValueError):
                reason = f"{type(error).__name__}: {text}".splitlines()[0]
                text = f"damaged, or of another training, besides its weights: {reason}"
            raise ValueError(f"{path}: {text}") from error

    def _say_checkpoints(self, subcommand: str) -> None:
        """After training: where the weights are."""
        callback = self.trainer.checkpoint_callback
        if subcommand != "fit" or not isinstance(callback, ModelCheckpoint):
            return
        if callback.monitor and callback.best_model_path and self.trainer.is_global_zero:
            log.info(
                "checkpoint of the best epoch (%s): %s", callback.monitor, callback.best_model_path
            )

    @classmethod
    def build(cls, arguments: list[str], run: bool = True) -> TaskCLI:
        """Parse arguments, build trainer, model and data, and run the subcommand if asked to.

        ``--ckpt`` stands for ``--ckpt_path``.

        Parameters
        ----------
        arguments : list of str
            Subcommand (if `run`) and its options.
        run : bool
            False only builds ``trainer``, ``model`` and ``datamodule`` of the result.
        """
        prepare()
        name = cls.task.name
        parser_options: dict[str, Any] = {"formatter_class": HelpFormatter}
        if not run:
            parser_options["prog"] = f"srl {name}"
        with plain_errors():
            return cls(
                cls.task,
                cls.data,
                trainer_defaults={
                    "callbacks": default_callbacks(cls.monitor),
                    "default_root_dir": f"runs/{name}",
                },
                save_config_kwargs={"overwrite": True},
                seed_everything_default=0,
                args=with_configurations(full_names(arguments), name),
                run=run,
                parser_kwargs=parser_options,
            )

    @classmethod
    def command(cls, subcommand: str) -> Command:
        """The command ``srl <name> <subcommand>``: a function of its options."""

        def run(arguments: list[str]) -> int:
            cls.build(cls.without_config([subcommand, *full_names(arguments)]))
            return 0

        return run

    @classmethod
    def without_config(cls, arguments: Sequence[str]) -> list[str]:
        """Subcommand and options; ``fit`` without ``--config`` takes the task's ``own.yaml``."""
        subcommand, *options = arguments
        given = {option.partition("=")[0] for option in options}
        defaults = FOLDER / cls.task.name / "own.yaml"
        if subcommand != "fit" or given & WITH_CONFIG or not defaults.is_file():
            return list(arguments)
        log.info("no --config: taking %s, for own data", defaults)
        return [subcommand, "--config", str(defaults), *options]

    @classmethod
    def speed(cls, *, rounds: int = 5, steps: int = 12, json_: bool = False, **config: Any) -> int:
        """Samples per second of the loader, the training step on a batch in memory, and training.

        All other options, --config first of all, are those of ``fit``.

        Parameters
        ----------
        rounds : int
            Rounds.
        steps : int
            Batches per round.
        json_ : bool
            Print one JSON object.
        """
        if rounds < 1 or steps < 1:
            raise ValueError(f"--rounds and --steps must be positive, got {rounds}, {steps}")
        with plain_errors():
            report = measure_speed(cls.build(config["rest"], run=False), rounds=rounds, steps=steps)
        if json_:
            print(json.dumps(asdict(report)))
            return 0
        unit = cls.task.unit
        print(f"loader alone            {report.loader:8.1f} {unit}/s")
        print(f"step, batch in memory   {report.step:8.1f} {unit}/s")
        print(f"training with loader    {report.training:8.1f} {unit}/s")
        print(f"training / step         {report.ratio:8.3f}")
        return 0


def _is_of_restoring(error: Exception) -> bool:
    """Whether an error comes from Lightning's restoring, or from an optimiser's state."""
    files = [Path(frame.filename).as_posix() for frame in traceback.extract_tb(error.__traceback__)]
    in_restoring = any(re.search(r"checkpoint_connector|/migration/", file) for file in files)
    return in_restoring or ("/torch/optim/" in files[-1] and "out of memory" not in str(error))


def default_callbacks(monitor: str) -> list[lightning.Callback]:
    """Checkpoints of the last and of the best epoch by a metric, and the rate's curve."""
    return [
        ModelCheckpoint(
            monitor=monitor, mode="max", filename="best", auto_insert_metric_name=False
        ),
        LastCheckpoint(),
        LearningRateMonitor(logging_interval="epoch"),
    ]


def _block_help() -> str:
    """The options of every block, for the end of a help text."""
    sharing: dict[tuple[bool, str], list[str]] = {}
    for video, blocks in ((False, BLOCKS), (True, VIDEO_BLOCKS)):
        for name in blocks:
            options = ", ".join(option_names(name, video=video)) or "none"
            sharing.setdefault((video, options), []).append(name)
    lines = ["Options of blocks, for model.network.block_options:"]
    for (video, options), names in sharing.items():
        lines.append(f"  {', '.join(names)}{' for videos' if video else ''}: {options}")
    return "\n".join(lines)


def split_files(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Part options, each with its value, from the file names between and after them."""
    options: list[str] = []
    files: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        if argument == "--":
            files += rest
        elif argument.startswith("-"):
            options.append(argument)
            if "=" not in argument and argument not in _WITHOUT_VALUE:
                options += [value for value in [next(rest, None)] if value is not None]
        else:
            files.append(argument)
    return options, files


def full_names(arguments: Sequence[str]) -> list[str]:
    """Arguments with ``--ckpt_path`` in place of ``--ckpt``."""
    return _renamed(arguments, "--ckpt", "--ckpt_path")


def short_names(arguments: Sequence[str]) -> list[str]:
    """Arguments with ``--ckpt`` in place of ``--ckpt_path``."""
    return _renamed(arguments, "--ckpt_path", "--ckpt")


def _renamed(arguments: Sequence[str], old: str, new: str) -> list[str]:
    parts = [argument.partition("=") for argument in arguments]
    return [(new if name == old else name) + equals + value for name, equals, value in parts]
