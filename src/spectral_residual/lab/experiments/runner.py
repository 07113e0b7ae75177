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
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from .definitions import Experiment, Run
from .provenance import code_version
from .results import OUTCOME, Record, append_record, read_records

_SHORT = 12
_LOCK_SECONDS = 20.0


@dataclass(frozen=True)
class RunOptions:
    """How an experiment is run.

    Attributes
    ----------
    results : Path
        Folder of the results.
    output : Path
        Folder of checkpoints and logs.
    root : str or None
        Folder of the data, in place of the one in the configuration.
    extra : mapping
        Further overrides by dotted keys; part of the definition of what is run.
    messages : TextIO
        Where to report progress; the processes write there too.
    """

    results: Path
    output: Path
    root: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    messages: TextIO = sys.stdout


@dataclass(frozen=True)
class Job:
    """One run with one seed.

    Attributes
    ----------
    run : Run
        What to train.
    seed : int
        Seed.
    definition : str
        `Run.definition` with the further overrides.
    """

    run: Run
    seed: int
    definition: str


def plan(runs: Sequence[Run], seeds: Sequence[int] | None, extra: Mapping[str, Any]) -> list[Job]:
    """Jobs of some runs, the first seed of all runs first.

    Parameters
    ----------
    runs : sequence of Run
        Runs.
    seeds : sequence of int, optional
        Seeds in place of those that the runs define.
    extra : mapping
        Further overrides by dotted keys.
    """
    rows = [
        [Job(run, seed, run.definition(extra)) for seed in (seeds or run.seeds)] for run in runs
    ]
    longest = max((len(row) for row in rows), default=0)
    return [row[i] for i in range(longest) for row in rows if i < len(row)]


def run_jobs(
    experiment: Experiment, jobs: Sequence[Job], options: RunOptions
) -> tuple[list[Record], list[str]]:
    """Train and evaluate what has no result yet, and append the results.

    Parameters
    ----------
    experiment : Experiment
        Its name is that of the file of results.
    jobs : sequence of Job
        What to run, in this order.
    options : RunOptions
        How.

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
        label = f"[{number}/{len(jobs)}] {experiment.name} {job.run.name}, seed {job.seed}"
        known = _finished(job, options.results)
        if known is not None:
            print(f"{label}: finished before", file=options.messages, flush=True)
            records.append(known)
            continue
        print(label, file=options.messages, flush=True)
        try:
            record = _run(experiment, job, options)
        except (ChildFailed, FolderInUse) as error:
            failures.append(f"{job.run.name}, seed {job.seed}: {error}")
            print(f"{label}: {error}", file=options.messages, flush=True)
        else:
            records.append(record)
            shown = ", ".join(
                f"{k} {_percent(record['metrics'].get(k))}" for k in experiment.metrics
            )
            print(f"{label}: {shown}", file=options.messages, flush=True)
    return records, failures


class ChildFailed(Exception):  # noqa: N818
    """The process of a run has ended with an error."""


class FolderInUse(Exception):  # noqa: N818
    """Another process trains the same run."""


def _finished(job: Job, results: Path) -> Record | None:
    for record in read_records(results):
        if record["definition"] == job.definition and record["seed"] == job.seed:
            return record
    return None


def _run(experiment: Experiment, job: Job, options: RunOptions) -> Record:
    root = options.root or job.run.configuration(options.extra).get("data", {}).get("root", "")
    if not Path(root).is_dir():
        raise FileNotFoundError(f"data.root: no folder {root!r}; give the right one with --root")
    folder = run_folder(options.output, experiment, job)
    folder.mkdir(parents=True, exist_ok=True)
    arguments = job.run.arguments(job.seed, options.root, options.extra)
    request = {
        "kind": job.run.kind, "arguments": arguments, "seed": job.seed, "code": code_version(),
    }  # fmt: skip
    with _locked(folder) as lock:
        known = _finished(job, options.results)
        if known is not None:
            return known
        (folder / OUTCOME).unlink(missing_ok=True)
        path = folder / "request.json"
        path.write_text(json.dumps(request), encoding="utf-8")
        _start_worker(path, lock, options.messages)
        outcome = json.loads((folder / OUTCOME).read_text(encoding="utf-8"))
        record = _record(experiment, job, options, outcome)
        append_record(options.results / f"{experiment.name}.jsonl", record)
    return record


def run_folder(output: Path, experiment: Experiment, job: Job) -> Path:
    """Folder of a job's checkpoint and logs."""
    name = f"{job.run.name}-seed{job.seed}-{job.definition[:_SHORT]}"
    return output / experiment.name / name


def _start_worker(request: Path, lock: int, messages: TextIO) -> None:
    """Run the worker to its end; it ends by itself when this process does."""
    command = [sys.executable, "-m", "spectral_residual.lab.experiments.worker", str(request)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=messages, pass_fds=(lock,)
    ) as process:
        status = process.wait()
    if status:
        raise ChildFailed(f"the training process ended with status {status}")


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
                    raise FolderInUse(f"another process is training in {folder}") from None
                time.sleep(0.1)
        yield file.fileno()


def _record(
    experiment: Experiment, job: Job, options: RunOptions, outcome: Mapping[str, Any]
) -> Record:
    sessions = outcome["sessions"]
    root = "" if options.root is None else "DATA"
    return {
        "experiment": experiment.name,
        "run": job.run.name,
        "kind": job.run.kind,
        "seed": job.seed,
        "definition": job.definition,
        "configs": list(job.run.configs),
        "overrides": dict(job.run.overrides),
        "extra": dict(options.extra),
        "command": run_command(experiment, job, root, options.extra),
        "fit_command": fit_command(job, root or None, options.extra),
        "commit": sessions[0]["commit"],
        "dirty": sessions[0]["dirty"],
        "finished": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        **outcome,
    }


def run_command(experiment: Experiment, job: Job, root: str, extra: Mapping[str, Any]) -> str:
    """The command that gives this result again."""
    words = ["srl", "experiment", "run", experiment.name]
    words += ["--runs", job.run.name, "--seeds", str(job.seed)]
    words += ["--root", root] if root else []
    words += [
        part
        for key, value in extra.items()
        for part in (f"--{key}", value if isinstance(value, str) else json.dumps(value))
    ]
    return shlex.join(words)


def fit_command(job: Job, root: str | None, extra: Mapping[str, Any]) -> str:
    """The ordinary training command of a job."""
    return shlex.join(["srl", job.run.kind, "fit", *job.run.arguments(job.seed, root, extra)])


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f} %"
