"""Lists of labelled videos: folders of classes, Kinetics' csv files, lists of paths and labels."""

from __future__ import annotations

import csv
import logging
import os
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import listed, printable, unknown_name

log = logging.getLogger(__name__)

VIDEO_SUFFIXES = (".mp4", ".mkv", ".webm", ".avi", ".mov")
"""Endings that are taken for videos; where a name exists with several, the first counts."""

_CSV_COLUMNS = ("youtube_id", "time_start", "time_end")
_SHOWN = 5
_LATEST = 10**6
_MOST_CLASSES = 10**6
_WHOLE = re.compile("[0-9]{1,7}")
_NUMBER = re.compile(r"[+-]?(\d+[.,_]?\d*|[.,]\d+)(e[+-]?\d+)?", re.IGNORECASE)


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
    files_outside : bool
        Whether videos may lie outside the root and that folder: by absolute paths, ``..`` or
        symbolic links.
    """

    source: str
    videos: str | None = None
    files_outside: bool = False


class _Entry(NamedTuple):
    """A video as a source lists it, with its class as it is written there, and the line or 0."""

    path: Path
    exists: bool
    label: str | None
    line: int = 0

    def fault(self, text: str) -> str:
        return f"line {self.line}: {text}" if self.line else f"{self.path}: {text}"


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
        If the source holds no video, lacks a column, has a class that is not among `classes`, or
        has entries that are mistyped, named twice, or outside the data's folders; all of these
        are named together.
    """
    path = root / source.source
    names, entries, faults = _read_entries(path, source, root)
    faults += _twice_or_outside(entries, source, root)
    if path.is_file() and classes is None:
        faults += _not_numbers(entries)
    if faults:
        raise ValueError(f"{printable(path)}: got {len(faults)} faults:{listed(faults)}")
    if not entries:
        raise ValueError(f"{printable(path)} holds no video ({', '.join(VIDEO_SUFFIXES)})")
    _report_missing(path, entries)
    known, key, classes = _numbers(path, names, classes)
    lines = {entry.label: f" (line {entry.line})" for entry in reversed(entries) if entry.line}
    unknown = [
        f"{unknown_name('class', name, classes)}{lines.get(name, '')}"
        for name in dict.fromkeys(names)
        if key(name) not in known
    ]
    if unknown:
        raise ValueError(f"{printable(path)}: {printable(unknown[0])}{listed(unknown[1:])}")
    items = [
        VideoItem(entry.path, None if entry.label is None else known[key(entry.label)])
        for entry in entries
        if entry.exists
    ]
    return items, classes


def _numbers(
    path: Path, names: Sequence[str], classes: Sequence[str] | None
) -> tuple[dict[Any, int], Callable[[str], Any], list[str]]:
    """Class numbers, what a label is looked up by among them, and the names of the classes."""
    if path.is_file() and names and all(_WHOLE.fullmatch(name) for name in names):
        classes = classes or [str(number) for number in range(max(map(int, names)) + 1)]
        return {number: number for number in range(len(classes))}, int, list(classes)
    classes = classes or sorted({_key(name): name for name in sorted(names)}.values())
    return {_key(name): number for number, name in enumerate(classes)}, _key, list(classes)


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
        raise FileNotFoundError(f"classes: no file {printable(path)}")
    names = [line.strip() for line in _lines(path) if line.strip()]
    counts = Counter(_key(name) for name in names)
    twice = [name for name in names if counts[_key(name)] > 1]
    if not names or twice:
        raise ValueError(
            f"classes: expected one name per line, each once, in {printable(path)}, "
            f"got {'none' if not names else printable(twice[:_SHOWN])}"
        )
    return names


def is_file(path: Path) -> bool:
    """Whether a file is there; a name that no file can have is of none."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _key(name: str) -> str:
    """What class names are compared by."""
    return name.replace("_", " ")


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{printable(path)}: expected text in UTF-8: {error}") from error


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


def _read_entries(
    path: Path, source: VideoSource, root: Path
) -> tuple[list[str], list[_Entry], list[str]]:
    """Names of classes, those of empty folders too, the videos, and what is wrong in the file."""
    if path.is_dir():
        if source.videos is not None:
            raise ValueError(
                f"videos: got {source.videos!r}, expected none, as the source {printable(path)} "
                "is a folder"
            )
        folders = sorted(p for p in path.iterdir() if p.is_dir() and not p.name.startswith("."))
        videos = [(video, each.name) for each in folders for video in _videos_in(each).values()]
        return [p.name for p in folders], [_Entry(video, True, name) for video, name in videos], []
    if not path.is_file():
        raise FileNotFoundError(f"source: no folder, csv or list of videos {printable(path)}")
    folder = _video_folder(source, root)
    if not folder.is_dir():
        raise FileNotFoundError(f"videos: no folder {printable(folder)}")
    entries, faults = _read_csv(path, folder) if _is_csv(path) else _read_list(path, folder)
    return [entry.label for entry in entries if entry.label is not None], entries, faults


def _video_folder(source: VideoSource, root: Path) -> Path:
    path = root / source.source
    if source.videos is not None:
        return root / source.videos
    return path if path.is_dir() else path.parent


def _is_csv(path: Path) -> bool:
    """Whether a file is a csv of Kinetics; one that ends so but lacks a column is refused."""
    try:
        header = next(csv.reader(_lines(path)[:1]), [])
    except csv.Error:
        header = []
    absent = [column for column in _CSV_COLUMNS if column not in header]
    if absent and path.suffix == ".csv" and len(header) > 1:
        raise ValueError(f"{printable(path)}: got the columns {header}, expected {absent} too")
    if not absent and len(set(header)) < len(header):
        raise ValueError(f"{printable(path)}: got the columns {header}, expected each once")
    return not absent


def _read_csv(path: Path, folder: Path) -> tuple[list[_Entry], list[str]]:
    """Entries of a csv of Kinetics, and its faults."""
    videos_in = cache(_videos_in)
    entries: list[_Entry] = []
    faults: list[str] = []
    reader = csv.DictReader(_lines(path), strict=True)
    try:
        rows = [(reader.line_num, row) for row in reader]
    except csv.Error as error:
        raise ValueError(f"{printable(path)}, line {reader.line_num}: {error}") from error
    is_labelled = any(row.get("label") for _, row in rows)
    for number, row in rows:
        wrong = _wrong_fields(row, is_labelled)
        faults += [f"line {number}: {each}" for each in wrong]
        if wrong:
            continue
        start, end = (int(float(row[name])) for name in ("time_start", "time_end"))
        name = f"{row['youtube_id']}_{start:06d}_{end:06d}"
        label, split = row.get("label") or None, row.get("split")
        parents = [folder / split, folder] if split else [folder]
        names = [label, label.replace(" ", "_"), ""] if label else [""]
        folders = [parent / each for parent in parents for each in names]
        found = next((videos_in(each)[name] for each in folders if name in videos_in(each)), None)
        video = found or folders[0] / f"{name}.mp4"
        entries.append(_Entry(video, found is not None, label, number))
    return entries, faults


def _wrong_fields(row: dict[Any, Any], is_labelled: bool) -> list[str]:
    """What is wrong in a row of a csv."""
    if None in row or None in row.values():
        return [f"expected as many fields as columns: {row}"]
    wrong = []
    for name in ("time_start", "time_end"):
        try:
            is_time = 0 <= float(row[name]) < _LATEST
        except ValueError:
            is_time = False
        if not is_time:
            wrong.append(f"expected times in seconds, got {row[name]!r} in {name}")
    for name in ("youtube_id", "label", "split"):
        text = row.get(name, "")
        if text != text.strip() or "\0" in text:
            wrong.append(f"expected no spaces around the {name}, got {text!r}")
        elif name == "youtube_id" and "/" in text:
            wrong.append(f"expected no / in the youtube_id, got {text!r}")
        elif not text and (name == "youtube_id" or (name == "label" and is_labelled)):
            wrong.append(f"expected a {name}, got an empty field")
    return wrong


def _read_list(path: Path, folder: Path) -> tuple[list[_Entry], list[str]]:
    """Entries of a list of paths and labels, and its faults."""
    entries = []
    faults = []
    for number, line in enumerate(_lines(path), start=1):
        if not line.strip():
            continue
        name, _, label = line.strip().replace("\t", " ").rpartition(" ")
        if not name or "\0" in name:
            faults.append(f"line {number}: expected '<path> <label>', got {line!r}")
            continue
        video = folder / name.strip()
        known = None if label == "-1" else label
        entries.append(_Entry(video, is_file(video), known, number))
    return entries, faults


def _not_numbers(entries: Sequence[_Entry]) -> list[str]:
    """Labels that are no whole numbers, if they or others look like numbers."""
    found = [entry for entry in entries if entry.label is not None]
    whole = [entry for entry in found if _WHOLE.fullmatch(entry.label or "")]
    if not whole:
        return [
            entry.fault(f"label {entry.label!r}: expected a whole number or a name")
            for entry in found
            if _NUMBER.fullmatch(entry.label or "")
        ]
    return [
        entry.fault(
            f"label {entry.label!r}: expected a whole number below {_MOST_CLASSES}, as there are "
            "others (if these are names, list them in data.classes)"
        )
        for entry in found
        if not _WHOLE.fullmatch(entry.label or "") or int(entry.label or 0) >= _MOST_CLASSES
    ]


def _twice_or_outside(entries: Sequence[_Entry], source: VideoSource, root: Path) -> list[str]:
    """Videos that are listed twice, or lie in other folders than those of the data."""
    real = cache(os.path.realpath)
    folders = [real(root), real(_video_folder(source, root))]
    places: dict[str, _Entry] = {}
    faults = []
    for entry in entries:
        video = str(entry.path)
        is_link = os.path.islink(video) or entry.path.name == ".."
        place = real(video) if is_link else os.path.join(real(entry.path.parent), entry.path.name)
        if not source.files_outside and not any(_is_below(place, folder) for folder in folders):
            faults.append(
                entry.fault(
                    f"the video {video} lies outside the folder of the data, {folders[-1]}; if "
                    "that is wanted, say files_outside: true beside source"
                )
            )
        first = places.setdefault(place, entry)
        if first is not entry and entry.line:
            faults.append(entry.fault(f"the video {video} is in line {first.line} already"))
    return faults


def _is_below(place: str, folder: str) -> bool:
    return place.startswith(os.path.join(folder, ""))


def _report_missing(source: Path, entries: Sequence[_Entry]) -> None:
    missing = [printable(entry.path) for entry in entries if not entry.exists]
    if len(missing) == len(entries):
        raise FileNotFoundError(
            f"none of the {len(entries)} videos of {printable(source)} exists, the first being "
            f"{missing[0]}"
        )
    if missing:
        log.warning(
            "%d of the %d videos of %s do not exist: %s%s",
            len(missing), len(entries), printable(source), ", ".join(missing[:_SHOWN]),
            ", ..." if len(missing) > _SHOWN else "",
        )  # fmt: skip
