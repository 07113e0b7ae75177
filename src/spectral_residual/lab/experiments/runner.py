"""Running experiments: one process per run and seed, finished ones skipped."""

from __future__ import annotations

import datetime
import json
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TextIO

from .definitions import Experiment, Run, as_options
from .results import OUTCOME, Record, append_record, code_version, read_records

_SHORT = 12
_LOCK_SECONDS = 20.0


@dataclass(frozen=True)
class Job:
    """One run with one seed.

    Attributes
    ----------
    experiment : Experiment
        Its name is that of the file of results.
    run : Run
        What to train.
    seed : int
        Seed.
    root : str or None
        Folder of the data, in place of the one in the configuration.
    extra : mapping
        Further overrides by dotted keys; part of the definition of what is run.
    """

    experiment: Experiment
    run: Run
    seed: int
    root: str | None
    extra: Mapping[str, Any]

    @cached_property
    def definition(self) -> str:
        """`Run.definition` with the further overrides."""
        return self.run.definition(self.extra)

    @property
    def arguments(self) -> list[str]:
        """Options for ``srl pose fit`` or ``srl video fit``."""
        return self.run.arguments(self.seed, self.root, self.extra)

    @property
    def fit_command(self) -> str:
        """The ordinary training command."""
        return shlex.join(["srl", self.run.kind, "fit", *self.arguments])

    @property
    def command(self) -> str:
        """The command that gives this result again."""
        words = ["srl", "experiment", "run", self.experiment.name, "--runs", self.run.name]
        words += ["--seeds", str(self.seed), *(["--root", self.root] if self.root else [])]
        return shlex.join(words + as_options(self.extra))

    def folder(self, output: Path) -> Path:
        """Folder of its checkpoint and logs, within that of all."""
        name = f"{self.run.name}-seed{self.seed}-{self.definition[:_SHORT]}"
        return output / self.experiment.name / name

    def result(self, records: Sequence[Record]) -> Record | None:
        """The first of some results that is of this job, None if there is none."""
        for record in records:
            if record["definition"] == self.definition and record["seed"] == self.seed:
                return record
        return None


class RunFailed(Exception):  # noqa: N818
    """A run has no result: its process ended with an error, or another one trains the same."""


def plan(
    experiment: Experiment,
    runs: Sequence[Run],
    seeds: Sequence[int] | None = None,
    root: str | None = None,
    extra: Mapping[str, Any] | None = None,
) -> list[Job]:
    """Jobs of some runs, the first seed of all runs first.

    Parameters
    ----------
    experiment : Experiment
        What the runs are of.
    runs : sequence of Run
        Runs.
    seeds : sequence of int, optional
        Seeds in place of those that the runs define.
    root, extra
        As of `Job`.
    """
    rows = [
        [Job(experiment, run, seed, root, extra or {}) for seed in (seeds or run.seeds)]
        for run in runs
    ]
    longest = max((len(row) for row in rows), default=0)
    return [row[i] for i in range(longest) for row in rows if i < len(row)]


def run_jobs(
    jobs: Sequence[Job], results: Path, output: Path, messages: TextIO
) -> tuple[list[Record], list[str]]:
    """Train and evaluate what has no result yet, and append the results.

    Parameters
    ----------
    jobs : sequence of Job
        What to run, in this order.
    results : Path
        Folder of the results.
    output : Path
        Folder of checkpoints and logs.
    messages : TextIO
        Where to report progress; the processes write there too.

    Returns
    -------
    records : list of dict
        One for each job that is finished, also if it was before.
    failures : list of str
        A sentence for each other one.

    Raises
    ------
    FileNotFoundError
        If the folder of the data does not exist.
    """
    records: list[Record] = []
    failures: list[str] = []
    for number, job in enumerate(jobs, 1):
        label = f"[{number}/{len(jobs)}] {job.experiment.name} {job.run.name}, seed {job.seed}"
        record = job.result(read_records(results))
        if record is not None:
            print(f"{label}: finished before", file=messages, flush=True)
            records.append(record)
            continue
        print(label, file=messages, flush=True)
        try:
            record = _run(job, results, output, messages)
        except RunFailed as error:
            failures.append(f"{job.run.name}, seed {job.seed}: {error}")
            print(f"{label}: {error}", file=messages, flush=True)
            continue
        records.append(record)
        values = {name: record["metrics"].get(name) for name in job.experiment.metrics}
        shown = [f"{k} -" if v is None else f"{k} {100 * v:.1f} %" for k, v in values.items()]
        print(f"{label}: {', '.join(shown)}", file=messages, flush=True)
    return records, failures


def _run(job: Job, results: Path, output: Path, messages: TextIO) -> Record:
    root = job.root or job.run.configuration(job.extra).get("data", {}).get("root", "")
    if not Path(root).is_dir():
        raise FileNotFoundError(f"data.root: no folder {root!r}; give the right one with --root")
    folder = job.folder(output)
    folder.mkdir(parents=True, exist_ok=True)
    request = {
        "kind": job.run.kind, "arguments": job.arguments, "seed": job.seed, "code": code_version(),
    }  # fmt: skip
    with _locked(folder) as lock:
        record = job.result(read_records(results))
        if record is None:
            (folder / OUTCOME).unlink(missing_ok=True)
            path = folder / "request.json"
            path.write_text(json.dumps(request), encoding="utf-8")
            _start_worker(path, lock, messages)
            text = (folder / OUTCOME).read_text(encoding="utf-8")
            record = _record(job, json.loads(text, parse_constant=lambda _: None))  # NaN to null
            append_record(results / f"{job.experiment.name}.jsonl", record)
    return record


def _start_worker(request: Path, lock: int, messages: TextIO) -> None:
    """Run the worker to its end; it ends by itself when this process does."""
    command = [sys.executable, "-m", f"{__package__}.worker", str(request)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=messages, pass_fds=(lock,)
    ) as process:
        status = process.wait()
    if status:
        raise RunFailed(f"the training process ended with status {status}")


@contextmanager
def _locked(folder: Path) -> Iterator[int]:
    """Hold the folder's lock, which the worker inherits, so that it is free when both are gone."""
    import fcntl  # only where there is a run to lock: Windows does not have it

    with (folder / "lock").open("w") as file:
        end = time.monotonic() + _LOCK_SECONDS
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > end:
                    raise RunFailed(f"another process is training in {folder}") from None
                time.sleep(0.1)
        yield file.fileno()


def _record(job: Job, outcome: Mapping[str, Any]) -> Record:
    first = outcome["sessions"][0]
    elsewhere = replace(job, root=None if job.root is None else "DATA")
    return {
        "experiment": job.experiment.name,
        "run": job.run.name,
        "kind": job.run.kind,
        "seed": job.seed,
        "definition": job.definition,
        "configs": list(job.run.configs),
        "overrides": dict(job.run.overrides),
        "extra": dict(job.extra),
        "command": elsewhere.command,
        "fit_command": elsewhere.fit_command,
        "commit": first["commit"],
        "dirty": first["dirty"],
        "finished": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        **outcome,
    }
