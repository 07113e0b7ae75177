"""Results of an experiment put together: mean and spread over seeds, beside the paper's numbers."""

from __future__ import annotations

import json
import statistics
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .definitions import Experiment, Run
from .results import Record
from .views import StoredViews


@dataclass(frozen=True)
class Estimate:
    """Mean over seeds, standard deviation of the sample (None for one seed), number of seeds."""

    mean: float
    deviation: float | None
    count: int

    @classmethod
    def of(cls, values: Collection[float]) -> Estimate:
        """Estimate from one value or more."""
        deviation = statistics.stdev(values) if len(values) > 1 else None
        return cls(statistics.fmean(values), deviation, len(values))


@dataclass(frozen=True)
class Row:
    """Results of one run by seed, maybe none; `extra` are overrides given on the command line."""

    run: Run
    extra: Mapping[str, Any]
    records: Mapping[int, Record]

    @property
    def name(self) -> str:
        """Name of the run, with the overrides of the command line."""
        changes = ", ".join(f"{key}={value}" for key, value in self.extra.items())
        return f"{self.run.name} ({changes})" if changes else self.run.name

    def values(self, name: str) -> dict[int, float]:
        """A metric, as a fraction, or another number of the results, by seeds that have it."""
        found = {seed: {**r, **r["metrics"]}.get(name) for seed, r in self.records.items()}
        return {seed: float(value) for seed, value in found.items() if value is not None}

    def estimate(self, name: str, factor: float = 1.0) -> Estimate | None:
        """A factor times what `values` gives, None if that is nothing."""
        values = [factor * value for value in self.values(name).values()]
        return Estimate.of(values) if values else None

    def differences(self, other: Row, metric: str) -> dict[int, float]:
        """A metric minus that of another row, in points, by common seed."""
        ours, theirs = self.values(metric), other.values(metric)
        common = sorted(ours.keys() & theirs.keys())
        return {seed: 100 * (ours[seed] - theirs[seed]) for seed in common}


@dataclass(frozen=True)
class Summary:
    """Results of one experiment.

    `rows` are the defined runs, then those with overrides of the command line. `outdated` is the
    number of results of this experiment whose definition has changed since.
    """

    experiment: Experiment
    rows: list[Row]
    outdated: int
    views: StoredViews | None

    @property
    def metric(self) -> str:
        """The first metric, of which differences are given."""
        return self.experiment.metrics[0]

    @property
    def records(self) -> list[Record]:
        """All results of all rows."""
        return [record for row in self.rows for record in row.records.values()]

    def gain(self, row: Row) -> Estimate | None:
        """Difference of the first metric to the baseline of a row, in points.

        Over the seeds that both have, seed by seed, as these share initial weights and order of
        the data; where no seed is common, the difference of the means without a deviation.
        """
        for base in self.rows:
            if base.run.name == row.run.baseline and base.extra == row.extra:
                common = row.differences(base, self.metric)
                if common:
                    return Estimate.of(common.values())
                ours, theirs = (r.estimate(self.metric, 100) for r in (row, base))
                return Estimate(ours.mean - theirs.mean, None, 0) if ours and theirs else None
        return None

    def paper_gain(self, row: Row) -> float | None:
        """Difference of the first metric to the baseline in the paper, in points."""
        if row.run.baseline is None or self.metric not in row.run.paper:
            return None
        base = self.experiment.run(row.run.baseline).paper.get(self.metric)
        return None if base is None else row.run.paper[self.metric] - base

    def comparisons(self) -> dict[str, dict[int, float]]:
        """Differences in points of the compared run to each other one, by its name, by seed."""
        rows = {row.name: row for row in self.rows if not row.extra}
        first = rows.pop(self.experiment.compared or "", None)
        if first is None:
            return {}
        found = {name: first.differences(row, self.metric) for name, row in rows.items()}
        return {name: differences for name, differences in found.items() if differences}

    def to_dict(self) -> dict[str, Any]:
        """Everything that the tables hold; JSON needs the attributes of each `Estimate`."""
        experiment = self.experiment
        costs = ("seconds_per_epoch", "peak_memory_bytes", "parameters")
        rows = [
            {
                "run": row.run.name,
                "extra": row.extra,
                "seeds": sorted(row.records),
                "metrics": {name: row.estimate(name, 100) for name in experiment.metrics},
                "paper": row.run.paper,
                "gain": self.gain(row),
                "paper_gain": self.paper_gain(row),
                **{name: row.estimate(name) for name in costs},
            }
            for row in self.rows
        ]
        comparisons = [
            {
                "run": experiment.compared,
                "other": other,
                "differences": differences,
                "wins": wins(differences),
                **vars(Estimate.of(differences.values())),
            }
            for other, differences in self.comparisons().items()
        ]
        return {
            "experiment": experiment.name,
            "title": experiment.title,
            "data": experiment.data,
            "paper": experiment.paper,
            "outdated": self.outdated,
            "rows": rows,
            "comparisons": comparisons,
            "views": self.views,
        }


def wins(differences: Mapping[int, float]) -> int:
    """Seeds with which a run is better than another one."""
    return sum(difference > 0 for difference in differences.values())


def summarise(
    experiment: Experiment, records: Sequence[Record], views: StoredViews | None = None
) -> Summary:
    """Sort results to the runs of an experiment by what was trained.

    Parameters
    ----------
    experiment : Experiment
        Definition.
    records : sequence of dict
        Results of any experiments; those of other ones count if they have trained the same. Of
        several with the same seed the last counts.
    views : StoredViews, optional
        Shares of receptive fields.
    """
    definitions = {run.name: run.definition() for run in experiment.runs}
    rows = [Row(run, {}, _by_seed(records, definitions[run.name])) for run in experiment.runs]
    variants: dict[tuple[str, str], Row] = {}
    outdated = 0
    for record in (record for record in records if record["experiment"] == experiment.name):
        definition, extra = record["definition"], record["extra"]
        run = next((run for run in experiment.runs if run.name == record["run"]), None)
        if run is None or definition not in (definitions[run.name], run.definition(extra)):
            outdated += 1
        elif definition != definitions[run.name]:
            key = (run.name, json.dumps(extra, sort_keys=True))
            variants[key] = Row(run, extra, _by_seed(records, definition))
    return Summary(experiment, [*rows, *variants.values()], outdated, views)


def _by_seed(records: Sequence[Record], definition: str) -> dict[int, Record]:
    return {r["seed"]: r for r in records if r["definition"] == definition}
