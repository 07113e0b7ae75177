"""Fixtures for all tests."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest
import torch

# Minutes to hours; `make test-long` runs them.
collect_ignore = [] if os.environ.get("SRL_LONG") else ["long"]

SHARED = Path(os.environ.get("SRL_SHARED", Path(__file__).parents[2] / "shared"))


def pytest_configure(config):
    torch.set_num_threads(1)  # small tensors: a second thread costs more than it gives


@pytest.fixture(autouse=True)
def log_messages_reach_every_test():
    """Undo what a command does to this package's logger."""
    logger = logging.getLogger("spectral_residual")
    logger.propagate, logger.handlers = True, []


@pytest.fixture(scope="session")
def shared_data():
    """Function from a name to the folder or file ``shared/data/<name>``; skips if it is missing."""

    def find(name: str) -> Path:
        path = SHARED / "data" / name
        if not path.exists():
            pytest.skip(f"no shared data {name!r}: {path} does not exist (set SRL_SHARED)")
        return path

    return find
