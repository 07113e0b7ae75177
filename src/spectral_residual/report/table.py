"""Tables of plain text that are also valid Markdown."""

from __future__ import annotations

from collections.abc import Sequence


def format_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lay out a table: the first column to the left, numbers to the right.

    Parameters
    ----------
    header : sequence of str
        Headings.
    rows : sequence of sequence of str
        Cells, as many in each row as there are headings.

    Returns
    -------
    str
        Lines of equal length, without a newline at the end; ``|`` in a cell is escaped.

    Raises
    ------
    ValueError
        If a row has another number of cells than the header.
    """
    for number, row in enumerate(rows):
        if len(row) != len(header):
            raise ValueError(f"rows[{number}]: got {len(row)} cells, expected {len(header)}")
    table = [[cell.replace("|", "\\|") for cell in row] for row in (header, *rows)]
    columns = []
    for index, cells in enumerate(zip(*table, strict=True)):
        width = max(2, *map(len, cells))
        if index == 0:
            column = [cell.ljust(width) for cell in (cells[0], "-" * width, *cells[1:])]
        else:
            rule = "-" * (width - 1) + ":"
            column = [cell.rjust(width) for cell in (cells[0], rule, *cells[1:])]
        columns.append(column)
    return "\n".join(f"| {' | '.join(line)} |" for line in zip(*columns, strict=True))
