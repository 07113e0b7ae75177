"""The paper's experiments as data, a command that runs them, and one that tabulates the results."""

from __future__ import annotations

from .definitions import Experiment, Run, experiment_names, read_experiment

__all__ = ["Experiment", "Run", "experiment_names", "read_experiment"]
