"""Where training and validation data lie in a folder, in any layout of COCO-format files."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from .annotations import read_annotations

if TYPE_CHECKING:
    from .data_module import Split

log = logging.getLogger(__name__)

AUTO = "auto"
"""In place of a file or folder: the one that is found."""

_OFFICIAL = "annotations/person_keypoints_{}2017.json"
_WORDS = {
    "train": {"train", "training"},
    "val": {"val", "valid", "validate", "validation", "dev", "eval"},
    "test": {"test", "testing"},
}
_DEPTH = 3
_SAMPLED_FILES = 20
_FIELDS = (b'"images"', b'"annotations"', b'"categories"', b'"keypoints"')
_CHUNK = 1 << 24


Found = TypeVar("Found", bound="Split")


def find_splits(root: Path, splits: dict[str, Found]) -> dict[str, Exception]:
    """Put files and folders that are found in the place of `AUTO`.

    Found are COCO keypoint files at most three folders deep that have the split in their names or
    in those of their folders (``train``; ``val``, ``valid``, ``validation``; ``test``); of several
    that of COCO 2017. Their image folder is the one that holds the files they name; of several
    the one that has the split in its name.

    Parameters
    ----------
    root : Path
        Folder of the data.
    splits : dict of str to Split
        By name: ``"train"``, ``"val"`` and ``"test"``; changed in place. A test split that is the
        validation split stays so.

    Returns
    -------
    dict of str to Exception
        Why nothing is chosen for a split: FileNotFoundError if nothing is found, ValueError if
        several are possible, which are listed, or if the annotation file is faulty.
    """
    errors: dict[str, Exception] = {}
    shared = splits["test"] is splits["val"]
    for name in ("train", "val") if shared else ("train", "val", "test"):
        try:
            splits[name] = _completed(root, name, splits[name])
        except (FileNotFoundError, ValueError) as error:
            errors[name] = error
    if shared:
        splits["test"] = splits["val"]
        errors |= {"test": errors["val"]} if "val" in errors else {}
    return errors


def _completed(root: Path, name: str, split: Found) -> Found:
    annotations, images = split.annotations, split.images
    if AUTO not in (annotations, images):
        return split
    if annotations == AUTO:
        annotations = _annotation_file(root, name)
    if images == AUTO:
        images = _image_folder(root, name, annotations)
    log.info("data.%s: annotations %s, images %s", name, annotations, images)
    return replace(split, annotations=annotations, images=images)


def _annotation_file(root: Path, split: str) -> str:
    official = _OFFICIAL.format(split)
    if (root / official).is_file():
        return official
    files = [file for file in _files(root) if file.is_file() and _is_keypoint_file(file)]
    splits = {
        file.relative_to(root).as_posix(): _split_of(file.relative_to(root)) for file in files
    }
    found = [name for name, of in splits.items() if of == split]
    if len(found) == 1:
        return found[0]
    option = f"--data.{split}.annotations FILE"
    if found:
        raise ValueError(
            f"data.{split}.annotations: {root} has several COCO keypoint files for {split}: "
            f"{', '.join(found)}; choose one with {option}"
        )
    there = ", ".join(splits) or "none"
    words = ", ".join(sorted(_WORDS[split]))
    advice = f"name one with {option}"
    if len(splits) == 1 and split != "test":
        advice += f", or part it in two with 'srl data split {root / there}'"
    raise FileNotFoundError(
        f"data.{split}.annotations: no COCO keypoint file in {root} with one of the words {words} "
        f"in its name or that of its folder; COCO keypoint files there: {there}; {advice}"
    )


def _image_folder(root: Path, split: str, annotations: str) -> str:
    folder = f"{split}2017"
    if annotations == _OFFICIAL.format(split) and (root / folder).is_dir():
        return folder
    records = list(read_annotations(root / annotations).images.values())
    step = max(1, len(records) // _SAMPLED_FILES)
    names = [str(record["file_name"]) for record in records[::step]]
    held = {
        folder.relative_to(root).as_posix(): sum((folder / name).is_file() for name in names)
        for folder in _folders(root)
    }
    most = max(held.values())  # a few images may be missing
    found = [folder for folder, count in held.items() if count == most > len(names) / 2]
    if len(found) > 1:
        word = _split_of(Path(annotations)) or split
        own = [name for name in found if _split_of(Path(name)) == word]
        found = own if len(own) == 1 else found
    if len(found) == 1:
        return found[0]
    option = f"--data.{split}.images FOLDER"
    if found:
        raise ValueError(
            f"data.{split}.images: several folders have the images of {annotations}: "
            f"{', '.join(found)}; choose one with {option}"
        )
    first = f", such as {names[0]}" if names else ""
    raise FileNotFoundError(
        f"data.{split}.images: none of the folders in {root} ({', '.join(held)}) has the images "
        f"that {annotations} names{first}; give it with {option}"
    )


def _split_of(path: Path) -> str | None:
    """The split that a path is named after, the last part that says one first."""
    for part in reversed(path.parts):
        words = set(re.findall("[a-z]+", part.lower()))
        found = [split for split, names in _WORDS.items() if words & names]
        if found:
            return found[0] if len(found) == 1 else None
    return None


def _folders(root: Path) -> Iterator[Path]:
    for place, folders, _ in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield Path(place)
        if len(Path(place).relative_to(root).parts) == _DEPTH:
            folders.clear()


def _files(root: Path) -> list[Path]:
    return sorted(file for folder in _folders(root) for file in folder.glob("*.json"))


def _is_keypoint_file(path: Path) -> bool:
    """Whether a file begins as an object and has the fields of COCO's, without parsing it."""
    missing, last = set(_FIELDS), b""
    with path.open("rb") as file:
        start = file.read(64).lstrip(b"\xef\xbb\xbf \t\r\n")
        if not start.startswith(b"{"):
            return False
        file.seek(0)
        while missing and (chunk := file.read(_CHUNK)):
            missing = {field for field in missing if field not in last + chunk}
            last = chunk[-16:]
    return not missing
