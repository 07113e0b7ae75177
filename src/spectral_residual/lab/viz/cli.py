"""``srl viz``."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from ...pose.commands import pose_cli
from .page import write_views
from .pictures import draw_networks


def main(arguments: list[str]) -> int:
    """Run ``srl viz``; further options are those of ``srl pose fit``, for the data."""
    parser = argparse.ArgumentParser(
        allow_abbrev=False,
        prog="srl viz",
        description="For checkpoints of pose models: the effective receptive field, W and B of "
        "every spectral ReLU over frequency, and heatmaps and skeletons of persons that are "
        "predicted well and badly. All other options, --config first of all, are those of "
        "'srl pose fit'; they say which validation data to use.",
    )
    add = parser.add_argument
    add(
        "--ckpt", nargs="+", required=True, metavar="[NAME=]FILE",
        help="checkpoints with the names to show",
    )  # fmt: skip
    add("--output", type=Path, default=Path("runs/viz"), help="folder (default: runs/viz)")
    add("--layer", help="module whose centre is looked at (default: the heatmaps)")
    add("--images", type=int, default=32, help="validation persons to use (default: 32)")
    add("--json", action="store_true", help="print one JSON object")
    own, rest = parser.parse_known_args(arguments)
    if own.images < 1:
        raise ValueError(f"--images must be positive, got {own.images}")
    checkpoints = _named(own.ckpt)
    data = pose_cli(rest, run=False).datamodule
    views = draw_networks(checkpoints, data, own.images, own.layer)
    files = views.write(own.output)
    files.append(write_views(own.output / "index.html", views, own.images, own.layer))
    shares = views.shares()
    if own.json:
        print(json.dumps({"receptive_field": shares, "files": [str(file) for file in files]}))
        return 0
    print(
        f"share of the gradient energy outside the central 25 % of the image, {own.images} persons"
    )
    for name, found in shares.items():
        print(f"{name:20} {100 * found['energy_outside']:6.1f} %")
    for file in files:
        print(file)
    return 0


def _named(values: Sequence[str]) -> dict[str, str]:
    named: dict[str, str] = {}
    for value in values:
        name, equals, path = value.partition("=")
        key = name if equals else Path(value).stem
        if key in named:
            raise ValueError(f"--ckpt: two checkpoints are called {key!r}; write NAME=FILE")
        named[key] = path if equals else value
    return named
