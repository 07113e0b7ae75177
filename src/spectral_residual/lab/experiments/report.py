"""``srl experiment report``: results for the terminal, in a Markdown page and as an HTML page.

`_sentences` and `_tables` say what is reported; `_text`, `_markdown` and `_html` lay it out.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from ...report.files import write_file
from ...report.page import join, note, plot, table, write_page
from ...report.table import format_table
from ..viz import RECEPTIVE_FIELD, filters_name, view_sections
from .definitions import Options
from .figures import metric_curves, pareto_figure, read_times
from .results import read_records
from .runner import OUTPUT
from .summary import Estimate, Row, Summary, summarise, wins
from .views import StoredViews, pictures_folder, read_views

_BEGIN = "<!-- srl experiment report: begin -->"
_END = "<!-- srl experiment report: end -->"
_MISSING = "-"


def report(
    names: list[str] | None = None,
    *,
    options: Options,
    output: Path = OUTPUT,
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
    records = read_records(options.results)
    summaries = [
        summarise(experiment, records, read_views(options.results, experiment))
        for experiment in options.read(names)
    ]
    if pareto is not None:
        if len(summaries) != 1:
            raise ValueError(f"--pareto wants one experiment, got {len(summaries)}")
        write_file(pareto[1], pareto_figure(summaries[0], read_times(pareto[0])))
    drawn = {} if figures is None else _write_figures(summaries, output, figures)
    if markdown is not None:
        _update_page(markdown, _markdown(summaries, drawn, markdown.parent))
    if html is not None:
        _write_html(html, summaries, output)
    if options.json_:
        print(json.dumps([summary.to_dict() for summary in summaries], default=vars))
        return
    print("\n\n".join(map(_text, summaries)))
    for page in filter(None, (markdown, html)):
        print(f"\n{page}")


def _text(summary: Summary) -> str:
    """For the terminal; without any results, those that the paper printed."""
    lines = [f"{summary.experiment.name}: {summary.experiment.title}", *_sentences(summary)]
    for number, part in enumerate(_tables(summary)):
        lines += ["", part.label] if number else []
        lines += [format_table(part.header, part.rows), *part.notes]
    return "\n".join(lines)


def _markdown(
    summaries: Sequence[Summary], figures: Mapping[str, Mapping[str, Path]], folder: Path
) -> str:
    """For a page in a folder; experiments without results are only named."""
    parts = []
    for summary in (summary for summary in summaries if summary.records):
        name = summary.experiment.name
        parts += [f"### {name}: {summary.experiment.title}", *_sentences(summary)]
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


def _update_page(path: Path, content: str) -> None:
    """Replace what stands between the markers of a page."""
    if not path.is_file():
        raise FileNotFoundError(f"no page {path}")
    before, begin, rest = path.read_text(encoding="utf-8").partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end or _BEGIN in rest or _END in after:
        raise ValueError(f"{path}: expected one line {_BEGIN!r} and after it one {_END!r}")
    write_file(path, f"{before}{_BEGIN}\n\n{content}\n\n{_END}{after}")


def _write_figures(
    summaries: Sequence[Summary], output: Path, folder: Path
) -> dict[str, dict[str, Path]]:
    """Curves and copied pictures as files by what they show, by names of experiments.

    Skeletons and heatmaps are left out: they show images of the data, and a page of documentation
    is for everybody. What was copied before stays where there is nothing newer.
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
            if source.is_file():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, target)
            if target.is_file():
                files[f"{what}, {name}"] = target
    return found


def _write_html(path: Path, summaries: Sequence[Summary], output: Path) -> None:
    """One page with all tables, curves and pictures; experiments without results are only named."""
    ran = [summary for summary in summaries if summary.records]
    sections = {summary.experiment.name: _html(summary, output) for summary in ran}
    waiting = [f"{s.experiment.name}: {s.experiment.title}" for s in summaries if not s.records]
    if waiting:
        sections["Not run here"] = join([note(line) for line in waiting])
    count = sum(len(summary.records) for summary in ran)
    lead = f"{count} trainings of {len(ran)} experiments."
    write_page(path, "Experiments", lead, sections)


def _html(summary: Summary, output: Path) -> Markup:
    texts = [f"{summary.experiment.title}.", *_sentences(summary)]
    parts = [Markup("<p>{}</p>").format(text) for text in texts]
    heading = Markup("<h3>{}</h3>").format
    for part in _tables(summary):
        parts += [heading(part.label), table(part.label, part.header, part.rows)]
        parts += [note(line) for line in part.notes]
    curves = metric_curves(summary)
    if curves is not None:
        means = {row.name: row.estimate(summary.metric, 100) for row in summary.rows}
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


def _sentences(summary: Summary) -> list[str]:
    """Which data and budget ours and the paper's numbers are from."""
    experiment, records = summary.experiment, summary.records
    lines = [f"Ours, as defined: {experiment.data.strip()}"]
    lines += [f"Paper: {experiment.paper.strip()}"] if experiment.paper else []
    if not records:
        lines.append("No results yet.")
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
        lines.append(
            f"Ran: {samples} training and validation samples (data {data}), {epochs} epochs; "
            f"{devices}; commit {commits}. {summary.metric} and the others in percent: mean ± "
            "standard deviation over seeds; gain: difference to the baseline in points, seed by "
            "seed."
        )
    if summary.outdated:
        lines.append(
            f"{summary.outdated} result(s) are left out, as the definition has changed since."
        )
    return lines


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
        cells += [_cell(row.estimate(name, 100), row.run.paper.get(name)) for name in names]
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
    parameters, memory = row.estimate("parameters"), row.estimate("peak_memory_bytes")
    return [
        _MISSING if parameters is None else f"{parameters.mean / 1e6:.2f}",
        _cell(row.estimate("seconds_per_epoch")),
        _MISSING if memory is None else f"{memory.mean / 2**20:.0f}",
    ]


def _cell(ours: Estimate | None, paper: float | None = None, sign: str = "") -> str:
    """Mean and deviation, and the printed number in brackets."""
    text = _MISSING if ours is None else f"{ours.mean:{sign}.1f}"
    if ours is not None and ours.deviation is not None:
        text += f" ± {ours.deviation:.1f}"
    return text if paper is None else f"{text} ({paper:{sign}.1f})"
