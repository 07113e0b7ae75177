"""Receptive fields, learnt filters and predictions of the networks that an experiment trained."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from ...pose.commands import pose_cli
from ..viz.pictures import Views, draw_networks
from .definitions import Experiment, Run
from .provenance import code_version, data_fingerprint
from .results import CHECKPOINT
from .runner import Job, RunOptions, run_command, run_folder
from .views import pictures_folder, stored_file


def draw_experiment(
    experiment: Experiment, runs: Sequence[Run], seed: int, images: int, options: RunOptions
) -> tuple[Views, list[Path]]:
    """Draw the networks of one seed, and store the shares of their receptive fields.

    Parameters
    ----------
    experiment : Experiment
        Poses.
    runs : sequence of Run
        Networks; all runs that have a checkpoint of this seed if there are none.
    seed : int
        Seed of the trainings.
    images : int
        Validation persons to use.
    options : RunOptions
        Folders of checkpoints and results.

    Returns
    -------
    views : Views
        The pictures, which are written to `pictures_folder`.
    files : list of Path
        Files written; the last one is ``<experiment>.viz.json`` beside the results.

    Raises
    ------
    ValueError
        If the experiment trains no pose networks.
    FileNotFoundError
        If a run has no checkpoint.
    """
    if experiment.kind != "pose":
        raise ValueError(f"{experiment.name}: pictures are drawn of pose networks, got videos")
    wanted = list(runs or experiment.runs)
    jobs = {run.name: Job(run, seed, run.definition(options.extra)) for run in wanted}
    files = {
        name: run_folder(options.output, experiment, job) / CHECKPOINT for name, job in jobs.items()
    }
    for name, file in files.items():
        if runs and not file.is_file():
            command = run_command(experiment, jobs[name], options.root or "", options.extra)
            raise FileNotFoundError(f"no checkpoint {file}; train it with: {command}")
    files = {name: file for name, file in files.items() if file.is_file()}
    if not files:
        raise FileNotFoundError(
            f"no checkpoint of {experiment.name} with seed {seed} in {options.output}; train with: "
            f"srl experiment run {experiment.name}"
        )
    arguments = jobs[next(iter(files))].run.arguments(seed, options.root, options.extra)
    cli = pose_cli(arguments, run=False)
    views = draw_networks(files, cli.datamodule, images)
    written = views.write(pictures_folder(options.output, experiment))
    written.append(stored_file(options.results, experiment))
    shares = views.shares()
    content = {
        "experiment": experiment.name,
        "command": _command(experiment, list(files), seed, images),
        "seed": seed,
        "images": images,
        "data": data_fingerprint(cli.config.data.as_dict()),
        **code_version(),
        "networks": {name: {"definition": jobs[name].definition, **shares[name]} for name in files},
    }
    written[-1].parent.mkdir(parents=True, exist_ok=True)
    written[-1].write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return views, written


def _command(experiment: Experiment, names: Sequence[str], seed: int, images: int) -> str:
    return (
        f"srl experiment viz {experiment.name} --runs {' '.join(names)} --seed {seed} "
        f"--images {images}"
    )
