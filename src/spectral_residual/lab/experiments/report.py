"""Results of experiments for the terminal, for Markdown pages and as one HTML page.

`_texts` and `_tables` say what is reported; the functions below lay it out.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from ...report.files import write_file
from ...report.page import join, note, plot, table, write_page
from ...report.table import format_table
from ..viz import PHOTOGRAPHS, RECEPTIVE_FIELD, filters_name, view_sections
from .figures import metric_curves
from .summary import Estimate, Row, Summary, wins
from .views import StoredViews, pictures_folder

BEGIN = "<!-- srl experiment report: begin -->"
END = "<!-- srl experiment report: end -->"
_MISSING = "-"


def text_report(summaries: Sequence[Summary]) -> str:
    """Texts and tables for the terminal; without any results, those of what the paper printed."""
    sections = []
    for summary in summaries:
        lines = [f"{summary.experiment.name}: {summary.experiment.title}", *_texts(summary)]
        for number, part in enumerate(_tables(summary)):
            lines += ["", part.label] if number else []
            lines += [format_table(part.header, part.rows), *part.notes]
        sections.append("\n".join(lines))
    return "\n\n".join(sections)


def markdown_report(
    summaries: Sequence[Summary], figures: Mapping[str, Mapping[str, Path]], folder: Path
) -> str:
    """Sections for a page of the documentation.

    Parameters
    ----------
    summaries : sequence of Summary
        Experiments; those without results are only named.
    figures : mapping
        Picture files by what they show, by names of experiments; see `write_figures`.
    folder : Path
        Folder of the page, for the links to the pictures.
    """
    parts = []
    for summary in (summary for summary in summaries if summary.records):
        name = summary.experiment.name
        parts += [f"### {name}: {summary.experiment.title}", *_texts(summary)]
        parts.append(f"`srl experiment run {name}` trains what has no result yet.")
        for number, part in enumerate(_tables(summary)):
            parts += [f"**{part.label}**"] if number else []
            parts += [format_table(part.header, part.rows), *part.notes]
        for shown, path in figures.get(name, {}).items():
            parts.append(f"![{shown}]({Path(os.path.relpath(path, folder)).as_posix()})")
    waiting = [f"`{s.experiment.name}`" for s in summaries if not s.records]
    if waiting:
        parts.append(f"Defined, and not run here: {', '.join(waiting)}.")
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
    before, begin, rest = path.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end or BEGIN in rest or END in after:
        raise ValueError(f"{path}: expected one line {BEGIN!r} and after it one {END!r}")
    write_file(path, f"{before}{BEGIN}\n\n{content}\n\n{END}{after}")


def write_figures(
    summaries: Sequence[Summary], output: Path, folder: Path
) -> dict[str, dict[str, Path]]:
    """Draw the curves of all experiments with results, and copy what ``srl experiment viz`` drew.

    Of that, pictures that show images of the data are left out, as a page of documentation is for
    everybody. What was copied before stays where there is nothing newer.

    Parameters
    ----------
    summaries : sequence of Summary
        Experiments.
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
    for summary in summaries:
        name = summary.experiment.name
        files = found[name] = {}
        curves = metric_curves(summary)
        if curves is not None:
            path = write_file(folder / f"{name}.png", curves)
            files[f"{summary.metric} over epochs, {name}"] = path
        if summary.views is None:
            continue
        shown = {"Effective receptive fields": RECEPTIVE_FIELD}
        shown |= {f"Learnt W and B of {run}": filters_name(run) for run in summary.views.shares}
        for what, file in shown.items():
            source = pictures_folder(output, summary.experiment) / file
            target = folder / name / file
            if file not in PHOTOGRAPHS and source.is_file():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, target)
            if target.is_file():
                files[f"{what}, {name}"] = target
    return found


def write_html(path: Path, summaries: Sequence[Summary], output: Path) -> None:
    """Write tables, curves and the pictures of ``srl experiment viz`` as one page.

    Parameters
    ----------
    path : Path
        File to create or replace.
    summaries : sequence of Summary
        Experiments; those without results are only named.
    output : Path
        Folder of checkpoints, where the pictures are.
    """
    ran = [summary for summary in summaries if summary.records]
    sections = {summary.experiment.name: _html(summary, output) for summary in ran}
    waiting = [f"{s.experiment.name}: {s.experiment.title}" for s in summaries if not s.records]
    if waiting:
        sections["Not run here"] = join([note(line) for line in waiting])
    count = sum(len(summary.records) for summary in ran)
    lead = f"{count} trainings of {len(ran)} experiments."
    write_page(path, "Experiments", lead, sections)


def _html(summary: Summary, output: Path) -> Markup:
    texts = [f"{summary.experiment.title}.", *_texts(summary)]
    parts = [Markup("<p>{}</p>").format(text) for text in texts]
    heading = Markup("<h3>{}</h3>").format
    for part in _tables(summary):
        parts += [heading(part.label), table(part.label, part.header, part.rows)]
        parts += [note(line) for line in part.notes]
    curves = metric_curves(summary)
    if curves is not None:
        means = {row.name: row.metric(summary.metric) for row in summary.rows}
        ends = "; ".join(f"{name}: {end.mean:.1f} %" for name, end in means.items() if end)
        alt = f"Line chart. At the end: {ends}."
        caption = (
            f"{summary.metric} of the validation in percent over epochs: mean and range of the "
            "seeds."
        )
        parts += [heading("Training"), plot(curves, alt, caption)]
    if summary.views is not None:
        folder = pictures_folder(output, summary.experiment)
        pictures = {file.name: file.read_bytes() for file in sorted(folder.glob("*.png"))}
        for label, html in view_sections(list(summary.views.shares), pictures).items():
            parts += [heading(label), html]
    return join(parts)


@dataclass(frozen=True)
class _Table:
    """Header and rows of texts, the first column naming the rows, and sentences to read with it."""

    label: str
    header: list[str]
    rows: list[list[str]]
    notes: list[str]


def _texts(summary: Summary) -> list[str]:
    """Which data and budget ours and the paper's numbers are from."""
    experiment, records = summary.experiment, summary.records
    texts = [f"Ours, as defined: {experiment.data.strip()}"]
    texts += [f"Paper: {experiment.paper.strip()}"] if experiment.paper else []
    if not records:
        texts.append("No results yet.")
    else:
        samples = _distinct(f"{r['samples']['train']} + {r['samples']['val']}" for r in records)
        data = _distinct(r["data"]["sha256"][:12] for r in records)
        epochs = _distinct(str(r["epochs"]) for r in records)
        devices = _distinct(
            f"{r['device']}, {r['threads']} threads, {r['precision']}, torch {r['torch']}"
            for r in records
        )
        commits = _distinct(
            (r["commit"] or "unknown")[:10] + (" with changes" if r["dirty"] else "")
            for r in records
        )
        texts.append(
            f"Ran: {samples} training and validation samples (data {data}), {epochs} epochs; "
            f"{devices}; commit {commits}. {summary.metric} and the others in percent: mean ± "
            "standard deviation over seeds; gain: difference to the baseline in points, seed by "
            "seed."
        )
    if summary.outdated:
        texts.append(
            f"{summary.outdated} result(s) are left out, as the definition has changed since."
        )
    return texts


def _distinct(values: Iterable[str]) -> str:
    return " / ".join(dict.fromkeys(values))


def _tables(summary: Summary) -> list[_Table]:
    found = [_results(summary)]
    found += [_comparisons(summary)] if summary.comparisons() else []
    found += [_receptive_fields(summary.views)] if summary.views is not None else []
    return found


def _results(summary: Summary) -> _Table:
    names = summary.experiment.metrics
    suffix = " (paper)" if any(row.run.paper for row in summary.rows) else ""
    header = ["run", "seeds", *(f"{name}{suffix}" for name in [*names, "gain"])]
    header += ["parameters (M)", "s / epoch", "peak MiB"]
    rows, missing = [], []
    for row in summary.rows:
        if not row.records and not row.run.paper and summary.records:
            missing.append(row.name)
            continue
        cells = [row.name, str(len(row.records)) if row.records else _MISSING]
        cells += [_cell(row.metric(name), row.run.paper.get(name)) for name in names]
        gain = _cell(summary.gain(row), summary.paper_gain(row), sign="+")
        rows.append([*cells, gain, *_costs(row)])
    notes = [f"Defined, and without a result: {', '.join(missing)}."] if missing else []
    return _Table("Results", header, rows, notes)


def _comparisons(summary: Summary) -> _Table:
    rows = []
    for other, differences in summary.comparisons().items():
        mean = _cell(Estimate.of(differences.values()), sign="+")
        each = ", ".join(f"{value:+.2f}" for value in differences.values())
        rows.append([other, mean, f"{wins(differences)} of {len(differences)}", each])
    seeds = max(summary.comparisons().values(), key=len)
    listed = ", ".join(map(str, seeds))
    which = f"Seeds {listed}, or the first of them." if len(seeds) > 1 else f"Seed {listed}."
    return _Table(
        f"{summary.experiment.compared} minus each other run",
        ["other run", f"{summary.metric}, points", "better with", "seed by seed"],
        rows,
        [
            f"{which} With one seed, differences of less than the deviations of the table above "
            "say nothing."
        ],
    )


def _receptive_fields(views: StoredViews) -> _Table:
    return _Table(
        "Effective receptive field: share outside the central 25 % of the image",
        ["run", "squared gradient", "absolute gradient"],
        [
            [name, *(f"{100 * share[f'{kind}_outside']:.1f} %" for kind in ("energy", "absolute"))]
            for name, share in views.shares.items()
        ],
        [
            f"Gradient of the centre of the heatmaps over the input pixels, {views.images} "
            f"validation persons, checkpoints of seed {views.seed}: {views.command}"
        ],
    )


def _costs(row: Row) -> list[str]:
    parameters, memory = row.value("parameters"), row.value("peak_memory_bytes")
    return [
        _MISSING if parameters is None else f"{parameters.mean / 1e6:.2f}",
        _cell(row.value("seconds_per_epoch")),
        _MISSING if memory is None else f"{memory.mean / 2**20:.0f}",
    ]


def _cell(ours: Estimate | None, paper: float | None = None, sign: str = "") -> str:
    """Mean and deviation, and the printed number in brackets."""
    text = _MISSING if ours is None else f"{ours.mean:{sign}.1f}"
    if ours is not None and ours.deviation is not None:
        text += f" ± {ours.deviation:.1f}"
    return text if paper is None else f"{text} ({paper:{sign}.1f})"
