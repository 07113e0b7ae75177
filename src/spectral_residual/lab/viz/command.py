"""``srl viz``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...pose.commands import pose_cli
from ...report.table import format_table
from .page import write_views
from .pictures import draw_networks


def viz(
    *,
    ckpt: list[str],
    output: Path = Path("runs/viz"),
    layer: str | None = None,
    images: int = 32,
    json_: bool = False,
    **rest: Any,
) -> int:
    """Draw what pose networks see: receptive fields, learnt filters, heatmaps and skeletons.

    For checkpoints of pose models: the effective receptive field, W and B of every spectral ReLU
    over frequency, and heatmaps and skeletons of persons that are predicted well and badly. All
    other options, --config first of all, are those of 'srl pose fit'; they say which validation
    data to use.

    Parameters
    ----------
    ckpt : list of str
        Checkpoints, as FILE or NAME=FILE with the name to show.
    output : Path
        Folder to write to.
    layer : str, optional
        Module whose centre is looked at, by default the heatmaps.
    images : int
        Validation persons to use.
    json_ : bool
        Print one JSON object.
    **rest
        Options of ``srl pose fit``.

    Raises
    ------
    ValueError
        If two checkpoints have one name, a name is not printable, or `images` is not positive.
    """
    if images < 1:
        raise ValueError(f"--images must be positive, got {images}")
    checkpoints = _named(ckpt)
    data = pose_cli(rest["rest"], run=False).datamodule
    views = draw_networks(checkpoints, data, images, layer)
    files = [*views.write(output), write_views(output / "index.html", views, images, layer)]
    shares = views.shares()
    if json_:
        print(json.dumps({"receptive_field": shares, "files": [str(file) for file in files]}))
        return 0
    print(f"share of the gradient energy outside the central 25 % of the image, {images} persons\n")
    rows = [[name, f"{100 * share['energy_outside']:.1f} %"] for name, share in shares.items()]
    print(format_table(["network", "outside"], rows), "", *files, sep="\n")
    return 0


def _named(values: Sequence[str]) -> dict[str, str]:
    named: dict[str, str] = {}
    for value in values:
        name, equals, path = value.partition("=")
        key = name if equals else Path(value).stem
        if not key.isprintable():  # OpenCV crashes on text that is not Unicode
            raise ValueError(f"--ckpt: got name {key!r}, expected a printable one; write NAME=FILE")
        if key in named:
            raise ValueError(f"--ckpt: two checkpoints are called {key!r}; write NAME=FILE")
        named[key] = path if equals else value
    return named
