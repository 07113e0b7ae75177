"""Random half-body, scale, rotation and mirroring of one person, as numbers; no image is touched.

The rules are SimpleBaseline's (Xiao, Wu and Wei, ECCV 2018, code) and, for half bodies, those of
HRNet (Sun, Xiao, Liu and Wang, "Deep High-Resolution Representation Learning for Human Pose
Estimation", CVPR 2019, code).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import unknown_name
from .geometry import fit_aspect
from .skeleton import Skeleton

_HALF_BODY_PADDING = 1.5


@dataclass(frozen=True)
class AugmentConfig:
    """Strength of the augmentation; the defaults are SimpleBaseline's.

    Parameters
    ----------
    scale : float
        s in [0, 1): the padded size is multiplied by clip(1 + s N(0, 1), 1 - s, 1 + s).
    rotation : float
        r in degrees, in [0, 90]: the angle is clip(r N(0, 1), -2 r, 2 r).
    rotation_probability : float
        Probability of any rotation, in [0, 1].
    flip_probability : float
        Probability of mirroring, in [0, 1].
    half_body_probability : float
        Probability of a half-body crop, in [0, 1], for people with more than half of their joints
        labelled.
    half_body_upper : tuple of str
        Names of the upper body's joints; all others are the lower body. Needed where
        `half_body_probability` is positive.

    Raises
    ------
    ValueError
        If a number is out of its range, or the upper body is needed and empty.
    """

    scale: float = 0.3
    rotation: float = 40.0
    rotation_probability: float = 0.6
    flip_probability: float = 0.5
    half_body_probability: float = 0.0
    half_body_upper: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.scale < 1:
            raise ValueError(f"scale: got {self.scale}, expected a number in [0, 1)")
        if not 0 <= self.rotation <= 90:
            raise ValueError(f"rotation: got {self.rotation}, expected degrees in [0, 90]")
        for field in ("rotation_probability", "flip_probability", "half_body_probability"):
            value = getattr(self, field)
            if not 0 <= value <= 1:
                raise ValueError(f"{field}: got {value}, expected a number in [0, 1]")
        if self.half_body_probability > 0 and not self.half_body_upper:
            raise ValueError(
                "half_body_upper: got no joint name, expected the joints of the upper body, "
                f"since half_body_probability is {self.half_body_probability}"
            )


@dataclass(frozen=True, eq=False)
class AugmentedView:
    """What to crop, in pixels of the image after mirroring (where `flipped`).

    The image is cropped in one warp by ``crop_matrix(center, size, rotation_deg, output_hw)``,
    composed with ``flip_matrix(image_width)`` as the inner map where `flipped`; the joints are
    mirrored already and need the crop matrix alone.

    Parameters
    ----------
    center : float64 array of shape (2,)
        x, y of the crop's centre.
    size : float64 array of shape (2,)
        Padded width and height of the crop.
    rotation_deg : float
        Angle of `crop_matrix` in degrees.
    flipped : bool
        Whether the image is mirrored before the crop.
    joints : array of shape (K, 2)
        x, y of the joints; (0, 0) where not visible. The input's dtype.
    visible : array of shape (K,)
        1 = labelled, 0 = not. The input's dtype.
    """

    center: NDArray[np.float64]
    size: NDArray[np.float64]
    rotation_deg: float
    flipped: bool
    joints: NDArray[Any]
    visible: NDArray[Any]


class PoseAugment:
    """Draw one random view of a person.

    The order is half body, scale, rotation, mirroring. A half body is drawn for people with more
    than K // 2 labelled joints (8 of COCO's 17): the upper body if a normal draw is below 0.5
    (69 %) and it has more than two labelled joints, else the lower body if that has more than two,
    else the upper. The crop is then centred on the mean of those joints, and 1.5 times as large as
    they extend after the aspect is set. Fewer than two joints, or joints without extent, leave the
    crop as it was.

    Parameters
    ----------
    config : AugmentConfig
        Strength.
    skeleton : Skeleton
        Joints of the data, for the mirrored pairs and the upper body.

    Raises
    ------
    ValueError
        If `config.half_body_upper` holds a name that is no joint.
    """

    def __init__(self, config: AugmentConfig, skeleton: Skeleton) -> None:
        for name in config.half_body_upper:
            if name not in skeleton.names:
                raise unknown_name("joint in half_body_upper", name, skeleton.names)
        self.config = config
        self.skeleton = skeleton
        self._permutation = np.array(skeleton.flip_permutation)
        self._upper = np.array([name in config.half_body_upper for name in skeleton.names])

    def __call__(
        self,
        center: ArrayLike,
        size: ArrayLike,
        joints: NDArray[Any],
        visible: NDArray[Any],
        image_width: int,
        aspect: float,
        rng: np.random.Generator,
    ) -> AugmentedView:
        """Draw a view; the inputs are left as they are.

        Parameters
        ----------
        center : array-like of shape (2,)
            x, y of the crop's centre in image pixels.
        size : array-like of shape (2,)
            Padded width and height in image pixels.
        joints : array of shape (K, 2)
            x, y in image pixels.
        visible : array of shape (K,)
            1 = labelled, 0 = not.
        image_width : int
            Width of the image in pixels.
        aspect : float
            Width / height of the network's input.
        rng : numpy.random.Generator
            Source of all draws.

        Returns
        -------
        AugmentedView
            In arrays of its own.

        Raises
        ------
        ValueError
            If `joints` or `visible` does not have the skeleton's shape.
        """
        count = self.skeleton.num_joints
        if joints.shape != (count, 2) or visible.shape != (count,):
            raise ValueError(
                f"got joints {joints.shape} and visible {visible.shape}, "
                f"expected ({count}, 2) and ({count},)"
            )
        config = self.config
        labelled = visible > 0
        new_center = np.array(center, dtype=np.float64)
        new_size = np.array(size, dtype=np.float64)

        if labelled.sum() > count // 2 and rng.random() < config.half_body_probability:
            half = self._half_body(joints, labelled, aspect, rng)
            if half is not None:
                new_center, new_size = half

        factor = 1 + config.scale * rng.standard_normal()
        new_size = new_size * min(max(factor, 1 - config.scale), 1 + config.scale)

        rotation = 0.0
        if rng.random() < config.rotation_probability:
            limit = 2 * config.rotation
            rotation = min(max(config.rotation * rng.standard_normal(), -limit), limit)

        new_joints = np.where(labelled[:, None], joints, np.zeros_like(joints))
        new_visible = visible.copy()
        flipped = bool(rng.random() < config.flip_probability)
        if flipped:
            new_center[0] = image_width - 1 - new_center[0]
            new_joints[labelled, 0] = image_width - 1 - new_joints[labelled, 0]
            new_joints = new_joints[self._permutation]
            new_visible = new_visible[self._permutation]
        return AugmentedView(new_center, new_size, rotation, flipped, new_joints, new_visible)

    def _half_body(
        self, joints: NDArray[Any], labelled: NDArray[Any], aspect: float, rng: np.random.Generator
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
        upper = joints[labelled & self._upper].astype(np.float64)
        lower = joints[labelled & ~self._upper].astype(np.float64)
        prefer_upper = rng.standard_normal() < 0.5
        chosen = upper if (prefer_upper and len(upper) > 2) or len(lower) <= 2 else lower
        if len(chosen) < 2:
            return None
        extent = np.ptp(chosen, axis=0)
        if not extent.any():
            return None
        return chosen.mean(axis=0), fit_aspect(extent, aspect) * _HALF_BODY_PADDING
