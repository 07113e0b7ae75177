"""``srl experiment viz``: receptive fields, filters and predictions of trained pose networks."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...report.files import write_file
from .definitions import Experiment, Options
from .results import CHECKPOINT, code_version, data_fingerprint, resolved_data
from .runner import OUTPUT, Job, plan

if TYPE_CHECKING:
    from ..viz.pictures import Views


@dataclass(frozen=True)
class StoredViews:
    """Shares of receptive fields as they were stored, of networks that are still defined so.

    `seed` is that of the trainings, `images` the number of validation persons that the gradients
    are a mean of. `shares` has ``energy_outside`` and ``absolute_outside`` by run. `command` gives
    them again, with the checkpoints.
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
        If the file is not as `viz` writes it.
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


def viz(
    name: str,
    *,
    options: Options,
    output: Path = OUTPUT,
    runs: list[str] | None = None,
    seed: int = 0,
    images: int = 128,
    root: str | None = None,
) -> None:
    """Draw what the trained networks see.

    Receptive fields, learnt filters, skeletons and heatmaps of the pose networks of one seed, into
    OUTPUT/NAME/viz; the shares of the receptive fields go into RESULTS/NAME.viz.json. 'report'
    shows them.

    Parameters
    ----------
    name : str
        Name of an experiment.
    options : Options
        What all commands take.
    output : Path
        Folder of checkpoints and pictures.
    runs : list of str
        Runs to draw; by default all that are trained.
    seed : int
        Seed of the trainings.
    images : int
        Validation persons.
    root : str
        Folder of the data.

    Raises
    ------
    ValueError, FileNotFoundError
        If a name is unknown, the networks are not of poses, or a checkpoint is missing.
    """
    (experiment,) = options.read([name])
    if images < 1:
        raise ValueError(f"--images must be positive, got {images}")
    trained = _checkpoints(plan(experiment, runs, [seed], root), output, all_needed=bool(runs))
    views, content = _draw(experiment, trained, seed, images, root)
    files = views.write(pictures_folder(output, experiment))
    text = json.dumps(content, indent=1) + "\n"
    files.append(write_file(_stored_file(options.results, experiment), text))
    shares = views.shares()
    if options.json_:
        print(json.dumps({"receptive_field": shares, "files": [str(file) for file in files]}))
        return
    for run, share in shares.items():
        outside = f"{100 * share['energy_outside']:.1f} %"
        print(f"{run}: {outside} of the gradient energy outside the central 25 %")
    print(*files, sep="\n")


def _checkpoints(jobs: Sequence[Job], output: Path, all_needed: bool) -> dict[str, Path]:
    """Checkpoints of the jobs of one seed that have one, by run."""
    experiment, seed = jobs[0].experiment, jobs[0].seed
    if experiment.kind != "pose":
        raise ValueError(f"{experiment.name}: pictures are drawn of pose networks, got videos")
    files = {}
    for job in jobs:
        file = job.folder(output) / CHECKPOINT
        if file.is_file():
            files[job.run.name] = file
        elif all_needed:
            raise FileNotFoundError(f"no checkpoint {file}; train it with: {job.command}")
    if not files:
        raise FileNotFoundError(
            f"no checkpoint of {experiment.name} with seed {seed} in {output}; train with: "
            f"srl experiment run {experiment.name}"
        )
    return files


def _draw(
    experiment: Experiment,
    checkpoints: Mapping[str, Path],
    seed: int,
    images: int,
    root: str | None,
) -> tuple[Views, dict[str, Any]]:
    """Pictures of checkpoints by run, and what is stored of them."""
    from ...pose.commands import pose_cli
    from ..viz.pictures import draw_networks

    runs = {name: experiment.run(name) for name in checkpoints}
    cli = pose_cli(next(iter(runs.values())).arguments(seed, root), run=False)
    views = draw_networks(checkpoints, cli.datamodule, images)
    shares, words = views.shares(), ["srl", "experiment", "viz", experiment.name]
    words += ["--runs", *runs, "--seed", str(seed), "--images", str(images)]
    return views, {
        "experiment": experiment.name,
        "command": " ".join(words),
        "seed": seed,
        "images": images,
        "data": data_fingerprint(resolved_data(cli)),
        **code_version(),
        "networks": {n: {"definition": run.definition(), **shares[n]} for n, run in runs.items()},
    }


def _stored_file(results: Path, experiment: Experiment) -> Path:
    return results / f"{experiment.name}.viz.json"
