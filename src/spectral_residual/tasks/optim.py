"""Parameter groups: which parameters weight decay applies to."""

from __future__ import annotations

from typing import Any

from torch import nn

from ..blocks import SpectralReLU
from ..transforms import LearnableOrthogonal


def parameter_groups(model: nn.Module) -> list[dict[str, Any]]:
    """Split parameters into those with and those without weight decay.

    Biases, normalisations, scalars such as alpha, the spectral ReLU's W and B (which decay would
    pull from 1 to 0, closing the filter) and learnable orthogonal matrices (whose scale is
    fixed) are not decayed.

    Returns
    -------
    list of dict
        Groups for any `torch.optim` optimiser; the second has ``weight_decay`` 0.
    """
    exempt = {
        id(p)
        for module in model.modules()
        if isinstance(module, (SpectralReLU, LearnableOrthogonal))
        for p in module.parameters(recurse=False)
    }
    decayed: list[nn.Parameter] = []
    kept: list[nn.Parameter] = []
    for parameter in model.parameters():
        if parameter.requires_grad:
            is_kept = parameter.dim() <= 1 or id(parameter) in exempt
            (kept if is_kept else decayed).append(parameter)
    return [{"params": decayed}, {"params": kept, "weight_decay": 0.0}]
