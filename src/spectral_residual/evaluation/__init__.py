"""Measuring poses (OKS and its suppression, COCO's metrics, PCK) and classification.

Nothing here knows of models or data sets; everything takes plain arrays, tensors or COCO JSON.
"""

from spectral_residual.evaluation.classification import (
    class_accuracy,
    classification_metrics,
    confusion_matrix,
    label_ranks,
    mean_probabilities,
    pair_accuracy,
    top_k_accuracy,
)
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
    "class_accuracy",
    "classification_metrics",
    "confusion_matrix",
    "evaluate_keypoints",
    "format_table",
    "label_ranks",
    "mean_probabilities",
    "oks",
    "oks_nms",
    "pair_accuracy",
    "pck",
    "read_results",
    "rescore",
    "results_entries",
    "top_k_accuracy",
    "write_results",
]
