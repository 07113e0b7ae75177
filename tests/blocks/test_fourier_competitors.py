"""Fast Fourier convolution's spectral transform and the global filter, against sums of waves."""

from __future__ import annotations

import cmath
import math

import pytest
import torch
from test_non_local import (
    assert_matches_naive,
    inputs,
    naive_norm,
    naive_pointwise,
    randomise,
)
from torch import Tensor, nn

from spectral_residual.blocks import FastFourierBlock, GlobalFilterBlock
from spectral_residual.blocks.global_filter import resample_filter
from spectral_residual.transforms import FourierTransform

SIZES = [(3, 4), (4, 3), (1, 5), (4, 1), (2, 2)]


def naive_spectrum(x: Tensor) -> Tensor:
    """Orthonormal spectrum of (..., H, W), columns 0 to W // 2, as sums of waves."""
    height, width = x.shape[-2:]
    bins = []
    for k in range(height):
        for m in range(width // 2 + 1):
            total = torch.zeros(x.shape[:-2], dtype=torch.complex128)
            for i in range(height):
                for j in range(width):
                    phase = -2j * math.pi * (k * i / height + m * j / width)
                    total = total + x[..., i, j] * cmath.exp(phase)
            bins.append(total / math.sqrt(height * width))
    return torch.stack(bins, dim=-1).reshape(*x.shape[:-2], height, width // 2 + 1)


def naive_inverse(spectrum: Tensor, width: int) -> Tensor:
    """Real part of the inverse of the whole plane, whose other columns mirror the stored ones."""
    height = spectrum.shape[-2]
    pixels = []
    for i in range(height):
        for j in range(width):
            total = torch.zeros(spectrum.shape[:-2], dtype=torch.complex128)
            for k in range(height):
                for m in range(width):
                    if m <= width // 2:
                        value = spectrum[..., k, m]
                    else:
                        value = spectrum[..., -k % height, width - m].conj()
                    phase = 2j * math.pi * (k * i / height + m * j / width)
                    total = total + value * cmath.exp(phase)
            pixels.append(total.real / math.sqrt(height * width))
    return torch.stack(pixels, dim=-1).reshape(*spectrum.shape[:-2], height, width)


def naive_conv_norm(conv: nn.Conv2d, norm: nn.BatchNorm2d, x: Tensor) -> Tensor:
    y = naive_norm(naive_pointwise(conv.weight, x.flatten(2)), norm.weight, norm.bias, norm.eps)
    return y.reshape(x.shape[0], -1, *x.shape[2:])


def naive_fourier_unit(unit: nn.Module, x: Tensor) -> Tensor:
    spectrum = naive_spectrum(x)
    planes = [
        part for c in range(x.shape[1]) for part in (spectrum[:, c].real, spectrum[:, c].imag)
    ]
    planes = torch.relu(naive_conv_norm(unit.conv, unit.norm, torch.stack(planes, dim=1)))
    return naive_inverse(torch.complex(planes[:, 0::2], planes[:, 1::2]), x.shape[3])


def naive_fast_fourier(block: nn.Module, x: Tensor) -> Tensor:
    u = torch.relu(naive_conv_norm(block.conv1, block.norm1, x))
    y = u + naive_fourier_unit(block.global_unit, u)
    if block.local_unit is not None:
        height, width = x.shape[2] // 2, x.shape[3] // 2
        part = u[:, : u.shape[1] // 4]
        stacked = torch.cat(
            [
                part[:, :, a * height : (a + 1) * height, b * width : (b + 1) * width]
                for b in (0, 1)
                for a in (0, 1)
            ],
            dim=1,
        )
        local = naive_fourier_unit(block.local_unit, stacked)
        row = torch.cat((local, local), dim=3)
        y = y + torch.cat((row, row), dim=2)
    return x + naive_conv_norm(block.conv2, block.norm2, y)


def naive_global_filter(block: nn.Module, x: Tensor) -> Tensor:
    mean = sum(x[:, c] for c in range(x.shape[1])) / x.shape[1]
    variance = sum((x[:, c] - mean) ** 2 for c in range(x.shape[1])) / x.shape[1]
    normed = [
        (x[:, c] - mean) / torch.sqrt(variance + 1e-6) * block.norm.weight[c] + block.norm.bias[c]
        for c in range(x.shape[1])
    ]
    spectrum = naive_spectrum(torch.stack(normed, dim=1))
    filters = torch.view_as_complex(block.weight)
    return x + naive_inverse(spectrum * filters, x.shape[3])


# --- fast Fourier convolution ----------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
def test_fast_fourier_block_equals_naive_loops(size: tuple[int, int]) -> None:
    assert_matches_naive(FastFourierBlock(8), naive_fast_fourier, inputs(3, 8, *size))


@pytest.mark.parametrize("size", [(4, 6), (2, 2), (6, 2)])
def test_local_fourier_unit_equals_naive_loops(size: tuple[int, int]) -> None:
    block = FastFourierBlock(8, lfu=True)
    assert_matches_naive(block, naive_fast_fourier, inputs(3, 8, *size))


def test_local_fourier_unit_needs_even_sizes() -> None:
    block = FastFourierBlock(8, lfu=True)
    with pytest.raises(ValueError, match="even height and width, got 4x5"):
        block(torch.randn(1, 8, 4, 5))
    with pytest.raises(ValueError, match="even height and width, got 3x4"):
        block.extra_operations((1, 8, 3, 4))


def test_real_and_imaginary_parts_stand_side_by_side() -> None:
    """A convolution that keeps plane 2 alone keeps the real part of channel 1 alone."""
    unit = FastFourierBlock(8).double().eval().global_unit
    with torch.no_grad():
        unit.conv.weight.zero_()
        unit.conv.weight[2, 2] = 1.0
    x = inputs(1, 4, 4, 4)
    planes = FourierTransform()(unit(x))
    expected = torch.relu(naive_spectrum(x)[:, 1].real) / math.sqrt(1 + unit.norm.eps)
    mirrored = expected[:, -torch.arange(4) % 4]
    hermitian = torch.tensor([True, False, True])
    expected = torch.where(hermitian, (expected + mirrored) / 2, expected)
    torch.testing.assert_close(planes[:, 0, 1], expected, rtol=0, atol=1e-12)
    assert planes[:, :, [0, 2, 3]].abs().max() < 1e-12


def test_fast_fourier_block_is_not_shift_equivariant() -> None:
    """ReLU and BN treat real and imaginary parts apart, and a shift mixes them."""
    torch.manual_seed(0)
    block = randomise(FastFourierBlock(8).double()).eval()
    x = inputs(1, 8, 4, 6)
    shifted = block(x.roll((1, 2), (2, 3)))
    assert (shifted - block(x).roll((1, 2), (2, 3))).abs().max() > 1e-2


def test_extra_operations_of_the_fast_fourier_block() -> None:
    transforms = 2 * 128 * 64 * 48 * math.log2(64 * 48)
    quarter = 2 * 128 * 32 * 24 * math.log2(32 * 24)
    plain, local = FastFourierBlock(256), FastFourierBlock(256, lfu=True)
    assert plain.extra_operations((3, 256, 64, 48)) == pytest.approx(transforms)
    assert local.extra_operations((3, 256, 64, 48)) == pytest.approx(transforms + quarter)


# --- global filter ---------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
def test_global_filter_equals_naive_loops(size: tuple[int, int]) -> None:
    assert_matches_naive(GlobalFilterBlock(4, size), naive_global_filter, inputs(2, 4, *size))


def test_global_filter_is_a_circular_convolution() -> None:
    torch.manual_seed(0)
    block = randomise(GlobalFilterBlock(4, (4, 6)).double())
    x = inputs(2, 4, 4, 6)
    shifted = block(x.roll((1, 2), (2, 3)))
    torch.testing.assert_close(shifted, block(x).roll((1, 2), (2, 3)), rtol=0, atol=1e-12)


def test_global_filter_of_ones_adds_the_normalised_map() -> None:
    block = GlobalFilterBlock(4, (5, 6)).double()
    with torch.no_grad():
        block.weight[..., 0] = 1.0
    x = inputs(2, 4, 5, 6)
    torch.testing.assert_close(block(x), x + block.norm(x.movedim(1, 3)).movedim(3, 1))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("new_size", [(5, 7), (6, 8), (2, 3)])
def test_resampled_filter_equals_interpolation_of_the_whole_plane(
    size: tuple[int, int], new_size: tuple[int, int]
) -> None:
    height, width = size
    weights = inputs(2, height, width // 2 + 1, 2)
    half = torch.view_as_complex(weights)
    raw = torch.zeros(2, height, width, dtype=torch.complex128)
    for k in range(height):
        for m in range(width):
            stored = m <= width // 2
            raw[:, k, m] = half[:, k, m] if stored else half[:, -k % height, width - m].conj()
    plane = torch.zeros_like(raw)
    for k in range(height):
        for m in range(width):
            plane[:, k, m] = (raw[:, k, m] + raw[:, -k % height, -m % width].conj()) / 2
    got = torch.view_as_complex(resample_filter(weights, size, new_size).contiguous())
    assert got.shape == (2, new_size[0], new_size[1] // 2 + 1)
    for k in range(new_size[0]):
        for m in range(new_size[1] // 2 + 1):
            v, u = k * height / new_size[0], m * width / new_size[1]
            a, b = math.floor(v), math.floor(u)
            expected = sum(
                (1 - abs(v - i)) * (1 - abs(u - j)) * plane[:, i % height, j % width]
                for i in (a, a + 1)
                for j in (b, b + 1)
            )
            torch.testing.assert_close(got[:, k, m], expected, rtol=0, atol=1e-13)


def test_real_filters_are_resampled_as_those_of_the_srl_block() -> None:
    """For one that is symmetric in columns 0 and W / 2, as the filter of a real map is."""
    weights = inputs(4, 3)
    weights = torch.stack(((weights + weights[-torch.arange(4) % 4]) / 2, 0 * weights), dim=-1)
    got = resample_filter(weights[None], (4, 4), (6, 9))
    expected = FourierTransform().resample(weights[..., 0], (4, 4), (6, 9))
    torch.testing.assert_close(got[0, ..., 0], expected, rtol=0, atol=1e-14)
    assert got[..., 1].abs().max() < 1e-14


def test_resampling_to_twice_the_size_keeps_the_learnt_frequencies() -> None:
    block = randomise(GlobalFilterBlock(3, (5, 7)).double())
    doubled = block.filter((10, 14))
    torch.testing.assert_close(doubled[:, ::2, 2::2], block.weight[:, :, 1:], rtol=0, atol=1e-14)


def test_only_what_acts_on_real_maps_is_resampled() -> None:
    """Columns 0 and W / 2 act by their Hermitian part; the rest must not leak elsewhere."""
    torch.manual_seed(0)
    block = randomise(GlobalFilterBlock(2, (4, 6)).double())
    x, larger = inputs(1, 2, 4, 6), inputs(1, 2, 7, 9)
    outputs = block(x), block(larger)
    with torch.no_grad():
        for column in (0, 3):
            own = block.weight[:, :, column]
            mirrored = own[:, -torch.arange(4) % 4] * torch.tensor([1.0, -1.0]).double()
            block.weight[:, :, column] = (own + mirrored) / 2 + (own - mirrored) * 3
    torch.testing.assert_close(block(x), outputs[0], rtol=0, atol=1e-12)
    torch.testing.assert_close(block(larger), outputs[1], rtol=0, atol=1e-12)


def test_a_learnt_shift_stays_a_shift_by_as_many_pixels_at_other_sizes() -> None:
    block = GlobalFilterBlock(2, (16, 12)).double()
    k, m = torch.arange(16)[:, None], torch.arange(7)
    phase = -2 * math.pi * (k.double() / 16 - m.double() / 12)
    with torch.no_grad():
        block.weight.copy_(torch.stack((phase.cos(), phase.sin()), dim=-1).expand(2, 16, 7, 2))
    for size, tolerance in (((16, 12), 1e-12), ((32, 24), 0.1), ((20, 15), 0.1)):
        x = inputs(1, 2, *size)
        normed = block.norm(x.movedim(1, 3)).movedim(3, 1)
        error = block(x) - x - normed.roll((1, -1), (2, 3))
        assert error.norm() / normed.norm() < tolerance


def test_gradients_reach_the_filter_through_resampling() -> None:
    block = GlobalFilterBlock(2, (4, 6))
    x = torch.randn(1, 2, 7, 5)
    y = block(x)
    assert torch.equal(y, x)
    (y * torch.randn_like(y)).sum().backward()
    assert (block.weight.grad[:, :, 1:-1] != 0).all()


def test_extra_operations_of_the_global_filter() -> None:
    expected = 2 * 256 * 64 * 48 * math.log2(64 * 48) + 4 * 256 * 64 * 25
    block = GlobalFilterBlock(256, (16, 12))
    assert block.extra_operations((3, 256, 64, 48)) == pytest.approx(expected)
