"""Wording of error messages: the nearest known name for a misspelt one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


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
        hint = f"known: {shown}"
    return ValueError(f"unknown {kind} {got!r}; {hint}")
