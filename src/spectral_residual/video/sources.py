"""Lists of labelled videos: folders of classes, Kinetics' csv files, lists of paths and labels."""

from __future__ import annotations

import csv
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import unknown_name

log = logging.getLogger(__name__)

VIDEO_SUFFIXES = (".mp4", ".mkv", ".webm", ".avi", ".mov")
"""Endings that are taken for videos; where a name exists with several, the first counts."""

_CSV_COLUMNS = ("youtube_id", "time_start", "time_end")
_SHOWN = 5


@dataclass(frozen=True)
class VideoItem:
    """A video file and its class.

    Attributes
    ----------
    path : Path
        The file.
    label : int or None
        Number of the class, None if unknown.
    """

    path: Path
    label: int | None


@dataclass(frozen=True)
class VideoSource:
    """Where a list of videos lies, relative to the root folder.

    Attributes
    ----------
    source : str
        A folder with one folder of videos per class; or a csv file of Kinetics (columns by name:
        label, youtube_id, time_start, time_end, split), whose videos
        ``<id>_<start>_<end>.mp4`` (or .mkv, .webm, .avi, .mov; times as six digits) lie in
        ``<class>/``, ``<split>/<class>/``, ``<split>/`` or beside each other; or a text file
        with a line ``<path> <label>`` per video, the label being a number or a class name.
    videos : str or None
        Folder of the videos of a csv or text file; by default the folder of that file.
    """

    source: str
    videos: str | None = None


class _Entry(NamedTuple):
    """A video as a source lists it, with its class as it is written there."""

    path: Path
    exists: bool
    label: str | None


def read_source(
    source: VideoSource, root: Path, classes: Sequence[str] | None = None
) -> tuple[list[VideoItem], list[str]]:
    """Read a list of videos.

    Files that the list names and that do not exist are left out, with one warning that counts
    them. In comparing class names an underscore is taken for a space.

    Parameters
    ----------
    source : VideoSource
        What to read.
    root : Path
        Folder that its paths are relative to.
    classes : sequence of str, optional
        Names in the order of the class numbers. By default the classes of this source in
        alphabetical order, those without a video included; the classes of a list with numbers
        for labels are named by their numbers.

    Returns
    -------
    list of VideoItem
        Of a folder by class, then name; of a file in its order.
    list of str
        Class names.

    Raises
    ------
    FileNotFoundError
        If the source, its folder of videos or every single video is missing.
    ValueError
        If the source holds no video, lacks a column, or has a class that is not among `classes`.
    """
    path = root / source.source
    names, entries = _read_entries(path, source, root)
    if not entries:
        raise ValueError(f"{path} holds no video ({', '.join(VIDEO_SUFFIXES)})")
    _report_missing(path, entries)
    key: Callable[[str], Any] = _key
    if path.is_file() and names and all(name.isdecimal() for name in names):
        key = int
        classes = classes or [str(number) for number in range(max(map(int, names)) + 1)]
        known: dict[Any, int] = {number: number for number in range(len(classes))}
    else:
        classes = classes or sorted({_key(name): name for name in sorted(names)}.values())
        known = {_key(name): number for number, name in enumerate(classes)}
    for name in names:
        if key(name) not in known:
            raise ValueError(f"{path}: {unknown_name('class', name, classes)}")
    items = [
        VideoItem(entry.path, None if entry.label is None else known[key(entry.label)])
        for entry in entries
        if entry.exists
    ]
    return items, list(classes)


def read_classes(path: Path) -> list[str]:
    """Read class names from a text file with one name per line, in the order of their numbers.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is empty or has a name twice.
    """
    if not path.is_file():
        raise FileNotFoundError(f"classes: no file {path}")
    names = [line.strip() for line in _lines(path) if line.strip()]
    if not names or len({_key(name) for name in names}) < len(names):
        raise ValueError(f"classes: expected one name per line, each once, in {path}")
    return names


def _key(name: str) -> str:
    """What class names are compared by."""
    return name.replace("_", " ")


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8-sig").splitlines()


def _videos_in(folder: Path) -> dict[str, Path]:
    """Videos of a folder by their names without ending, in alphabetical order."""
    if not folder.is_dir():
        return {}
    paths = [path for path in folder.iterdir() if not path.name.startswith(".")]
    # The first of several endings comes last, and stays.
    videos = {
        path.stem: path
        for suffix in reversed(VIDEO_SUFFIXES)
        for path in paths
        if path.suffix.lower() == suffix
    }
    return dict(sorted(videos.items()))


def _read_entries(path: Path, source: VideoSource, root: Path) -> tuple[list[str], list[_Entry]]:
    """Names of classes, those of empty folders too, and the videos."""
    if path.is_dir():
        if source.videos is not None:
            raise ValueError(
                f"videos: got {source.videos!r}, expected none, as the source {path} is a folder"
            )
        folders = sorted(p for p in path.iterdir() if p.is_dir() and not p.name.startswith("."))
        videos = [(video, each.name) for each in folders for video in _videos_in(each).values()]
        return [p.name for p in folders], [_Entry(video, True, name) for video, name in videos]
    if not path.is_file():
        raise FileNotFoundError(f"source: no folder, csv or list of videos {path}")
    folder = path.parent if source.videos is None else root / source.videos
    if not folder.is_dir():
        raise FileNotFoundError(f"videos: no folder {folder}")
    entries = _read_csv(path, folder) if _is_csv(path) else _read_list(path, folder)
    return [entry.label for entry in entries if entry.label is not None], entries


def _is_csv(path: Path) -> bool:
    """Whether a file is a csv of Kinetics; one that ends so but lacks a column is refused."""
    header = next(csv.reader(_lines(path)[:1]), [])
    absent = [column for column in _CSV_COLUMNS if column not in header]
    if absent and path.suffix == ".csv" and len(header) > 1:
        raise ValueError(f"{path}: got the columns {header}, expected {absent} too")
    return not absent


def _read_csv(path: Path, folder: Path) -> list[_Entry]:
    videos_in = cache(_videos_in)
    entries = []
    for number, row in enumerate(csv.DictReader(_lines(path)), start=2):
        try:
            start, end = (int(float(row[name])) for name in ("time_start", "time_end"))
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path}, line {number}: expected times in seconds: {row}") from error
        name = f"{row['youtube_id']}_{start:06d}_{end:06d}"
        label, split = row.get("label") or None, row.get("split")
        parents = [folder / split, folder] if split else [folder]
        names = [label, label.replace(" ", "_"), ""] if label else [""]
        folders = [parent / each for parent in parents for each in names]
        found = next((videos_in(each)[name] for each in folders if name in videos_in(each)), None)
        entries.append(_Entry(found or folders[0] / f"{name}.mp4", found is not None, label))
    return entries


def _read_list(path: Path, folder: Path) -> list[_Entry]:
    entries = []
    for number, line in enumerate(_lines(path), start=1):
        if not line.strip():
            continue
        name, _, label = line.strip().replace("\t", " ").rpartition(" ")
        if not name:
            raise ValueError(f"{path}, line {number}: expected '<path> <label>', got {line!r}")
        video = folder / name.strip()
        entries.append(_Entry(video, video.is_file(), None if label == "-1" else label))
    return entries


def _report_missing(source: Path, entries: Sequence[_Entry]) -> None:
    missing = [str(entry.path) for entry in entries if not entry.exists]
    if len(missing) == len(entries):
        raise FileNotFoundError(
            f"none of the {len(entries)} videos of {source} exists, the first being {missing[0]}"
        )
    if missing:
        log.warning(
            "%d of the %d videos of %s do not exist: %s%s",
            len(missing), len(entries), source, ", ".join(missing[:_SHOWN]),
            ", ..." if len(missing) > _SHOWN else "",
        )  # fmt: skip
