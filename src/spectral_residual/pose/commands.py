"""``srl pose fit | validate | test | predict | speed``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import ClassVar

from ..commands import run_function
from ..training.callbacks import named_checkpoint
from ..training.cli import TaskCLI, plain_errors, prepare, short_names, split_files
from .annotations import read_annotations
from .data_module import KeypointDataModule
from .own_data import with_network
from .predict import predict_images
from .published import load_published
from .skeleton import Skeleton
from .task import PoseTask

_OF_LIGHTNING = (
    "-c",
    "--config",
    "--ckpt_path",
    "--print_config",
    "--data",
    "--model",
    "--trainer",
)


class PoseCLI(TaskCLI):
    """Lightning's command line for pose models: size and skeleton come from the data."""

    task = PoseTask
    data = KeypointDataModule
    monitor = "val/AP"
    links: ClassVar = {"input_size": "input_size"}
    made: ClassVar = {"skeleton": "skeleton"}

    @classmethod
    def without_config(cls, arguments: Sequence[str]) -> list[str]:
        """Arguments with what ``--config`` would have said; see `with_network`."""
        return super().without_config(with_network(arguments))


pose_cli = PoseCLI.build
fit = PoseCLI.command("fit")
validate = PoseCLI.command("validate")
test = PoseCLI.command("test")
speed = PoseCLI.speed


def predict(arguments: list[str]) -> int:
    """Command ``srl pose predict``.

    With images a trained network is all that is needed, ``--ckpt`` or ``--ckpt_path``; without
    them and with options of Lightning's the command line is Lightning's.
    """
    options, images = split_files(arguments)
    names = {option.partition("=")[0] for option in options if option.startswith("-")}
    of_data = sorted(name for name in names if name in _OF_LIGHTNING or "." in name)
    if not images and of_data:
        return PoseCLI.command("predict")(arguments)
    options = short_names(options)
    others = [name for name in of_data if name != "--ckpt_path"]
    if others:
        raise ValueError(
            f"got images and {', '.join(others)}, which {'are' if others[1:] else 'is'} of "
            "predictions for a data set; expected one or the other"
        )
    return run_function(
        _predict, [*options, *(["--"] if images else []), *images], "srl pose predict"
    )


def _predict(
    images: list[str],
    *,
    ckpt: str,
    boxes: Path | None = None,
    output: Path = Path("runs/pose/predictions"),
    json_: bool = False,
) -> None:
    """Find the joints of people in image files, and draw them.

    Everything needed is in the checkpoint. Images are turned as their EXIF orientation says. The
    folder gets results.json, COCO's results with file names and boxes, and a picture of each
    image in overlays. With --config or --data.root the options are those of 'srl pose fit': it
    then predicts on a data set.

    Parameters
    ----------
    images : list of str
        Image files, or folders of them.
    ckpt : str
        Checkpoint of 'srl pose fit' (last or best: the newest below runs/pose), folder of
        'srl publish', name of a network of this package, or owner/name[@revision] on the hub.
    boxes : Path
        JSON list of {"file_name": ..., "bbox": [left, top, width, height], "score": ...}, one
        for each person (default: each image is one box).
    output : Path
        Folder to write to.
    json_ : bool
        Print one JSON object.
    """
    prepare()
    with plain_errors():
        ckpt = named_checkpoint(ckpt, Path("runs/pose"))
        found = predict_images(ckpt, images, output, boxes)
    print(json.dumps({**asdict(found), "output": str(output)}) if json_ else found.said)


def convert(
    file: Path,
    *,
    output: Path,
    input_size: tuple[int, int] = (256, 192),
    annotations: Path | None = None,
    bgr: bool = False,
) -> None:
    """Turn a published SimpleBaseline or HRNet pose network into a folder of this package.

    By the names of the authors' code or of mmpose. Trunk, channels and joints are read off the
    weights; names and shapes are checked, and what is missing is named.

    Parameters
    ----------
    file : Path
        State dict: a .pth, .pt or .safetensors file.
    output : Path
        Folder to write to.
    input_size : (int, int)
        Height and width of the crops that the network was trained with.
    annotations : Path
        COCO keypoint file that names its joints (default: COCO's, if there are 17).
    bgr : bool
        The network expects BGR, as Microsoft's first SimpleBaseline weights do.
    """
    skeleton = None
    if annotations is not None:
        described = read_annotations(annotations)
        skeleton = Skeleton.from_category(described.category, source=str(annotations))
    model = load_published(file, input_size, skeleton, bgr=bgr)
    folder = model.save_pretrained(output)
    print(f"{model.details()['Network']}, {model.skeleton.num_joints} joints, in {folder}")
