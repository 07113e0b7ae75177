"""Tables and curves of experiments, for the terminal and for the documentation."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from .definitions import Experiment
from .results import Record
from .summary import Estimate, Row, Summary

BEGIN = "<!-- srl experiment report: begin -->"
END = "<!-- srl experiment report: end -->"

_MISSING = "-"


def text_report(summaries: Sequence[Summary]) -> str:
    """Tables for the terminal."""
    return "\n\n".join("\n".join(_text(summary)) for summary in summaries)


def markdown_report(summaries: Sequence[Summary], figures: Mapping[str, Path], folder: Path) -> str:
    """Sections for a page of the documentation.

    Parameters
    ----------
    summaries : sequence of Summary
        Experiments; those without results are only named.
    figures : mapping
        Picture files by names of experiments.
    folder : Path
        Folder of the page, for the links to the pictures.
    """
    parts = []
    for summary in summaries:
        if not summary.records:
            continue
        experiment = summary.experiment
        parts += [f"### {experiment.name}: {experiment.title}", *_sentences(summary)]
        header, *rows = _table(summary)
        align = [":---" if i == 0 else "---:" for i in range(len(header))]
        parts.append("\n".join("| " + " | ".join(row) + " |" for row in (header, align, *rows)))
        if experiment.name in figures:
            link = Path(os.path.relpath(figures[experiment.name], folder)).as_posix()
            parts.append(f"![{experiment.metrics[0]} over epochs, {experiment.name}]({link})")
        parts.append(f"`srl experiment run {experiment.name}` trains what has no result yet.")
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


def write_curves(summaries: Sequence[Summary], folder: Path) -> dict[str, Path]:
    """Draw the first metric over epochs of every experiment with results.

    Returns
    -------
    dict of str to Path
        PNG files by names of experiments.
    """
    from .curves import metric_curves

    files = {}
    folder.mkdir(parents=True, exist_ok=True)
    for summary in summaries:
        figure = metric_curves(summary)
        if figure is not None:
            files[summary.experiment.name] = folder / f"{summary.experiment.name}.png"
            files[summary.experiment.name].write_bytes(figure)
    return files


def _text(summary: Summary) -> list[str]:
    experiment = summary.experiment
    table = _table(summary)
    widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
    lines = [f"{experiment.name}: {experiment.title}", *_sentences(summary)]
    for row in table:
        cells = [f"{cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join([f"{row[0]:{widths[0]}}", *cells]).rstrip())
    return lines


def _sentences(summary: Summary) -> list[str]:
    """Which data and budget ours and the paper's numbers are from."""
    experiment, records = summary.experiment, summary.records
    lines = [f"Ours, as defined: {experiment.data.strip()}"]
    lines += [f"Paper: {experiment.paper.strip()}"] if experiment.paper else []
    if records:
        lines.append(_provenance(experiment, records))
    else:
        lines.append("No results yet.")
    if summary.outdated:
        lines.append(
            f"{summary.outdated} result(s) are left out, as the definition has changed since."
        )
    return lines


def _provenance(experiment: Experiment, records: Sequence[Record]) -> str:
    samples = _distinct(f"{r['samples']['train']} + {r['samples']['val']}" for r in records)
    epochs = _distinct(str(r["epochs"]) for r in records)
    devices = _distinct(
        f"{r['device']}, {r['threads']} threads, {r['precision']}, torch {r['torch']}"
        for r in records
    )
    commits = _distinct(
        (r["commit"] or "unknown")[:10] + (" with changes" if r["dirty"] else "") for r in records
    )
    data = _distinct(r["data"]["sha256"][:12] for r in records)
    return (
        f"Ran: {samples} training and validation samples (data {data}), {epochs} epochs; "
        f"{devices}; commit {commits}. {experiment.metrics[0]} and the others in percent: mean ± "
        "standard deviation over seeds; gain: difference to the baseline in points, seed by seed."
    )


def _distinct(values: Iterable[str]) -> str:
    return " / ".join(dict.fromkeys(values))


def _table(summary: Summary) -> list[list[str]]:
    """Header and rows of cells."""
    names = summary.experiment.metrics
    printed = any(row.run.paper for row in summary.rows)
    suffix = " (paper)" if printed else ""
    header = ["run", "seeds", *(f"{name}{suffix}" for name in names), f"gain{suffix}"]
    table = [[*header, "parameters (M)", "s / epoch", "peak MiB"]]
    for row in summary.rows:
        cells = [row.name, str(len(row.records)) if row.records else _MISSING]
        for name in names:
            cells.append(_cell(row.metric(name), 1, row.run.paper.get(name)))
        gain = _cell(summary.gain(row), 1, summary.paper_gain(row), sign="+")
        table.append([*cells, gain, *_costs(row)])
    return table


def _costs(row: Row) -> list[str]:
    parameters, memory = row.value("parameters"), row.value("peak_memory_bytes")
    return [
        _MISSING if parameters is None else f"{parameters.mean / 1e6:.2f}",
        _cell(row.value("seconds_per_epoch"), 1),
        _MISSING if memory is None else f"{memory.mean / 2**20:.0f}",
    ]


def _cell(ours: Estimate | None, digits: int, paper: float | None = None, sign: str = "") -> str:
    """Mean and deviation, and the printed number in brackets."""
    text = _MISSING
    if ours is not None:
        text = f"{ours.mean:{sign}.{digits}f}"
        if ours.deviation is not None:
            text += f" ± {ours.deviation:.{digits}f}"
    return text if paper is None else f"{text} ({paper:{sign}.{digits}f})"
