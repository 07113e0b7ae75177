"""Three-dimensional real Fourier transform, orthonormal, on half of the last axis.

For videos (frames, height, width) and other volumes. As in `fourier` there are two forms of the
same numbers, and the inverse of any half spectrum is the real part of the inverse of the whole:
the stored columns are mirrored over all three axes, columns 0 and W/2 are taken as they are.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .base import Size, computing_dtype, full_precision
from .fourier import FourierTransform, inverse_over_width, waves


class FourierVolume(FourierTransform):
    """Real FFT of volumes of any size (T, H, W), over all three axes.

    The spectrum has the size (T, H, W // 2 + 1); `resample` and `operations` are those of the
    plane with one axis more.

    Parameters
    ----------
    method : {"fft", "matmul"}
        As for `FourierTransform`.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Transform volumes.

        Parameters
        ----------
        x : Tensor
            (N, C, T, H, W), real floating point; half precisions are transformed in float32.

        Returns
        -------
        Tensor
            Real and imaginary parts, (N, 2, C, T, H, W // 2 + 1), dtype of `x`.
        """
        with full_precision(x.device):
            work = x.to(computing_dtype(x))
            if self.method == "fft":
                spectrum = torch.fft.rfftn(work, dim=(2, 3, 4), norm="ortho")
                parts = torch.stack((spectrum.real, spectrum.imag), dim=1)
            else:
                parts = _over_frames(super().forward(work), sign=-1)
            return parts.to(x.dtype)

    def inverse(self, spectrum: Tensor, size: Size) -> Tensor:
        """Transform spectra back.

        Parameters
        ----------
        spectrum : Tensor
            (N, 2, C, T, H, W // 2 + 1), real floating point; any values.
        size : (int, int, int)
            Frames, height and width (T, H, W) of the volume.

        Returns
        -------
        Tensor
            (N, C, T, H, W), dtype of `spectrum`.
        """
        with full_precision(spectrum.device):
            work = spectrum.to(computing_dtype(spectrum))
            if self.method == "fft":
                whole = torch.complex(work[:, 0], work[:, 1])
                rows = torch.fft.ifftn(whole, dim=(2, 3), norm="ortho")
                volume = inverse_over_width(rows, size[-1])
            else:
                volume = super().inverse(_over_frames(work, sign=1), size)
            return volume.to(spectrum.dtype)


def _over_frames(spectrum: Tensor, sign: int) -> Tensor:
    """Complex DFT over T of (N, 2, C, T, H, Ws): forward for sign -1, inverse for +1."""
    planes = spectrum.flatten(-2)
    cos, sin = waves(planes.shape[-2], planes.shape[-2], planes)
    real, imag = (cos @ planes).unbind(1)
    sine_real, sine_imag = (sign * sin @ planes).unbind(1)
    return torch.stack((real - sine_imag, imag + sine_real), dim=1).reshape(spectrum.shape)
