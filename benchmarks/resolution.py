"""Trained pose networks at other resolutions than their own: PCK, and what is kept of it.

python benchmarks/resolution.py --root FOLDER --checkpoints NAME=FILE [--json FILE]
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import lightning

from spectral_residual.commands import run_function
from spectral_residual.pose.data_module import Joints, KeypointDataModule, Loading, Split
from spectral_residual.pose.network import PoseNetwork, load_pose_network
from spectral_residual.pose.skeleton import Skeleton
from spectral_residual.pose.task import PoseTask
from spectral_residual.report.table import format_table
from spectral_residual.training.checkpoint import read_checkpoint

SIZES = ((96, 72), (128, 96), (160, 120), (192, 144), (256, 192))


def pck(checkpoint: Path, root: Path, split: Split, size: tuple[int, int]) -> float:
    """PCK in percent of a checkpoint on persons cropped to a size (H, W)."""
    stored, _ = read_checkpoint(checkpoint, "pose")
    network, skeleton, trained = load_pose_network(checkpoint)
    task = PoseTask(
        PoseNetwork(**{**stored["network"], "weights": None}),
        input_size=size,
        skeleton=Skeleton.from_dict(stored["skeleton"]),
        trained_size=trained,
    )
    task.network.load_state_dict(network.state_dict())
    joints = Joints(sigmas=dict(zip(skeleton.names, skeleton.sigmas, strict=True)))
    data = KeypointDataModule(
        root, train=split, val=split, input_size=size, joints=joints, loading=Loading(32, 0)
    )
    with tempfile.TemporaryDirectory() as folder:  # for results and metrics
        trainer = lightning.Trainer(
            accelerator="cpu", logger=False, enable_progress_bar=False, enable_checkpointing=False,
            default_root_dir=folder,
        )  # fmt: skip
        return 100 * trainer.validate(task, data, verbose=False)[0]["val/PCK"]


def main(
    *,
    root: Path,
    checkpoints: dict[str, str],
    annotations: str = "lspet_val.json",
    images: str = "val",
    json_: Path | None = None,
) -> None:
    """Print a table of PCK over sizes.

    Parameters
    ----------
    root : path
        Folder of the data.
    checkpoints : dict of str to str
        Checkpoints to measure, by name.
    annotations, images : str
        File and folder below `root`.
    json_ : path, optional
        File for the numbers.
    """
    split = Split(annotations, images)
    found: dict[str, dict[str, float]] = {}
    for name, checkpoint in checkpoints.items():
        found[name] = {}
        for size in SIZES:
            found[name][f"{size[0]}x{size[1]}"] = pck(Path(checkpoint), root, split, size)
            print(name, size, found[name], file=sys.stderr)
    sizes = list(next(iter(found.values())))
    rows = [(name, *(f"{row[size]:.1f}" for size in sizes)) for name, row in found.items()]
    print(format_table(("PCK %", *sizes), rows))
    if json_ is not None:
        json_.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    run_function(main, sys.argv[1:], "resolution.py")
