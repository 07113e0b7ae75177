"""Writing generated actions as video files in folders of classes.

Every frame is a key frame of a constant quantiser, so that it is coded without regard to the frames
around it: a video written backwards decodes to exactly the same frames backwards, and no artefact
of compression tells the direction of time. The price is that these files do not exercise seeking.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from ...errors import unknown_name
from .actions import ACTION_PAIRS, ACTIONS, render_action, sample_action
from .samples import SPLITS

Record = dict[str, Any]

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
_MIN_SIDE = 64


@dataclass(frozen=True)
class VideoDatasetSummary:
    """What a generated data set of videos holds.

    Parameters
    ----------
    root : Path
        Its folder.
    train_videos, val_videos : int
        Videos per split, all classes together.
    """

    root: Path
    train_videos: int
    val_videos: int


@dataclass(frozen=True)
class _Task:
    """One action to render, and to write forwards and backwards."""

    root: Path
    split: str
    pair: int
    number: int
    frames: int
    image_size: tuple[int, int]
    seed: int
    encoder: str


def find_encoder() -> str:
    """Return the first of the `ENCODERS` that this build of PyAV has.

    Returns
    -------
    str
        Its name.

    Raises
    ------
    OSError
        If it has none of them.
    """
    import av  # of all generated data only videos need it

    for name in ENCODERS:
        if name in av.codecs_available:
            return name
    raise OSError(f"PyAV {av.__version__} has no video encoder of {', '.join(ENCODERS)}")


def write_video(
    file: str | Path,
    frames: NDArray[np.uint8],
    *,
    rate: int = FRAME_RATE,
    encoder: str | None = None,
) -> None:
    """Write a video in which every frame is coded by itself, at a constant high quality.

    Parameters
    ----------
    file : str or Path
        File to write; the ending says the container, e.g. ``.mp4``.
    frames : ndarray, (T, H, W, 3), uint8
        RGB; H and W are even, as colour is stored at half the size (yuv420p).
    rate : int
        Frames per second.
    encoder : str, optional
        One of `ENCODERS`; by default `find_encoder`.

    Raises
    ------
    ValueError
        If the frames are of another shape or type, or there is no such encoder.
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
        stream = container.add_stream(encoder, rate=rate, options=ENCODERS[encoder])
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        stream.gop_size = 1
        stream.thread_count = 1  # the bytes depend on the number of threads
        for image in frames:
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))


def _video_file(root: Path, split: str, name: str, number: int) -> Path:
    return root / split / name / f"{number:05d}.mp4"


def _write_pair(task: _Task) -> None:
    entropy = [task.seed, SPLITS.index(task.split), task.pair, task.number]
    rng = np.random.default_rng(np.random.SeedSequence(entropy))
    forwards, backwards = ACTION_PAIRS[task.pair]
    action = sample_action(forwards, rng, frames=task.frames, image_size=task.image_size)
    frames = render_action(action)
    for name, ordered in ((forwards, frames), (backwards, frames[::-1])):
        file = _video_file(task.root, task.split, name, task.number)
        write_video(file, ordered, encoder=task.encoder)


def _write(root: Path, parameters: Record, workers: int, progress: bool) -> None:
    for split in SPLITS:
        for name in ACTIONS:
            (root / split / name).mkdir(parents=True)
    height, width = parameters["image_size"]
    tasks = [
        _Task(
            root=root,
            split=split,
            pair=pair,
            number=number,
            frames=parameters["frames"],
            image_size=(height, width),
            seed=parameters["seed"],
            encoder=parameters["encoder"],
        )
        for split in SPLITS
        for number in range(parameters[f"{split}_videos"])
        for pair in range(len(ACTION_PAIRS))
    ]
    with ExitStack() as stack:
        done: Iterable[None] = map(_write_pair, tasks)
        if workers > 0:
            # Fresh processes: a fork would inherit the locks of the threads of torch and OpenCV.
            pool = stack.enter_context(get_context("spawn").Pool(workers))
            done = pool.imap_unordered(_write_pair, tasks, chunksize=4)
        label, console = "pairs of videos", Console(stderr=True)
        for _ in track(done, label, total=len(tasks), console=console, disable=not progress):
            pass
    info = {"description": _DESCRIPTION, "parameters": parameters}
    (root / _INFO_FILE).write_text(json.dumps(info, indent=2) + "\n", encoding="utf-8")


def _exists(root: Path, parameters: Record) -> bool:
    """Whether ``root`` holds the same data set; if not, it is new or empty."""
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return False
    file = root / _INFO_FILE
    try:
        info = json.loads(file.read_text(encoding="utf-8"))
        described, held = info["description"], info["parameters"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FileExistsError(
            f"{root} exists and is no generated data set of videos ({file} cannot be read as its "
            "description); expected a new or empty folder"
        ) from error
    if described != _DESCRIPTION or held != parameters:
        raise FileExistsError(
            f"{root} holds another data set: {file}, field 'parameters', got {held}, "
            f"expected {parameters}; choose a new folder"
        )
    for split in SPLITS:
        for name in ACTIONS:
            folder, count = root / split / name, parameters[f"{split}_videos"]
            found = set(folder.glob("*.mp4"))
            if found != {_video_file(root, split, name, number) for number in range(count)}:
                raise ValueError(
                    f"{folder}: got {len(found)} videos, expected {count}, numbered from 0; "
                    f"delete {root} and generate it again"
                )
    return True


def generate_action_videos(
    root: str | Path,
    *,
    train_videos: int = 50,
    val_videos: int = 25,
    frames: int = 22,
    image_size: tuple[int, int] = (80, 80),
    seed: int = 0,
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
    train_videos, val_videos : int
        Videos per class and split, 1 to 99,999.
    frames : int
        Frames per video, 2 or more, at 12 frames per second.
    image_size : tuple of int
        (H, W) in pixels, even and at least 64 each.
    seed : int
        0 or more.
    workers : int
        Processes to start besides this one; 0 does all work in this one. A script that asks for
        more needs the usual ``if __name__ == "__main__":``.
    progress : bool
        Whether to show a bar on standard error.

    Returns
    -------
    VideoDatasetSummary
        Counts of videos.

    Raises
    ------
    FileExistsError
        If ``root`` holds something else.
    OSError
        If PyAV has none of the `ENCODERS`.
    ValueError
        If a number is out of range, or ``root`` holds this data set with videos missing.
    """
    for split, count in (("train", train_videos), ("val", val_videos)):
        if not 1 <= count <= _MOST_VIDEOS:
            raise ValueError(f"{split}_videos must be from 1 to {_MOST_VIDEOS:,}, got {count}")
    if len(image_size) != 2 or min(image_size) < _MIN_SIDE or any(s % 2 for s in image_size):
        raise ValueError(
            f"image_size must be even (H, W) of at least {_MIN_SIDE}, got {image_size}"
        )
    for label, value, least in (("frames", frames, 2), ("seed", seed, 0), ("workers", workers, 0)):
        if value < least:
            raise ValueError(f"{label} must be {least} or more, got {value}")
    root = Path(root)
    parameters: Record = {
        "generator_version": GENERATOR_VERSION,
        "train_videos": train_videos,
        "val_videos": val_videos,
        "frames": frames,
        "image_size": list(image_size),
        "seed": seed,
        "encoder": find_encoder(),
    }
    if not _exists(root, parameters):
        root.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{root.name}.", dir=root.parent) as temporary:
            stage = Path(temporary) / "data"
            _write(stage, parameters, workers, progress)
            if root.exists():
                root.rmdir()
            stage.rename(root)
    return VideoDatasetSummary(root, train_videos * len(ACTIONS), val_videos * len(ACTIONS))


def videos(arguments: list[str]) -> int:
    """Command line of ``srl data videos``.

    Parameters
    ----------
    arguments : list of str
        Arguments after the command's name.

    Returns
    -------
    int
        0.

    Raises
    ------
    FileExistsError, OSError, ValueError
        See `generate_action_videos`.
    """
    parser = argparse.ArgumentParser(
        allow_abbrev=False,
        prog="srl data videos",
        description="Generate people who perform actions, as video files in folders of classes; "
        "the classes come in pairs that differ in the direction of time; the same seed gives the "
        "same bytes.",
    )
    parser.add_argument("folder", type=Path, help="new folder for the data set")
    parser.add_argument("--train-videos", type=int, default=50, help="per class")
    parser.add_argument("--val-videos", type=int, default=25, help="per class")
    parser.add_argument("--frames", type=int, default=22, help="per video")
    parser.add_argument("--image-size", type=int, nargs=2, default=(80, 80), metavar=("H", "W"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=0, help="processes besides this one")
    own = parser.parse_args(arguments)
    summary = generate_action_videos(
        own.folder,
        train_videos=own.train_videos,
        val_videos=own.val_videos,
        frames=own.frames,
        image_size=tuple(own.image_size),
        seed=own.seed,
        workers=own.workers,
    )
    print(summary)
    return 0
