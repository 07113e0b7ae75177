"""The compiled middle of the block in training against plain operations, every derivative too."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from spectral_residual.kernels import middle, native
from srl_blocks import random_maps, relative

pytestmark = pytest.mark.skipif(
    native.unavailable_reason() is not None, reason=f"native: {native.unavailable_reason()}"
)

# Frequencies below, at and above a tile of 64 and vectors of 8 or 16.
SIZES = [(2, 1), (1, 6), (5, 5), (8, 14), (9, 15), (33, 18), (32, 24)]


def operands(size, planes=6, dtype=torch.float64):
    hidden = random_maps(planes, size, batch=3).to(dtype)
    norm = nn.BatchNorm2d(2 * planes).to(dtype)
    torch.manual_seed(1)
    with torch.no_grad():
        norm.weight.uniform_(-0.5, 1.5)
        norm.bias.normal_()
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2.0)
    spectral = (size[0], size[1] // 2 + 1)
    weight = torch.randn(spectral, dtype=dtype) + 1
    bias = torch.randn(spectral, dtype=dtype)
    return hidden, norm, weight, bias


def plain(hidden, norm, weight, bias, groups, training):
    """With `torch.fft`, the normalisation itself and sums written out."""
    spectrum = torch.fft.rfft2(hidden, norm="ortho")
    planes = torch.cat((spectrum.real, spectrum.imag), dim=1)
    filtered = torch.relu(weight * norm.train(training)(planes) + bias)
    real, imag = filtered.chunk(2, dim=1)
    maps = torch.fft.irfft2(torch.complex(real, imag), s=hidden.shape[2:], norm="ortho")
    grouped = filtered.unflatten(1, (2, groups, -1)).flatten(4)
    mean = grouped.mean((0, 4))
    centred = grouped - mean[..., None]
    return (
        maps,
        mean,
        torch.einsum("npgif,npgjf->pgij", centred, centred) / (grouped.shape[0] * grouped.shape[4]),
    )


def run_backward(norm, arguments, run):
    hidden, weight, bias = (tensor.clone().requires_grad_() for tensor in arguments)
    norm.zero_grad()
    results = run(hidden, norm, weight, bias)
    torch.manual_seed(2)
    sum((torch.randn_like(r) * r).sum() for r in results).backward()
    gradients = [hidden.grad, weight.grad, bias.grad, norm.weight.grad, norm.bias.grad]
    return [*(r.detach() for r in results), *gradients, norm.running_mean, norm.running_var]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("groups", "planes"), [(1, 6), (2, 10), (3, 3)])
@pytest.mark.parametrize(("dtype", "limit"), [(torch.float64, 1e-12), (torch.float32, 2e-5)])
def test_results_and_every_derivative(size, training, groups, planes, dtype, limit):
    hidden, norm, weight, bias = operands(size, planes, dtype)
    expected = run_backward(
        norm.train(training),
        (hidden, weight, bias),
        lambda h, n, w, b: plain(h, n, w, b, groups, training),
    )
    hidden, norm, weight, bias = operands(size, planes, dtype)

    def native_middle(h, n, w, b):
        maps, moments = middle.filtered_maps(h, n, w, b, groups)
        return maps, *moments

    found = run_backward(norm.train(training), (hidden, weight, bias), native_middle)
    for number, (a, b) in enumerate(zip(found, expected, strict=True)):
        assert relative(a, b, scale=1.0) <= limit, number


def test_second_derivatives():
    hidden, norm, weight, bias = operands((4, 5), 2)
    for tensor in (hidden, weight, bias):
        tensor.requires_grad_()

    def run(*arguments):
        maps, moments = middle.filtered_maps(arguments[0], norm, *arguments[1:], 1)
        return maps, *moments

    assert torch.autograd.gradgradcheck(run, (hidden, weight, bias), atol=1e-5)


def test_statistics_far_from_0():
    hidden = operands((33, 18), dtype=torch.float32)[0]
    spectrum = torch.fft.rfft2(hidden, norm="ortho") + 1000
    mean, variance = native.spectral_statistics(spectrum)
    planes = torch.cat((spectrum.real, spectrum.imag), dim=1).double()
    assert relative(mean.double(), planes.mean((0, 2, 3))) <= 1e-7
    assert relative(variance.double(), planes.var((0, 2, 3), correction=0)) <= 1e-6
    covariance = native.spectral_covariance(spectrum, mean, 1)
    grouped = planes.unflatten(1, (2, -1)).permute(1, 2, 0, 3, 4).flatten(2)
    exact = torch.stack([part.cov(correction=0) for part in grouped])
    assert relative(covariance[:, 0].double(), exact) <= 1e-6


def test_one_value_per_plane_is_refused():
    hidden, norm, weight, bias = operands((1, 1))
    with pytest.raises(ValueError, match="more than 1 value per plane"):
        middle.filtered_maps(hidden[:1], norm, weight, bias, 1)


def test_threads_and_runs_agree():
    hidden, norm, weight, bias = operands((9, 15), 10, torch.float32)
    norm.eval()
    threads = torch.get_num_threads()
    found = []
    try:
        for count in (1, 2, 2, 3):
            torch.set_num_threads(count)
            arguments = (hidden, weight, bias)
            found.append(
                run_backward(
                    norm,
                    arguments,
                    lambda h, n, w, b: [middle.filtered_maps(h, n, w, b, 2)[0]],
                )
            )
    finally:
        torch.set_num_threads(threads)
    for several in zip(*found, strict=True):
        assert torch.equal(several[1], several[2])
        assert all(relative(each, several[0], scale=1.0) <= 1e-5 for each in several)
