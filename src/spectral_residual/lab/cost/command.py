"""``srl cost``: parameters and operations of blocks and networks, without computing them."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from ...blocks import BLOCKS, VIDEO_BLOCKS, MapSize, create_block
from ...cost import Cost, measure_cost
from ...errors import unknown_name
from ...insertion import insert_blocks

ALL = "all"
_SIMPLE_BASELINE = "simple_baseline_"
_C2D = "c2d_"


def main(arguments: list[str]) -> int:
    """Command line of ``srl cost``.

    Parameters
    ----------
    arguments : list of str
        Arguments after the command's name.

    Returns
    -------
    int
        0.

    Raises
    ------
    ValueError
        If a name, an option or a size is wrong.
    """
    wanted = _parser().parse_args(arguments)
    wanted.run(wanted)
    return 0


def create_network(
    name: str,
    input_size: tuple[int, ...],
    *,
    block: str | None = None,
    after: Sequence[str] = (),
    options: dict[str, Any] | None = None,
) -> nn.Module:
    """Build a network by name, on the meta device where it can be built there.

    Parameters
    ----------
    name : str
        ``simple_baseline_resnet50``, ``c2d_resnet18`` and the like, or a name of torchvision or
        timm; torchvision goes first, ``timm/NAME`` asks for timm.
    input_size : tuple of int
        Shape of one input without the batch axis, e.g. (3, 224, 224), or (3, 8, 224, 224).
    block : str, optional
        Name for `create_block`.
    after : sequence of str
        Names of the modules to insert the block after; by default all three deconvolutions of
        SimpleBaseline, and the places of `create_c2d`.
    options : dict, optional
        Options of the block.

    Returns
    -------
    nn.Module

    Raises
    ------
    ValueError
        If a name is unknown, modules or options are given without a block or a block without
        modules, or the input size does not fit.
    """
    if block is None and (after or options):
        raise ValueError("modules (--after) or options are given, but no block (--block)")
    try:
        with torch.device("meta"):
            model = _build(name, input_size)
    except RuntimeError:  # it looks at values of its tensors
        model = _build(name, input_size)
    if block is None:
        return model
    folded_time = False
    if name.startswith(_SIMPLE_BASELINE):
        from ...pose.network import PoseNetwork

        after = after or PoseNetwork().block_after
    elif name.startswith(_C2D):
        from ...video.network import VideoNetwork

        after = after or VideoNetwork().block_after
        folded_time = block in VIDEO_BLOCKS
    return insert_blocks(
        model, after, block, input_size=input_size, options=options, folded_time=folded_time
    )


def _build(name: str, input_size: tuple[int, ...]) -> nn.Module:
    from ...pose.network import PoseNetwork
    from ...training.resnet import RESNETS
    from ...video.network import VideoNetwork

    if name.startswith(_SIMPLE_BASELINE):
        if len(input_size) != 3 or input_size[0] != 3:
            raise ValueError(f"{name} takes inputs 3 H W, got {' '.join(map(str, input_size))}")
        backbone = name.removeprefix(_SIMPLE_BASELINE)
        return PoseNetwork(backbone).build(17, (input_size[1], input_size[2]))
    if name.startswith(_C2D):
        if len(input_size) != 4 or input_size[0] != 3:
            raise ValueError(f"{name} takes inputs 3 T H W, got {' '.join(map(str, input_size))}")
        video_network = VideoNetwork(name.removeprefix(_C2D))
        return video_network.build(400, input_size[1], (input_size[2], input_size[3]))
    import torchvision

    known = torchvision.models.list_models()
    if name in known:
        network: nn.Module = torchvision.models.get_model(name, weights=None)
        return network
    known += [prefix + backbone for prefix in (_SIMPLE_BASELINE, _C2D) for backbone in RESNETS]
    try:
        import timm
    except ImportError:
        raise unknown_name("network (timm is not installed)", name, known) from None
    if timm.is_model(name.removeprefix("timm/")):
        return timm.create_model(name.removeprefix("timm/"), pretrained=False)
    raise unknown_name("network", name, sorted({*known, *timm.list_models()}))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        allow_abbrev=False,
        prog="srl cost",
        description="Parameters and operations of a block or a network for one input, per layer "
        "and in total. Nothing is computed: sizes are found on the meta device.",
    )
    commands = parser.add_subparsers(required=True, metavar="block | model")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--accounting",
        default="paper",
        metavar="RULES",
        help="paper: the rules behind the paper's tables (default); paper+bn: with batch "
        "normalisations, as in its table 8; exact: true multiply-accumulates, all parameters",
    )
    common.add_argument("--json", action="store_true", help="print JSON")
    common.add_argument(
        "--option",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="option of the block, e.g. groups=1; may be repeated",
    )

    block = commands.add_parser(
        "block", allow_abbrev=False, parents=[common], help="cost of a block"
    )
    names = ", ".join(dict.fromkeys(BLOCKS + VIDEO_BLOCKS))
    block.add_argument("name", help=f"{names}; or {ALL}, to compare them")
    block.add_argument("--channels", type=int, required=True, metavar="C")
    block.add_argument(
        "--size", type=int, nargs="+", required=True, metavar="N", help="H W, or T H W for videos"
    )
    block.add_argument(
        "--plot",
        type=Path,
        metavar="FILE",
        help="draw operations of all blocks against the map size, from a quarter to twice --size, "
        "beside the formulas of the paper's table 1; .png, .svg or .pdf",
    )
    block.set_defaults(run=_cost_of_block)

    model = commands.add_parser(
        "model", allow_abbrev=False, parents=[common], help="cost of a network"
    )
    model.add_argument(
        "name",
        help="simple_baseline_resnet50, c2d_resnet18, ..., or a name of torchvision or timm "
        "(timm/NAME)",
    )
    model.add_argument(
        "--input", type=int, nargs="+", required=True, metavar="N", help="C H W, or C T H W"
    )
    model.add_argument("--block", help="block to insert")
    model.add_argument(
        "--after", nargs="+", default=[], metavar="MODULE", help="modules to insert it after"
    )
    model.set_defaults(run=_cost_of_model)
    return parser


def _cost_of_block(wanted: argparse.Namespace) -> None:
    size = cast(MapSize, tuple(wanted.size))
    options = _parse_options(wanted.option)
    if wanted.plot and len(size) != 2:
        raise ValueError(f"--plot is for images: expected --size H W, got {wanted.size}")
    names = [wanted.name]
    if wanted.name == ALL:
        if options:
            raise ValueError(f"--option is for one block, got {wanted.option} for {ALL}")
        names = list(VIDEO_BLOCKS if len(size) == 3 else BLOCKS)
    costs = {}
    for name in names:
        with torch.device("meta"):
            block = create_block(name, wanted.channels, size, **options)
        costs[name] = measure_cost(block, (wanted.channels, *size), wanted.accounting)
    if wanted.json:
        shape = {"channels": wanted.channels, "size": list(size)}
        results = [{"block": name, **shape, **_as_json(cost)} for name, cost in costs.items()]
        print(json.dumps(results if wanted.name == ALL else results[0], indent=1))
    elif wanted.name == ALL:
        _print_table(
            ("block", "operations", "parameters"),
            [(name, cost.operations, cost.parameters) for name, cost in costs.items()],
        )
    else:
        _print_cost(costs[wanted.name])
    if wanted.plot:
        from .plot import draw_growth

        draw_growth(wanted.channels, (size[0], size[1]), wanted.accounting, wanted.plot)


def _cost_of_model(wanted: argparse.Namespace) -> None:
    size = tuple(wanted.input)
    if any(n < 1 for n in size):
        raise ValueError(f"--input must be positive integers, got {wanted.input}")
    model = create_network(
        wanted.name,
        size,
        block=wanted.block,
        after=wanted.after,
        options=_parse_options(wanted.option),
    )
    cost = measure_cost(model, size, wanted.accounting)
    if wanted.json:
        inserted = {"block": wanted.block, "after": wanted.after} if wanted.block else {}
        result = {"model": wanted.name, "input": list(size), **inserted, **_as_json(cost)}
        print(json.dumps(result, indent=1))
    else:
        _print_cost(cost)


def _parse_options(pairs: Sequence[str]) -> dict[str, Any]:
    """``["groups=1", "order=interleaved"]`` to a dict; values are JSON where they can be."""
    options: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not key or not equals:
            raise ValueError(f"--option must be KEY=VALUE, got {pair!r}")
        try:
            options[key] = json.loads(value)
        except json.JSONDecodeError:
            options[key] = value
    return options


def _as_json(cost: Cost) -> dict[str, Any]:
    return {
        "accounting": cost.accounting,
        "operations": cost.operations,
        "gflops": cost.gflops,
        "parameters": cost.parameters,
        "layers": [asdict(layer) for layer in cost.layers],
    }


def _print_cost(cost: Cost) -> None:
    rows = [
        (layer.name or "(itself)", layer.type, layer.operations, layer.parameters)
        for layer in cost.layers
    ]
    rows.append(("total", "", cost.operations, cost.parameters))
    _print_table(("layer", "type", "operations", "parameters"), rows)
    print(
        f"\n{cost.gflops:.4f} GFLOPs (2^30 multiply-accumulates), "
        f"{cost.parameters / 1e6:.4f} million parameters, {cost.accounting} accounting"
    )


def _print_table(titles: tuple[str, ...], rows: Sequence[tuple[str | float, ...]]) -> None:
    """Texts to the left, numbers, without decimals, to the right."""
    cells = [[c if isinstance(c, str) else f"{c:,.0f}" for c in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(titles, *cells, strict=True)]
    right = [not isinstance(value, str) for value in rows[0]]
    for row in [list(titles), *cells]:
        padded = (
            cell.rjust(width) if number else cell.ljust(width)
            for cell, width, number in zip(row, widths, right, strict=True)
        )
        print("  ".join(padded).rstrip())
