"""The networks of the page: where they come from, and what is said of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from ...errors import printable
from ...pose.pretrained import PoseModel
from ...training import hub
from ...training.pretrained import PretrainedModel
from ...video.pretrained import VideoModel

Model = TypeVar("Model", bound=PretrainedModel[Any])

_METRICS = {"pose": ("PCK", "AP"), "video": ("top1", "top5")}
_NOT_SHARED = ("block", "block_after", "block_options", "weights")


@dataclass(frozen=True)
class Sources:
    """Where the page's networks are: files, folders or names; see `locate`.

    Attributes
    ----------
    pose : str or None
        Pose network with blocks.
    pose_base : str or None
        Pose network without, for comparison.
    video : str or None
        Video network.
    """

    pose: str | None = None
    pose_base: str | None = None
    video: str | None = None


@dataclass(frozen=True, eq=False)
class Shown(Generic[Model]):
    """A network on the page.

    Attributes
    ----------
    title : str
        Its block, or that it has none.
    said : str
        Which network it is, what it was trained on, and how good it is, as far as that is known.
    model : PretrainedModel
        The network.
    """

    title: str
    said: str
    model: Model


@dataclass(frozen=True, eq=False)
class Networks:
    """What the page shows: up to two pose networks with the same joints, up to one for videos."""

    poses: tuple[Shown[PoseModel], ...] = ()
    video: Shown[VideoModel] | None = None


def default_sources() -> Sources:
    """Trained networks that come with the package, the first of each kind by name.

    The pose network without blocks is one that is otherwise the same as that with blocks.
    """
    configs = {
        name: json.loads((hub.PACKAGED / name / hub.CONFIG).read_text(encoding="utf-8"))
        for name in hub.packaged_names()
    }
    poses = {name: config for name, config in configs.items() if config["task"] == "pose"}
    plain = {name: config for name, config in poses.items() if not _block(config)}
    video = next((name for name, config in configs.items() if config["task"] == "video"), None)
    pose = next((name for name in poses if name not in plain), None)
    if pose is not None:
        plain = {name: c for name, c in plain.items() if _without_block(c, poses[pose])}
    return Sources(pose, next(iter(plain), None), video)


def load_networks(sources: Sources) -> Networks:
    """Load the networks; of a kind that no source names, those of the package.

    Raises
    ------
    FileNotFoundError
        If there is nothing of a name.
    ValueError
        If it is not a network of this kind, or the two pose networks have other joints.
    """
    default = default_sources()
    if sources.pose is None and sources.pose_base is None:
        sources = replace(sources, pose=default.pose, pose_base=default.pose_base)
    if sources.video is None:
        sources = replace(sources, video=default.video)
    named = [source for source in (sources.pose_base, sources.pose) if source is not None]
    poses = tuple(_shown(source, PoseModel.from_pretrained(source)) for source in named)
    joints = [shown.model.skeleton.names for shown in poses]
    if len(set(joints)) > 1:
        raise ValueError(
            f"--pose-base and --pose: got networks of {len(joints[0])} and {len(joints[1])} "
            "joints, or of joints of other names; expected the same joints"
        )
    video = None
    if sources.video is not None:
        video = _shown(sources.video, VideoModel.from_pretrained(sources.video))
    return Networks(poses, video)


def _shown(source: str, model: Model) -> Shown[Model]:
    block = _block(model.stored)
    parameters = sum(p.numel() for p in model.network.parameters())
    said = [
        f"{printable(source)}: {model.details()['Network']}",
        f"block {block}" if block else "no block",
        f"{parameters / 1e6:.2f} million parameters",
        f"trained on {model.about.data}" if model.about.data else "its data are not recorded",
    ]
    measured = [
        f"{name} {100 * values[name]:.1f} % on {data}"
        for data, values in model.about.metrics.items()
        for name in _METRICS[model.task]
        if values.get(name, -1) != -1  # COCO's of what is not there
    ]
    said += measured or ["its accuracy is not recorded"]
    return Shown(block or "no block", "; ".join(said), model)


def _block(config: Mapping[str, Any]) -> str | None:
    block: str | None = config["network"].get("block")
    return block


def _without_block(plain: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two descriptions are of the same network but for its blocks."""
    shared = [
        (
            {key: value for key, value in config["network"].items() if key not in _NOT_SHARED},
            config["skeleton"],
            config["input_size"],
        )
        for config in (plain, other)
    ]
    return shared[0] == shared[1]
