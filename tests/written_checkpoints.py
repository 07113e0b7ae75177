"""Checkpoints as files of JSON: everything but the values of tensors, which a formula gives."""

from __future__ import annotations

from typing import Any

import torch


def pack(value: Any) -> Any:
    """Structure of a checkpoint, with types, order and keys, as what JSON can hold."""
    if isinstance(value, torch.Tensor):
        return {"tensor": list(value.shape), "dtype": str(value.dtype).removeprefix("torch.")}
    if isinstance(value, dict):
        return {"dict": [[key, pack(entry)] for key, entry in value.items()]}
    if isinstance(value, (list, tuple)):
        return {type(value).__name__: [pack(entry) for entry in value]}
    return {"value": value}


def unpack(packed: Any, name: str = "") -> Any:
    """The checkpoint of a structure, its tensors filled by `_values`."""
    if "dict" in packed:
        return {key: unpack(entry, str(key)) for key, entry in packed["dict"]}
    for kind in (list, tuple):
        if kind.__name__ in packed:
            return kind(unpack(entry) for entry in packed[kind.__name__])
    return _values(packed, name) if "tensor" in packed else packed["value"]


def _values(packed: Any, name: str) -> torch.Tensor:
    shape, dtype = packed["tensor"], getattr(torch, packed["dtype"])
    last = name.rpartition(".")[2]
    if last in ("step", "num_batches_tracked"):
        return torch.full(shape, 2, dtype=dtype)
    if last in ("P", "Q"):
        return torch.eye(shape[0]).roll(1, 0).to(dtype)
    count = int(torch.Size(shape).numel())
    wave = torch.sin(0.7 * torch.arange(count) + len(name)).reshape(shape)
    if last in ("running_var", "exp_avg_sq"):
        return (1 + 0.5 * wave).to(dtype)
    if len(shape) == 4:
        return (wave / (count / shape[0]) ** 0.5).to(dtype)
    return ((1 if len(shape) == 1 and last == "weight" else 0) + 0.2 * wave).to(dtype)
