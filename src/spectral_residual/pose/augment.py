"""Random half-body, scale, rotation and mirroring of one person, as numbers; no image is touched.

The rules are SimpleBaseline's (Xiao, Wu and Wei, ECCV 2018, code) and, for half bodies, those of
HRNet (Sun, Xiao, Liu and Wang, "Deep High-Resolution Representation Learning for Human Pose
Estimation", CVPR 2019, code).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import unknown_name
from .checks import check_shape
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
class View:
    """What to crop, in pixels of the image after mirroring (where `flipped`).

    The image is cropped in one warp by ``crop_matrix(center, size, rotation_deg, output_hw)``,
    after `mirror_first` where `flipped`; the joints are mirrored already and need the crop matrix
    alone.

    Parameters
    ----------
    center : float64 array of shape (2,)
        x, y of the crop's centre.
    size : float64 array of shape (2,)
        Padded width and height of the crop.
    joints : array of shape (K, 2)
        x, y of the joints; (0, 0) where not visible.
    visible : array of shape (K,)
        1 = labelled, 0 = not.
    rotation_deg : float
        Angle of `crop_matrix` in degrees.
    flipped : bool
        Whether the image is mirrored before the crop.
    """

    center: NDArray[np.float64]
    size: NDArray[np.float64]
    joints: NDArray[Any]
    visible: NDArray[Any]
    rotation_deg: float = 0.0
    flipped: bool = False


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
        self, view: View, image_width: int, aspect: float, rng: np.random.Generator
    ) -> View:
        """Draw a view; the one that is given is left as it is.

        Parameters
        ----------
        view : View
            The padded box, neither rotated nor flipped.
        image_width : int
            Width of the image in pixels.
        aspect : float
            Width / height of the network's input.
        rng : numpy.random.Generator
            Source of all draws.

        Returns
        -------
        View
            In arrays of its own, of the same dtypes.

        Raises
        ------
        ValueError
            If the joints do not have the skeleton's shape.
        """
        count, config = self.skeleton.num_joints, self.config
        check_shape("joints", view.joints, count, 2)
        check_shape("visible", view.visible, count)
        center, size, visible = view.center.copy(), view.size, view.visible.copy()
        labelled = visible > 0
        joints = np.where(labelled[:, None], view.joints, np.zeros_like(view.joints))
        if labelled.sum() > count // 2 and rng.random() < config.half_body_probability:
            center, size = self._half_body(joints, labelled, aspect, rng) or (center, size)

        factor = 1 + config.scale * rng.standard_normal()
        size = size * min(max(factor, 1 - config.scale), 1 + config.scale)

        rotation = 0.0
        if rng.random() < config.rotation_probability:
            limit = 2 * config.rotation
            rotation = min(max(config.rotation * rng.standard_normal(), -limit), limit)

        flipped = bool(rng.random() < config.flip_probability)
        if flipped:
            center[0] = image_width - 1 - center[0]
            joints[labelled, 0] = image_width - 1 - joints[labelled, 0]
            joints, visible = joints[self._permutation], visible[self._permutation]
        return View(center, size, joints, visible, rotation, flipped)

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
