"""Results: files of JSON lines, one for each finished run and seed; what code and data they had."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import subprocess
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

Record = dict[str, Any]

OUTCOME = "outcome.json"
"""File in which the process of a run leaves its result."""

CHECKPOINT = "last.ckpt"
"""File of a run's last finished epoch."""

_PATH_KEYS = ("annotations", "images", "detections", "source", "videos")


def append_record(path: Path, record: Mapping[str, Any]) -> None:
    """Append one line; a line that an interrupted process left unfinished is ended before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    line = json.dumps(record, allow_nan=False) + "\n"
    with path.open("ab+") as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                line = "\n" + line
        file.write(line.encode())
        file.flush()
        os.fsync(file.fileno())


def read_records(folder: Path) -> list[Record]:
    """All records of all ``*.jsonl`` files of a folder, in the order of writing.

    Lines that are no JSON object with a definition and a seed are left out with a warning.
    """
    records = []
    for path in sorted(folder.glob("*.jsonl")):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            try:
                record = json.loads(line)
            except json.JSONDecodeError:
                record = None
            if isinstance(record, dict) and {"definition", "seed", "metrics"} <= record.keys():
                records.append(record)
            else:
                log.warning("%s: line %d is not a result, left out", path, number)
    return records


def code_version() -> dict[str, Any]:
    """Git commit of this package's code.

    Returns
    -------
    dict
        ``commit``, or None where the package is not in its repository, and ``dirty``: whether files
        of the package differ from that commit or are not in it.
    """
    commit = _git("rev-parse", "HEAD")
    # An environment may lie in a repository of something else.
    if commit is None or _git("ls-files", "--error-unmatch", Path(__file__).name) is None:
        return {"commit": None, "dirty": False}
    changes = _git("status", "--porcelain", "--untracked-files=all", "--", ":/src")
    return {"commit": commit, "dirty": bool(changes)}


def _git(*arguments: str) -> str | None:
    """Output of a git command, None if there is no repository or no git."""
    command = ["git", "-C", str(Path(__file__).parent), *arguments]
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return result.stdout.strip()


def resolved_data(cli: Any) -> dict[str, Any]:
    """Section ``data`` of a built command line, with the files that ``auto`` stands for."""
    splits = getattr(cli.datamodule, "splits", {})
    found = {name: asdict(split) for name, split in splits.items()}
    return cli.config.data.as_dict() | found


def data_fingerprint(data: Mapping[str, Any]) -> dict[str, Any]:
    """Fingerprint of training and validation data.

    Parameters
    ----------
    data : mapping
        The section ``data`` of a configuration: ``root`` and the splits.

    Returns
    -------
    dict
        ``sha256``: over the content of annotation and list files, and the names and sizes of all
        files in image and video folders; it does not depend on where the root is. ``files`` and
        ``bytes``: number and total size of what it covers.

    Raises
    ------
    FileNotFoundError
        If something is missing.
    """
    digest, files, size = hashlib.sha256(), 0, 0
    named = [(split, key) for split in ("train", "val") for key in _PATH_KEYS]
    for split, key in named:
        name = (data.get(split) or {}).get(key)
        if name is None:
            continue
        place = Path(data["root"]) / name
        if not place.exists():
            raise FileNotFoundError(f"data.{split}.{key}: no file or folder {place}")
        digest.update(f"{split}.{key}\n".encode())
        if place.is_file():
            digest.update(hashlib.sha256(place.read_bytes()).digest())
            files, size = files + 1, size + place.stat().st_size
            continue
        for file in sorted(path for path in place.rglob("*") if path.is_file()):
            length = file.stat().st_size
            digest.update(f"{file.relative_to(place).as_posix()}\t{length}\n".encode())
            files, size = files + 1, size + length
    return {"sha256": digest.hexdigest(), "files": files, "bytes": size}
