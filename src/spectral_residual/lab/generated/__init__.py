"""Generated articulated people with the 17 COCO keypoints: poses, actions, rendering, data sets.

Left and right look the same from near by: which is which follows from the facing, from what
covers what, and from the chain of parts that joins a hand or foot to a body with a head.
"""

from __future__ import annotations

from .actions import ACTION_PAIRS, ACTIONS, Action, render_action, sample_action
from .body import Body, Limb, Look, Person, Pose, Skeleton3D, build_skeleton
from .clutter import sample_background, sample_clutter, wear
from .figure import Part, Solid, build_figure
from .render import Scene, render_scene
from .samples import Sample, make_sample
from .sampling import sample_body, sample_look, sample_people, sample_person, sample_pose
from .write import DatasetSummary, generate_dataset
from .write_videos import VideoDatasetSummary, generate_action_videos, write_video

__all__ = [
    "ACTIONS",
    "ACTION_PAIRS",
    "Action",
    "Body",
    "DatasetSummary",
    "Limb",
    "Look",
    "Part",
    "Person",
    "Pose",
    "Sample",
    "Scene",
    "Skeleton3D",
    "Solid",
    "VideoDatasetSummary",
    "build_figure",
    "build_skeleton",
    "generate_action_videos",
    "generate_dataset",
    "make_sample",
    "render_action",
    "render_scene",
    "sample_action",
    "sample_background",
    "sample_body",
    "sample_clutter",
    "sample_look",
    "sample_people",
    "sample_person",
    "sample_pose",
    "wear",
    "write_video",
]
