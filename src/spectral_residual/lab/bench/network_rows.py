"""Rows of the benchmark of networks: which network, with which block, forward or trained."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from .rows import check_fields, check_name_is_free, group_rows, is_positive, read_entries

if TYPE_CHECKING:
    from ...pose.network import SimpleBaseline

PLAIN = "none"
PRECISIONS = ("float32", "bf16-mixed")


@dataclass(frozen=True)
class NetworkRow:
    """A SimpleBaseline pose network with blocks, or without.

    Attributes
    ----------
    name : str
        What the row is called; rows of the same group have different names.
    network : dict
        Options for `create_simple_baseline` that rows of a group share: ``backbone``, and if
        need be ``stages``, ``deconv_channels``, ``num_joints``, ...
    input_size : (int, int)
        Height and width (H, W) of the crops.
    block : str or None
        Name for `create_block`; None for the network without blocks, whose name is ``"none"``.
    after : tuple of str
        Modules that a block is inserted after; empty without blocks.
    options : dict
        Options of the block.
    batch : int
        Images N.
    training : bool
        Whether it is a training step (forward, loss, backward, optimiser) that is measured; else
        forward in evaluation mode without gradients.
    precision : str
        Of `PRECISIONS`: all in float32, or bfloat16 by autocast.
    """

    name: str
    network: dict[str, Any] = field(hash=False)
    input_size: tuple[int, int]
    block: str | None = None
    after: tuple[str, ...] = ()
    options: dict[str, Any] = field(default_factory=dict, hash=False)
    batch: int = 1
    training: bool = False
    precision: str = "float32"

    @property
    def size(self) -> str:
        """Input size as it is written: ``384x288``."""
        return f"{self.input_size[0]}x{self.input_size[1]}"

    @property
    def mode(self) -> str:
        """``"step"`` if it is a training step, else ``"inference"``."""
        return "step" if self.training else "inference"

    @property
    def group(self) -> str:
        """Network, input, mode and precision in words."""
        options = {name: value for name, value in self.network.items() if name != "backbone"}
        network = [self.network["backbone"], *(f"{name} {v}" for name, v in options.items())]
        mode = "training step" if self.training else "forward"
        return f"{', '.join(network)}: {mode}, {self.size}, batch {self.batch}, {self.precision}"

    def build(self) -> SimpleBaseline:
        """Make the network, channels last; ValueError or TypeError for options it refuses."""
        from ...pose.network import PoseNetwork

        network = PoseNetwork(
            **self.network,
            block=self.block,
            block_after=list(self.after),
            block_options=dict(self.options),
        )
        return network.build(17, self.input_size).to(memory_format=torch.channels_last)


_FIELDS = (
    "name", "network", "input_size", "block", "after", "options", "batch", "training", "precision",
)  # fmt: skip
_REQUIRED = ("network", "input_size")


def load_networks(path: Path | None = None) -> list[NetworkRow]:
    """Read rows and build each on the meta device, where nothing is allocated or computed.

    Parameters
    ----------
    path : Path, optional
        JSON list of objects with the fields of `NetworkRow`; only ``network`` and
        ``input_size`` are required, and ``name`` is that of the block, or ``"none"``, if it is
        not given. By default the rows that come with this package.

    Returns
    -------
    list of NetworkRow

    Raises
    ------
    FileNotFoundError
        If the file does not exist.
    ValueError
        If the file is not such a list, a field is unknown, missing or of another type, a network
        cannot be built, or a group has two rows of the same name or none without a block.
    """
    rows: list[NetworkRow] = []
    for place, entry in read_entries(path, "networks.json"):
        row = _parse(entry, place)
        try:
            with torch.device("meta"):
                row.build()
        except (ValueError, TypeError) as error:
            raise ValueError(f"{place} ({row.name}): {error}") from error
        check_name_is_free(row, rows, place)
        rows.append(row)
    for group in group_rows(rows):
        if PLAIN not in [row.name for row in group]:
            raise ValueError(f"a row without a block is missing: {group[0].group}")
    return rows


def _parse(entry: dict[str, Any], place: str) -> NetworkRow:
    check_fields(entry, place, _FIELDS, _REQUIRED)
    block = entry.get("block")
    values = {"name": PLAIN if block is None else block, "after": [], **entry}
    name, after, size = values["name"], values["after"], values["input_size"]
    for label, value in (("block", block or PLAIN), ("name", name)):
        if not isinstance(value, str) or not value:
            raise ValueError(f"{place}: {label} must be a name, got {value!r}")
    if (block is None) != (name == PLAIN):
        raise ValueError(
            f"{place}: a row without a block, and no other, is named {PLAIN!r}, got name {name!r} "
            f"and block {block!r}"
        )
    if not isinstance(after, list) or not all(isinstance(module, str) for module in after):
        raise ValueError(f"{place}: after must be a list of module names, got {after!r}")
    if bool(after) != (block is not None):
        raise ValueError(f"{place}: block {block!r} does not go with after {after!r}")
    if not isinstance(size, list) or len(size) != 2 or not all(map(is_positive, size)):
        raise ValueError(f"{place}: input_size must be positive integers [H, W], got {size!r}")
    for label in ("network", "options"):
        if not isinstance(values.get(label, {}), dict):
            raise ValueError(f"{place}: {label} must be an object, got {values[label]!r}")
    if "backbone" not in values["network"]:
        raise ValueError(f"{place}: network has no 'backbone', got {values['network']!r}")
    if not is_positive(values.get("batch", 1)):
        raise ValueError(f"{place}: batch must be a positive integer, got {values['batch']!r}")
    if not isinstance(values.get("training", False), bool):
        raise ValueError(f"{place}: training must be true or false, got {values['training']!r}")
    if values.get("precision", "float32") not in PRECISIONS:
        raise ValueError(
            f"{place}: precision must be one of {', '.join(PRECISIONS)}, "
            f"got {values['precision']!r}"
        )
    return NetworkRow(**{**values, "after": tuple(after), "input_size": tuple(size)})
