"""Joints of a keypoint data set: names, left/right pairs, OKS sigmas and limbs.

The values of `COCO`, in ``coco.json``, are those of the COCO keypoint task
(https://cocodataset.org/#keypoints-eval).
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import resources
from numbers import Integral
from typing import Any

from ..errors import printable, unknown_name
from .checks import number_field, short

_WORD = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+")
_OPPOSITE = {"left": "right", "Left": "Right", "LEFT": "RIGHT", "l": "r", "L": "R"}
_OPPOSITE |= {right: left for left, right in _OPPOSITE.items()}
# Where one of these stands in the place of l and r, letters count joints: point_p, _q, _r.
_COUNTING = set("abcdefghijklmnopqrstuvwxyz") - set("lrmc")


@dataclass(frozen=True)
class Skeleton:
    """The K joints of one keypoint category; all indices are 0-based.

    Skeletons compare equal where all four fields are equal, so a checkpoint's skeleton can be
    checked against a data set's.

    Parameters
    ----------
    names : tuple of str
        Joint names in the order of the annotation, length K, all different.
    flip_pairs : tuple of (int, int)
        Joints that change places when the image is mirrored; each joint in one pair at most.
    sigmas : tuple of float or None
        Standard deviation of each joint in the object keypoint similarity, length K, as a
        fraction of the square root of the person's area (COCO's nose: 0.026). None where unknown.
    edges : tuple of (int, int)
        Limbs to draw.

    Raises
    ------
    ValueError
        If a name is no text, or a field contradicts `names`: duplicate names, an index out of
        range, a joint paired twice or with itself, a wrong number of sigmas, a sigma that is not
        positive.
    """

    names: tuple[str, ...]
    flip_pairs: tuple[tuple[int, int], ...]
    sigmas: tuple[float, ...] | None
    edges: tuple[tuple[int, int], ...]

    def __post_init__(self) -> None:
        count = len(self.names)
        if count == 0:
            raise ValueError("names: got no joint, expected at least one")
        for name in self.names:
            if not isinstance(name, str):
                raise ValueError(f"names: got {name!r}, expected text")
        repeated = sorted(name for name, times in Counter(self.names).items() if times > 1)
        if repeated:
            raise ValueError(f"names: got {repeated} more than once, expected different names")
        for field, pairs in (("flip_pairs", self.flip_pairs), ("edges", self.edges)):
            for pair in pairs:
                if len(pair) != 2 or not all(
                    isinstance(joint, Integral) and 0 <= joint < count for joint in pair
                ):
                    raise ValueError(
                        f"{field}: got {tuple(pair)}, expected two 0-based joint indices "
                        f"below {count}"
                    )
            plain = tuple((int(first), int(second)) for first, second in pairs)
            object.__setattr__(self, field, plain)
        paired = Counter(joint for pair in self.flip_pairs for joint in pair)
        for joint in paired:
            if paired[joint] > 1:
                pairs_of = [pair for pair in self.flip_pairs if joint in pair]
                raise ValueError(
                    f"flip_pairs: joint {joint} ({self.names[joint]!r}) is in {pairs_of}, "
                    "expected one pair at most, with another joint"
                )
        if self.sigmas is None:
            return
        if len(self.sigmas) != count:
            raise ValueError(f"sigmas: got {len(self.sigmas)} values, expected {count}")
        for name, sigma in zip(self.names, self.sigmas, strict=True):
            if not (math.isfinite(sigma) and sigma > 0):
                raise ValueError(f"sigmas: got {sigma} for {name!r}, expected a positive number")

    @property
    def num_joints(self) -> int:
        """Number of joints K."""
        return len(self.names)

    @property
    def flip_permutation(self) -> tuple[int, ...]:
        """The K indices ``p`` such that joint k of the mirrored image is joint ``p[k]``."""
        permutation = list(range(self.num_joints))
        for first, second in self.flip_pairs:
            permutation[first], permutation[second] = second, first
        return tuple(permutation)

    def require_sigmas(self) -> tuple[float, ...]:
        """Return `sigmas`, for a computation that cannot do without.

        Raises
        ------
        ValueError
            If `sigmas` is None; the message names the joints that COCO has no sigma for.
        """
        if self.sigmas is None:
            missing = [name for name in self.names if name not in COCO.names] or list(self.names)
            raise ValueError(
                f"no OKS sigma for the joints {missing}: give `sigmas` (joint name: value), or add "
                f"a list `sigmas` of {self.num_joints} numbers to the category in the annotation "
                "file; COCO's own lie between 0.025 and 0.107"
            )
        return self.sigmas

    @classmethod
    def from_category(
        cls,
        category: Mapping[str, Any],
        *,
        source: str,
        sigmas: Mapping[str, float] | Sequence[float] | None = None,
        flip_pairs: Sequence[tuple[str, str]] | None = None,
    ) -> Skeleton:
        """Read the skeleton of one entry of a COCO file's ``categories``.

        Flip pairs come from the argument, else from the file, else from the names: joints that
        differ only in one word that is left or right (or l or r), wherever it stands: words are
        parted by anything that is no letter, or begin with a capital, and left and right may also
        be run into one (``lefteye``) if the other joint is there. Each sigma comes from the
        argument, else from the file, else from the COCO joint of the same name; where nothing is
        given and COCO lacks a joint, `sigmas` is None. Edges come from the file; without them
        COCO's are used if the names are COCO's.

        Parameters
        ----------
        category : mapping
            ``keypoints`` (K names), and optionally ``skeleton`` (1-based index pairs, as COCO has
            it), ``flip_pairs`` (pairs of names or of 0-based indices), ``sigmas`` (K numbers, or
            a mapping from name to number).
        source : str
            Name of the annotation file; begins every error message.
        sigmas : mapping from str to float, or sequence of float, optional
            Sigmas by joint name (some joints suffice if COCO knows the others), or all K.
        flip_pairs : sequence of (str, str), optional
            All pairs of joint names; an empty sequence says that there are none.

        Returns
        -------
        Skeleton
            With ``flip_pairs`` in ascending order.

        Raises
        ------
        ValueError
            If a field is missing or malformed, names an unknown joint, or breaks a rule of the
            class; if some sigmas are given and others remain unknown; if flip pairs are to be
            derived and a left or right joint has no counterpart.
        """
        try:
            where = f"category {short(category.get('name'))}: keypoints"
            names = _names_of(category.get("keypoints"), where)
            if flip_pairs is not None:
                pairs = _read_pairs(flip_pairs, names, "argument flip_pairs")
            elif category.get("flip_pairs") is not None:
                pairs = _read_pairs(category["flip_pairs"], names, "flip_pairs")
            else:
                pairs = _derive_pairs(names)
            return cls(
                names=names,
                flip_pairs=tuple(sorted((min(pair), max(pair)) for pair in pairs)),
                sigmas=_resolve_sigmas(names, category.get("sigmas"), sigmas),
                edges=tuple(_read_edges(category.get("skeleton"), names)),
            )
        except ValueError as error:
            raise ValueError(f"{source}: {error}") from error

    def to_dict(self) -> dict[str, Any]:
        """Return the four fields as plain JSON types (lists, strings, numbers, None)."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return plain

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> Skeleton:
        """Rebuild a skeleton from `to_dict`'s result.

        Raises
        ------
        ValueError
            If a field is missing, of another type, or breaks a rule of the class.
        """
        if not isinstance(state, Mapping):
            raise ValueError(f"skeleton: got {short(state)}, expected an object")
        missing = {"names", "flip_pairs", "sigmas", "edges"} - set(state)
        if missing:
            raise ValueError(f"skeleton: got {sorted(state)}, expected also {sorted(missing)}")
        names, sigmas = _names_of(state["names"], "names"), state["sigmas"]
        return cls(
            names=names,
            flip_pairs=tuple(_read_pairs(state["flip_pairs"], names, "flip_pairs")),
            sigmas=None
            if sigmas is None
            else tuple(_read_sigmas(sigmas, names, "sigmas").values()),
            edges=tuple(_read_pairs(state["edges"], names, "edges")),
        )


def _is_list(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _names_of(names: Any, where: str) -> tuple[str, ...]:
    if not _is_list(names) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{where}: got {short(names)}, expected a list of joint names")
    return tuple(names)


def _joint_index(joint: Any, names: tuple[str, ...], field: str, first: int = 0) -> int:
    if isinstance(joint, str):
        if joint not in names:
            raise ValueError(printable(f"{field}: {unknown_name('joint', joint[:60], names)}"))
        return names.index(joint)
    end = first + len(names)
    if isinstance(joint, bool) or not isinstance(joint, int) or not first <= joint < end:
        raise ValueError(
            f"{field}: got {short(joint)}, expected a joint name or a {first}-based index "
            f"below {end}"
        )
    return joint - first


def _read_pairs(
    pairs: Any, names: tuple[str, ...], field: str, first: int = 0
) -> list[tuple[int, int]]:
    """Read pairs of joints, given by names or by indices that count from `first`."""
    if not _is_list(pairs):
        raise ValueError(f"{field}: got {short(pairs)}, expected a list of pairs of joints")
    found = []
    for pair in pairs:
        if not _is_list(pair) or len(pair) != 2:
            raise ValueError(
                f"{field}: got {short(pair)}, expected a pair of joint names or {first}-based "
                "indices"
            )
        one, other = (_joint_index(joint, names, field, first) for joint in pair)
        found.append((one, other))
    return found


def _derive_pairs(names: tuple[str, ...]) -> list[tuple[int, int]]:
    index_of = {name.lower(): index for index, name in enumerate(names)}
    pairs = set()
    for index, name in enumerate(names):
        sides = [side for side in _sides(name) if not _is_counted(name, side, index_of)]
        mirrored = [_mirrored(name, [side]) for side in sides] + [_mirrored(name, sides)]
        others = (index_of.get(other.lower(), index) for other in mirrored)
        partner = next((other for other in others if other != index), None)
        if partner is not None:
            pairs.add((min(index, partner), max(index, partner)))
        elif any(is_word for *_, is_word in sides):
            raise ValueError(
                f"keypoints: got {name!r} without {mirrored[0]!r}; expected both, or `flip_pairs` "
                "given (the joints that change places when the image is mirrored)"
            )
    return list(pairs)


def _sides(name: str) -> list[tuple[int, int, bool]]:
    """Where a name says left or right: start, end, and whether that is a word of its own."""
    words = list(_WORD.finditer(name))
    found = []
    for word in words:
        text, start, end = word[0], word.start(), word.end()
        if text in _OPPOSITE:
            if len(text) > 1 or len(words) > 1:
                found.append((start, end, True))
            continue
        for side in (side for side in _OPPOSITE if len(side) > 1):
            if text.startswith(side):
                found.append((start, start + len(side), False))
            elif text.endswith(side):
                found.append((end - len(side), end, False))
    return sorted(found)


def _mirrored(name: str, sides: Sequence[tuple[int, int, bool]]) -> str:
    for start, end, _ in reversed(sides):
        name = name[:start] + _OPPOSITE[name[start:end]] + name[end:]
    return name


def _is_counted(name: str, side: tuple[int, int, bool], names: Iterable[str]) -> bool:
    """Whether a side is a single letter that counts joints."""
    start, end, _ = side
    lower = name.lower()
    return end == start + 1 and any(
        lower[:start] + letter + lower[end:] in names for letter in _COUNTING
    )


def _read_edges(skeleton: Any, names: tuple[str, ...]) -> list[tuple[int, int]]:
    if skeleton is not None:
        return _read_pairs(skeleton, names, "skeleton", first=1)
    if set(names) != set(COCO.names):
        return []
    return [(names.index(COCO.names[a]), names.index(COCO.names[b])) for a, b in COCO.edges]


def _read_sigmas(sigmas: Any, names: tuple[str, ...], field: str) -> dict[str, float]:
    if isinstance(sigmas, Mapping):
        values = {names[_joint_index(str(name), names, field)]: s for name, s in sigmas.items()}
    else:
        listed = list(sigmas) if _is_list(sigmas) else [sigmas]
        if len(listed) != len(names):
            raise ValueError(f"{field}: got {short(listed)}, expected {len(names)} numbers")
        values = dict(zip(names, listed, strict=True))
    for name, sigma in values.items():
        try:
            values[name] = number_field({name: sigma}, name, field).item()
        except ValueError as error:
            raise ValueError(
                f"{field}: got {short(sigma)} for {name!r}, expected a positive number"
            ) from error
    return values


def _resolve_sigmas(names: tuple[str, ...], in_file: Any, given: Any) -> tuple[float, ...] | None:
    told: dict[str, float] = {}
    for field, value in (("sigmas", in_file), ("argument sigmas", given)):
        if value is not None:
            told |= _read_sigmas(value, names, field)
    known = dict(zip(COCO.names, COCO.require_sigmas(), strict=True)) | told
    missing = [name for name in names if name not in known]
    if missing and told:
        raise ValueError(
            f"sigmas: got values for {sorted(told)}, expected values also for {missing}, "
            "which COCO does not know"
        )
    return None if missing else tuple(known[name] for name in names)


COCO = Skeleton.from_dict(
    json.loads(resources.files(__package__).joinpath("coco.json").read_text(encoding="utf-8"))
)
"""The 17 joints of COCO person keypoints."""
