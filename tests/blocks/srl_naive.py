"""SRL blocks written out with whole transforms, and one training step of a block, for tests."""

from __future__ import annotations

import math

import torch
from srl_blocks import random_maps, relative
from torch import Tensor, nn
from torch.nn import functional

from spectral_residual.blocks.spectral import SpectralReLU
from spectral_residual.transforms import LearnableOrthogonal
from spectral_residual.transforms.bases import BASES

LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


def layout_of(name, axes) -> torch.memory_format:
    if name == "channels_last" and axes == 3:
        return torch.channels_last_3d
    return LAYOUTS[name]


@torch.no_grad()
def randomise(block, seed=0) -> nn.Module:
    """Draw every parameter and statistic of normalisations and filters, in place."""
    generator = torch.Generator().manual_seed(seed)
    for module in block.modules():
        if isinstance(module, LearnableOrthogonal):
            module.retract()  # in the dtype that it has now
        if isinstance(module, nn.BatchNorm2d):
            module.weight.uniform_(0.5, 1.5, generator=generator)
            module.bias.normal_(std=0.3, generator=generator)
            module.running_mean.normal_(std=0.2, generator=generator)
            module.running_var.uniform_(0.5, 2.0, generator=generator)
        elif isinstance(module, SpectralReLU):
            module.weight.normal_(mean=1.0, std=0.5, generator=generator)
            module.bias.normal_(std=0.3, generator=generator)
    return block


def step(run, block, x) -> dict[str, Tensor]:
    """Output, gradients and statistics after forward and backward."""
    x = x.clone(memory_format=torch.preserve_format).requires_grad_()
    y = run(x)
    y.backward(random_maps(x.shape[1], x.shape[2:], len(x), seed=1).to(y))
    found = {"output": y.detach(), "input": x.grad}
    found |= {name: parameter.grad for name, parameter in block.named_parameters()}
    return found | {name: b for name, b in block.named_buffers() if "running" in name}


def compare(found, expected, limit):
    assert found.keys() == expected.keys()
    largest = max(value.abs().max().item() for value in expected.values())
    gaps = {k: relative(found[k], v, 1e-3 * largest) for k, v in expected.items()}
    assert max(gaps.values()) <= limit, gaps


def naive(block, x) -> Tensor:
    """Output of an `SRLBlock` with modes: whole transforms of which all but few numbers are 0."""
    transform, size = block.transform, tuple(x.shape[2:])
    scale = math.prod(
        math.sqrt(reference / n)
        for reference, n, m in zip(
            transform.reference_size or size, size, transform.modes, strict=True
        )
        if m is not None
    )
    there, back = _fourier(transform, size) if transform.parts == 2 else _real(transform, size)
    z = there(x) * scale
    if block.order == "interleaved":
        z = torch.stack(z.chunk(transform.parts, dim=1), dim=2).flatten(1, 2)
    z = _layer(block.conv1, block.bn1, z)
    z = _filter(block.relu, transform, size, z)
    if block.hidden_layers == 2:
        z = _filter(block.relu_h, transform, size, _layer(block.conv_h, block.bn_h, z))
    z = block.alpha * _layer(block.conv2, block.bn2, z)
    if block.order == "interleaved":
        z = torch.cat([z[:, part :: transform.parts] for part in range(transform.parts)], dim=1)
    return x + back(z / scale)


def _real(transform, size):
    """Kept coefficients by whole orthogonal matrices, and maps of whole spectra."""
    rows = [n if m is None else min(n, m) for n, m in zip(size, transform.modes, strict=True)]
    if hasattr(transform, "kind"):
        over_height, over_width = (BASES[transform.kind](n) for n in size)
    else:
        over_height, over_width = (_complete(p) for p in (transform.P, transform.Q.mT))

    def there(x):
        whole = torch.einsum("hi,ncij,wj->nchw", over_height, x, over_width)
        return whole[..., : rows[0], : rows[1]]

    def back(z):
        whole = functional.pad(z, (0, size[1] - rows[1], 0, size[0] - rows[0]))
        return torch.einsum("hi,nchw,wj->ncij", over_height, whole, over_width)

    return there, back


def _complete(rows):
    """Square matrix whose first rows these are; the others are orthonormal to them."""
    whole = torch.linalg.svd(rows.detach(), full_matrices=True).Vh
    return torch.cat((rows, whole[len(rows) :]))


def _fourier(transform, size):
    """Kept frequencies by the FFT of everything, and real parts of inverses of everything."""
    axes = range(-len(size), 0)
    indices = [kept_rows(n, m) for n, m in zip(size, transform.modes, strict=True)]
    last = size[-1] if transform.modes[-1] is None else min(size[-1], transform.modes[-1])
    indices[-1] = list(range(last // 2 + 1))
    weights = torch.tensor([1.0 if 2 * k % size[-1] == 0 else 2.0 for k in indices[-1]]).double()

    def there(x):
        whole = torch.fft.fftn(x, dim=tuple(axes), norm="ortho")
        for axis, kept in zip(axes, indices, strict=True):
            whole = whole.index_select(axis, torch.tensor(kept))
        return torch.cat((whole.real, whole.imag), dim=1)

    def back(z):
        whole = torch.complex(*z.chunk(2, dim=1)) * weights
        for axis, kept, n in zip(axes, indices, size, strict=True):
            shape = list(whole.shape)
            shape[axis] = n
            whole = whole.new_zeros(shape).index_add(axis, torch.tensor(kept), whole)
        return torch.fft.ifftn(whole, dim=tuple(axes), norm="ortho").real

    return there, back


def kept_rows(n, m) -> list[int]:
    """Rows of an FFT of n rows whose frequency is one of -r to r; all of them if m is None."""
    return [row for row in range(n) if m is None or min(row, n - row) <= m // 2]


def kept_filter(transform, weight, size) -> Tensor:
    """What a filter of the transform has for maps of a size that may be smaller than the modes."""
    axes = range(-len(size), 0)
    for axis, n, m in zip(axes, size, transform.modes, strict=True):
        if m is None or n >= m:
            continue
        if transform.parts == 1:
            kept = list(range(n))
        elif axis == -1:
            kept = list(range(n // 2 + 1))
        else:
            kept = [*range(n // 2 + 1), *range(m - (n - 1) // 2, m)]
        weight = weight.index_select(axis, torch.tensor(kept))
    return weight


def _filter(relu, transform, size, z):
    weight, bias = (kept_filter(transform, w, size) for w in (relu.weight, relu.bias))
    return torch.relu(weight * z + bias)


def _layer(conv, norm, z):
    if z.dim() == 5:
        z = functional.conv3d(z, conv.weight.unsqueeze(-1), groups=conv.groups)
    else:
        z = functional.conv2d(z, conv.weight, padding=conv.padding, groups=conv.groups)
    return functional.batch_norm(
        z,
        norm.running_mean,
        norm.running_var,
        norm.weight,
        norm.bias,
        norm.training,
        norm.momentum,
        norm.eps,
    )
