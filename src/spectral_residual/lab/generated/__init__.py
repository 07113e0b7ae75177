"""Generated articulated people with the 17 COCO keypoints: poses, actions, rendering, data sets.

From a person to a file: `body` (angles to joints) -> `figure` (joints to drawable parts) ->
`render` (parts to an image with labels). `sampling` draws people; `samples` draws what lies about
and puts images together for `write_people`, `actions` the frames of videos for `write_videos`.

Left and right look the same from near by: which is which follows from the facing, from what
covers what, and from the chain of parts that joins a hand or foot to a body with a head.

Everywhere `rng` is the source of randomness and `size` the (H, W) of the image in pixels.
"""

from __future__ import annotations

from .actions import ACTION_PAIRS
from .write_people import PeopleOptions, generate_dataset
from .write_videos import VideoOptions, generate_action_videos

__all__ = [
    "ACTION_PAIRS",
    "PeopleOptions",
    "VideoOptions",
    "generate_action_videos",
    "generate_dataset",
]
