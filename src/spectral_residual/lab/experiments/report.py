"""Results of experiments for the terminal and for the documentation."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..viz import PHOTOGRAPHS, RECEPTIVE_FIELD, filters_name
from .curves import metric_curves
from .summary import Summary
from .tables import Table, sentences, tables
from .views import StoredViews, pictures_folder

BEGIN = "<!-- srl experiment report: begin -->"
END = "<!-- srl experiment report: end -->"


def text_report(summaries: Sequence[Summary], views: Mapping[str, StoredViews | None]) -> str:
    """Tables for the terminal.

    Parameters
    ----------
    summaries : sequence of Summary
        Experiments.
    views : mapping
        Stored receptive fields by names of experiments.
    """
    return "\n\n".join("\n".join(_text(s, views[s.experiment.name])) for s in summaries)


def markdown_report(
    summaries: Sequence[Summary],
    views: Mapping[str, StoredViews | None],
    figures: Mapping[str, Mapping[str, Path]],
    folder: Path,
) -> str:
    """Sections for a page of the documentation.

    Parameters
    ----------
    summaries : sequence of Summary
        Experiments; those without results are only named.
    views : mapping
        Stored receptive fields by names of experiments.
    figures : mapping
        Picture files by what they show, by names of experiments.
    folder : Path
        Folder of the page, for the links to the pictures.
    """
    parts = []
    for summary in summaries:
        if not summary.records:
            continue
        experiment = summary.experiment
        parts += [f"### {experiment.name}: {experiment.title}", *sentences(summary)]
        parts.append(f"`srl experiment run {experiment.name}` trains what has no result yet.")
        for number, table in enumerate(tables(summary, views[experiment.name])):
            parts += [f"**{table.label}**"] if number else []
            parts += [_markdown(table), *table.notes]
        for shown, path in figures.get(experiment.name, {}).items():
            parts.append(f"![{shown}]({Path(os.path.relpath(path, folder)).as_posix()})")
    waiting = [s.experiment.name for s in summaries if not s.records]
    if waiting:
        names = ", ".join(f"`{name}`" for name in waiting)
        parts.append(f"Defined, and not run here: {names}.")
    return "\n\n".join(parts)


def update_page(path: Path, content: str) -> None:
    """Replace what stands between the markers of a page.

    Raises
    ------
    FileNotFoundError
        If there is no such page.
    ValueError
        If it does not have both markers, once each and in their order.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no page {path}")
    page = path.read_text(encoding="utf-8")
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end or BEGIN in rest or END in after:
        raise ValueError(f"{path}: expected one line {BEGIN!r} and after it one {END!r}")
    path.write_text(f"{before}{BEGIN}\n\n{content}\n\n{END}{after}", encoding="utf-8")


def write_figures(
    summaries: Sequence[Summary],
    views: Mapping[str, StoredViews | None],
    output: Path,
    folder: Path,
) -> dict[str, dict[str, Path]]:
    """Draw the curves of all experiments with results, and copy what ``srl experiment viz`` drew.

    Of that, pictures that show images of the data are left out, as a page of documentation is for
    everybody. What was copied before stays where there is nothing newer.

    Parameters
    ----------
    summaries : sequence of Summary
        Experiments.
    views : mapping
        Stored receptive fields by names of experiments.
    output : Path
        Folder of checkpoints, where the pictures are.
    folder : Path
        Where to write.

    Returns
    -------
    dict
        PNG files by what they show, by names of experiments.
    """
    found: dict[str, dict[str, Path]] = {}
    folder.mkdir(parents=True, exist_ok=True)
    for summary in summaries:
        experiment = summary.experiment
        files = found[experiment.name] = {}
        curves = metric_curves(summary)
        if curves is not None:
            path = folder / f"{experiment.name}.png"
            path.write_bytes(curves)
            files[f"{experiment.metrics[0]} over epochs, {experiment.name}"] = path
        stored = views[experiment.name]
        for shown, name in ({} if stored is None else view_names(stored)).items():
            source = pictures_folder(output, experiment) / name
            target = folder / experiment.name / name
            if name not in PHOTOGRAPHS and source.is_file():
                target.parent.mkdir(exist_ok=True)
                shutil.copyfile(source, target)
            if target.is_file():
                files[f"{shown}, {experiment.name}"] = target
    return found


def view_names(views: StoredViews) -> dict[str, str]:
    """Names of picture files that may be there, by what they show."""
    names = {"Effective receptive fields": RECEPTIVE_FIELD}
    names |= {f"Learnt W and B of {run}": filters_name(run) for run in views.shares}
    return names


def _markdown(table: Table) -> str:
    align = [":---" if i == 0 else "---:" for i in range(len(table.header))]
    lines = (table.header, align, *table.rows)
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _text(summary: Summary, views: StoredViews | None) -> list[str]:
    experiment = summary.experiment
    lines = [f"{experiment.name}: {experiment.title}", *sentences(summary)]
    for number, table in enumerate(tables(summary, views)):
        lines += ["", table.label] if number else []
        grid = [table.header, *table.rows]
        widths = [max(len(row[i]) for row in grid) for i in range(len(table.header))]
        for row in grid:
            cells = [f"{cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=True)]
            lines.append("  ".join([f"{row[0]:{widths[0]}}", *cells]).rstrip())
        lines += table.notes
    return lines
