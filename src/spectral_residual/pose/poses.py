"""From heatmaps of crops to poses in images, and the files that hold them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from ..errors import counted, printable
from ..report.files import prepare_folder
from .coco import write_results
from .dataset import KeypointDataset
from .drawing import write_overlays
from .heatmap import HeatmapCodec
from .oks import Poses
from .skeleton import Skeleton

_RESULTS, _OVERLAYS = "results.json", "overlays"


def decoded_poses(
    codec: HeatmapCodec, heatmaps: Tensor, batch: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Joints (N, K, 2) of persons in image pixels, with what their rescoring needs.

    Parameters
    ----------
    codec : HeatmapCodec
        Of the network.
    heatmaps : tensor of shape (N, K, H, W)
        Of a batch.
    batch : mapping
        Of samples of `KeypointDataset`.

    Returns
    -------
    dict of Tensor
        See `rescored_poses`.
    """
    coords, scores = codec.decode(heatmaps)
    return {
        "index": batch["index"],
        "image_id": batch["image_id"],
        "keypoints": codec.to_image(coords, batch["center"], batch["size"]),
        "joint_scores": scores,
        "box_score": batch["score"],
        "area": batch["size"].prod(dim=1),
        "broken": batch["broken"],
    }


def prepare_poses(folder: Path) -> None:
    """Make what `write_poses` writes to; OSError, before the work, if that cannot be."""
    prepare_folder(folder, [_RESULTS])
    prepare_folder(folder / _OVERLAYS)


def write_poses(
    folder: Path,
    poses: Poses,
    entries: Sequence[Mapping[str, Any]],
    dataset: KeypointDataset,
    skeleton: Skeleton,
    threshold: float,
) -> str:
    """Write ``results.json`` and ``overlays/``; return lines that say so.

    Parameters
    ----------
    folder : Path
        Made if it is not there.
    poses : dict of ndarray
        Rescored poses.
    entries : sequence of mapping
        The same as results, see `coco_results`.
    dataset : KeypointDataset
        Gives the image files.
    skeleton : Skeleton
        What to draw.
    threshold : float
        See `write_overlays`.
    """
    results, overlays = folder / _RESULTS, folder / _OVERLAYS
    write_results(results, entries)
    count = write_overlays(overlays, poses, dataset, skeleton, threshold)
    return (
        f"{counted(len(entries), 'pose')} in {printable(results)}\n"
        f"{counted(count, 'picture')} in {printable(overlays)}"
    )
