"""Receptive fields, learnt filters and predictions of the networks that an experiment trained."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ...report.files import write_file
from .definitions import Experiment
from .results import CHECKPOINT, code_version, data_fingerprint
from .runner import Job

if TYPE_CHECKING:
    from ..viz.pictures import Views


@dataclass(frozen=True)
class StoredViews:
    """Shares of receptive fields as they were stored, of networks that are still defined so.

    Attributes
    ----------
    seed : int
        Seed of the trainings.
    images : int
        Validation persons that the gradients are a mean of.
    shares : dict
        ``energy_outside`` and ``absolute_outside`` by run.
    command : str
        What gives them again, with the checkpoints.
    """

    seed: int
    images: int
    shares: Mapping[str, Mapping[str, float]]
    command: str


def pictures_folder(output: Path, experiment: Experiment) -> Path:
    """Folder of an experiment's pictures."""
    return output / experiment.name / "viz"


def read_views(results: Path, experiment: Experiment) -> StoredViews | None:
    """What was stored of the networks that are still defined as they were; None if nothing is.

    Raises
    ------
    ValueError
        If the file is not as `draw_experiment` writes it.
    """
    path = _stored_file(results, experiment)
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        known = {run.name: run.definition() for run in experiment.runs}
        shares = {
            name: {key: float(found[key]) for key in ("energy_outside", "absolute_outside")}
            for name, found in content["networks"].items()
            if found["definition"] == known.get(name)
        }
        seed, images = int(content["seed"]), int(content["images"])
        views = StoredViews(seed, images, shares, str(content["command"]))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{path}: not written by 'srl experiment viz': {error!r}") from error
    return views if shares else None


def draw_experiment(
    jobs: Sequence[Job], images: int, results: Path, output: Path, all_needed: bool
) -> tuple[Views, list[Path]]:
    """Draw trained networks, and store the shares of their receptive fields.

    Parameters
    ----------
    jobs : sequence of Job
        Trainings of one experiment with one seed.
    images : int
        Validation persons to use.
    results : Path
        Folder of the results.
    output : Path
        Folder of the checkpoints.
    all_needed : bool
        Whether each job must have a checkpoint; otherwise those without are left out.

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
        If a checkpoint is missing.
    """
    from ...pose.commands import pose_cli
    from ..viz.pictures import draw_networks

    experiment, seed = jobs[0].experiment, jobs[0].seed
    if experiment.kind != "pose":
        raise ValueError(f"{experiment.name}: pictures are drawn of pose networks, got videos")
    trained: dict[str, Job] = {}
    files: dict[str, Path] = {}
    for job in jobs:
        file = job.folder(output) / CHECKPOINT
        if file.is_file():
            trained[job.run.name], files[job.run.name] = job, file
        elif all_needed:
            raise FileNotFoundError(f"no checkpoint {file}; train it with: {job.command}")
    if not files:
        raise FileNotFoundError(
            f"no checkpoint of {experiment.name} with seed {seed} in {output}; train with: "
            f"srl experiment run {experiment.name}"
        )
    cli = pose_cli(next(iter(trained.values())).arguments, run=False)
    views = draw_networks(files, cli.datamodule, images)
    shares = views.shares()
    content = {
        "experiment": experiment.name,
        "command": f"srl experiment viz {experiment.name} --runs {' '.join(shares)} "
        f"--seed {seed} --images {images}",
        "seed": seed,
        "images": images,
        "data": data_fingerprint(cli.config.data.as_dict()),
        **code_version(),
        "networks": {n: {"definition": trained[n].definition, **shares[n]} for n in trained},
    }
    written = views.write(pictures_folder(output, experiment))
    stored = _stored_file(results, experiment)
    return views, [*written, write_file(stored, json.dumps(content, indent=1) + "\n")]


def _stored_file(results: Path, experiment: Experiment) -> Path:
    return results / f"{experiment.name}.viz.json"
