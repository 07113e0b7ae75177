"""What the Triton kernels do with one plane: transform it, filter its spectrum, transform back.

A plane is small (sides up to 128), so its Fourier transform is a few matrix products. With
``a = 2 pi k j / H`` and ``b = 2 pi l m / W`` everything is made of four of them::

    cc = sum x cos a cos b    ss = sum x sin a sin b
    sc = sum x sin a cos b    cs = sum x cos a sin b

Cosines are even and sines are odd in k, l, j and m. So x is first folded onto the quarter
``0 <= j <= H / 2, 0 <= m <= W / 2``, only quarters are multiplied, and rows k and -k of the
spectrum, or the four mirror images of a position, are sums and differences of the products.

A spectrum is four tiles in float32: real and imaginary parts at rows k, then at rows -k. Where -k
is k again (0, and H / 2 for even H) the tiles of rows -k hold nothing of use. tl.tuple are
(BLOCK_H, BLOCK_W), powers of two that a quarter fits into; SHAPE is (H, W, BLOCK_H, BLOCK_W).
PRECISION is how factors in float32 are multiplied, see `ops.PRECISIONS`.
"""

from __future__ import annotations

try:
    import triton  # type: ignore
    import triton.language as tl  # type: ignore
except ImportError as error:
    raise ImportError("the GPU kernels of spectral_residual need the package triton") from error


@triton.jit
def load_waves(waves_h: tl.tensor, waves_w: tl.tensor, SHAPE: tl.constexpr) -> tl.tuple:
    """Cosine and sine matrix over H, then over W, as `ops.half_waves` makes them."""
    BLOCK_H: tl.constexpr = SHAPE[2]
    BLOCK_W: tl.constexpr = SHAPE[3]
    h = tl.arange(0, BLOCK_H)[:, None] * BLOCK_H + tl.arange(0, BLOCK_H)[None, :]
    w = tl.arange(0, BLOCK_W)[:, None] * BLOCK_W + tl.arange(0, BLOCK_W)[None, :]
    return (
        tl.load(waves_h + h),
        tl.load(waves_h + BLOCK_H * BLOCK_H + h),
        tl.load(waves_w + w),
        tl.load(waves_w + BLOCK_W * BLOCK_W + w),
    )


@triton.jit
def sandwich(left: tl.tensor, x: tl.tensor, right: tl.tensor, PRECISION: tl.constexpr) -> tl.tensor:
    """``left @ x @ right``: factors in the dtype of the matrices, sums in float32."""
    rows = tl.dot(x.to(right.dtype), right, input_precision=PRECISION)
    return tl.dot(left, rows.to(left.dtype), input_precision=PRECISION)


@triton.jit
def four_products(folded: tl.tuple, waves: tl.tuple, PRECISION: tl.constexpr) -> tl.tuple:
    """cc, ss, sc and cs, each from the tile that belongs to it."""
    cos_h, sin_h, cos_w, sin_w = waves
    return (
        sandwich(cos_h, folded[0], cos_w, PRECISION),
        sandwich(sin_h, folded[1], sin_w, PRECISION),
        sandwich(sin_h, folded[2], cos_w, PRECISION),
        sandwich(cos_h, folded[3], sin_w, PRECISION),
    )


@triton.jit
def folded_axis(SHAPE: tl.constexpr, AXIS: tl.constexpr) -> tl.tuple:
    """Indices of a folded axis, which of them exist, and which have a mirror image."""
    SIZE: tl.constexpr = SHAPE[AXIS]
    BLOCK: tl.constexpr = SHAPE[2 + AXIS]
    index = tl.expand_dims(tl.arange(0, BLOCK), 1 - AXIS)
    return index, index <= SIZE // 2, (index > 0) & (2 * index < SIZE)


@triton.jit
def analyse(
    plane: tl.tensor, waves: tl.tuple, SHAPE: tl.constexpr, PRECISION: tl.constexpr
) -> tl.tuple:
    """Spectrum ``sum x exp(-i (a + b))`` of a plane.

    tl.tuple are read past the quarter, where the matrices are 0: that keeps loads wide.
    """
    H: tl.constexpr = SHAPE[0]
    W: tl.constexpr = SHAPE[1]
    j, _, twice_h = folded_axis(SHAPE, 0)
    m, _, twice_w = folded_axis(SHAPE, 1)
    x = tl.load(plane + j * W + m, mask=(j < H) & (m < W), other=0).to(tl.float32)
    x_h = tl.load(plane + (H - j) * W + m, mask=twice_h & (m < W), other=0).to(tl.float32)
    x_w = tl.load(plane + j * W + W - m, mask=(j < H) & twice_w, other=0).to(tl.float32)
    x_hw = tl.load(plane + (H - j) * W + W - m, mask=twice_h & twice_w, other=0).to(tl.float32)
    even, odd = x + x_h, x - x_h
    even_w, odd_w = x_w + x_hw, x_w - x_hw
    folded = (even + even_w, odd - odd_w, odd + odd_w, even - even_w)
    cc, ss, sc, cs = four_products(folded, waves, PRECISION)
    return cc - ss, -(sc + cs), cc + ss, sc - cs


@triton.jit
def synthesise(
    plane: tl.tensor,
    spectrum: tl.tuple,
    waves: tl.tuple,
    SHAPE: tl.constexpr,
    PRECISION: tl.constexpr,
) -> None:
    """Store ``sum re cos(a + b) - im sin(a + b)``, over the stored half, as a plane.

    This is the adjoint of `analyse`; with columns weighted, its inverse. The spectrum must be 0
    at rows -k that are rows k again.
    """
    H: tl.constexpr = SHAPE[0]
    W: tl.constexpr = SHAPE[1]
    re, im, re_mirror, im_mirror = spectrum
    folded = (re + re_mirror, re - re_mirror, im - im_mirror, im + im_mirror)
    cc, ss, sc, cs = four_products(folded, waves, PRECISION)
    j, in_h, twice_h = folded_axis(SHAPE, 0)
    m, in_w, twice_w = folded_axis(SHAPE, 1)
    tl.store(plane + j * W + m, (cc - ss) - (sc + cs), mask=in_h & in_w)
    tl.store(plane + (H - j) * W + m, (cc + ss) + (sc - cs), mask=twice_h & in_w)
    tl.store(plane + j * W + W - m, (cc + ss) - (sc - cs), mask=in_h & twice_w)
    tl.store(plane + (H - j) * W + W - m, (cc - ss) + (sc + cs), mask=twice_h & twice_w)


@triton.jit
def half_rows(SHAPE: tl.constexpr, MIRROR: tl.constexpr) -> tl.tuple:
    """Offsets of rows k (or -k) in an (H, W // 2 + 1) array, and which of them exist."""
    H: tl.constexpr = SHAPE[0]
    V: tl.constexpr = SHAPE[1] // 2 + 1
    k, in_h, twice_h = folded_axis(SHAPE, 0)
    column, in_w, _ = folded_axis(SHAPE, 1)
    if MIRROR:
        return (H - k) * V + column, twice_h & in_w
    return k * V + column, in_h & in_w


@triton.jit
def load_half(half: tl.tensor, SHAPE: tl.constexpr, MIRROR: tl.constexpr) -> tl.tensor:
    """Rows k (or -k) of an (H, W // 2 + 1) array in float32, 0 where there are none."""
    offsets, mask = half_rows(SHAPE, MIRROR)
    return tl.load(half + offsets, mask=mask, other=0).to(tl.float32)


@triton.jit
def store_half(half: tl.tensor, tile: tl.tensor, SHAPE: tl.constexpr, MIRROR: tl.constexpr) -> None:
    """Store rows k (or -k) of an (H, W // 2 + 1) array."""
    offsets, mask = half_rows(SHAPE, MIRROR)
    tl.store(half + offsets, tile, mask=mask)


@triton.jit
def load_spectrum(re: tl.tensor, im: tl.tensor, SHAPE: tl.constexpr) -> tl.tuple:
    """Spectrum from its real and its imaginary part, each (H, W // 2 + 1)."""
    return (
        load_half(re, SHAPE, False),
        load_half(im, SHAPE, False),
        load_half(re, SHAPE, True),
        load_half(im, SHAPE, True),
    )


@triton.jit
def store_spectrum(re: tl.tensor, im: tl.tensor, spectrum: tl.tuple, SHAPE: tl.constexpr) -> None:
    """Store what `load_spectrum` loads."""
    store_half(re, spectrum[0], SHAPE, False)
    store_half(im, spectrum[1], SHAPE, False)
    store_half(re, spectrum[2], SHAPE, True)
    store_half(im, spectrum[3], SHAPE, True)


@triton.jit
def weigh_columns(spectrum: tl.tuple, SHAPE: tl.constexpr) -> tl.tuple:
    """Every column times how often it stands in the whole plane, once or twice."""
    W: tl.constexpr = SHAPE[1]
    BLOCK_W: tl.constexpr = SHAPE[3]
    column = tl.arange(0, BLOCK_W)[None, :]
    weights = tl.where((column == 0) | (2 * column == W), 1.0, 2.0)
    re, im, re_mirror, im_mirror = spectrum
    return re * weights, im * weights, re_mirror * weights, im_mirror * weights


@triton.jit
def spectral_relu(
    z: tl.tensor, scale: tl.tensor, shift: tl.tensor, weight: tl.tensor, bias: tl.tensor
) -> tl.tensor:
    """``max((z * scale + shift) * weight + bias, 0)``; NaN stays NaN."""
    inner = (z * scale + shift) * weight + bias
    return tl.where(inner <= 0, 0.0, inner)


@triton.jit
def spectral_relu_backward(
    z: tl.tensor,
    grad: tl.tensor,
    scale: tl.tensor,
    shift: tl.tensor,
    weight: tl.tensor,
    bias: tl.tensor,
) -> tl.tuple:
    """Gradients of z, weight and bias at every frequency; of scale and shift, summed."""
    normal = z * scale + shift
    grad = tl.where(normal * weight + bias <= 0, 0.0, grad)
    inner = grad * weight
    return inner * scale, grad * normal, grad, tl.sum(inner * z), tl.sum(inner)
