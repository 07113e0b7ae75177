"""The Triton kernels: loops over planes, made of the parts in `planes`.

A program takes channel ``program_id(0)`` and every ``num_programs(1)``-th sample, and writes the
sums that it makes over its planes to a place of its own: no atomic operations, so that results
are the same in every run. Planes in memory are (N, K, H, W), spectra (N, 2, K, H, W // 2 + 1),
scale and shift (2, K), real and imaginary; weight and bias (H, W // 2 + 1).
"""

from __future__ import annotations

from .planes import (
    analyse,
    folded_axis,
    load_half,
    load_spectrum,
    load_waves,
    spectral_relu,
    spectral_relu_backward,
    store_half,
    store_spectrum,
    synthesise,
    tl,
    triton,
    weigh_columns,
)


@triton.jit
def plane_at(planes: tl.tensor, n: int, k: int, K: int, SHAPE: tl.constexpr) -> tl.tensor:
    """Pointer to the plane of sample n and channel k."""
    return planes + (tl.cast(n, tl.int64) * K + k) * (SHAPE[0] * SHAPE[1])


@triton.jit
def spectrum_at(spectra: tl.tensor, n: int, k: int, K: int, SHAPE: tl.constexpr) -> tl.tuple:
    """Pointers to the real and the imaginary part of the spectrum of sample n and channel k."""
    half: tl.constexpr = SHAPE[0] * (SHAPE[1] // 2 + 1)
    re = spectra + (tl.cast(n, tl.int64) * (2 * K) + k) * half
    return re, re + tl.cast(K, tl.int64) * half


@triton.jit
def filter_kernel(
    h: tl.tensor,
    scale: tl.tensor,
    shift: tl.tensor,
    weight: tl.tensor,
    bias: tl.tensor,
    out: tl.tensor,
    waves_h: tl.tensor,
    waves_w: tl.tensor,
    N: int,
    K: int,
    SHAPE: tl.constexpr,
    PRECISION: tl.constexpr,
    SPECTRUM: tl.constexpr,
) -> None:
    """Planes h to filtered planes or, if SPECTRUM, to filtered spectra."""
    waves = load_waves(waves_h, waves_w, SHAPE)
    k = tl.program_id(0)
    scale_re, scale_im = tl.load(scale + k), tl.load(scale + K + k)
    shift_re, shift_im = tl.load(shift + k), tl.load(shift + K + k)
    for n in range(tl.program_id(1), N, tl.num_programs(1)):
        re, im, re_mirror, im_mirror = analyse(plane_at(h, n, k, K, SHAPE), waves, SHAPE, PRECISION)
        w, b = load_half(weight, SHAPE, False), load_half(bias, SHAPE, False)
        re = spectral_relu(re, scale_re, shift_re, w, b)
        im = spectral_relu(im, scale_im, shift_im, w, b)
        w, b = load_half(weight, SHAPE, True), load_half(bias, SHAPE, True)
        re_mirror = spectral_relu(re_mirror, scale_re, shift_re, w, b)
        im_mirror = spectral_relu(im_mirror, scale_im, shift_im, w, b)
        spectrum = (re, im, re_mirror, im_mirror)
        if SPECTRUM:
            out_re, out_im = spectrum_at(out, n, k, K, SHAPE)
            store_spectrum(out_re, out_im, spectrum, SHAPE)
        else:
            spectrum = weigh_columns(spectrum, SHAPE)
            synthesise(plane_at(out, n, k, K, SHAPE), spectrum, waves, SHAPE, PRECISION)


@triton.jit
def filter_backward_kernel(
    grad: tl.tensor,
    h: tl.tensor,
    scale: tl.tensor,
    shift: tl.tensor,
    weight: tl.tensor,
    bias: tl.tensor,
    grad_h: tl.tensor,
    half_sums: tl.tensor,
    channel_sums: tl.tensor,
    waves_h: tl.tensor,
    waves_w: tl.tensor,
    N: int,
    K: int,
    SHAPE: tl.constexpr,
    PRECISION: tl.constexpr,
    SPECTRUM: tl.constexpr,
) -> None:
    """Gradient of h, and per program the sums of the gradients of the other inputs.

    half_sums is (2, num_programs(1), K, H, W // 2 + 1), of weight and of bias; channel_sums is
    (2, num_programs(1), 2, K), of scale and of shift.
    """
    half: tl.constexpr = SHAPE[0] * (SHAPE[1] // 2 + 1)
    waves = load_waves(waves_h, waves_w, SHAPE)
    k = tl.program_id(0)
    scale_re, scale_im = tl.load(scale + k), tl.load(scale + K + k)
    shift_re, shift_im = tl.load(shift + k), tl.load(shift + K + k)
    weight_sum = tl.zeros((SHAPE[2], SHAPE[3]), tl.float32)
    bias_sum = tl.zeros((SHAPE[2], SHAPE[3]), tl.float32)
    weight_sum_mirror = tl.zeros((SHAPE[2], SHAPE[3]), tl.float32)
    bias_sum_mirror = tl.zeros((SHAPE[2], SHAPE[3]), tl.float32)
    scale_re_sum, scale_im_sum, shift_re_sum, shift_im_sum = 0.0, 0.0, 0.0, 0.0
    for n in range(tl.program_id(1), N, tl.num_programs(1)):
        re, im, re_mirror, im_mirror = analyse(plane_at(h, n, k, K, SHAPE), waves, SHAPE, PRECISION)
        if SPECTRUM:
            grad_re, grad_im = spectrum_at(grad, n, k, K, SHAPE)
            grads = load_spectrum(grad_re, grad_im, SHAPE)
        else:
            grads = analyse(plane_at(grad, n, k, K, SHAPE), waves, SHAPE, PRECISION)
            grads = weigh_columns(grads, SHAPE)
        w, b = load_half(weight, SHAPE, False), load_half(bias, SHAPE, False)
        re, dw, db, dscale, dshift = spectral_relu_backward(re, grads[0], scale_re, shift_re, w, b)
        weight_sum += dw
        bias_sum += db
        scale_re_sum += dscale
        shift_re_sum += dshift
        im, dw, db, dscale, dshift = spectral_relu_backward(im, grads[1], scale_im, shift_im, w, b)
        weight_sum += dw
        bias_sum += db
        scale_im_sum += dscale
        shift_im_sum += dshift
        w, b = load_half(weight, SHAPE, True), load_half(bias, SHAPE, True)
        re_mirror, dw, db, dscale, dshift = spectral_relu_backward(
            re_mirror, grads[2], scale_re, shift_re, w, b
        )
        weight_sum_mirror += dw
        bias_sum_mirror += db
        scale_re_sum += dscale
        shift_re_sum += dshift
        im_mirror, dw, db, dscale, dshift = spectral_relu_backward(
            im_mirror, grads[3], scale_im, shift_im, w, b
        )
        weight_sum_mirror += dw
        bias_sum_mirror += db
        scale_im_sum += dscale
        shift_im_sum += dshift
        spectrum = (re, im, re_mirror, im_mirror)
        synthesise(plane_at(grad_h, n, k, K, SHAPE), spectrum, waves, SHAPE, PRECISION)
    programs = tl.num_programs(1)
    weight_sums = half_sums + tl.cast(tl.program_id(1) * K + k, tl.int64) * half
    bias_sums = weight_sums + tl.cast(programs * K, tl.int64) * half
    store_half(weight_sums, weight_sum, SHAPE, False)
    store_half(weight_sums, weight_sum_mirror, SHAPE, True)
    store_half(bias_sums, bias_sum, SHAPE, False)
    store_half(bias_sums, bias_sum_mirror, SHAPE, True)
    scale_sums = channel_sums + tl.program_id(1) * (2 * K) + k
    shift_sums = scale_sums + programs * (2 * K)
    tl.store(scale_sums, scale_re_sum)
    tl.store(scale_sums + K, scale_im_sum)
    tl.store(shift_sums, shift_re_sum)
    tl.store(shift_sums + K, shift_im_sum)


@triton.jit
def inverse_kernel(
    z: tl.tensor,
    out: tl.tensor,
    waves_h: tl.tensor,
    waves_w: tl.tensor,
    N: int,
    K: int,
    SHAPE: tl.constexpr,
    PRECISION: tl.constexpr,
) -> None:
    """Spectra to planes."""
    waves = load_waves(waves_h, waves_w, SHAPE)
    k = tl.program_id(0)
    for n in range(tl.program_id(1), N, tl.num_programs(1)):
        re, im = spectrum_at(z, n, k, K, SHAPE)
        spectrum = weigh_columns(load_spectrum(re, im, SHAPE), SHAPE)
        synthesise(plane_at(out, n, k, K, SHAPE), spectrum, waves, SHAPE, PRECISION)


@triton.jit
def inverse_backward_kernel(
    grad: tl.tensor,
    grad_z: tl.tensor,
    waves_h: tl.tensor,
    waves_w: tl.tensor,
    N: int,
    K: int,
    SHAPE: tl.constexpr,
    PRECISION: tl.constexpr,
) -> None:
    """Gradient of planes to that of spectra."""
    waves = load_waves(waves_h, waves_w, SHAPE)
    k = tl.program_id(0)
    for n in range(tl.program_id(1), N, tl.num_programs(1)):
        spectrum = analyse(plane_at(grad, n, k, K, SHAPE), waves, SHAPE, PRECISION)
        re, im = spectrum_at(grad_z, n, k, K, SHAPE)
        store_spectrum(re, im, weigh_columns(spectrum, SHAPE), SHAPE)


@triton.jit
def statistics_kernel(
    h: tl.tensor,
    sums: tl.tensor,
    waves_h: tl.tensor,
    waves_w: tl.tensor,
    N: int,
    K: int,
    SHAPE: tl.constexpr,
    PRECISION: tl.constexpr,
) -> None:
    """Per program the sums (real, imaginary) and sums of squares: (num_programs(1), 2, 2, K)."""
    waves = load_waves(waves_h, waves_w, SHAPE)
    _, _, twice_h = folded_axis(SHAPE, 0)
    k = tl.program_id(0)
    sum_re, sum_im, square_re, square_im = 0.0, 0.0, 0.0, 0.0
    for n in range(tl.program_id(1), N, tl.num_programs(1)):
        re, im, re_mirror, im_mirror = analyse(plane_at(h, n, k, K, SHAPE), waves, SHAPE, PRECISION)
        re_mirror = tl.where(twice_h, re_mirror, 0.0)
        im_mirror = tl.where(twice_h, im_mirror, 0.0)
        sum_re += tl.sum(re + re_mirror)
        sum_im += tl.sum(im + im_mirror)
        square_re += tl.sum(re * re + re_mirror * re_mirror)
        square_im += tl.sum(im * im + im_mirror * im_mirror)
    sums += tl.program_id(1) * (4 * K) + k
    tl.store(sums, sum_re)
    tl.store(sums + K, sum_im)
    tl.store(sums + 2 * K, square_re)
    tl.store(sums + 3 * K, square_im)


@triton.jit
def statistics_backward_kernel(
    grad: tl.tensor,
    h: tl.tensor,
    grad_h: tl.tensor,
    waves_h: tl.tensor,
    waves_w: tl.tensor,
    N: int,
    K: int,
    SHAPE: tl.constexpr,
    PRECISION: tl.constexpr,
) -> None:
    """Gradient of h from that of its statistics, (2, 2, K)."""
    waves = load_waves(waves_h, waves_w, SHAPE)
    _, _, twice_h = folded_axis(SHAPE, 0)
    k = tl.program_id(0)
    sum_re, sum_im = tl.load(grad + k), tl.load(grad + K + k)
    square_re, square_im = 2 * tl.load(grad + 2 * K + k), 2 * tl.load(grad + 3 * K + k)
    for n in range(tl.program_id(1), N, tl.num_programs(1)):
        re, im, re_mirror, im_mirror = analyse(plane_at(h, n, k, K, SHAPE), waves, SHAPE, PRECISION)
        spectrum = (
            sum_re + square_re * re,
            sum_im + square_im * im,
            tl.where(twice_h, sum_re + square_re * re_mirror, 0.0),
            tl.where(twice_h, sum_im + square_im * im_mirror, 0.0),
        )
        synthesise(plane_at(grad_h, n, k, K, SHAPE), spectrum, waves, SHAPE, PRECISION)
