"""The spectral residual learning (SRL) block for videos.

Chi et al., "Fast Non-Local Neural Networks with Spectral Residual Learning", ACM MM 2019,
section 3.3 and figure 3: convolutions over the channels and over the frames, in the spectrum of
every frame. The printed costs of the paper's table 8 fit one reading::

    x -> transform of each frame -> conv_c (C to K) -> BN -> spectral ReLU
      -> conv_t (T to T) -> BN -> spectral ReLU -> conv_c (K to C) -> BN
      -> times alpha -> inverse transform of each frame -> + x
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn

from ..errors import unknown_name
from ..transforms import Transform
from ..transforms.base import Size, check_size
from .base import Shape, check_positive
from .frames import fold_time, unfold_time
from .spectral import Layer, SpectralReLU, SpectralResidual

OPERATIONS = ("channel+time", "channel", "time")


class TemporalConvolution(nn.Module):
    """Mix the frames of every plane and position by one T x T matrix, without bias.

    Parameters
    ----------
    frames : int
        Frames T.
    """

    def __init__(self, frames: int) -> None:
        super().__init__()
        self.frames = frames
        self.conv = nn.Conv2d(frames, frames, 1, bias=False)

    def forward(self, z: Tensor) -> Tensor:
        """Map (N * T, planes, Hs, Ws), the frames of a video in a row, to the same shape."""
        videos = z.unflatten(0, (-1, self.frames)).flatten(3)
        return self.conv(videos).reshape(z.shape)


class SRLVideoBlock(SpectralResidual):
    """Spectral residual learning block for videos.

    With ``alpha = 0``, its start, the block returns its input unchanged. Batch normalisations
    take the frames as samples.

    Parameters
    ----------
    channels : int
        Channels C of the feature map.
    size : (int, int)
        Height and width (H, W) of the frames; other sizes as in `SRLBlock`.
    transform : Transform
        Local-to-global transform of a frame, and its inverse.
    frames : int
        Frames T of the videos; no other number is taken.
    operations : {"channel+time", "channel", "time"}
        What the block convolves over (table 9): ``"channel"`` is `SRLBlock` on every frame;
        ``"time"`` is that with both convolutions over the frames, C to C channels.
    reduction, groups, kernel_size, order
        Of the convolutions over channels, as in `SRLBlock`; ``groups=1`` is the paper's SRL-FFT*.
    alpha : float, default 0
        Start of the learnable scale of the residual.
    spread : float, default 0
        Standard deviation of the spectral ReLUs' W at the start, around 1.

    Attributes
    ----------
    conv1, bn1, relu, conv2, bn2, alpha
        As in `SRLBlock`.
    conv_t, bn_t, relu_t
        Convolution over the frames with what follows it, only for ``"channel+time"``.

    Raises
    ------
    ValueError
        As `SRLBlock`; also if frames is not positive, operations is unknown, or options of the
        convolutions over channels are given where there are none.
    """

    frames: int

    def __init__(
        self,
        channels: int,
        size: Size,
        transform: Transform,
        *,
        frames: int,
        operations: str = "channel+time",
        reduction: int = 2,
        groups: int | None = None,
        kernel_size: int = 1,
        order: str = "concatenated",
        alpha: float = 0.0,
        spread: float = 0.0,
    ) -> None:
        super().__init__(channels, check_size(size), transform, order, alpha)
        check_positive("frames", frames)
        if operations not in OPERATIONS:
            raise unknown_name("operations of the SRL block for videos", operations, OPERATIONS)
        self.frames = frames
        self.operations = operations
        inner = outer = transform.parts * channels
        if operations == "time":
            if (reduction, groups, kernel_size, order) != (2, None, 1, "concatenated"):
                raise ValueError(
                    "operations='time' has no convolution over channels: expected no reduction, "
                    f"groups, kernel_size or order, got reduction={reduction}, groups={groups}, "
                    f"kernel_size={kernel_size}, order={order!r}"
                )
            conv1: nn.Module = TemporalConvolution(frames)
            conv2: nn.Module = TemporalConvolution(frames)
        else:
            conv1, conv2 = self._convolutions(reduction, groups, kernel_size)
            inner = conv1.out_channels
        self.conv1 = conv1
        self.bn1 = nn.BatchNorm2d(inner)
        self.relu = SpectralReLU(self.size, transform, spread=spread)
        if operations == "channel+time":
            self.conv_t = TemporalConvolution(frames)
            self.bn_t = nn.BatchNorm2d(inner)
            self.relu_t = SpectralReLU(self.size, transform, spread=spread)
        self.conv2 = conv2
        self.bn2 = nn.BatchNorm2d(outer)

    def hidden(self) -> Iterator[Layer]:
        """The layers before the last; see `SpectralResidual.hidden`."""
        yield self.conv1, self.bn1, self.relu
        if self.operations == "channel+time":
            yield self.conv_t, self.bn_t, self.relu_t

    def add_filtered(self, x: Tensor) -> Tensor:
        """The formula of `SpectralResidual`, for every frame."""
        y = unfold_time(super().add_filtered(fold_time(x)), self.frames)
        return y.contiguous() if x.is_contiguous() else y

    def check_input(self, shape: Shape) -> None:
        """As `SpectralResidual.check_input`; other numbers of frames are refused too."""
        super().check_input(shape)
        if shape[2] != self.frames:
            raise ValueError(
                f"this block was built for videos of {self.frames} frames, got {shape[2]} in "
                f"shape {tuple(shape)}; build it for {shape[2]} frames"
            )

    def extra_repr(self) -> str:
        """Channels, frames, their size, and what is convolved over."""
        return (
            f"channels={self.channels}, frames={self.frames}, size={self.size}, "
            f"operations={self.operations!r}, order={self.order!r}"
        )
