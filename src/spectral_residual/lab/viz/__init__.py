"""What trained pose networks see: receptive fields, learnt filters, skeletons and heatmaps."""

from __future__ import annotations

from .names import PHOTOGRAPHS, RECEPTIVE_FIELD, filters_name
from .page import view_sections
from .receptive_field import ReceptiveField, effective_receptive_field, receptive_field_figure

__all__ = [
    "PHOTOGRAPHS",
    "RECEPTIVE_FIELD",
    "ReceptiveField",
    "effective_receptive_field",
    "filters_name",
    "receptive_field_figure",
    "view_sections",
]
