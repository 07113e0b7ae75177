"""Results of an experiment put together: mean and spread over seeds, beside the paper's numbers."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .definitions import Experiment, Run
from .results import Record


@dataclass(frozen=True)
class Estimate:
    """Mean over seeds.

    Attributes
    ----------
    mean : float
        Mean.
    deviation : float or None
        Standard deviation of the sample, None for a single seed.
    count : int
        Seeds.
    """

    mean: float
    deviation: float | None
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Estimate:
        """Estimate from one value or more."""
        deviation = statistics.stdev(values) if len(values) > 1 else None
        return cls(statistics.fmean(values), deviation, len(values))


@dataclass(frozen=True)
class Row:
    """All seeds of one run.

    Attributes
    ----------
    run : Run
        What was trained.
    extra : mapping
        Overrides given on the command line.
    records : dict of int to dict
        Results by seed; may be empty.
    """

    run: Run
    extra: Mapping[str, Any]
    records: Mapping[int, Record]

    @property
    def name(self) -> str:
        """Name of the run, with the overrides of the command line."""
        changes = ", ".join(f"{key}={value}" for key, value in self.extra.items())
        return f"{self.run.name} ({changes})" if changes else self.run.name

    def metric(self, name: str) -> Estimate | None:
        """A metric in percent, None if there is no result with it."""
        values = [record["metrics"].get(name) for record in self.records.values()]
        known = [100 * value for value in values if value is not None]
        return Estimate.of(known) if known else None

    def value(self, name: str) -> Estimate | None:
        """A number of the results as it is, e.g. ``seconds_per_epoch``."""
        values = [float(record[name]) for record in self.records.values()]
        return Estimate.of(values) if values else None


@dataclass(frozen=True)
class Comparison:
    """One run minus another, seed by seed.

    Attributes
    ----------
    run, other : str
        Their names.
    differences : dict of int to float
        Difference of the first metric in points by seed.
    """

    run: str
    other: str
    differences: Mapping[int, float]

    @property
    def estimate(self) -> Estimate:
        """Mean and deviation."""
        return Estimate.of(list(self.differences.values()))

    @property
    def wins(self) -> int:
        """Seeds with which the run is better."""
        return sum(difference > 0 for difference in self.differences.values())


@dataclass(frozen=True)
class Summary:
    """Results of one experiment.

    Attributes
    ----------
    experiment : Experiment
        Its definition.
    rows : list of Row
        The defined runs, then those with overrides of the command line.
    outdated : int
        Results of this experiment whose definition has changed since.
    """

    experiment: Experiment
    rows: list[Row]
    outdated: int

    @property
    def records(self) -> list[Record]:
        """All results of all rows."""
        return [record for row in self.rows for record in row.records.values()]

    def gain(self, row: Row) -> Estimate | None:
        """Difference of the first metric to the baseline of a row, in points.

        Over the seeds that both have, seed by seed, as these share initial weights and order of
        the data; where no seed is common, the difference of the means without a deviation.
        """
        name = self.experiment.metrics[0]
        base = self._baseline(row)
        if base is None:
            return None
        ours, theirs = row.metric(name), base.metric(name)
        if ours is None or theirs is None:
            return None
        common = list(self._differences(row, base).values())
        return Estimate.of(common) if common else Estimate(ours.mean - theirs.mean, None, 0)

    def comparisons(self) -> list[Comparison]:
        """The compared run with each other one that has a result with the same seed."""
        first = next((r for r in self.rows if r.run.name == self.experiment.compared), None)
        if first is None:
            return []
        found = []
        for other in self.rows:
            differences = {} if other is first else self._differences(first, other)
            if differences and other.extra == first.extra:
                found.append(Comparison(first.name, other.name, differences))
        return found

    def _differences(self, row: Row, other: Row) -> dict[int, float]:
        """First metric of one row minus that of another, in points, by common seed."""
        name = self.experiment.metrics[0]
        values = {
            seed: (row.records[seed]["metrics"].get(name), other.records[seed]["metrics"].get(name))
            for seed in sorted(row.records.keys() & other.records.keys())
        }
        return {
            seed: 100 * (ours - theirs)
            for seed, (ours, theirs) in values.items()
            if ours is not None and theirs is not None
        }

    def paper_gain(self, row: Row) -> float | None:
        """Difference of the first metric to the baseline in the paper, in points."""
        name = self.experiment.metrics[0]
        if row.run.baseline is None or name not in row.run.paper:
            return None
        base = self.experiment.run(row.run.baseline)
        return row.run.paper[name] - base.paper[name] if name in base.paper else None

    def _baseline(self, row: Row) -> Row | None:
        for other in self.rows:
            if other.run.name == row.run.baseline and other.extra == row.extra:
                return other
        return None

    def to_dict(self) -> dict[str, Any]:
        """Everything that the tables hold, for JSON."""
        names = self.experiment.metrics
        return {
            "experiment": self.experiment.name,
            "title": self.experiment.title,
            "data": self.experiment.data,
            "paper": self.experiment.paper,
            "outdated": self.outdated,
            "rows": [
                {
                    "run": row.run.name,
                    "extra": dict(row.extra),
                    "seeds": sorted(row.records),
                    "metrics": {name: _dict(row.metric(name)) for name in names},
                    "paper": dict(row.run.paper),
                    "gain": _dict(self.gain(row)),
                    "paper_gain": self.paper_gain(row),
                    "seconds_per_epoch": _dict(row.value("seconds_per_epoch")),
                    "peak_memory_bytes": _dict(row.value("peak_memory_bytes")),
                    "parameters": _dict(row.value("parameters")),
                }
                for row in self.rows
            ],
            "comparisons": [
                {
                    "run": c.run,
                    "other": c.other,
                    "differences": dict(c.differences),
                    "wins": c.wins,
                    **vars(c.estimate),
                }
                for c in self.comparisons()
            ],
        }


def summarise(experiment: Experiment, records: Sequence[Record]) -> Summary:
    """Sort results to the runs of an experiment by what was trained.

    Parameters
    ----------
    experiment : Experiment
        Definition.
    records : sequence of dict
        Results of any experiments; those of other ones count if they have trained the same. Of
        several with the same seed the last counts.
    """
    rows = [Row(run, {}, _by_seed(records, run.definition())) for run in experiment.runs]
    own = [record for record in records if record["experiment"] == experiment.name]
    known = {run.name: run for run in experiment.runs}
    variants: dict[tuple[str, str], Row] = {}
    outdated = 0
    for record in own:
        run, extra = known.get(record["run"]), record["extra"]
        if run is None or run.definition(extra) != record["definition"]:
            outdated += 1
        elif record["definition"] != run.definition():
            key = (run.name, json.dumps(extra, sort_keys=True))
            variants[key] = Row(run, extra, _by_seed(records, record["definition"]))
    return Summary(experiment, rows + list(variants.values()), outdated)


def _by_seed(records: Sequence[Record], definition: str) -> dict[int, Record]:
    return {r["seed"]: r for r in records if r["definition"] == definition}


def _dict(estimate: Estimate | None) -> dict[str, Any] | None:
    return None if estimate is None else vars(estimate).copy()
