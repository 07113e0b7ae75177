"""What the tables of an experiment say, as texts; for the terminal, Markdown and HTML alike."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .definitions import Experiment
from .results import Record
from .summary import Estimate, Row, Summary
from .views import StoredViews

_MISSING = "-"


@dataclass(frozen=True)
class Table:
    """Header and rows of texts, and what follows them.

    Attributes
    ----------
    label : str
        What it is.
    header, rows
        Cells; the first column names the rows.
    notes : tuple of str
        Sentences to read with it.
    """

    label: str
    header: list[str]
    rows: list[list[str]]
    notes: tuple[str, ...] = ()


def tables(summary: Summary, views: StoredViews | None) -> list[Table]:
    """All tables of an experiment; without any results, those of what the paper printed."""
    found = [_results(summary)]
    comparisons = _comparisons(summary)
    found += [comparisons] if comparisons is not None else []
    found += [_receptive_fields(views)] if views is not None else []
    return found


def sentences(summary: Summary) -> list[str]:
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


def _results(summary: Summary) -> Table:
    names = summary.experiment.metrics
    printed = any(row.run.paper for row in summary.rows)
    suffix = " (paper)" if printed else ""
    header = ["run", "seeds", *(f"{name}{suffix}" for name in names), f"gain{suffix}"]
    header += ["parameters (M)", "s / epoch", "peak MiB"]
    rows = []
    for row in summary.rows:
        if not row.records and not row.run.paper and summary.records:
            continue
        cells = [row.name, str(len(row.records)) if row.records else _MISSING]
        for name in names:
            cells.append(_cell(row.metric(name), 1, row.run.paper.get(name)))
        gain = _cell(summary.gain(row), 1, summary.paper_gain(row), sign="+")
        rows.append([*cells, gain, *_costs(row)])
    shown = {row[0] for row in rows}
    missing = [row.name for row in summary.rows if row.name not in shown]
    notes = (f"Defined, and without a result: {', '.join(missing)}.",) if missing else ()
    return Table("Results", header, rows, notes)


def _comparisons(summary: Summary) -> Table | None:
    comparisons = summary.comparisons()
    if not comparisons:
        return None
    name = summary.experiment.metrics[0]
    rows = []
    for comparison in comparisons:
        differences = comparison.differences
        rows.append(
            [
                comparison.other,
                _cell(comparison.estimate, 1, sign="+"),
                f"{comparison.wins} of {len(differences)}",
                ", ".join(f"{value:+.2f}" for value in differences.values()),
            ]
        )
    seeds = max((list(c.differences) for c in comparisons), key=len)
    listed = ", ".join(map(str, seeds))
    which = f"Seeds {listed}, or the first of them." if len(seeds) > 1 else f"Seed {listed}."
    return Table(
        f"{comparisons[0].run} minus each other run",
        ["other run", f"{name}, points", "better with", "seed by seed"],
        rows,
        (
            f"{which} With one seed, differences of less than the deviations of the table above "
            "say nothing.",
        ),
    )


def _receptive_fields(views: StoredViews) -> Table:
    rows = [
        [name, f"{100 * share['energy_outside']:.1f} %", f"{100 * share['absolute_outside']:.1f} %"]
        for name, share in views.shares.items()
    ]
    return Table(
        "Effective receptive field: share outside the central 25 % of the image",
        ["run", "squared gradient", "absolute gradient"],
        rows,
        (
            f"Gradient of the centre of the heatmaps over the input pixels, {views.images} "
            f"validation persons, checkpoints of seed {views.seed}: {views.command}",
        ),
    )


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
