"""``srl data videos``: generated actions as video files in folders of classes.

Every frame is a key frame of a constant quantiser, so that it is coded without regard to the frames
around it: a video written backwards decodes to exactly the same frames backwards, and no artefact
of compression tells the direction of time. The price is that these files do not exercise seeking.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import product
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...errors import unknown_name
from .actions import ACTION_PAIRS, ACTIONS, render_action, sample_action
from .samples import SPLITS
from .write import (
    check_files,
    check_image_size,
    check_number,
    describe,
    is_free,
    new_folder,
    read_same,
    show_progress,
)

GENERATOR_VERSION = 1
"""Raised whenever the same parameters give other videos."""

FRAME_RATE = 12
"""Frames per second of the videos."""

ENCODERS: dict[str, dict[str, str]] = {
    "libx264": {"qp": "18", "preset": "veryfast"},
    "mpeg4": {"qmin": "2", "qmax": "2"},
}
"""Encoders in the order of preference, with their options for a high and constant quality."""

_DESCRIPTION = "Generated actions in pairs that differ in the direction of time"
_INFO_FILE = "dataset.json"
_MOST_VIDEOS = 99_999


@dataclass(frozen=True)
class VideoOptions:
    """All that decides what a data set of actions holds.

    Parameters
    ----------
    train_videos : int
        Per class, from 1 to 99,999.
    val_videos : int
        Per class, from 1 to 99,999.
    frames : int
        Per video, 2 or more, at 12 frames per second.
    image_size : tuple of int
        Height and width in pixels, even and at least 64 each.
    seed : int
        0 or more; the same seed and encoder give the same bytes.

    Raises
    ------
    ValueError
        If a number is out of range.
    """

    train_videos: int = 50
    val_videos: int = 25
    frames: int = 22
    image_size: tuple[int, int] = (80, 80)
    seed: int = 0

    def __post_init__(self) -> None:
        check_number("train_videos", self.train_videos, 1, _MOST_VIDEOS)
        check_number("val_videos", self.val_videos, 1, _MOST_VIDEOS)
        check_image_size(self.image_size, even=True)
        check_number("frames", self.frames, 2)
        check_number("seed", self.seed, 0)

    def file_names(self, split: str) -> list[str]:
        """Names of a split's files in the folder of each class."""
        return [f"{number:05d}.mp4" for number in range(getattr(self, f"{split}_videos"))]


@dataclass(frozen=True)
class VideoDatasetSummary:
    """Where a data set is; videos of its splits, all classes together."""

    root: Path
    train_videos: int
    val_videos: int


def find_encoder() -> str:
    """Name of the first of the `ENCODERS` that this build of PyAV has; OSError if it has none."""
    import av  # of all generated data only videos need it

    for name in ENCODERS:
        if name in av.codecs_available:
            return name
    raise OSError(f"PyAV {av.__version__} has no video encoder of {', '.join(ENCODERS)}")


def write_video(file: str | Path, frames: NDArray[np.uint8], *, encoder: str | None = None) -> None:
    """Write a video in which every frame is coded by itself, at a constant high quality.

    The frames are RGB, (T, H, W, 3), uint8; H and W are even, as colour is stored at half the size
    (yuv420p). The file's ending says the container, e.g. ``.mp4``. The encoder is one of
    `ENCODERS`, by default `find_encoder`. Other frames and encoders raise ValueError.
    """
    import av

    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3 or not len(frames):
        raise ValueError(
            f"frames must be uint8 of shape (T, H, W, 3), got {frames.dtype} of {frames.shape}"
        )
    height, width = frames.shape[1:3]
    if height % 2 or width % 2:
        raise ValueError(f"frames must have an even height and width, got {height} x {width}")
    encoder = find_encoder() if encoder is None else encoder
    if encoder not in ENCODERS:
        raise unknown_name("video encoder", encoder, ENCODERS)
    with av.open(str(file), "w") as container:
        stream = container.add_stream(encoder, rate=FRAME_RATE, options=ENCODERS[encoder])
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        stream.gop_size = 1
        stream.thread_count = 1  # the bytes depend on the number of threads
        for image in frames:
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))


def _write_pair(
    root: Path, options: VideoOptions, encoder: str, place: tuple[str, int, int, str]
) -> None:
    """Render one action, and write it forwards and backwards."""
    split, pair, number, file = place
    rng = np.random.default_rng([options.seed, SPLITS.index(split), pair, number])
    forwards, backwards = ACTION_PAIRS[pair]
    action = sample_action(forwards, rng, frames=options.frames, image_size=options.image_size)
    frames = render_action(action)
    for name, ordered in ((forwards, frames), (backwards, frames[::-1])):
        write_video(root / split / name / file, ordered, encoder=encoder)


def _write(root: Path, options: VideoOptions, encoder: str, workers: int, progress: bool) -> None:
    for split, name in product(SPLITS, ACTIONS):
        (root / split / name).mkdir(parents=True)
    places = [
        (split, pair, number, file)
        for split in SPLITS
        for number, file in enumerate(options.file_names(split))
        for pair in range(len(ACTION_PAIRS))
    ]
    write_pair = partial(_write_pair, root, options, encoder)
    with ExitStack() as stack:
        done: Iterable[None] = map(write_pair, places)
        if workers > 0:
            # Fresh processes: a fork would inherit the locks of the threads of torch and OpenCV.
            pool = stack.enter_context(get_context("spawn").Pool(workers))
            done = pool.imap_unordered(write_pair, places, chunksize=4)
        for _ in show_progress(done, "pairs of videos", len(places), progress):
            pass


def generate_action_videos(
    root: str | Path,
    options: VideoOptions | None = None,
    *,
    workers: int = 0,
    progress: bool = True,
) -> VideoDatasetSummary:
    """Generate people who perform the `ACTIONS`, as ``{train,val}/CLASS/NUMBER.mp4``.

    Video i of the second class of a pair is video i of the first backwards, frame for frame after
    decoding. A model that does not see the order of the frames gives both the same class, so at
    most one of them is right. This holds for clips placed symmetrically in time: all frames, or
    8 frames at stride 3 of the default 22.

    A video depends on the seed, the split, its class and number, the length and the image size, not
    on how many there are or on the workers; the same encoder writes the same bytes. Nothing is left
    at ``root`` if the run is interrupted. A folder that holds the very same data set is left as it
    is; ``dataset.json`` in it has the parameters.

    Parameters
    ----------
    root : str or Path
        New or empty folder.
    options : VideoOptions, optional
        What it shall hold.
    workers : int
        Processes to start besides this one; 0 does all work in this one. A script that asks for
        more needs the usual ``if __name__ == "__main__":``.
    progress : bool
        Whether to show a bar on standard error.

    Raises
    ------
    FileExistsError
        If ``root`` holds something else.
    OSError
        If PyAV has none of the `ENCODERS`.
    ValueError
        If the workers are below 0, or ``root`` holds this data set with videos missing.
    """
    root, options, encoder = Path(root), options or VideoOptions(), find_encoder()
    check_number("workers", workers, 0)
    info = describe(_DESCRIPTION, GENERATOR_VERSION, options)
    info["parameters"]["encoder"] = encoder
    if is_free(root):
        with new_folder(root) as stage:
            _write(stage, options, encoder, workers, progress)
            text = json.dumps(info, indent=2) + "\n"
            (stage / _INFO_FILE).write_text(text, encoding="utf-8")
    else:
        read_same(root, root / _INFO_FILE, info)
        for split, action in product(SPLITS, ACTIONS):
            check_files(root, root / split / action, options.file_names(split))
    counts = (len(ACTIONS) * len(options.file_names(split)) for split in SPLITS)
    return VideoDatasetSummary(root, *counts)


def videos(folder: Path, options: VideoOptions, *, workers: int = 0) -> None:
    """Generate people who perform actions, as video files in folders of classes.

    The classes come in pairs that differ in the direction of time.

    Parameters
    ----------
    folder : Path
        New folder for the data set.
    options : VideoOptions
        What it shall hold.
    workers : int
        Processes besides this one.
    """
    made = generate_action_videos(folder, options, workers=workers)
    print(f"{made.root}: {made.train_videos} videos to train on, {made.val_videos} to validate")
