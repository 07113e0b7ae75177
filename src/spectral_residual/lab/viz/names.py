"""File names of the pictures."""

from __future__ import annotations

RECEPTIVE_FIELD = "receptive_field.png"
SKELETONS = "skeletons.png"
HEATMAPS = "heatmaps.png"
PHOTOGRAPHS = (SKELETONS, HEATMAPS)
"""Pictures that show images of the data, which may not be passed on."""


def filters_name(network: str) -> str:
    """File name of the learnt filters of a network."""
    return f"filters_{network}.png"
