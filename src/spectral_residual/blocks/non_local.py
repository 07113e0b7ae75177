"""The non-local block.

Wang, Girshick, Gupta, He, "Non-local Neural Networks", CVPR 2018::

    y_i = 1 / normaliser * sum_j f(x_i, x_j) g(x_j),    z = x + norm(out(y))

Every position attends to all positions, of all frames where the input is a video.
"""

from __future__ import annotations

import functools
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..errors import unknown_name
from ..transforms.base import computing_dtype, full_precision
from .base import Block, Shape, divide, fold_frames

MODES = ("embedded_gaussian", "gaussian", "dot_product", "concatenation")

_SOFTMAX_MODES = ("embedded_gaussian", "gaussian")
_QUERIES_AT_ONCE = 256


class NonLocalBlock(Block):
    """Non-local block for images and videos.

    The last normalisation starts with scale 0, so that the block returns its input unchanged.
    Convolutions have no biases and start from a normal distribution of deviation 0.01, as in
    the authors' code.

    Parameters
    ----------
    channels : int
        Channels C of the feature map.
    mode : {"embedded_gaussian", "gaussian", "dot_product", "concatenation"}
        Pairwise function f of a position i and a key j, with ``c = C / reduction``:
        ``exp(theta_i . phi_j)``; ``exp(x_i . x_j)``, without theta and phi;
        ``theta_i . phi_j``; ``ReLU(w . [theta_i, phi_j])``. The first two are normalised by
        their sum over j (a softmax), the others by the number of keys.
    reduction : int, default 2
        C / c, the bottleneck.
    subsample : bool, default False
        Whether keys and values come from the map max-pooled 2x2 (each frame of a video for
        itself). Borders of odd sizes are pooled from what is there, so that every position
        still counts.
    scale : bool, default False
        Whether the logits of the two softmax modes are divided by the square root of their
        number of features; the paper's formula does not, its authors' code does.
    memory_efficient : bool, default True
        Compute the same numbers in memory linear in the number of positions: the softmax modes
        by `torch.nn.functional.scaled_dot_product_attention`, the dot product as
        ``theta (phi^T g)``, the concatenation in groups of queries that the backward pass
        computes again. False builds the matrix of all pairs, in float32 for half precisions.

    Raises
    ------
    ValueError
        If the mode is unknown, channels are not divisible by reduction, or scale is asked for
        in a mode without softmax.
    """

    axes = (2, 3)

    def __init__(
        self,
        channels: int,
        *,
        mode: str = "embedded_gaussian",
        reduction: int = 2,
        subsample: bool = False,
        scale: bool = False,
        memory_efficient: bool = True,
    ) -> None:
        super().__init__(channels)
        if mode not in MODES:
            raise unknown_name("mode of the non-local block", mode, MODES)
        if scale and mode not in _SOFTMAX_MODES:
            raise ValueError(f"scale needs a mode with softmax {_SOFTMAX_MODES}, got {mode!r}")
        inner = divide("channels", channels, "reduction", reduction)
        self.mode = mode
        self.subsample = subsample
        self.memory_efficient = memory_efficient
        self.features = channels if mode == "gaussian" else inner
        self.scale = self.features**-0.5 if scale else 1.0
        self.theta = self._embedding(inner)
        self.phi = self._embedding(inner)
        self.g = nn.Conv2d(channels, inner, 1, bias=False)
        self.out = nn.Conv2d(inner, channels, 1, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=0.01)
        nn.init.zeros_(self.norm.weight)

    def _embedding(self, inner: int) -> nn.Module:
        if self.mode == "gaussian":
            return nn.Identity()
        embedding = nn.Conv2d(self.channels, inner, 1, bias=False)
        if self.mode == "concatenation":
            return nn.Sequential(embedding, nn.Conv2d(inner, 1, 1, bias=False))
        return embedding

    def branch(self, x: Tensor) -> Tensor:
        """What every position attends to."""
        positions = fold_frames(x)
        sources = fold_frames(_pool(x)) if self.subsample else positions
        y = self.attend(
            _rows(self.theta(positions)), _rows(self.phi(sources)), _rows(self.g(sources))
        )
        branch = self.out(y.mT.unflatten(2, positions.shape[2:]))
        if not x.is_contiguous():
            # The normalisation's backward pass misreads reshaped channels_last gradients of one
            # sample if its input has another layout (PyTorch 2.15, CPU).
            branch = branch.contiguous(memory_format=torch.channels_last)
        return self.norm(branch)

    def attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Weighted mean of the values for every query, by the block's pairwise function.

        Of queries (N, L, features), keys (N, M, features) and values (N, M, c) to (N, L, c). In
        concatenation mode there is one feature, their halves of ``w . [theta, phi]``.
        """
        if not self.memory_efficient:
            return self._attend_to_all_pairs(query, key, value)
        if self.mode in _SOFTMAX_MODES:
            return _fused_softmax_attention(query, key, value, self.scale)
        if self.mode == "dot_product":
            with full_precision(value.device):
                dtype = computing_dtype(value)
                summary = key.to(dtype).mT @ value.to(dtype) / key.shape[1]
                return (query.to(dtype) @ summary).to(value.dtype)
        groups = query.split(_QUERIES_AT_ONCE, dim=1)
        return torch.cat([self._attend_again(group, key, value) for group in groups], dim=1)

    def _attend_to_all_pairs(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        with full_precision(value.device):
            dtype = computing_dtype(value)
            query, key = query.to(dtype), key.to(dtype)
            if self.mode in _SOFTMAX_MODES:
                weights = (query @ key.mT * self.scale).softmax(-1)
            elif self.mode == "dot_product":
                weights = query @ key.mT / key.shape[1]
            else:
                weights = torch.relu(query + key.mT) / key.shape[1]
            return (weights @ value.to(dtype)).to(value.dtype)

    def _attend_again(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """All pairs of some queries, not kept for the backward pass but computed again."""
        if not torch.is_grad_enabled():
            return self._attend_to_all_pairs(query, key, value)
        attend = functools.partial(checkpoint, use_reentrant=False, preserve_rng_state=False)
        result: Tensor = attend(self._attend_to_all_pairs, query, key, value)
        return result

    def operations(self, size: Shape) -> float:
        """``L M (features + c)`` with L queries and M keys: of the matrix products.

        Without the first term in concatenation mode (no product: a sum); for the memory-efficient
        dot product ``(L + M) c^2``.
        """
        *frames, height, width = size
        queries = keys = math.prod(size)
        if self.subsample:
            keys = math.prod(frames) * ((height + 1) // 2) * ((width + 1) // 2)
        inner = self.g.out_channels
        if self.mode == "dot_product" and self.memory_efficient:
            return (queries + keys) * inner * inner
        compared = 0 if self.mode == "concatenation" else self.features
        return queries * keys * (compared + inner)

    def extra_repr(self) -> str:
        """What `repr` shows."""
        return (
            f"channels={self.channels}, mode={self.mode!r}, subsample={self.subsample}, "
            f"memory_efficient={self.memory_efficient}"
        )


def _pool(x: Tensor) -> Tensor:
    if x.dim() == 5:
        return F.max_pool3d(x, (1, 2, 2), ceil_mode=True)
    return F.max_pool2d(x, 2, ceil_mode=True)


def _rows(x: Tensor) -> Tensor:
    """(N, c, H, W) to (N, H * W, c), in memory too: the fused kernels take nothing else."""
    return x.flatten(2).mT.contiguous()


def _fused_softmax_attention(query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
    """Softmax attention of (N, L, features), (N, M, features), (N, M, c) to (N, L, c)."""
    width = value.shape[-1]
    if width != query.shape[-1]:
        # The fused kernels need equal widths; without one, all pairs would be stored after all.
        value = F.pad(value, (0, query.shape[-1] - width))
    y = F.scaled_dot_product_attention(
        query.unsqueeze(1), key.unsqueeze(1), value.unsqueeze(1), scale=scale
    )
    return y.squeeze(1)[..., :width]
