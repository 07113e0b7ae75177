"""Model cards: Markdown with metadata in YAML before it, as hubs show them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from ..errors import printable
from .table import format_table

_TEMPLATES = Environment(
    loader=PackageLoader(__package__),
    autoescape=False,  # Markdown; see `_line`
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)
_LIBRARY = "spectral_residual"


def model_card(
    name: str, task: str, hub_task: str, details: Mapping[str, str], about: Mapping[str, Any]
) -> str:
    """Write the card of a trained network.

    Parameters
    ----------
    name : str
        How the network is called: on the hub with its owner.
    task : {"pose", "video"}
        Task of this package.
    hub_task : str
        The hub's name for it, e.g. ``keypoint-detection``.
    details : mapping of str to str
        What is said of the network, by headings; ``Network`` among them.
    about : mapping
        ``data``, ``protocol`` and ``licence``, texts or None; ``metrics``, numbers by names, by
        the name of their data; ``training``, texts by names.

    Returns
    -------
    str
        The card. Line breaks in texts become spaces.
    """
    metrics = {
        _line(data): format_table(
            ("metric", "value"), [(_line(key), f"{value:.4g}") for key, value in values.items()]
        )
        for data, values in about["metrics"].items()
    }
    return _TEMPLATES.get_template("card.md").render(
        metadata=_metadata(hub_task, about),
        name=_line(name),
        task=task,
        details=_lines(details),
        training=_lines(about["training"]),
        metrics=metrics,
        **{key: about[key] and _line(about[key]) for key in ("data", "protocol", "licence")},
    )


def _metadata(hub_task: str, about: Mapping[str, Any]) -> str:
    entries: dict[str, Any] = {
        "library_name": _LIBRARY,
        "pipeline_tag": hub_task,
        "tags": ["spectral-residual-learning"],
    }
    if about["licence"]:
        entries["license"] = about["licence"]
    return "\n".join(f"{key}: {json.dumps(value)}" for key, value in entries.items())


def _lines(texts: Mapping[str, str]) -> dict[str, str]:
    return {_line(key): _line(text) for key, text in texts.items()}


def _line(text: str) -> str:
    """Text in one line, without control characters and with HTML taken as text."""
    words = printable(" ".join(text.split()))
    return words.replace("&", "&amp;").replace("<", "&lt;")
