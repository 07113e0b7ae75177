"""Results of experiments: files of JSON lines, one line for each finished run and seed."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

Record = dict[str, Any]

OUTCOME = "outcome.json"
"""File in which the process of a run leaves its result."""

CHECKPOINT = "last.ckpt"
"""File of a run's last finished epoch."""


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
    return [record for path in sorted(folder.glob("*.jsonl")) for record in _read_file(path)]


def _read_file(path: Path) -> Iterator[Record]:
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            record = None
        if isinstance(record, dict) and {"definition", "seed", "metrics"} <= record.keys():
            yield record
        else:
            log.warning("%s: line %d is not a result, left out", path, number)
