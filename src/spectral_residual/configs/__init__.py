"""Configurations that come with the package, found by name; see README.md beside this file."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from pathlib import Path

from ..errors import unknown_name

log = logging.getLogger(__name__)

FOLDER = Path(__file__).parent
"""Folder of the configurations: ``pose/``, ``video/`` and ``experiments/``."""

_OPTIONS = ("-c", "--config")


def configuration_names(kind: str) -> list[str]:
    """Names of the configurations for ``"pose"`` or ``"video"``.

    Returns
    -------
    list of str
        Paths without suffix, relative to the folder of that kind, e.g. ``"blocks/srl_fft"``.
    """
    folder = FOLDER / kind
    found = (path.relative_to(folder).with_suffix("") for path in folder.rglob("*.yaml"))
    return sorted(path.as_posix() for path in found)


def find_configuration(name: str, kind: str) -> Path:
    """Find a configuration file: one that exists, or else one of the package by its name.

    A name is the end of a path below ``configs/<kind>``, by whole parts and without suffix
    (``lspet_short_128x96``, ``blocks/srl_fft``); one that is nowhere the whole end may leave out
    last words (``lspet_short``). With ``configs/``, the kind and ``.yaml`` it is a name too, so
    that paths of the repository work elsewhere.

    Parameters
    ----------
    name : str
        Path of a file, or name.
    kind : str
        ``"pose"`` or ``"video"``.

    Raises
    ------
    FileNotFoundError
        If there is no such file and no such name; the nearest name is suggested.
    ValueError
        If several configurations have the name; they are listed.
    """
    path = Path(name)
    if path.is_file():
        return path
    known = configuration_names(kind)
    key = path.as_posix().removeprefix("configs/").removeprefix(f"{kind}/").removesuffix(".yaml")
    found = [key] if key in known else [n for n in known if n.endswith(f"/{key}")]
    if not found:
        found = [n for n in known if re.search(rf"(^|/){re.escape(key)}_[^/]*$", n)]
    if len(found) > 1:
        raise ValueError(
            f"configuration {name!r} may be any of {', '.join(found)}; give one of them"
        )
    if not found:
        hint = str(unknown_name("name", key, known)).partition("; ")[2]
        raise FileNotFoundError(
            f"no configuration file {name}, and none of this name in the package; {hint}"
        )
    return FOLDER / kind / f"{found[0]}.yaml"


def with_configurations(arguments: Sequence[str], kind: str) -> list[str]:
    """Arguments of a command with the files that ``--config NAME`` stands for.

    Settings that are written out (``--config '{trainer: {max_epochs: 1}}'``) and kinds without
    configurations of their own are left as they are.

    Raises
    ------
    FileNotFoundError, ValueError
        As for `find_configuration`.
    """
    if not configuration_names(kind):
        return list(arguments)
    found: list[str] = []
    for argument in arguments:
        option, equals, value = argument.partition("=")
        if equals and option in _OPTIONS:
            found.append(f"{option}={_file(value, kind)}")
        elif found and found[-1] in _OPTIONS:
            found.append(_file(argument, kind))
        else:
            found.append(argument)
    return found


def _file(value: str, kind: str) -> str:
    written_out = any(mark in value for mark in ("{", "\n", ": "))
    if written_out:
        return value
    file = find_configuration(value, kind)
    if file != Path(value):
        log.info("configuration %s: %s", value, file)
    return str(file)
