"""``srl experiment`` within the process of the tests, whose errors are raised."""

from __future__ import annotations

from spectral_residual.cli import _command


def main(arguments):
    return _command(["experiment", *arguments])


def cells(text):
    """Rows of cells of all tables in a text."""
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
