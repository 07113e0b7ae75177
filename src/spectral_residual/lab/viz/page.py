"""The pictures of networks on one HTML page."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from markupsafe import Markup

from ...report.page import Picture, gallery, join, note, plot, table, write_page
from .names import HEATMAPS, RECEPTIVE_FIELD, SKELETONS, filters_name

if TYPE_CHECKING:
    from .pictures import Views


def view_sections(names: list[str], pictures: Mapping[str, bytes]) -> dict[str, Markup]:
    """HTML by heading of all pictures that are there.

    Parameters
    ----------
    names : list of str
        Names of the networks.
    pictures : mapping
        PNG files by the names that `Views` gives them.
    """
    sections = {}
    if RECEPTIVE_FIELD in pictures:
        caption = (
            "Gradient of the centre of the map over the input pixels, mean of absolute values "
            "over validation persons, relative to the greatest, logarithmic. The frame marks the "
            "central 25 % of the image."
        )
        alt = f"Effective receptive fields of {', '.join(names)}."
        sections["Effective receptive fields"] = plot(pictures[RECEPTIVE_FIELD], alt, caption)
    filters = {n: pictures[filters_name(n)] for n in names if filters_name(n) in pictures}
    if filters:
        sections["Learnt filters"] = filter_section(filters)
    captions = {
        SKELETONS: ("Skeletons", "Left side orange, right side blue; first row as annotated."),
        HEATMAPS: ("Heatmaps", "Greatest value of all joints' heatmaps over the darkened image."),
    }
    for file, (heading, caption) in captions.items():
        if file in pictures:
            text = f"{caption} Five persons that are predicted well, and five predicted badly."
            picture = Picture(heading, text, _decoded(file, pictures[file]))
            sections[heading] = gallery([picture])
    return sections


def write_views(path: Path, views: Views, images: int, layer: str | None) -> Path:
    """Write a page with all pictures and the shares of the receptive fields."""
    rows = [
        [name, f"{100 * share['energy_outside']:.1f} %", f"{100 * share['absolute_outside']:.1f} %"]
        for name, share in views.shares().items()
    ]
    label = "Outside the central 25 % of the image"
    header = ["network", "squared gradient outside", "absolute gradient outside"]
    sections = {label: table(label, header, rows)}
    where = "the heatmaps" if layer is None else f"the output of {layer}"
    return write_page(
        path,
        "What the networks see",
        f"{', '.join(views.fields)}: gradient of the centre of {where} over {images} validation "
        "persons.",
        sections | view_sections(list(views.fields), views.pictures),
    )


def _decoded(name: str, png: bytes) -> np.ndarray:
    image = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError(f"{name}: not a picture")
    return np.ascontiguousarray(image[:, :, ::-1]).astype(np.uint8, copy=False)


def filter_section(filters: Mapping[str, bytes]) -> Markup:
    """HTML of learnt filters: figures from `filter_figure`, PNG, by name of the model.

    Raises
    ------
    ValueError
        If a figure is not PNG.
    """
    parts = []
    for name, png in filters.items():
        parts.append(
            plot(
                png,
                f"Colour maps of the spectral weights W and biases B of {name}, one pair for "
                "each block.",
                f"{name}: weight W and bias B for every frequency, one pair for each block.",
            )
        )
    parts.append(
        note(
            "The neutral colour marks the values before training, W = 1 and "
            "B = 0; red is above and blue below, and each panel has its own scale. Frequencies "
            "of the Fourier transform are in cycles per pixel of the feature map: zero is in the "
            "middle of the left edge, vertical frequencies grow downwards as in the map, and the "
            "left half of the spectrum, a mirror image, is not stored. Other transforms are shown "
            "in the order of their indices, from coarse to fine where they have one."
        )
    )
    return join(parts)
