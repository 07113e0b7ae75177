"""Headers of image files: size, orientation and completeness, before anything is decoded."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

_JPEG_MARKER = re.compile(rb"\xff([\xc0-\xcf\xd9-\xef\xfe])", re.DOTALL)
_JPEG_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_NUMBERS_IN_WORDS = (
    re.compile(rb"P[1-6fF]\s+(?:#[^\n]*\n\s*)*(?P<w>\d+)\s+(?:#[^\n]*\n\s*)*(?P<h>\d+)\s"),
    re.compile(rb"P7\n(?:.*\n)*?WIDTH (?P<w>\d+)\n(?:.*\n)*?HEIGHT (?P<h>\d+)\n"),
    re.compile(rb"#\?R(?:.*\n)+?[-+]Y (?P<h>\d+) [-+]X (?P<w>\d+)\n"),
)
_LONGEST_TEXT = 4096

Order = Literal["big", "little"]


@dataclass(frozen=True)
class Header:
    """What an image file says of itself.

    Attributes
    ----------
    height, width : int
        Size of the stored raster in pixels.
    orientation : int
        EXIF orientation, 1 to 8; 1 where there is none, or none of these.
    complete : bool
        False if a JPEG or PNG ends before its end; what follows the end does not matter.
    """

    height: int
    width: int
    orientation: int = 1
    complete: bool = True

    def upright_size(self) -> tuple[int, int]:
        """Height and width (H, W) after the orientation is applied."""
        size = (self.height, self.width)
        return size[::-1] if self.orientation >= 5 else size


def read_header(content: bytes) -> Header | None:
    """Read the header of an image file, whatever its name ends with.

    Parameters
    ----------
    content : bytes
        The whole file: JPEG, PNG, WebP, BMP, GIF, TIFF, JPEG 2000, AVIF, PNM, PFM, PAM, Sun raster
        or Radiance HDR.

    Returns
    -------
    Header or None
        None if it is none of these, or states no size.
    """
    if content.startswith(b"\xff\xd8\xff"):
        header = _jpeg(content)
    elif content.startswith(b"\x89PNG\r\n\x1a\n"):
        header = _png(content)
    elif content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        header = _webp(content)
    elif content.startswith((b"II*\0", b"MM\0*")):
        tags = _first_directory(content)
        header = Header(tags.get(257, 0), tags.get(256, 0), tags.get(274, 1))
        header = Header(*header.upright_size())  # OpenCV turns TIFF files in any case.
    else:
        header = Header(*_other_size(content))
    if header.height <= 0 or header.width <= 0:
        return None
    if header.orientation not in range(1, 9):
        return Header(header.height, header.width, 1, header.complete)
    return header


def _number(content: bytes, at: int, length: int, order: Order = "big") -> int:
    return int.from_bytes(content[at : at + length], order)


def _jpeg(content: bytes) -> Header:
    """Walk from marker to marker: thumbnails lie within segments, coded pixels hold no marker."""
    height = width = 0
    orientation, at, complete = 1, 2, False
    while not complete and (found := _JPEG_MARKER.search(content, at)):
        at, marker = found.start(), found[1][0]
        complete = marker == 0xD9
        if marker in _JPEG_FRAMES and height == 0:
            height, width = _number(content, at + 5, 2), _number(content, at + 7, 2)
        elif marker == 0xE1 and content[at + 4 : at + 10] == b"Exif\0\0" and orientation == 1:
            segment = content[at + 10 : at + 2 + _number(content, at + 2, 2)]
            orientation = _first_directory(segment).get(274, 1)
        at += 2 + _number(content, at + 2, 2)
    # A damaged scan may lead the walk astray; the last end behind the last scan will do as well.
    complete = complete or content.rfind(b"\xff\xd9") > content.rfind(b"\xff\xda")
    return Header(height, width, orientation, complete)


def _png(content: bytes) -> Header:
    width, height = _number(content, 16, 4), _number(content, 20, 4)
    orientation, at = 1, 8
    while at + 12 <= len(content):
        length, kind = _number(content, at, 4), content[at + 4 : at + 8]
        if kind == b"IEND":
            return Header(height, width, orientation)
        if kind == b"eXIf":
            orientation = _first_directory(content[at + 8 : at + 8 + length]).get(274, 1)
        at += 12 + length
    return Header(height, width, orientation, complete=False)


def _webp(content: bytes) -> Header:
    kind = content[12:16]
    if kind == b"VP8L":
        bits = _number(content, 21, 4, "little")
        return Header((bits >> 14 & 0x3FFF) + 1, (bits & 0x3FFF) + 1)
    if kind != b"VP8X":
        height, width = (_number(content, at, 2, "little") & 0x3FFF for at in (28, 26))
        return Header(height, width)
    width, height = (_number(content, at, 3, "little") + 1 for at in (24, 27))
    orientation, at = 1, 12
    while at + 8 <= len(content):
        length = _number(content, at + 4, 4, "little")
        if content[at : at + 4] == b"EXIF":
            segment = content[at + 8 : at + 8 + length].removeprefix(b"Exif\0\0")
            orientation = _first_directory(segment).get(274, 1)
        at += 8 + length + length % 2
    return Header(height, width, orientation)


def _other_size(content: bytes) -> tuple[int, int]:
    """Height and width of formats without an orientation; (0, 0) if it is none of them."""
    if content.startswith(b"BM"):
        if _number(content, 14, 4, "little") == 12:
            return _number(content, 20, 2, "little"), _number(content, 18, 2, "little")
        height = int.from_bytes(content[22:26], "little", signed=True)
        return abs(height), _number(content, 18, 4, "little")
    if content.startswith((b"GIF87a", b"GIF89a")):
        return _number(content, 8, 2, "little"), _number(content, 6, 2, "little")
    if content.startswith(b"\x59\xa6\x6a\x95"):
        return _number(content, 8, 4), _number(content, 4, 4)
    if content.startswith((b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  ")):
        at = content.find(b"\xff\x4f\xff\x51")
        right, bottom, left, top = (_number(content, at + 8 + 4 * i, 4) for i in range(4))
        return (bottom - top, right - left) if at >= 0 else (0, 0)
    if content[4:12] in (b"ftypavif", b"ftypavis", b"ftypmif1"):
        sizes = [m.end() for m in re.finditer(rb"ispe\0\0\0\0", content[:65536])]
        rasters = [(_number(content, at + 4, 4), _number(content, at, 4)) for at in sizes]
        return max(rasters, key=lambda size: size[0] * size[1], default=(0, 0))
    for pattern in _NUMBERS_IN_WORDS:
        if found := pattern.match(content[:_LONGEST_TEXT]):
            return int(found["h"]), int(found["w"])
    return 0, 0


def _first_directory(tiff: bytes) -> dict[int, int]:
    """Numbers by tag in the first directory of a TIFF file, or of EXIF data, which are one."""
    order: Order = "little" if tiff[:2] == b"II" else "big"
    start = _number(tiff, 4, 4, order)
    tags = {}
    for index in range(_number(tiff, start, 2, order)):
        at = start + 2 + 12 * index
        if at + 12 > len(tiff):
            break
        tag, kind = _number(tiff, at, 2, order), _number(tiff, at + 2, 2, order)
        if kind in (3, 4):
            tags[tag] = _number(tiff, at + 8, 2 if kind == 3 else 4, order)
    return tags
