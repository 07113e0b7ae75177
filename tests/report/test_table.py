"""Tables of plain text."""

from __future__ import annotations

import pytest

from spectral_residual.report.table import format_table


def test_names_to_the_left_and_numbers_to_the_right():
    assert format_table(["name", "x"], [["a|b", "1.0"], ["", "-10.00"]]) == (
        "| name |      x |\n"
        "| ---- | -----: |\n"
        "| a\\|b |    1.0 |\n"
        "|      | -10.00 |"
    )  # fmt: skip


def test_narrow_columns_are_valid_markdown():
    assert format_table(["", "x"], []) == "|    |  x |\n| -- | -: |"


def test_ragged_rows_are_refused():
    with pytest.raises(ValueError, match=r"rows\[0\]: got 1 cells, expected 2"):
        format_table(["a", "b"], [["1"]])
