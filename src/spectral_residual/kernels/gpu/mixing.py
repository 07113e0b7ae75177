"""The Triton kernels of the grouped 1x1 convolutions with mirrored reads, see `mixing`.

A map u and its mirror image ``u(-n)``, indices modulo H and W, are read together, position n with
position -n, for rows 0 to H // 2. Their sum and difference, the sides of u at n, are multiplied by
a weight each, and the sum and difference of the results are the map at n and at -n: every element
is read once, and every product serves two positions. Rows that are their own mirror images (0,
and H / 2 for even H) have -n among their own positions, so there only n is written.

SHAPE is (H, W), CHANNELS (groups, outputs per group, inputs per group), BLOCKS how many outputs,
inputs and positions are worked on together, powers of two from 16. Maps are (N, channels, H, W)
with their strides as constants, weights (2, groups, outputs, inputs) for even and odd sides. Sums
are float32, added up in an order that does not change from run to run.
"""

from __future__ import annotations

from .planes import tl, triton


@triton.jit
def positions(block: int, SHAPE: tl.constexpr, BLOCK: tl.constexpr) -> tl.tuple:
    """Row, column and index of positions n and of -n; n exists; -n is in another row."""
    H: tl.constexpr = SHAPE[0]
    W: tl.constexpr = SHAPE[1]
    index = block * BLOCK + tl.arange(0, BLOCK)
    row, column = index // W, index % W
    mirror_row, mirror_column = tl.where(row == 0, 0, H - row), tl.where(column == 0, 0, W - column)
    here = row, column, index
    there = mirror_row, mirror_column, mirror_row * W + mirror_column
    return here, there, index < (H // 2 + 1) * W, (row > 0) & (2 * row < H)


@triton.jit
def elements(
    channel: tl.tensor, at: tl.tuple, SHAPE: tl.constexpr, STRIDES: tl.constexpr
) -> tl.tensor:
    """Offsets (channels, positions) in a sample; wide loads need those of rows end to end."""
    if STRIDES[2] == SHAPE[1] * STRIDES[3]:
        place = at[2] * STRIDES[3]
    else:
        place = at[0] * STRIDES[2] + at[1] * STRIDES[3]
    return channel[:, None] * STRIDES[1] + place[None, :]


@triton.jit
def load_sides(
    sample: tl.tensor,
    channel: tl.tensor,
    known: tl.tensor,
    at: tl.tuple,
    SHAPE: tl.constexpr,
    STRIDES: tl.constexpr,
) -> tl.tuple:
    """Sum and difference of u(n) and u(-n) in float32, 0 where there are no channels, no n."""
    mask = known[:, None] & at[2][None, :]
    here = tl.load(sample + elements(channel, at[0], SHAPE, STRIDES), mask=mask, other=0)
    there = tl.load(sample + elements(channel, at[1], SHAPE, STRIDES), mask=mask, other=0)
    here, there = here.to(tl.float32), there.to(tl.float32)
    return here + there, here - there


@triton.jit
def mix_kernel(
    maps: tl.tensor,
    weight: tl.tensor,
    residual: tl.tensor,
    field: tl.tensor,
    out: tl.tensor,
    SHAPE: tl.constexpr,
    CHANNELS: tl.constexpr,
    BLOCKS: tl.constexpr,
    MAPS_STRIDES: tl.constexpr,
    RESIDUAL_STRIDES: tl.constexpr,
    OUT_STRIDES: tl.constexpr,
    PRECISION: tl.constexpr,
) -> None:
    """Convolve maps; add residual and, to the first row, field (channels, W), unless None.

    Program ids: outputs of a group, the groups one after another; positions; sample. Factors have
    the dtype of weight.
    """
    GROUPS: tl.constexpr = CHANNELS[0]
    OUTPUTS: tl.constexpr = CHANNELS[1]
    INPUTS: tl.constexpr = CHANNELS[2]
    tiles: tl.constexpr = (OUTPUTS + BLOCKS[0] - 1) // BLOCKS[0]
    group = tl.program_id(0) // tiles
    output = tl.program_id(0) % tiles * BLOCKS[0] + tl.arange(0, BLOCKS[0])
    wanted = output < OUTPUTS
    at = positions(tl.program_id(1), SHAPE, BLOCKS[2])
    n = tl.cast(tl.program_id(2), tl.int64)
    even = tl.zeros((BLOCKS[0], BLOCKS[2]), tl.float32)
    odd = tl.zeros((BLOCKS[0], BLOCKS[2]), tl.float32)
    for start in range(0, INPUTS, BLOCKS[1]):
        inner = start + tl.arange(0, BLOCKS[1])
        known = inner < INPUTS
        factors = (group * OUTPUTS + output[:, None]) * INPUTS + inner[None, :]
        mask = wanted[:, None] & known[None, :]
        of_even = tl.load(weight + factors, mask=mask, other=0)
        of_odd = tl.load(weight + GROUPS * OUTPUTS * INPUTS + factors, mask=mask, other=0)
        sample = maps + n * MAPS_STRIDES[0]
        sums, differences = load_sides(
            sample, group * INPUTS + inner, known, at, SHAPE, MAPS_STRIDES
        )
        even = tl.dot(of_even, sums.to(of_even.dtype), even, input_precision=PRECISION)
        odd = tl.dot(of_odd, differences.to(of_odd.dtype), odd, input_precision=PRECISION)
    channel = group * OUTPUTS + output
    n_here, n_there, exists, paired = at
    here, there = even + odd, even - odd
    mask = wanted[:, None] & exists[None, :]
    mirror_mask = mask & paired[None, :]
    if residual is not None:
        sample = residual + n * RESIDUAL_STRIDES[0]
        place = sample + elements(channel, n_here, SHAPE, RESIDUAL_STRIDES)
        here += tl.load(place, mask=mask, other=0).to(tl.float32)
        place = sample + elements(channel, n_there, SHAPE, RESIDUAL_STRIDES)
        there += tl.load(place, mask=mirror_mask, other=0).to(tl.float32)
    if field is not None:
        row, column, _ = n_here
        place = field + channel[:, None] * SHAPE[1] + column[None, :]
        here += tl.load(place, mask=mask & (row == 0)[None, :], other=0).to(tl.float32)
    sample = out + n * OUT_STRIDES[0]
    tl.store(sample + elements(channel, n_here, SHAPE, OUT_STRIDES), here, mask=mask)
    tl.store(sample + elements(channel, n_there, SHAPE, OUT_STRIDES), there, mask=mirror_mask)


@triton.jit
def weight_gradient_kernel(
    grad: tl.tensor,
    maps: tl.tensor,
    sums: tl.tensor,
    N: int,
    SHAPE: tl.constexpr,
    CHANNELS: tl.constexpr,
    BLOCKS: tl.constexpr,
    GRAD_STRIDES: tl.constexpr,
    MAPS_STRIDES: tl.constexpr,
    PRECISION: tl.constexpr,
) -> None:
    """Per program the gradient of the weight, sums: (num_programs(1), 2, groups, outputs, inputs).

    Program ids: tile of the weight; share of the blocks of positions of all samples. Factors have
    the dtype of the gradient, or that of the maps if that is shorter.
    """
    GROUPS: tl.constexpr = CHANNELS[0]
    OUTPUTS: tl.constexpr = CHANNELS[1]
    INPUTS: tl.constexpr = CHANNELS[2]
    tiles_out: tl.constexpr = (OUTPUTS + BLOCKS[0] - 1) // BLOCKS[0]
    tiles_in: tl.constexpr = (INPUTS + BLOCKS[1] - 1) // BLOCKS[1]
    pieces: tl.constexpr = ((SHAPE[0] // 2 + 1) * SHAPE[1] + BLOCKS[2] - 1) // BLOCKS[2]
    tiles: tl.constexpr = tiles_out * tiles_in
    tile, group = tl.program_id(0) % tiles, tl.program_id(0) // tiles
    output = tile // tiles_in * BLOCKS[0] + tl.arange(0, BLOCKS[0])
    inner = tile % tiles_in * BLOCKS[1] + tl.arange(0, BLOCKS[1])
    wanted, known = output < OUTPUTS, inner < INPUTS
    even = tl.zeros((BLOCKS[0], BLOCKS[1]), tl.float32)
    odd = tl.zeros((BLOCKS[0], BLOCKS[1]), tl.float32)
    for piece in range(tl.program_id(1), N * pieces, tl.num_programs(1)):
        at = positions(piece % pieces, SHAPE, BLOCKS[2])
        n = tl.cast(piece // pieces, tl.int64)
        sample = grad + n * GRAD_STRIDES[0]
        lefts = load_sides(sample, group * OUTPUTS + output, wanted, at, SHAPE, GRAD_STRIDES)
        sample = maps + n * MAPS_STRIDES[0]
        rights = load_sides(sample, group * INPUTS + inner, known, at, SHAPE, MAPS_STRIDES)
        # Own mirror images of rows: their products are there twice.
        share = tl.where(at[3], 1.0, 0.5)[None, :]
        even = add_product(even, lefts[0] * share, rights[0], grad, maps, PRECISION)
        odd = add_product(odd, lefts[1] * share, rights[1], grad, maps, PRECISION)
    size: tl.constexpr = GROUPS * OUTPUTS * INPUTS
    place = sums + tl.program_id(1) * (2 * size)
    place += (group * OUTPUTS + output[:, None]) * INPUTS + inner[None, :]
    mask = wanted[:, None] & known[None, :]
    tl.store(place, even, mask=mask)
    tl.store(place + size, odd, mask=mask)


@triton.jit
def add_product(
    total: tl.tensor,
    left: tl.tensor,
    right: tl.tensor,
    grad: tl.tensor,
    maps: tl.tensor,
    PRECISION: tl.constexpr,
) -> tl.tensor:
    """``total + left @ right.T``, factors in the shorter dtype of grad and maps."""
    if grad.dtype.element_ty == tl.float32:
        left, right = left.to(maps.dtype.element_ty), right.to(maps.dtype.element_ty)
    else:
        left, right = left.to(grad.dtype.element_ty), right.to(grad.dtype.element_ty)
    return tl.dot(left, tl.trans(right), total, input_precision=PRECISION)
