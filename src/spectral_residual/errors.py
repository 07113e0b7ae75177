"""Wording of error messages: the nearest known name for a misspelt one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


def unknown_name(kind: str, got: str, known: Iterable[str]) -> ValueError:
    """Build the error for a name that is not in a list of known names.

    Parameters
    ----------
    kind : str
        What the name stands for, e.g. ``"block"``.
    got : str
        The name that was given.
    known : iterable of str
        All valid names.

    Returns
    -------
    ValueError
        To be raised by the caller; it suggests the nearest name, or lists the known ones.
    """
    names = [str(name) for name in known]
    near = difflib.get_close_matches(str(got), names, n=3, cutoff=0.5)
    if near:
        hint = "did you mean " + " or ".join(repr(name) for name in near) + "?"
    else:
        shown = ", ".join(names[:40]) + (", ..." if len(names) > 40 else "")
        hint = f"known: {shown or 'none'}"
    return ValueError(f"unknown {kind} {got!r}; {hint}")


def printable(text: object) -> str:
    r"""Text with all that is no printable character escaped, as in ``"\x1b"``.

    For names of files and classes from anywhere: escape characters may rewrite a terminal, and
    parts of names that are no Unicode cannot be printed.
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))


def counted(number: int, what: str) -> str:
    """A number and what it counts: ``"1 picture"``, ``"2 pictures"``."""
    return f"{number} {what if number == 1 else what + 's'}"


def listed(faults: Sequence[str], shown: int = 20) -> str:
    """One line for each of the first faults, and how many more there are."""
    more = len(faults) - shown
    lines = [printable(fault) for fault in faults[:shown]] + ([f"and {more} more"] * (more > 0))
    return "".join(f"\n  {line}" for line in lines)
