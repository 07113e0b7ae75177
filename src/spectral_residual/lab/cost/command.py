"""``srl cost``: parameters and operations of blocks and networks, without computing them."""

from __future__ import annotations

import inspect
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from ...blocks import BLOCKS, VIDEO_BLOCKS, MapSize, create_block
from ...cost import Cost, LayerCost, measure_cost
from ...errors import unknown_name
from ...insertion import insert_blocks
from ...report.table import format_table

ALL = "all"
_SIMPLE_BASELINE = "simple_baseline_"
_C2D = "c2d_"
_OWN = (_SIMPLE_BASELINE, _C2D)


@dataclass(frozen=True)
class Output:
    """Options of the costs of blocks and of networks.

    Parameters
    ----------
    accounting : str
        paper: the rules behind the paper's tables; paper+bn: with batch normalisations, as in its
        table 8; exact: true multiply-accumulates, all parameters.
    json_ : bool
        Print JSON.
    """

    accounting: str = "paper"
    json_: bool = False


def block(
    name: str,
    *,
    channels: int,
    size: list[int],
    option: dict[str, Any],
    plot: Path | None = None,
    output: Output,
) -> None:
    """Parameters and operations of a block for one input, per layer and in total.

    Nothing is computed: sizes are found on the meta device.

    Parameters
    ----------
    name : str
        A block; all compares all blocks.
    channels : int
        Channels C.
    size : list of int
        H W, or T H W for videos.
    option : dict
        Option of the block, e.g. groups=1; may be repeated.
    plot : Path, optional
        Draw operations of all blocks against the map size, from a quarter to twice --size,
        beside the formulas of the paper's table 1; .png, .svg or .pdf.
    """
    if plot and len(size) != 2:
        raise ValueError(f"--plot is for images: expected --size H W, got {size}")
    if option and name == ALL:
        raise ValueError(f"--option is for one block, got {option} for {ALL}")
    shape = cast(MapSize, tuple(size))
    costs = {}
    every = VIDEO_BLOCKS if len(size) == 3 else BLOCKS
    for key in every if name == ALL else [name]:
        with torch.device("meta"):
            module = create_block(key, channels, shape, **option)
        costs[key] = measure_cost(module, (channels, *shape), output.accounting)
    if output.json_:
        found = {"channels": channels, "size": size}
        values = [{"block": key, **found, **_as_json(cost)} for key, cost in costs.items()]
        print(json.dumps(values if name == ALL else values[0], indent=1))
    elif name == ALL:
        rows = [(key, *_numbers(cost)) for key, cost in costs.items()]
        print(format_table(("block", "operations", "parameters"), rows))
    else:
        _print_cost(costs[name])
    if plot:
        from .plot import draw_growth

        draw_growth(channels, (size[0], size[1]), output.accounting, plot)


def model(
    name: str,
    *,
    input_: list[int],
    block: str | None = None,
    after: list[str] | None = None,
    option: dict[str, Any],
    output: Output,
) -> None:
    """Parameters and operations of a network for one input, per layer and in total.

    Nothing is computed: sizes are found on the meta device.

    Parameters
    ----------
    name : str
        simple_baseline_resnet50, c2d_resnet18, ..., or a name of torchvision or timm (timm/NAME).
    input_ : list of int
        C H W, or C T H W.
    block : str, optional
        Block to insert.
    after : list of str, optional
        Modules to insert it after.
    option : dict
        Option of the block, e.g. groups=1; may be repeated.
    """
    if any(n < 1 for n in input_):
        raise ValueError(f"--input must be positive integers, got {input_}")
    size, places = tuple(input_), after or []
    network = create_network(name, size, block=block, after=places, options=option)
    cost = measure_cost(network, size, output.accounting)
    if output.json_:
        inserted = {"block": block, "after": places} if block else {}
        print(json.dumps({"model": name, "input": input_, **inserted, **_as_json(cost)}, indent=1))
    else:
        _print_cost(cost)


def create_network(
    name: str,
    input_size: tuple[int, ...],
    *,
    block: str | None = None,
    after: Sequence[str] = (),
    options: dict[str, Any] | None = None,
) -> nn.Module:
    """Build a network by name, on the meta device where it can be built there.

    `name` is ``simple_baseline_resnet50``, ``c2d_resnet18`` and the like, or a name of
    torchvision or timm; torchvision goes first, ``timm/NAME`` asks for timm. `input_size` is the
    shape of one input without the batch axis. A block is inserted after the named modules; by
    default after every deconvolution of SimpleBaseline, and at the places of `VideoNetwork`.

    Raises
    ------
    ValueError
        If a name is unknown, modules or options are given without a block or a block without
        modules, or the input size does not fit.
    """
    if block is None and (after or options):
        raise ValueError("modules (--after) or options are given, but no block (--block)")
    blocks: dict[str, Any] = {"block": block, "block_options": options or {}}
    if after:
        blocks["block_after"] = list(after)
    try:
        with torch.device("meta"):
            return _build(name, input_size, blocks)
    except RuntimeError:  # it looks at values of its tensors
        return _build(name, input_size, blocks)


def _build(name: str, input_size: tuple[int, ...], blocks: dict[str, Any]) -> nn.Module:
    from ...pose.network import PoseNetwork
    from ...training.resnet import RESNETS
    from ...video.network import VideoNetwork

    if name.startswith(_SIMPLE_BASELINE):
        if len(input_size) != 3 or input_size[0] != 3:
            raise ValueError(f"{name} takes inputs 3 H W, got {' '.join(map(str, input_size))}")
        backbone = name.removeprefix(_SIMPLE_BASELINE)
        return PoseNetwork(backbone, **blocks).build(17, input_size[1:])
    if name.startswith(_C2D):
        if len(input_size) != 4 or input_size[0] != 3:
            raise ValueError(f"{name} takes inputs 3 T H W, got {' '.join(map(str, input_size))}")
        backbone = name.removeprefix(_C2D)
        return VideoNetwork(backbone, **blocks).build(400, input_size[1], input_size[2:])
    model = library_network(name, [kind + trunk for kind in _OWN for trunk in RESNETS])
    if blocks["block"] is None:
        return model
    after, options = blocks.get("block_after", ()), blocks["block_options"]
    return insert_blocks(
        model, after, blocks["block"], input_size=input_size, block_options=options
    )


def library_network(name: str, others: Sequence[str] = ()) -> nn.Module:
    """A network of torchvision or timm with random weights; nothing is downloaded.

    Parameters
    ----------
    name : str
        torchvision goes first; ``timm/NAME`` asks for timm.
    others : sequence of str
        Further names that an error may suggest.

    Raises
    ------
    ValueError
        If there is none of this name.
    """
    import torchvision

    from ...training.timm_trunk import check_tag

    known = torchvision.models.list_models()
    if name in known:
        builder = torchvision.models.get_model_builder(name)
        # Detection and segmentation download the trunk's weights by default.
        kinds = {"weights", "weights_backbone"} & inspect.signature(builder).parameters.keys()
        network: nn.Module = builder(**dict.fromkeys(kinds))
        return network
    known += others
    try:
        import timm
    except ImportError:
        raise unknown_name("network (timm is not installed)", name, known) from None
    if timm.is_model(name.removeprefix("timm/")):
        check_tag(name.removeprefix("timm/"))
        return timm.create_model(name.removeprefix("timm/"), pretrained=False)
    raise unknown_name("network", name, sorted({*known, *timm.list_models()}))


def _as_json(cost: Cost) -> dict[str, Any]:
    return {
        "accounting": cost.accounting,
        "operations": cost.operations,
        "gflops": cost.gflops,
        "parameters": cost.parameters,
        "layers": [asdict(layer) for layer in cost.layers],
    }


def _numbers(counted: Cost | LayerCost) -> tuple[str, str]:
    return f"{counted.operations:,.0f}", f"{counted.parameters:,}"


def _print_cost(cost: Cost) -> None:
    rows = [(layer.name or "(itself)", layer.type, *_numbers(layer)) for layer in cost.layers]
    rows.append(("total", "", *_numbers(cost)))
    print(format_table(("layer", "type", "operations", "parameters"), rows))
    print(
        f"\n{cost.gflops:.4f} GFLOPs (2^30 multiply-accumulates), "
        f"{cost.parameters / 1e6:.4f} million parameters, {cost.accounting} accounting"
    )
