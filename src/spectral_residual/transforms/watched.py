"""Whether somebody wants to see a layer called, so that it must not be computed otherwise."""

from __future__ import annotations

from torch import nn
from torch.nn.modules import module as _module

_GLOBAL_HOOKS = (
    "_global_forward_hooks",
    "_global_forward_pre_hooks",
    "_global_backward_hooks",
    "_global_backward_pre_hooks",
)


def is_watched(layer: nn.Module) -> bool:
    """Whether hooks or a forward method of its own want the layer to be called."""
    return bool(
        layer._forward_hooks
        or layer._forward_pre_hooks
        or layer._backward_hooks
        or layer._backward_pre_hooks
        or "forward" in vars(layer)
        or any(getattr(_module, name) for name in _GLOBAL_HOOKS)
    )
