"""The command line: ``srl``."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Sequence

from .errors import unknown_name

USAGE = """srl: spectral residual learning for vision networks

usage: srl COMMAND ...

  srl pose fit | validate | test | predict --config FILE [--KEY VALUE ...]
        train, evaluate and use a pose model on COCO-format keypoint data
  srl pose speed --config FILE [--json]
        images per second of loader, training step and training
  srl data people FOLDER
        generate a COCO-format data set of articulated people
  srl demo pose [--output FOLDER]
        generate data, train with and without SRL blocks, compare, write a report

Each command has a --help. Set SRL_TRACEBACK=1 to see where an error was raised.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments : sequence of str, optional
        Arguments without the program's name; by default those of the process.

    Returns
    -------
    int
        0 if all went well, 2 for an error that the user can mend.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(USAGE)
        return 0
    _show_messages()
    try:
        return _command(arguments)
    except (ValueError, OSError) as error:
        if os.environ.get("SRL_TRACEBACK"):
            raise
        print(f"srl: error: {error}", file=sys.stderr)
        return 2


def _show_messages() -> None:
    """Print this package's log messages; Lightning has a handler of its own."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    logger = logging.getLogger("spectral_residual")
    logger.handlers = [handler]
    logger.setLevel(logging.INFO)
    logger.propagate = False


def _command(arguments: list[str]) -> int:
    group, rest = arguments[0], arguments[1:]
    groups: dict[str, dict[str, Callable[[list[str]], int]]] = {
        "pose": {
            **dict.fromkeys(("fit", "validate", "test", "predict"), lambda a: _pose(a)),
            "speed": _speed,
        },
        "data": {"people": _people},
        "demo": {"pose": _demo},
    }
    if group not in groups:
        raise unknown_name("command", group, groups)
    commands = groups[group]
    if not rest or rest[0] in ("-h", "--help"):
        print(USAGE)
        return 0
    if rest[0] not in commands:
        raise unknown_name(f"command after 'srl {group}'", rest[0], commands)
    run = commands[rest[0]]
    return run(rest if run is not _speed and group == "pose" else rest[1:])


def _pose(arguments: list[str]) -> int:
    from .tasks.pose_cli import run_pose

    return run_pose(arguments)


def _speed(arguments: list[str]) -> int:
    from .tasks.pose_speed import main as speed

    return speed(arguments)


def _people(arguments: list[str]) -> int:
    from .demo import people

    return people(arguments)


def _demo(arguments: list[str]) -> int:
    from .demo import pose

    return pose(arguments)
