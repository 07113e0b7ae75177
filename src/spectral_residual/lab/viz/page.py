"""The pictures of networks on one HTML page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from markupsafe import Markup

from ...report.page import Picture, gallery, join, note, plot, table, write_page

if TYPE_CHECKING:
    from .pictures import Views

RECEPTIVE_FIELD = "receptive_field.png"
SKELETONS = "skeletons.png"
HEATMAPS = "heatmaps.png"
PHOTOGRAPHS = (SKELETONS, HEATMAPS)
"""Pictures that show images of the data, which may not be passed on."""

_CAPTIONS = {
    SKELETONS: ("Skeletons", "Left side orange, right side blue; first row as annotated."),
    HEATMAPS: ("Heatmaps", "Greatest value of all joints' heatmaps over the darkened image."),
}


def filters_name(network: str) -> str:
    """File name of the learnt filters of a network."""
    return f"filters_{network}.png"


def view_sections(names: Sequence[str], pictures: Mapping[str, bytes]) -> dict[str, Markup]:
    """HTML by heading of all pictures that are there.

    Parameters
    ----------
    names : sequence of str
        Names of the networks.
    pictures : mapping
        PNG files by the names that `Views` gives them.

    Raises
    ------
    ValueError
        If a file is no picture.
    """
    sections = {}
    if RECEPTIVE_FIELD in pictures:
        sections["Effective receptive fields"] = plot(
            pictures[RECEPTIVE_FIELD],
            f"Effective receptive fields of {', '.join(names)}.",
            "Gradient of the centre of the map over the input pixels, mean of absolute values "
            "over validation persons, relative to the greatest, logarithmic. The frame marks the "
            "central 25 % of the image.",
        )
    filters = {n: pictures[filters_name(n)] for n in names if filters_name(n) in pictures}
    if filters:
        sections["Learnt filters"] = filter_section(filters)
    for file, (heading, caption) in _CAPTIONS.items():
        if file in pictures:
            text = f"{caption} Five persons that are predicted well, and five predicted badly."
            sections[heading] = gallery([Picture(heading, text, _decoded(file, pictures[file]))])
    return sections


def filter_section(filters: Mapping[str, bytes]) -> Markup:
    """HTML of learnt filters: figures from `filter_figure`, PNG, by name of the model.

    Raises
    ------
    ValueError
        If a figure is not PNG.
    """
    plots = [
        plot(
            png,
            f"Colour maps of the spectral weights W and biases B of {name}, one pair for each "
            "block.",
            f"{name}: weight W and bias B for every frequency, one pair for each block.",
        )
        for name, png in filters.items()
    ]
    explanation = note(
        "The neutral colour marks the values before training, W = 1 and B = 0; red is above and "
        "blue below, and each panel has its own scale. Frequencies of the Fourier transform are "
        "in cycles per pixel of the feature map: zero is in the middle of the left edge, vertical "
        "frequencies grow downwards as in the map, and the left half of the spectrum, a mirror "
        "image, is not stored. Other transforms are shown in the order of their indices, from "
        "coarse to fine where they have one."
    )
    return join([*plots, explanation])


def write_views(path: Path, views: Views, images: int, layer: str | None) -> Path:
    """Write a page with all pictures and the shares of the receptive fields.

    Parameters
    ----------
    path : Path
        File to create or replace.
    views : Views
        What `draw_networks` found.
    images : int
        Validation persons that were used.
    layer : str or None
        Module that was looked at, None for the heatmaps.

    Returns
    -------
    Path
        The file.
    """
    names = list(views.fields)
    rows = [
        [name, f"{100 * share['energy_outside']:.1f} %", f"{100 * share['absolute_outside']:.1f} %"]
        for name, share in views.shares().items()
    ]
    label = "Outside the central 25 % of the image"
    header = ["network", "squared gradient outside", "absolute gradient outside"]
    sections = {label: table(label, header, rows)} | view_sections(names, views.pictures)
    where = "the heatmaps" if layer is None else f"the output of {layer}"
    lead = (
        f"{', '.join(names)}: gradient of the centre of {where} over {images} validation persons."
    )
    return write_page(path, "What the networks see", lead, sections)


def _decoded(name: str, png: bytes) -> np.ndarray:
    image = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError(f"{name}: not a picture")
    return np.asarray(image[:, :, ::-1], np.uint8)
