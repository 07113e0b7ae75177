"""Model cards: Markdown with metadata in YAML before it, as hubs show them."""

from __future__ import annotations

import json
import re
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
_LICENCES = """
afl-3.0 agpl-3.0 apache-2.0 artistic-2.0 bigcode-openrail-m bigscience-bloom-rail-1.0
bigscience-openrail-m bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear bsl-1.0 c-uda cc
cc-by-2.0 cc-by-2.5 cc-by-3.0 cc-by-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nc-nd-3.0
cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cc-by-nd-4.0 cc-by-sa-3.0
cc-by-sa-4.0 cc0-1.0 cdla-permissive-1.0 cdla-permissive-2.0 cdla-sharing-1.0
creativeml-openrail-m deepfloyd-if-license ecl-2.0 epl-1.0 epl-2.0 etalab-2.0 eupl-1.1 gemma
gfdl gpl gpl-2.0 gpl-3.0 isc lgpl lgpl-2.1 lgpl-3.0 lgpl-lr llama2 lppl-1.3c mit mpl-2.0 ms-pl
ncsa odbl odc-by ofl-1.1 openrail openrail++ osl-3.0 pddl postgresql unknown unlicense wtfpl
zlib
"""
"""What the hub calls licences: https://huggingface.co/docs/hub/repositories-licenses."""


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
            ("metric", "value"), [(_line(key), _number(value)) for key, value in values.items()]
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
        entries |= _licence(about["licence"])
    return "\n".join(f"{key}: {json.dumps(value)}" for key, value in entries.items())


def _licence(text: str) -> dict[str, str]:
    """The hub's entries for a licence: its identifier, or a name made of the first words."""
    words = " ".join(text.lower().split())
    if words in _LICENCES.split():
        return {"license": words}
    name = re.sub(r"[^a-z0-9.]+", "-", re.split("[:;,(]", words)[0]).strip("-.")
    return {"license": "other", "license_name": name or "other"}


def _lines(texts: Mapping[str, str]) -> dict[str, str]:
    return {_line(key): _line(text) for key, text in texts.items()}


def _number(value: float) -> str:
    return f"{value:.4g}" if abs(value) < 1000 else f"{value:.0f}"


def _line(text: str) -> str:
    """Text in one line, without control characters and with HTML taken as text."""
    words = printable(" ".join(text.split()))
    return words.replace("&", "&amp;").replace("<", "&lt;")
