"""What the 8-GPU configurations send and need: one training step of each on gloo processes.

python benchmarks/scale.py --pose-root FOLDER --video-root FOLDER [--ranks N] [--output FILE]

Each configuration runs at its full size, on the CPU, with ``--trainer.fast_dev_run``; every process
reports the collectives of a step, by torch.profiler, and its peak of resident memory, what the
backward pass keeps of a sample, and what a sample's forward pass computes. ``scale_model.py`` says
from it what 8 to 1,024 GPUs need.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
from collections import Counter
from math import prod
from pathlib import Path

import lightning
import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from spectral_residual.commands import run_function
from spectral_residual.cost import measure_cost
from spectral_residual.pose.commands import pose_cli
from spectral_residual.report.table import format_table
from spectral_residual.training.cli import TaskCLI
from spectral_residual.video.commands import video_cli

POSE = {
    f"{backbone} {size}{' ' + block if block else ''}": (
        "coco/base", f"coco/{size}", f"coco/{backbone}", *([f"blocks/{block}"] if block else []),
    )
    for backbone, size, block in (
        ("resnet50", "256x192", ""), ("resnet50", "256x192", "srl"),
        ("resnet50", "256x192", "srl_fft"), ("resnet50", "256x192", "srl_lo"),
        ("resnet50", "384x288", ""), ("resnet152", "384x288", "srl"),
    )
}  # fmt: skip
VIDEO = {"c2d resnet50": ("kinetics400_c2d_resnet50",)}
CHILD = "SRL_SCALE_CHILD"


class Kept:
    """Counts the memory that the backward pass keeps, without parameters."""

    def __init__(self, network: nn.Module) -> None:
        self.parameters = {p.untyped_storage().data_ptr() for p in network.parameters()}
        self.sizes: dict[int, int] = {}
        self.hooks = torch.autograd.graph.saved_tensors_hooks(self._pack, lambda kept: kept)

    def _pack(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self.parameters:
            self.sizes[storage.data_ptr()] = storage.nbytes()
        return tensor


class Traffic(lightning.Callback):
    """What the second step sends, keeps and computes; written to a file for each process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def _see(self, network: nn.Module, inputs: tuple[Tensor]) -> None:
        self.shape = inputs[0].shape

    def on_train_batch_start(self, trainer, task, batch, batch_idx) -> None:  # noqa: ANN001
        """Begin to watch the second step."""
        if batch_idx == 1:
            self.kept = Kept(task.network)
            self.hook = task.network.register_forward_pre_hook(self._see)
            self.kept.hooks.__enter__()
            self.profile = profile(activities=[ProfilerActivity.CPU], record_shapes=True)
            self.profile.start()

    def on_train_batch_end(self, trainer, task, outputs, batch, batch_idx) -> None:  # noqa: ANN001
        """Write what was seen."""
        if batch_idx != 1:
            return
        self.profile.stop()
        self.hook.remove()
        self.kept.hooks.__exit__()
        sent: Counter[str] = Counter()
        calls: Counter[str] = Counter()
        for event in self.profile.events():
            if event.name.startswith("gloo:"):
                name = event.name.removeprefix("gloo:")
                sent[name] += 4 * sum(prod(shape) for shape in event.input_shapes if shape)
                calls[name] += 1
        network = task.network
        samples, *shape = self.shape
        found = {
            "megabytes": {name: value / 1e6 for name, value in sent.items()},
            "calls": calls,
            "parameters": sum(p.numel() for p in network.parameters()),
            "giga_macs": measure_cost(network, tuple(shape), "exact").operations / 1e9,
            "kept_megabytes": sum(self.kept.sizes.values()) / samples / 1e6,
            "peak_gigabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9,
        }
        path = self.folder / f"rank{trainer.global_rank}.json"
        path.write_text(json.dumps(found))


def _child(kind: str, arguments: list[str], folder: Path) -> None:
    torch.set_num_threads(1)
    cli: TaskCLI = (pose_cli if kind == "pose" else video_cli)(arguments, run=False)
    cli.trainer.callbacks.append(Traffic(folder))
    cli.trainer.fit(cli.model, datamodule=cli.datamodule)


def _run(kind: str, configs: tuple[str, ...], ranks: int, batch: int, root: Path) -> dict:
    """Run one configuration; what its processes found."""
    with tempfile.TemporaryDirectory() as folder:
        arguments = [
            *(word for config in configs for word in ("--config", config)),
            *("--data.root", str(root), "--data.loading.batch_size", str(batch)),
            *("--data.loading.workers", "0", "--model.network.weights", "null"),
            *("--trainer.accelerator", "cpu", "--trainer.devices", str(ranks)),
            *("--trainer.precision", "32-true", "--trainer.fast_dev_run", "2"),
        ]
        command = [sys.executable, __file__]
        child = json.dumps([kind, arguments, folder])
        done = subprocess.run(
            command, env=os.environ | {CHILD: child}, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"{configs}: exit code {done.returncode}\n{done.stderr[-3000:]}")
        found = [json.loads(path.read_text()) for path in sorted(Path(folder).glob("rank*.json"))]
    if len(found) != ranks:
        raise RuntimeError(f"{configs}: {len(found)} of {ranks} processes reported")
    traffic = [(each["megabytes"], each["calls"]) for each in found]
    if any(each != traffic[0] for each in traffic):
        raise RuntimeError(f"{configs}: the processes disagree about what they sent: {traffic}")
    peak = max(each["peak_gigabytes"] for each in found)
    return found[0] | {"ranks": ranks, "batch": batch, "peak_gigabytes": peak}


def main(
    *,
    pose_root: Path | None = None,
    video_root: Path | None = None,
    ranks: int = 4,
    batch: int = 2,
    only: str = "",
    output: Path | None = None,
) -> None:
    """Run the configurations and print a table.

    Parameters
    ----------
    pose_root, video_root : path, optional
        Data in COCO's layout, and in that of Kinetics; without one, its configurations are left
        out.
    ranks : int
        Processes.
    batch : int
        Samples of a process and step; videos get a quarter of it.
    only : str
        Part of the names of the configurations to run.
    output : path, optional
        JSON file for what was found; other configurations in it stay.
    """
    rows = json.loads(output.read_text()) if output is not None and output.exists() else {}
    for kind, configs, root, size in (
        ("pose", POSE, pose_root, batch),
        ("video", VIDEO, video_root, max(1, batch // 4)),
    ):
        if root is None:
            continue
        for name, files in configs.items():
            if only not in f"{kind} {name}":
                continue
            rows[f"{kind} {name}"] = row = _run(kind, files, ranks, size, root)
            print(f"{kind} {name}: {row}", file=sys.stderr)
            if output is not None:
                output.write_text(json.dumps(rows, indent=1))
    table = [
        (
            name,
            f"{row['parameters'] / 1e6:.2f}",
            f"{row['megabytes'].get('all_reduce', 0):.1f}",
            f"{row['megabytes'].get('broadcast', 0):.2f}",
            str(sum(row["calls"].values())),
            f"{row['giga_macs']:.2f}",
            f"{row['kept_megabytes']:.0f}",
            f"{row['peak_gigabytes']:.2f}",
        )
        for name, row in rows.items()
    ]
    heads = (
        "configuration", "M parameters", "MB reduced", "MB broadcast", "calls",
        "GMACs a sample", "MB kept a sample", "GB a process",
    )  # fmt: skip
    print(format_table(heads, table))


if __name__ == "__main__":
    if CHILD in os.environ:
        kind, arguments, folder = json.loads(os.environ[CHILD])
        _child(kind, arguments, Path(folder))
    else:
        run_function(main, sys.argv[1:], "scale.py")
