"""Poses in image files with nothing but a trained network."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

from ..errors import printable
from ..training.task import gather
from .annotations import Instance
from .checks import number_field, read_json, typed_field
from .coco import coco_results
from .dataset import KeypointDataset, image_instances, list_images, report_broken
from .geometry import check_boxes
from .oks import Poses, rescored_poses
from .poses import decoded_poses, prepare_poses, write_poses
from .pretrained import PoseModel
from .skeleton import Skeleton
from .task import PoseEvaluation

log = logging.getLogger(__name__)

_BATCH = 16
_CATEGORY = 1


@dataclass(frozen=True)
class PredictedPoses:
    """What `predict_images` found.

    Attributes
    ----------
    poses : list of dict
        COCO's results with ``file_name``, and ``box`` (left, top, width, height in pixels).
    unreadable : list of str
        Image files that could not be read.
    said : str
        Lines that name the written files.
    """

    poses: list[dict[str, Any]]
    unreadable: list[str]
    said: str


def predict_images(
    checkpoint: str | Path,
    images: Sequence[str | Path],
    output: str | Path,
    boxes: str | Path | None = None,
) -> PredictedPoses:
    """Find poses in image files; write ``results.json`` and pictures with the skeletons drawn in.

    Images are turned as their EXIF orientation says. Runs on the GPU if there is one. The flip
    test is made where the skeleton says which joints swap, and poses that repeat a better one are
    left out where it has sigmas.

    Parameters
    ----------
    checkpoint : path
        Checkpoint, folder or name of a pose network; see `locate`.
    images : sequence of path
        Image files and folders of them. Unreadable ones are named in the log and left out.
    output : path
        Folder to write to; made if it is not there.
    boxes : path, optional
        JSON list of the persons' boxes: ``file_name`` of an image, ``bbox`` (left, top, width,
        height in pixels of the upright image) and, optionally, ``score``. Without it each image
        is one box.

    Returns
    -------
    PredictedPoses
        What was found.

    Raises
    ------
    OSError
        If the network, an image or the boxes do not exist, or `output` cannot be written to.
    ValueError
        If it is not a pose network, the boxes are malformed or of other images, or no image can
        be read.
    """
    files = _image_files(images)
    model = PoseModel.from_pretrained(checkpoint)
    instances = image_instances(files, model.skeleton.num_joints)
    if boxes is not None:
        instances = _boxed(instances, boxes)
    prepare_poses(Path(output))
    dataset = KeypointDataset(instances, model.input_size, on_broken="report")
    found = _found(model, dataset)
    report_broken(dataset, found["broken"])
    unreadable = sorted({str(instances[i].file) for i in found["broken"] if i >= 0})
    if (found["broken"] >= 0).all():
        raise ValueError("none of the images could be read")
    evaluation = PoseEvaluation()
    poses = _rescored(found, model.skeleton, evaluation)
    entries = coco_results(poses, _CATEGORY)
    for entry, index in zip(entries, poses["index"], strict=True):
        entry["file_name"] = str(instances[index].file)
        entry["box"] = instances[index].box.tolist()
    said = write_poses(
        Path(output), poses, entries, dataset, model.skeleton, evaluation.joint_threshold
    )
    return PredictedPoses(entries, unreadable, said)


@torch.inference_mode()
def _found(model: PoseModel, dataset: KeypointDataset) -> Poses:
    """Poses of all samples; see `rescored_poses`."""
    model.network.to("cuda" if torch.cuda.is_available() else "cpu")
    batches = []
    for batch in DataLoader(dataset, _BATCH):
        decoded = decoded_poses(model.codec, model.heatmaps(batch["image"]).cpu(), batch)
        batches.append({name: value.numpy() for name, value in decoded.items()})
    joined = gather(batches)
    if joined is None:
        raise ValueError("poses of images are found by one process, not by several")
    return joined


def _rescored(found: Poses, skeleton: Skeleton, evaluation: PoseEvaluation) -> Poses:
    """Scores of poses, without those that repeat a better one if there are sigmas."""
    sigmas, threshold = skeleton.sigmas, evaluation.nms_threshold
    if sigmas is None:
        sigmas, threshold = (1.0,) * skeleton.num_joints, 1.0
    return rescored_poses(found, sigmas, evaluation.joint_threshold, threshold)


def _image_files(images: Sequence[str | Path]) -> list[Path]:
    """Files, with those of folders in place of these, each once."""
    files: list[Path] = []
    for image in map(Path, images):
        if not image.exists():
            raise FileNotFoundError(f"no image {printable(image)}")
        files += list_images(image) if image.is_dir() else [image]
    return list(dict.fromkeys(files))


def _boxed(images: Sequence[Instance], path: str | Path) -> list[Instance]:
    """Instances of the boxes of a file, in the order of the images."""
    records, named = read_json(path), printable(path)
    if not isinstance(records, list):
        raise ValueError(f"{named}: got {type(records).__name__}, expected a list of boxes")
    by_name = _by_name(images)
    instances: dict[int, list[Instance]] = {image.image_id: [] for image in images}
    for number, record in enumerate(records):
        where = f"{named}: boxes[{number}]"
        name = typed_field(record, "file_name", where, str)
        image = by_name.get(str(Path(name)))
        if image is None:
            raise ValueError(f"{where}: file_name: {printable(name)} is none of the images")
        score = number_field(record, "score", where).item() if "score" in record else 1.0
        try:
            box = check_boxes([number_field(record, "bbox", where, 4)])[0]
        except ValueError as error:
            raise ValueError(f"{where}: {str(error).removeprefix(f'{where}: ')}") from error
        instances[image.image_id].append(replace(image, box=box, score=score))
    without = [str(image.file) for image in images if not instances[image.image_id]]
    if without:
        log.warning("no box in %s: %s", named, ", ".join(map(printable, without)))
    if len(without) == len(images):
        raise ValueError(f"{named}: got no box, expected some")
    return [instance for some in instances.values() for instance in some]


def _by_name(images: Sequence[Instance]) -> Mapping[str, Instance]:
    """Images by their paths as given, and by their file names where only one has it."""
    names: dict[str, list[Instance]] = {}
    for image in images:
        names.setdefault(image.file.name, []).append(image)
    unique = {name: some[0] for name, some in names.items() if len(some) == 1}
    return unique | {str(image.file): image for image in images}
