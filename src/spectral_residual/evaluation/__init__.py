"""Measuring poses: OKS and its suppression, the COCO keypoint metrics, PCK.

Nothing here knows of models or data sets; everything takes plain arrays, tensors or COCO JSON.
"""

from spectral_residual.evaluation.coco import (
    KEYPOINT_METRICS,
    evaluate_keypoints,
    format_table,
    read_results,
    results_entries,
    write_results,
)
from spectral_residual.evaluation.oks import oks, oks_nms, rescore
from spectral_residual.evaluation.pck import PCK, pck

__all__ = [
    "KEYPOINT_METRICS",
    "PCK",
    "evaluate_keypoints",
    "format_table",
    "oks",
    "oks_nms",
    "pck",
    "read_results",
    "rescore",
    "results_entries",
    "write_results",
]
