"""``srl data where``: where known data sets come from, and which files are expected."""

from __future__ import annotations

import json
from typing import Any

from ..errors import unknown_name
from . import FOLDER


def known_datasets() -> list[dict[str, Any]]:
    """What is known of each data set.

    Returns
    -------
    list of dict
        ``name``; ``folder`` that the configurations name; ``what`` and ``from``, in Markdown;
        ``layout``, the files below the folder; ``command``, one that uses it.
    """
    content: list[dict[str, Any]] = json.loads((FOLDER / "datasets.json").read_text("utf-8"))
    return content


def where(name: str | None = None, *, json_: bool = False) -> None:
    """Say where known data sets come from, and which files are expected.

    Nothing is downloaded.

    Parameters
    ----------
    name : str, optional
        One data set; by default all.
    json_ : bool
        Print JSON.

    Raises
    ------
    ValueError
        If the name is unknown; the nearest is suggested.
    """
    known = {entry["name"]: entry for entry in known_datasets()}
    if name is not None and name not in known:
        raise unknown_name("data set", name, known)
    chosen = list(known.values()) if name is None else [known[name]]
    if json_:
        print(json.dumps(chosen))
        return
    print("\n\n".join(_text(entry) for entry in chosen))


def _text(entry: dict[str, Any]) -> str:
    what, source = (entry[key].replace("`", "") for key in ("what", "from"))
    files = "\n".join(f"    {line}" for line in entry["layout"])
    return (
        f"{entry['name']}: {what}\n  from: {source}\n  files in {entry['folder']}:\n{files}\n"
        f"  command: {entry['command']}"
    )
