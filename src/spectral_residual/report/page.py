"""HTML pages that need no other file, no network and no script.

Pages and their parts are Jinja2 templates in ``templates/``; texts are escaped there.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from numpy.typing import NDArray

from .figures import encode
from .files import write_file

_SMALLEST_PLOT = 0.42
_SMALLEST_PICTURE = 640
_PNG_START = b"\x89PNG\r\n\x1a\n"
_TEMPLATES = Environment(
    loader=PackageLoader(__package__),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_PARTS: Any = _TEMPLATES.get_template("parts.html").module


class Picture(NamedTuple):
    """A picture of a page: its heading, what is to be seen, and (H, W, 3) uint8 RGB."""

    title: str
    caption: str
    image: NDArray[np.uint8]


def write_page(path: str | Path, title: str, lead: str, sections: Mapping[str, Markup]) -> Path:
    """Write a page in one step: no reader sees half of it.

    Parameters
    ----------
    path : str or Path
        File to create or replace; missing parent folders are created.
    title, lead : str
        Heading of the page and what follows it; plain text, line breaks of the lead are kept, and
        what is not Unicode, such as half a surrogate pair, becomes a question mark.
    sections : mapping
        Parts, as the functions of this module make them, by plain headings, in their order.

    Returns
    -------
    Path
        The file.
    """
    page = _TEMPLATES.get_template("page.html").render(title=title, lead=lead, sections=sections)
    return write_file(path, page.encode(errors="replace"))


def render_part(name: str, **values: Any) -> Markup:
    """HTML of a macro in ``templates/parts.html``."""
    return Markup(getattr(_PARTS, name)(**values).strip())


def note(text: str) -> Markup:
    """A paragraph in small print; plain text, or `Markup`."""
    return render_part("note", text=text)


def table(
    label: str, header: Sequence[str], rows: Sequence[Sequence[str | tuple[str, str]]]
) -> Markup:
    """A table of plain texts, the first column being the names of the rows.

    A cell may be a pair: the text, and what stands below it in small print.
    """
    cells = [[cell if isinstance(cell, tuple) else (cell, "") for cell in row] for row in rows]
    return render_part("table", label=label, header=header, rows=cells)


def plot(png: bytes, alt: str, caption: str) -> Markup:
    """A drawing on white, which dark pages invert.

    Raises
    ------
    ValueError
        If the bytes are not those of a PNG file.
    """
    if not png.startswith(_PNG_START):
        raise ValueError(f"{alt!r}: got {png[:8]!r}..., expected a PNG file")
    width, height = (int.from_bytes(png[at : at + 4], "big") for at in (16, 20))
    return render_part(
        "plot",
        address=_data_address("png", png),
        alt=alt,
        caption=caption,
        width=width // 2,
        height=height // 2,
        smallest=round(_SMALLEST_PLOT * width),
    )


def gallery(pictures: Sequence[Picture]) -> Markup:
    """Pictures, embedded as JPEG.

    Raises
    ------
    ValueError
        If an image has another shape or dtype.
    """
    shown = []
    for picture in pictures:
        height, width = picture.image.shape[:2]
        address = _data_address("jpeg", encode(picture.image, ".jpg"))
        shown.append((picture, address, width, height, min(width, _SMALLEST_PICTURE)))
    return render_part("gallery", pictures=shown)


def descriptions(details: Mapping[str, str]) -> Markup:
    """Texts by what they describe; those of several lines keep them."""
    return render_part("descriptions", details=details)


def join(parts: Sequence[Markup]) -> Markup:
    """Parts one after the other."""
    return Markup("\n").join(parts)


def _data_address(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"
