"""What trained pose networks see: receptive fields, learnt filters, skeletons and heatmaps."""

from __future__ import annotations

from .page import PHOTOGRAPHS, RECEPTIVE_FIELD, filters_name, view_sections

__all__ = ["PHOTOGRAPHS", "RECEPTIVE_FIELD", "filters_name", "view_sections"]
