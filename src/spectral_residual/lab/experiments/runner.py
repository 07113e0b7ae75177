"""``srl experiment list | run``: one process per run and seed, finished ones skipped."""

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
from itertools import zip_longest
from pathlib import Path
from typing import Any, TextIO

import yaml  # type: ignore[import-untyped]

from ...report.table import format_table
from .definitions import Experiment, Options, Run, as_options
from .results import OUTCOME, Record, append_record, code_version, read_records

OUTPUT = Path("runs/experiments")
"""Folder of checkpoints, logs and pictures."""

_LOCK_SECONDS = 20.0


@dataclass(frozen=True)
class Job:
    """One run with one seed.

    `root` is the folder of the data, in place of the one in the configuration. `extra` holds
    further overrides by dotted keys, which are part of the definition of what is run.
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
        name = f"{self.run.name}-seed{self.seed}-{self.definition[:12]}"
        return output / self.experiment.name / name

    def result(self, results: Path) -> Record | None:
        """Its first result in the files of a folder, None if there is none."""
        for record in read_records(results):
            if record["definition"] == self.definition and record["seed"] == self.seed:
                return record
        return None


class RunFailed(Exception):  # noqa: N818
    """A run has no result: its process ended with an error, or another one trains the same."""


def plan(
    experiment: Experiment,
    runs: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
    root: str | None = None,
    extra: Mapping[str, Any] | None = None,
) -> list[Job]:
    """Jobs of the named runs, or of all, the first seed of all runs first.

    `seeds` take the place of those that the runs define; `root` and `extra` are those of `Job`.
    """
    rows = [
        [Job(experiment, run, seed, root, extra or {}) for seed in (seeds or run.seeds)]
        for run in (map(experiment.run, runs) if runs else experiment.runs)
    ]
    return [job for jobs in zip_longest(*rows) for job in jobs if job is not None]


def list_(*, options: Options) -> None:
    """List all experiments, and how many of their runs are finished."""
    records = read_records(options.results)
    done = {(record["definition"], record["seed"]) for record in records}
    rows: list[dict[str, Any]] = []
    for experiment in options.read():
        jobs = plan(experiment)
        rows.append(
            {
                "name": experiment.name,
                "title": experiment.title,
                "kind": experiment.kind,
                "runs": {run.name: run.seeds for run in experiment.runs},
                "finished": sum((job.definition, job.seed) in done for job in jobs),
                "jobs": len(jobs),
            }
        )
    cells = [[f"{r['name']}: {r['title']}", f"{r['finished']} of {r['jobs']}"] for r in rows]
    print(json.dumps(rows) if options.json_ else format_table(["experiment", "finished"], cells))


def run(
    name: str,
    *,
    options: Options,
    output: Path = OUTPUT,
    runs: list[str] | None = None,
    seeds: list[int] | None = None,
    root: str | None = None,
    limit: int | None = None,
    dry_run: bool = False,
    **rest: list[str],
) -> int:
    """Train and evaluate what has no result yet; the exit code is 1 if a run has failed.

    Interrupted runs go on after their last finished epoch. All further options, --KEY VALUE, are
    those of 'srl pose fit' or 'srl video fit'; with them it is another run, with results of its
    own.

    Parameters
    ----------
    name : str
        Name of an experiment.
    options : Options
        What all commands take.
    output : Path
        Folder of checkpoints and logs.
    runs : list of str
        Only these runs.
    seeds : list of int
        In place of the defined seeds.
    root : str
        Folder of the data.
    limit : int
        Only so many batches of training and validation per epoch, to see that it runs.
    dry_run : bool
        Only print the training commands.
    **rest
        Options of the training command.

    Raises
    ------
    ValueError, FileNotFoundError
        If a name is unknown, or a file or the data folder is missing.
    """
    (experiment,) = options.read([name])
    extra = _overrides(rest.get("rest", []))
    if limit is not None:
        if limit < 1:
            raise ValueError(f"--limit must be positive, got {limit}")
        extra |= {"trainer.limit_train_batches": limit, "trainer.limit_val_batches": limit}
    jobs = plan(experiment, runs, seeds, root, extra)
    if dry_run:
        print(*(job.fit_command for job in jobs), sep="\n")
        return 0
    records, failures = _run_all(jobs, options, output)
    if options.json_:
        print(json.dumps({"results": records, "failures": failures}))
    for failure in failures:
        print(f"not finished: {failure}", file=sys.stderr)
    return 1 if failures else 0


def _overrides(rest: Sequence[str]) -> dict[str, Any]:
    """Values by dotted keys of arguments ``--KEY VALUE`` or ``--KEY=VALUE``."""
    values: dict[str, Any] = {}
    remaining = iter(rest)
    for argument in remaining:
        key, equals, value = argument.partition("=")
        if not key.startswith("--") or "." not in key:
            raise ValueError(
                f"unknown argument {argument!r}; further options are --KEY VALUE with keys such as "
                "trainer.max_epochs"
            )
        text = value if equals else next(remaining, None)
        if text is None:
            raise ValueError(f"{key} needs a value")
        values[key.removeprefix("--")] = yaml.safe_load(text)
    return values


def _run_all(jobs: Sequence[Job], options: Options, output: Path) -> tuple[list[Record], list[str]]:
    """Results of all jobs that are finished, also if they were before; a sentence for the others.

    What has no result yet is trained and evaluated.
    """
    messages = sys.stderr if options.json_ else sys.stdout
    records: list[Record] = []
    failures: list[str] = []
    for number, job in enumerate(jobs, 1):
        label = f"[{number}/{len(jobs)}] {job.experiment.name} {job.run.name}, seed {job.seed}"
        record = job.result(options.results)
        if record is not None:
            outcome = "finished before"
        else:
            print(label, file=messages, flush=True)
            try:
                record = _train(job, options.results, output, messages)
                values = {name: record["metrics"].get(name) for name in job.experiment.metrics}
                texts = {k: "-" if v is None else f"{100 * v:.1f} %" for k, v in values.items()}
                outcome = ", ".join(f"{name} {text}" for name, text in texts.items())
            except RunFailed as error:
                outcome = str(error)
                failures.append(f"{job.run.name}, seed {job.seed}: {error}")
        if record is not None:
            records.append(record)
        print(f"{label}: {outcome}", file=messages, flush=True)
    return records, failures


def _train(job: Job, results: Path, output: Path, messages: TextIO) -> Record:
    root = job.root or job.run.configuration(job.extra).get("data", {}).get("root", "")
    if not Path(root).is_dir():
        raise FileNotFoundError(f"data.root: no folder {root!r}; give the right one with --root")
    folder = job.folder(output)
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder) as lock:
        record = job.result(results)
        if record is None:
            request = {"kind": job.run.kind, "arguments": job.arguments, "seed": job.seed}
            text = json.dumps(request | {"code": code_version()})
            (folder / OUTCOME).unlink(missing_ok=True)
            (folder / "request.json").write_text(text, encoding="utf-8")
            _start_worker(folder / "request.json", lock, messages)
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
