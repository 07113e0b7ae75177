"""The lowest frequencies of the two-dimensional Fourier transform, and no others.

The number of stored frequencies does not depend on the size of the map. They are computed by two
products with narrow matrices, in real arithmetic; on CPU that was faster than `torch.fft` at every
number of modes tried (9 to 95 on maps of 16x12 to 128x96, forward and backward).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import pad

from .base import Size, Transform, computing_dtype, full_precision
from .fourier import column_weights, waves

Factors = tuple[Tensor, Tensor]


class FourierModes(Transform):
    """Real Fourier transform of which the lowest m x m frequencies are kept, m odd.

    These are the frequencies -r to r of both axes, m = 2 r + 1, in cycles per map. As in
    `FourierTransform`, whose values they have, columns 0 to r are stored; the rows are 0 to r and
    then -r to -1. The inverse is that of a whole plane which is 0 at all other frequencies.

    A filter over these frequencies fits maps of any size from m x m on, and stays as it is. The
    products take ``C m (W + m) H`` operations, linear in the positions H W of a map; with m near
    its sides they take more than an FFT, which `operations` does not count.

    Parameters
    ----------
    modes : int
        m, positive and odd.

    Raises
    ------
    ValueError
        If modes is not a positive odd integer.
    """

    parts = 2
    default_groups = 8

    def __init__(self, modes: int) -> None:
        super().__init__()
        if not isinstance(modes, int) or isinstance(modes, bool) or modes < 1:
            raise ValueError(f"modes must be a positive odd integer, got {modes!r}")
        if modes % 2 == 0:
            raise ValueError(
                f"modes must be odd, as frequencies come in pairs -k and k: expected {modes - 1} "
                f"or {modes + 1}, got {modes}"
            )
        self.modes = modes

    def spectral_size(self, size: Size) -> Size:
        """(m, r + 1) for maps (H, W) of any size; raises ValueError for sides shorter than m."""
        if min(size) < self.modes:
            raise ValueError(
                f"modes={self.modes}: expected maps of at least {self.modes}x{self.modes}, "
                f"got {'x'.join(map(str, size))}"
            )
        return self.modes, self.modes // 2 + 1

    def forward(self, x: Tensor) -> Tensor:
        """Transform (N, C, H, W) to (N, 2, C, m, r + 1); see `Transform.forward`.

        Raises
        ------
        ValueError
            If a side of the map is shorter than m.
        """
        with full_precision(x.device):
            work = x.to(computing_dtype(x))
            spectrum = to_lowest(work, self.factors((x.shape[2], x.shape[3]), work))
            order = lowest_rows(self.modes)
            rows = [order.index(row) for row in range(self.modes)]
            return spectrum[:, :, :, rows].to(x.dtype)

    def inverse(self, spectrum: Tensor, size: Size) -> Tensor:
        """Transform (N, 2, C, m, r + 1) back to (N, C, H, W); see `Transform.inverse`.

        Raises
        ------
        ValueError
            If a side of the map is shorter than m.
        """
        with full_precision(spectrum.device):
            work = spectrum.to(computing_dtype(spectrum))
            lowest = work[:, :, :, lowest_rows(self.modes)]
            zeros = work.new_zeros(work.shape[0], work.shape[2], *size)
            return add_lowest(zeros, lowest, self.factors(size, work)).to(spectrum.dtype)

    def factors(self, size: Size, like: Tensor) -> Factors:
        """Matrices that `to_lowest` and `add_lowest` multiply by, for frequencies k, l of 0 to r.

        Parameters
        ----------
        size : (int, int)
            (H, W), at least m each.
        like : Tensor
            Gives device and dtype.

        Returns
        -------
        (Tensor, Tensor)
            Over H: cosine and sine of every k, (2 (r + 1), H). Over W: from a map's products with
            the cosine, and with the sine, to the real and imaginary parts of all l at -k, and to
            those at k, (2 W, 4 (r + 1)).
        """
        _, pairs = self.spectral_size(size)
        height, width = size
        over_height = torch.stack(waves(pairs, height, like), dim=1).flatten(0, 1)
        cos, sin = (wave.mT for wave in waves(pairs, width, like))
        from_cosine = torch.cat((cos, -sin, cos, -sin), dim=1)
        from_sine = torch.cat((sin, cos, -sin, -cos), dim=1)
        return over_height, torch.cat((from_cosine, from_sine))

    @staticmethod
    def resample(weights: Tensor, size: Size, new_size: Size) -> Tensor:
        """The weights as they are: the same frequencies, in cycles per map, at every size."""
        return weights

    def operations(self, channels: int, size: Size) -> float:
        """``C m (W + m) H``, or those of `FourierTransform` where these are fewer."""
        height, width = size
        positions = height * width
        products = self.modes * (width + self.modes) * height
        return float(channels * min(products, positions * math.log2(positions)))

    def extra_repr(self) -> str:
        """Modes."""
        return f"modes={self.modes}"


def lowest_rows(modes: int) -> list[int]:
    """Rows of the stored spectrum from frequency 0 outwards: 0, -1, 1, -2, 2 and so on."""
    return [0, *(row for k in range(1, modes // 2 + 1) for row in (modes - k, k))]


def to_lowest(maps: Tensor, factors: Factors) -> Tensor:
    """Lowest frequencies of maps, their rows in the order of `lowest_rows`.

    Parameters
    ----------
    maps : Tensor
        (N, C, H, W), float32 or float64.
    factors : (Tensor, Tensor)
        `FourierModes.factors` for maps of this size.

    Returns
    -------
    Tensor
        Real and imaginary parts, (N, 2, C, m, r + 1).
    """
    over_height, over_width = factors
    samples, channels, height, width = maps.shape
    pairs = len(over_height) // 2
    if _is_channels_last(maps):
        lines = over_height @ maps.permute(0, 2, 3, 1).reshape(samples, height, width * channels)
        spectrum = over_width.mT @ lines.view(samples, pairs, 2 * width, channels)
        spectrum = spectrum.movedim(3, 1)
    else:
        lines = (over_height @ maps).view(samples, channels, pairs, 2 * width)
        spectrum = lines @ over_width
    # Row -0 comes first and is row 0 once more.
    rows = spectrum.reshape(samples, channels, 2 * pairs, 2, pairs)[:, :, 1:]
    return torch.stack(rows.unbind(3), dim=1)


def add_lowest(maps: Tensor, spectrum: Tensor, factors: Factors) -> Tensor:
    """Add the inverse transform of lowest frequencies to maps.

    Parameters
    ----------
    maps : Tensor
        (N, C, H, W), dtype of `spectrum`.
    spectrum : Tensor
        (N, 2, C, m, r + 1) as `to_lowest` returns it.
    factors : (Tensor, Tensor)
        `FourierModes.factors` for maps of this size.

    Returns
    -------
    Tensor
        (N, C, H, W), memory format of `maps`.
    """
    over_height, over_width = factors
    samples, channels, height, width = maps.shape
    modes, pairs = spectrum.shape[3:]
    over_width = over_width * column_weights(modes, spectrum).repeat(4)
    real, imag = pad(spectrum, (0, 0, 1, 0)).unbind(1)
    padded = torch.stack((real, imag), dim=3).view(samples, channels, pairs, 4 * pairs)
    if _is_channels_last(maps):
        lines = (over_width @ padded.movedim(1, 3)).reshape(samples, 2 * pairs, -1)
        flat = maps.permute(0, 2, 3, 1).reshape(samples, height, width * channels)
        added = torch.baddbmm(flat, over_height.mT.expand(samples, -1, -1), lines)
        return added.view(samples, height, width, channels).permute(0, 3, 1, 2)
    lines = (padded @ over_width.mT).view(samples * channels, 2 * pairs, width)
    flat = maps.reshape(samples * channels, height, width)
    added = torch.baddbmm(flat, over_height.mT.expand(samples * channels, -1, -1), lines)
    return added.view(maps.shape)


def _is_channels_last(maps: Tensor) -> bool:
    return maps.stride(1) == 1 and maps.shape[1] > 1 and maps.stride(3) != 1
