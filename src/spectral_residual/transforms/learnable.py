"""The fully learnable orthogonal transform (LO), paper section 3.2.

P and Q are parameters. After every optimiser step each is replaced by the Q factor of its QR
decomposition, with signs fixed so that R has a positive diagonal and an orthogonal matrix is
left where it is. No training loop has to remember it:

* a hook common to all `torch.optim.Optimizer` retracts the matrices that it has stepped; the first
  transform that is made registers it for the process, importing this module does not;
* for updates by other means (``p.data -= lr * p.grad``, averaging, loading), the next forward
  pass or `state_dict` measures the deviation from orthogonality and retracts if there is any.

In a compiled graph only the first of the two acts.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.optimizer import Optimizer, register_optimizer_step_post_hook

from .base import Factors, Modes, Size, check_size
from .orthogonal import OrthogonalTransform


def orthogonal_factor(matrix: Tensor) -> Tensor:
    """Q factor of the QR decomposition with positive diagonal of R.

    Parameters
    ----------
    matrix : Tensor
        (n, m), any real dtype; half precisions are decomposed in float32. A wide one, m > n, is
        decomposed transposed.

    Returns
    -------
    Tensor
        (n, m), with orthonormal columns, or rows if it is wide; dtype of `matrix`. Such a matrix
        is returned unchanged up to rounding.
    """
    if matrix.shape[0] < matrix.shape[1]:
        return orthogonal_factor(matrix.mT).mT
    work = matrix if matrix.dtype == torch.float64 else matrix.float()
    q, r = torch.linalg.qr(work)
    signs = torch.where(r.diagonal() < 0, -1.0, 1.0).to(q.dtype)
    return (q * signs).to(matrix.dtype)


def orthogonality_error(matrix: Tensor) -> Tensor:
    """Largest absolute entry of ``M M^T - I``, or ``M^T M - I`` if M is tall: (), float64."""
    work = matrix.detach().double()
    if work.shape[0] > work.shape[1]:
        work = work.mT
    identity = torch.eye(work.shape[0], dtype=work.dtype, device=work.device)
    return (work @ work.mT - identity).abs().max()


@functools.cache
def _followed() -> weakref.WeakSet[LearnableOrthogonal]:
    """Transforms whose matrices are retracted after steps; the first call registers the hook."""
    transforms: weakref.WeakSet[LearnableOrthogonal] = weakref.WeakSet()

    def retract_stepped(optimizer: Optimizer, *_: Any) -> None:
        parameters = (p for group in optimizer.param_groups for p in group["params"])
        stepped = {id(p) for p in parameters if p.grad is not None}
        for transform in transforms:
            if id(transform.P) in stepped or id(transform.Q) in stepped:
                transform.retract()

    register_optimizer_step_post_hook(retract_stepped)
    return transforms


class LearnableOrthogonal(OrthogonalTransform):
    """Learnable orthogonal transform ``X -> P X Q`` of maps of one size.

    Parameters
    ----------
    size : (int, int)
        Height and width (H, W) of the maps; other sizes raise ValueError, because there is no
        way to resample a learnt orthogonal matrix.
    modes : int or (int, int), optional
        Rows of P and columns of Q, at most H and W; see `Transform`.

    Attributes
    ----------
    P, Q : nn.Parameter
        (H, H) and (W, W), or with modes (m, H) and (W, m), shared by all channels; drawn from a
        normal distribution and made orthogonal (on the Stiefel manifold).
    """

    def __init__(self, size: Size, modes: Modes = None) -> None:
        super().__init__(modes)
        self.size = check_size(size)
        rows, columns = self.rows(self.size)
        self.P = nn.Parameter(torch.empty(rows, self.size[0]))
        self.Q = nn.Parameter(torch.empty(self.size[1], columns))
        self._checked: object = None
        self._unseen_update_possible = False
        self.reset_parameters()
        _followed().add(self)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._checked = None
        _followed().add(self)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> LearnableOrthogonal:
        self._checked = None  # a change of dtype rounds
        return super()._apply(fn, recurse)

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw P and Q anew."""
        for matrix in (self.P, self.Q):
            matrix.normal_()
        self.retract()

    @torch.no_grad()
    def retract(self) -> None:
        """Replace P and Q by their orthogonal factors; called after optimiser steps."""
        for matrix in (self.P, self.Q):
            if not matrix.is_meta:
                matrix.copy_(orthogonal_factor(matrix))
        self._checked = self._fingerprint()

    def filter_rows(self, size: Size) -> Size:
        """Rows of P and columns of Q: there are no larger maps to have weights for."""
        return tuple(map(min, super().filter_rows(size), size))

    def factors(self, size: Size, like: Tensor, *, back: bool = False) -> Factors:
        """P and the transpose of Q; ValueError for a size other than the one built for."""
        if size != self.size:
            raise ValueError(
                f"this learnable orthogonal transform was built for maps of "
                f"{self.size[0]}x{self.size[1]} (H x W), got {size[0]}x{size[1]}; its matrices "
                "cannot be resampled: build the block for this size, or use a fixed transform"
            )
        if not (torch.compiler.is_compiling() or torch.jit.is_tracing()):
            self._settle()
            self._unseen_update_possible = torch.is_grad_enabled()
        return [(self.P.to(like.dtype), size[1]), (self.Q.to(like.dtype).mT, 1)]

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """State with orthogonal P and Q, also after an update that no hook has seen."""
        self._settle()
        return super().state_dict(*args, **kwargs)

    def extra_repr(self) -> str:
        """Map size, and modes."""
        return ", ".join(filter(None, (f"size={self.size}", super().extra_repr())))

    def _fingerprint(self) -> object:
        """Value that changes with the matrices, except by updates through ``.data``.

        None, which equals no earlier look, for inference tensors: they do not count updates.
        """
        matrices = (self.P, self.Q)
        if any(matrix.is_inference() for matrix in matrices):
            return None
        return tuple((id(matrix), matrix._version) for matrix in matrices)

    def _settle(self) -> None:
        """Retract if the matrices may have changed since the last look and are not orthogonal."""
        seen = self._checked is not None and self._fingerprint() == self._checked
        if (seen and not self._unseen_update_possible) or self.P.is_meta:
            return
        tolerance = 16 * torch.finfo(self.P.dtype).eps
        # Both at once: a GPU is waited for once, and has to be, as updates through .data show in
        # nothing but the values.
        if torch.maximum(*map(orthogonality_error, (self.P, self.Q))) > tolerance:
            self.retract()
        self._checked = self._fingerprint()
