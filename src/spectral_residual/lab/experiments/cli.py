"""``srl experiment list | run | viz | report``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from ...errors import unknown_name
from .definitions import experiment_names, read_experiment, selected_runs
from .page import write_html
from .pareto import pareto_figure, read_times
from .report import markdown_report, text_report, update_page, write_figures
from .results import read_records
from .runner import RunOptions, fit_command, plan, run_jobs
from .summary import summarise
from .views import StoredViews, read_views

_COMMANDS = ("list", "run", "viz", "report")


def main(arguments: list[str]) -> int:
    """Run ``srl experiment``.

    Parameters
    ----------
    arguments : list of str
        Arguments after ``srl experiment``.

    Returns
    -------
    int
        0, or 1 if a run has failed.

    Raises
    ------
    ValueError, FileNotFoundError
        If a name is unknown, or a definition, configuration or data folder is missing.
    """
    parser = _parser()
    if arguments and not arguments[0].startswith("-") and arguments[0] not in _COMMANDS:
        raise unknown_name("command after 'srl experiment'", arguments[0], _COMMANDS)
    options, rest = parser.parse_known_args(arguments)
    if rest and options.command != "run":
        raise ValueError(f"unknown arguments of 'srl experiment {options.command}': {rest}")
    if options.command == "list":
        return _list(options)
    if options.command == "run":
        return _run(options, rest)
    return _viz(options) if options.command == "viz" else _report(options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        allow_abbrev=False,
        prog="srl experiment",
        description="The paper's experiments, and those that can be run here.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    shared = argparse.ArgumentParser(add_help=False)
    add = shared.add_argument
    add(
        "--experiments", type=Path, default=Path("configs/experiments"), metavar="FOLDER",
        help="definitions (default: configs/experiments)",
    )  # fmt: skip
    add(
        "--results", type=Path, default=Path("results"), metavar="FOLDER",
        help="results, one file of JSON lines for each experiment (default: results)",
    )  # fmt: skip
    add("--json", action="store_true", help="print JSON")
    outputs = argparse.ArgumentParser(add_help=False)
    outputs.add_argument(
        "--output", type=Path, default=Path("runs/experiments"), metavar="FOLDER",
        help="checkpoints, logs and pictures (default: runs/experiments)",
    )  # fmt: skip
    commands.add_parser("list", allow_abbrev=False, parents=[shared], help="all experiments")

    run = commands.add_parser(
        "run",
        parents=[shared, outputs],
        allow_abbrev=False,
        help="train and evaluate what has no result yet",
        description="Train and evaluate what has no result yet. Interrupted runs go on after "
        "their last finished epoch. All further options, --KEY VALUE, are those of 'srl pose fit' "
        "or 'srl video fit'; with them it is another run, with results of its own.",
    )
    add = run.add_argument
    add("name", help="name of an experiment")
    add("--runs", nargs="+", default=[], metavar="RUN", help="only these runs")
    add("--seeds", nargs="+", type=int, metavar="N", help="in place of the defined seeds")
    add("--root", metavar="FOLDER", help="folder of the data")
    add(
        "--limit", type=int, metavar="N",
        help="only N batches of training and validation per epoch, to see that it runs",
    )  # fmt: skip
    add("--dry-run", action="store_true", help="only print the training commands")

    viz = commands.add_parser(
        "viz",
        parents=[shared, outputs],
        allow_abbrev=False,
        help="draw what the trained networks see",
        description="Receptive fields, learnt filters, skeletons and heatmaps of the pose networks "
        "of one seed, into OUTPUT/NAME/viz; the shares of the receptive fields go into "
        "RESULTS/NAME.viz.json. 'report' shows them.",
    )
    add = viz.add_argument
    add("name", help="name of an experiment")
    add("--runs", nargs="+", default=[], metavar="RUN", help="default: all that are trained")
    add("--seed", type=int, default=0, metavar="N", help="seed of the trainings (default: 0)")
    add("--images", type=int, default=128, metavar="N", help="validation persons (default: 128)")
    add("--root", metavar="FOLDER", help="folder of the data")

    report = commands.add_parser(
        "report", parents=[shared, outputs], allow_abbrev=False, help="tabulate the results"
    )
    add = report.add_argument
    add("names", nargs="*", metavar="NAME", help="experiments (default: all)")
    add("--html", type=Path, metavar="FILE", help="write tables, curves and pictures as one page")
    add("--markdown", type=Path, metavar="FILE", help="update the tables of this page")
    add(
        "--figures", type=Path, metavar="FOLDER",
        help="draw the curves and copy the receptive fields and filters into this folder",
    )  # fmt: skip
    add(
        "--pareto", nargs=2, type=Path, metavar=("TIMES", "PNG"),
        help="draw one experiment's first metric against the times of its runs, TIMES being "
        "written by srl bench networks --json",
    )  # fmt: skip
    return parser


def _list(options: argparse.Namespace) -> int:
    rows: list[dict[str, Any]] = []
    records = read_records(options.results)
    for name in experiment_names(options.experiments):
        experiment = read_experiment(options.experiments, name)
        jobs = plan(experiment.runs, None, {})
        done = {(record["definition"], record["seed"]) for record in records}
        finished = sum((job.definition, job.seed) in done for job in jobs)
        rows.append(
            {
                "name": name,
                "title": experiment.title,
                "kind": experiment.kind,
                "runs": {run.name: list(run.seeds) for run in experiment.runs},
                "finished": finished,
                "jobs": len(jobs),
            }
        )
    if options.json:
        print(json.dumps(rows))
        return 0
    width = max((len(row["name"]) for row in rows), default=0)
    for row in rows:
        print(f"{row['name']:{width}}  {row['finished']:3} of {row['jobs']:3}  {row['title']}")
    return 0


def _run(options: argparse.Namespace, rest: Sequence[str]) -> int:
    experiment = read_experiment(options.experiments, options.name)
    extra = _overrides(rest)
    if options.limit is not None:
        if options.limit < 1:
            raise ValueError(f"--limit must be positive, got {options.limit}")
        limits = ("trainer.limit_train_batches", "trainer.limit_val_batches")
        extra |= dict.fromkeys(limits, options.limit)
    jobs = plan(selected_runs(experiment, options.runs), options.seeds, extra)
    if options.dry_run:
        for job in jobs:
            print(fit_command(job, options.root, extra))
        return 0
    records, failures = run_jobs(
        experiment,
        jobs,
        RunOptions(
            results=options.results,
            output=options.output,
            root=options.root,
            extra=extra,
            messages=sys.stderr if options.json else sys.stdout,
        ),
    )
    if options.json:
        print(json.dumps({"results": records, "failures": failures}))
    for failure in failures:
        print(f"not finished: {failure}", file=sys.stderr)
    return int(bool(failures))


def _viz(options: argparse.Namespace) -> int:
    from .draw import draw_experiment

    experiment = read_experiment(options.experiments, options.name)
    if options.images < 1:
        raise ValueError(f"--images must be positive, got {options.images}")
    runs = [experiment.run(name) for name in options.runs]
    where = RunOptions(results=options.results, output=options.output, root=options.root)
    views, files = draw_experiment(experiment, runs, options.seed, options.images, where)
    shares = views.shares()
    if options.json:
        print(json.dumps({"receptive_field": shares, "files": [str(file) for file in files]}))
        return 0
    for name, found in shares.items():
        outside = f"{100 * found['energy_outside']:6.1f} %"
        print(f"{name:20} {outside} of the gradient energy outside the central 25 %")
    for file in files:
        print(file)
    return 0


def _report(options: argparse.Namespace) -> int:
    names = options.names or experiment_names(options.experiments)
    experiments = [read_experiment(options.experiments, name) for name in names]
    records = read_records(options.results)
    summaries = [summarise(experiment, records) for experiment in experiments]
    if options.pareto is not None:
        if len(summaries) != 1:
            raise ValueError(f"--pareto wants one experiment, got {len(summaries)}")
        times, picture = options.pareto
        drawn = pareto_figure(summaries[0], read_times(times))
        picture.parent.mkdir(parents=True, exist_ok=True)
        picture.write_bytes(drawn)
    views = {e.name: read_views(options.results, e) for e in experiments}
    figures: dict[str, dict[str, Path]] = {}
    if options.figures is not None:
        figures = write_figures(summaries, views, options.output, options.figures)
    if options.markdown is not None:
        page = options.markdown
        update_page(page, markdown_report(summaries, views, figures, page.parent))
    if options.html is not None:
        write_html(options.html, summaries, views, options.output)
    if options.json:
        print(
            json.dumps(
                [s.to_dict() | {"views": _dict(views[s.experiment.name])} for s in summaries]
            )
        )
        return 0
    print(text_report(summaries, views))
    for page in (options.markdown, options.html):
        if page is not None:
            print(f"\n{page}")
    return 0


def _dict(views: StoredViews | None) -> dict[str, Any] | None:
    return None if views is None else vars(views).copy()


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
