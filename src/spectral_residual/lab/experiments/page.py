"""Results of experiments as one HTML page that needs no other file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from markupsafe import Markup

from ...report.page import join, note, plot, table, write_page
from ..viz import view_sections
from .curves import metric_curves
from .summary import Summary
from .tables import sentences, tables
from .views import StoredViews, pictures_folder


def write_html(
    path: Path,
    summaries: Sequence[Summary],
    views: Mapping[str, StoredViews | None],
    output: Path,
) -> Path:
    """Write tables, curves and the pictures of ``srl experiment viz``.

    Parameters
    ----------
    path : Path
        File to create or replace.
    summaries : sequence of Summary
        Experiments; those without results are only named.
    views : mapping
        Stored receptive fields by names of experiments.
    output : Path
        Folder of checkpoints, where the pictures are.

    Returns
    -------
    Path
        The file.
    """
    ran = [summary for summary in summaries if summary.records]
    sections = {s.experiment.name: _section(s, views[s.experiment.name], output) for s in ran}
    waiting = [f"{s.experiment.name}: {s.experiment.title}" for s in summaries if not s.records]
    if waiting:
        sections["Not run here"] = join([note(line) for line in waiting])
    count = sum(len(summary.records) for summary in ran)
    lead = f"{count} trainings of {len(ran)} experiments."
    return write_page(path, "Experiments", lead, sections)


def _section(summary: Summary, views: StoredViews | None, output: Path) -> Markup:
    experiment = summary.experiment
    parts = [
        Markup("<p>{}</p>").format(line) for line in (f"{experiment.title}.", *sentences(summary))
    ]
    for content in tables(summary, views):
        parts.append(_heading(content.label))
        parts.append(table(content.label, content.header, content.rows))
        parts += [note(line) for line in content.notes]
    curves = metric_curves(summary)
    if curves is not None:
        name = experiment.metrics[0]
        ends = "; ".join(
            f"{row.name}: {end.mean:.1f} %"
            for row in summary.rows
            if (end := row.metric(name)) is not None
        )
        caption = f"{name} of the validation in percent over epochs: mean and range of the seeds."
        parts += [_heading("Training"), plot(curves, f"Line chart. At the end: {ends}.", caption)]
    for heading, html in _pictures(summary, views, output).items():
        parts += [_heading(heading), html]
    return join(parts)


def _pictures(summary: Summary, views: StoredViews | None, output: Path) -> dict[str, Markup]:
    folder = pictures_folder(output, summary.experiment)
    if views is None or not folder.is_dir():
        return {}
    files = {path.name: path.read_bytes() for path in sorted(folder.glob("*.png"))}
    return view_sections(list(views.shares), files)


def _heading(text: str) -> Markup:
    return Markup("<h3>{}</h3>").format(text)
