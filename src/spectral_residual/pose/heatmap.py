"""Heatmap targets of top-down pose estimation, their decoding, the flip test and the loss.

The rules are SimpleBaseline's (Xiao, Wu and Wei, "Simple Baselines for Human Pose Estimation and
Tracking", ECCV 2018, code). Heatmap pixel q lies at crop pixel stride * q; maps are (H, W), points
are (x, y), pixel centres are integers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .checks import check_shape


def _check_size(field: str, size: tuple[int, int]) -> None:
    if len(size) != 2 or not all(isinstance(side, int) and side > 0 for side in size):
        raise ValueError(f"{field}: got {size}, expected positive integers (H, W)")


def _at_least_float32(values: Tensor) -> Tensor:
    return values if values.dtype in (torch.float32, torch.float64) else values.float()


def default_sigma(input_size: tuple[int, int]) -> float:
    """Standard deviation of the target for an input size at stride 4, in heatmap pixels.

    SimpleBaseline's 2 at 256x192 and 3 at 384x288, linear in the height, so 4 at 512x384; at
    least 1.

    Parameters
    ----------
    input_size : (int, int)
        Height and width of the network's input.

    Returns
    -------
    float
        max(1, height / 128).

    Raises
    ------
    ValueError
        If the size is not two positive integers.
    """
    _check_size("input_size", input_size)
    return max(1.0, input_size[0] / 128)


@dataclass(frozen=True)
class HeatmapCodec:
    """Joints to heatmaps and back.

    Parameters
    ----------
    input_size : (int, int)
        Height and width of the network's input (the crop).
    heatmap_size : (int, int)
        Height and width of a heatmap; the input's sides are the same integer multiple of both.
    sigma : float
        Standard deviation of the Gaussian in heatmap pixels, positive.

    Raises
    ------
    ValueError
        If the sizes do not fit together or `sigma` is not positive.
    """

    input_size: tuple[int, int]
    heatmap_size: tuple[int, int]
    sigma: float

    def __post_init__(self) -> None:
        _check_size("input_size", self.input_size)
        _check_size("heatmap_size", self.heatmap_size)
        if self.input_size != tuple(self.stride * side for side in self.heatmap_size):
            raise ValueError(
                f"got input_size {self.input_size} and heatmap_size {self.heatmap_size}, expected "
                "both sides of the input to be the same integer multiple of the heatmap's"
            )
        if not (math.isfinite(self.sigma) and self.sigma > 0):
            raise ValueError(f"sigma: got {self.sigma}, expected a positive number")

    @property
    def stride(self) -> int:
        """Crop pixels per heatmap pixel."""
        return self.input_size[0] // self.heatmap_size[0]

    @property
    def radius(self) -> int:
        """Half width of the Gaussian's square support in heatmap pixels: 3 sigma, rounded down."""
        return int(3 * self.sigma)

    def encode(self, joints: Tensor, visible: Tensor) -> tuple[Tensor, Tensor]:
        """Draw the target heatmaps.

        The centre is mu = trunc(x / stride + 1/2) per axis, rounded toward zero. The Gaussian
        exp(-d^2 / (2 sigma^2)) has peak 1, is zero outside the square mu +- `radius`, and is cut
        at the border. A joint keeps its weight as long as mu - radius < W and
        mu + radius + 1 >= 0 (and so for y); else its weight is 0. A joint of weight 0 has a zero
        heatmap.

        Parameters
        ----------
        joints : tensor of shape (N, K, 2)
            x, y in crop pixels, any place, on any device.
        visible : tensor of shape (N, K)
            1 = labelled, 0 = not.

        Returns
        -------
        heatmaps : float32 tensor of shape (N, K, H, W)
            In [0, 1], on the device of `joints`.
        weights : float32 tensor of shape (N, K)
            `visible`, or 0 for a joint too far outside.

        Raises
        ------
        ValueError
            If a shape is wrong.
        """
        check_shape("joints", joints, "N", "K", 2)
        check_shape("visible", visible, *joints.shape[:2])
        height, width = self.heatmap_size
        mu = torch.trunc(_at_least_float32(joints) / self.stride + 0.5)
        size = mu.new_tensor([width, height])
        touches = (mu - self.radius < size) & (mu + self.radius + 1 >= 0)
        weights = visible.to(device=joints.device, dtype=torch.float32) * touches.all(dim=-1)
        column = self._profile(mu[..., 0], width)
        row = self._profile(mu[..., 1], height) * (weights > 0).unsqueeze(-1)
        return row.unsqueeze(-1) * column.unsqueeze(-2), weights

    def _profile(self, mu: Tensor, length: int) -> Tensor:
        offset = torch.arange(length, device=mu.device, dtype=mu.dtype) - mu.unsqueeze(-1)
        gaussian = torch.exp(offset.square() / (-2 * self.sigma**2))
        return torch.where(offset.abs() <= self.radius, gaussian, 0.0).float()

    def decode(self, heatmaps: Tensor) -> tuple[Tensor, Tensor]:
        """Find the peak of each heatmap.

        The peak is the first maximum in row-major order. Where its column is in 2 .. W - 2 and its
        row in 2 .. H - 2, it moves by a quarter pixel per axis toward the greater neighbour, and
        not at all between equal ones. Where the maximum is not positive, the point is (0, 0).

        Parameters
        ----------
        heatmaps : tensor of shape (N, K, H, W)
            Any floating dtype; float16 and bfloat16 are decoded in float32.

        Returns
        -------
        coords : tensor of shape (N, K, 2)
            x, y in heatmap pixels, float32 (float64 for float64 heatmaps).
        scores : tensor of shape (N, K)
            The maximum itself, same dtype.

        Raises
        ------
        ValueError
            If the shape is not (N, K, *heatmap_size).
        """
        check_shape("heatmaps", heatmaps, "N", "K", *self.heatmap_size)
        height, width = self.heatmap_size
        flat = _at_least_float32(heatmaps).flatten(start_dim=2)
        scores, index = flat.max(dim=-1)
        index = torch.where(scores > 0, index, 0)
        x, y = index % width, index // width
        steps = torch.tensor([1, -1, width, -width], device=flat.device)
        around = (index.unsqueeze(-1) + steps).clamp(0, height * width - 1)
        right, left, down, up = flat.gather(-1, around).unbind(dim=-1)
        inside = (x > 1) & (x < width - 1) & (y > 1) & (y < height - 1)
        toward = torch.stack([torch.sign(right - left), torch.sign(down - up)], dim=-1)
        shift = torch.where(inside.unsqueeze(-1), 0.25 * toward, 0.0)
        return torch.stack([x, y], dim=-1).to(flat.dtype) + shift, scores

    def to_crop(self, coords: Tensor) -> Tensor:
        """Scale points from heatmap pixels to crop pixels: times `stride`, any shape."""
        return coords * self.stride

    def to_image(self, coords: Tensor, center: Tensor, size: Tensor) -> Tensor:
        """Map points from heatmap pixels to image pixels, the inverse of an unrotated crop.

        Point q of the crop maps to center + (q - (W / 2, H / 2)) size[0] / W; see
        `geometry.crop_matrix`.

        Parameters
        ----------
        coords : tensor of shape (N, K, 2)
            x, y in heatmap pixels.
        center, size : tensor of shape (N, 2)
            Centre (x, y) and padded size (width, height) of each crop in image pixels.

        Returns
        -------
        tensor of shape (N, K, 2)
            x, y in image pixels, in the dtype and on the device of `size`.

        Raises
        ------
        ValueError
            If a shape is wrong.
        """
        check_shape("coords", coords, "N", "K", 2)
        check_shape("center", center, len(coords), 2)
        check_shape("size", size, len(coords), 2)
        crop = size.new_tensor(self.input_size[::-1])
        scale = size[:, None, :1] / crop[0]
        return center[:, None] + (self.to_crop(coords).to(size) - crop / 2) * scale


def flip_heatmaps(heatmaps: Tensor, flip_permutation: Sequence[int]) -> Tensor:
    """Bring the heatmaps of a mirrored crop back to the crop's own frame.

    The maps are mirrored on x and the channels of each left/right pair exchanged. Since heatmap
    pixel q lies at crop pixel 4 q, the result of a stride-4 network is 3/4 pixel too far left;
    it is moved right by one column (the first column keeps its value).

    Parameters
    ----------
    heatmaps : tensor of shape (N, K, H, W)
        Output for the mirrored crops.
    flip_permutation : sequence of int
        K indices, `Skeleton.flip_permutation`.

    Returns
    -------
    tensor of shape (N, K, H, W)
        Same dtype and device; the input is unchanged.

    Raises
    ------
    ValueError
        If `flip_permutation` is not a permutation of the K channels.
    """
    check_shape("heatmaps", heatmaps, "N", "K", "H", "W")
    if sorted(flip_permutation) != list(range(heatmaps.shape[1])):
        raise ValueError(
            f"flip_permutation: got {tuple(flip_permutation)}, "
            f"expected a permutation of 0 .. {heatmaps.shape[1] - 1}"
        )
    flipped = heatmaps[:, list(flip_permutation)].flip(-1)
    return torch.cat([flipped[..., :1], flipped[..., :-1]], dim=-1)


def flip_test(
    heatmaps_of: Callable[[Tensor], Tensor], crops: Tensor, flip_permutation: Sequence[int]
) -> Tensor:
    """Mean of the heatmaps of crops (N, H, W, 3) and of those of their mirror images, float32.

    Parameters
    ----------
    heatmaps_of : callable
        Maps crops to heatmaps (N, K, H / 4, W / 4).
    crops : tensor of shape (N, H, W, 3)
        Crops.
    flip_permutation : sequence of int
        K indices, `Skeleton.flip_permutation`.
    """
    mirrored = flip_heatmaps(heatmaps_of(crops.flip(2)).float(), flip_permutation)
    return (heatmaps_of(crops).float() + mirrored) / 2
