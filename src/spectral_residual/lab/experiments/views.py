"""What is kept of the pictures of an experiment: files, and shares of receptive fields."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .definitions import Experiment


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


def stored_file(results: Path, experiment: Experiment) -> Path:
    """File of the shares, beside the results."""
    return results / f"{experiment.name}.viz.json"


def read_views(results: Path, experiment: Experiment) -> StoredViews | None:
    """What was stored of the networks that are still defined as they were; None if nothing is.

    Raises
    ------
    ValueError
        If the file is not as `draw_experiment` writes it.
    """
    path = stored_file(results, experiment)
    if not path.is_file():
        return None
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        known = {run.name: run.definition() for run in experiment.runs}
        shares = {
            name: {key: float(found[key]) for key in ("energy_outside", "absolute_outside")}
            for name, found in content["networks"].items()
            if found["definition"] == known.get(name)
        }
        views = StoredViews(
            int(content["seed"]), int(content["images"]), shares, str(content["command"])
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{path}: not written by 'srl experiment viz': {error!r}") from error
    return views if shares else None
