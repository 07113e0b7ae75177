"""``srl experiment list | run | viz | report``."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from ...report.files import write_file
from ...report.table import format_table
from .definitions import Experiment, experiment_names, read_experiment
from .results import read_records
from .runner import plan, run_jobs

_OUTPUT = Path("runs/experiments")


@dataclass(frozen=True)
class Options:
    """What all commands take.

    Attributes
    ----------
    experiments : Path
        Folder of definitions.
    results : Path
        Folder of results, one file of JSON lines for each experiment.
    json_ : bool
        Print JSON.
    """

    experiments: Path = Path("configs/experiments")
    results: Path = Path("results")
    json_: bool = False

    def read(self, name: str) -> Experiment:
        """The experiment of a name."""
        return read_experiment(self.experiments, name)


def list_(*, options: Options) -> None:
    """List all experiments, and how many of their runs are finished."""
    records = read_records(options.results)
    done = {(record["definition"], record["seed"]) for record in records}
    rows: list[dict[str, Any]] = []
    for experiment in map(options.read, experiment_names(options.experiments)):
        jobs = plan(experiment, experiment.runs)
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
    output: Path = _OUTPUT,
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
        If a name is unknown, or a definition, configuration or data folder is missing.
    """
    experiment = options.read(name)
    extra = _overrides(rest.get("rest", []))
    if limit is not None:
        if limit < 1:
            raise ValueError(f"--limit must be positive, got {limit}")
        extra |= {"trainer.limit_train_batches": limit, "trainer.limit_val_batches": limit}
    jobs = plan(experiment, experiment.selected(runs), seeds, root, extra)
    if dry_run:
        for job in jobs:
            print(job.fit_command)
        return 0
    messages = sys.stderr if options.json_ else sys.stdout
    records, failures = run_jobs(jobs, options.results, output, messages)
    if options.json_:
        print(json.dumps({"results": records, "failures": failures}))
    for failure in failures:
        print(f"not finished: {failure}", file=sys.stderr)
    return int(bool(failures))


def viz(
    name: str,
    *,
    options: Options,
    output: Path = _OUTPUT,
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
    from .views import draw_experiment

    experiment = options.read(name)
    if images < 1:
        raise ValueError(f"--images must be positive, got {images}")
    jobs = plan(experiment, experiment.selected(runs), [seed], root)
    views, files = draw_experiment(jobs, images, options.results, output, bool(runs))
    shares = views.shares()
    if options.json_:
        print(json.dumps({"receptive_field": shares, "files": [str(file) for file in files]}))
        return
    for run_name, found in shares.items():
        outside = f"{100 * found['energy_outside']:.1f} %"
        print(f"{run_name}: {outside} of the gradient energy outside the central 25 %")
    for file in files:
        print(file)


def report(
    names: list[str] | None = None,
    *,
    options: Options,
    output: Path = _OUTPUT,
    html: Path | None = None,
    markdown: Path | None = None,
    figures: Path | None = None,
    pareto: tuple[Path, Path] | None = None,
) -> None:
    """Tabulate the results.

    Parameters
    ----------
    names : list of str
        Experiments; by default all.
    options : Options
        What all commands take.
    output : Path
        Folder of checkpoints and pictures.
    html : Path
        Write tables, curves and pictures as this page.
    markdown : Path
        Update the tables of this page.
    figures : Path
        Draw the curves, and copy the receptive fields and filters, into this folder.
    pareto : tuple of Path
        TIMES PNG: draw one experiment's first metric against the times of its runs, TIMES being
        written by srl bench networks --json.

    Raises
    ------
    ValueError, FileNotFoundError
        If a name is unknown, or a definition, configuration or page is missing.
    """
    from . import report as reports
    from .figures import pareto_figure, read_times
    from .summary import summarise
    from .views import read_views

    found = [options.read(name) for name in names or experiment_names(options.experiments)]
    records = read_records(options.results)
    summaries = [summarise(e, records, read_views(options.results, e)) for e in found]
    if pareto is not None:
        if len(summaries) != 1:
            raise ValueError(f"--pareto wants one experiment, got {len(summaries)}")
        times, picture = pareto
        write_file(picture, pareto_figure(summaries[0], read_times(times)))
    drawn = reports.write_figures(summaries, output, figures) if figures else {}
    if markdown is not None:
        content = reports.markdown_report(summaries, drawn, markdown.parent)
        reports.update_page(markdown, content)
    if html is not None:
        reports.write_html(html, summaries, output)
    if options.json_:
        print(json.dumps([summary.to_dict() for summary in summaries], default=vars))
        return
    print(reports.text_report(summaries))
    for page in filter(None, (markdown, html)):
        print(f"\n{page}")


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
