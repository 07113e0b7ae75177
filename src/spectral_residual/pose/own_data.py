"""``srl pose`` without ``--config``: a checkpoint's own network."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path

from ..blocks import check_imported
from ..errors import printable
from ..training.callbacks import find_checkpoint
from ..training.checkpoint import description, read_file
from ..training.cli import WITH_CONFIG

log = logging.getLogger(__name__)


def with_network(arguments: Sequence[str]) -> list[str]:
    """Arguments of ``srl pose`` with network and input size of the checkpoint that they name.

    Where a ``--config`` says them, nothing is added. Options of the command line have the last
    word.

    Parameters
    ----------
    arguments : sequence of str
        Subcommand and its options.

    Raises
    ------
    FileNotFoundError, ValueError
        If the checkpoint is missing or not one of a pose network, or if it names a block that is
        code outside this package and the options do not name the same one.
    """
    subcommand, *options = arguments
    given = {option.partition("=")[0] for option in options if option.startswith("-")}
    if given & WITH_CONFIG:
        return list(arguments)
    added: list[str] = []
    checkpoint = _checkpoint(options)
    if checkpoint is not None:
        stored = description(read_file(checkpoint), "pose", Path(checkpoint))
        log.info("no --config: taking network and input size of %s", checkpoint)
        network = {key: value for key, value in stored["network"].items() if key != "weights"}
        if network.get("block") != _value(options, "--model.network.block"):
            try:
                check_imported(network.get("block"))
            except ValueError as error:
                trust = f"--model.network.block {printable(network['block'])}"
                raise ValueError(f"{error}; or trust it by {trust}") from error
        added += ["--model.network", json.dumps(network)]
        added += ["--data.input_size", json.dumps(list(stored["input_size"]))]
    return [subcommand, *added, *options]


def _checkpoint(options: Sequence[str]) -> str | Path | None:
    """The checkpoint that the options name, if it is there."""
    wanted = _value(options, "--ckpt_path")
    if wanted is None:
        return None
    if wanted in ("last", "best"):
        folder = _value(options, "--trainer.default_root_dir") or "runs/pose"
        return find_checkpoint(wanted, Path(folder))
    return wanted


def _value(options: Sequence[str], name: str) -> str | None:
    """Last value of an option, written as ``--name VALUE`` or ``--name=VALUE``."""
    found = None
    for position, option in enumerate(options):
        if option.startswith(f"{name}="):
            found = option.partition("=")[2]
        elif option == name and position + 1 < len(options):
            found = options[position + 1]
    return found
