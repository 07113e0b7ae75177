"""ONNX Runtime's latency of networks and blocks side by side, in interleaved rounds of one run.

python benchmarks/onnx_latency.py [--threads N] [--rounds N]
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from torch import nn

from spectral_residual.blocks import create_block
from spectral_residual.commands import run_function
from spectral_residual.export import to_onnx
from spectral_residual.pose.network import PoseNetwork


def _session(network: nn.Module, shape: tuple[int, ...], threads: int, folder: Path):  # noqa: ANN202
    for name, parameter in network.named_parameters():
        if name.endswith("alpha"):
            nn.init.constant_(parameter, 0.5)
    path = folder / f"{len(list(folder.iterdir()))}.onnx"
    report = to_onnx(network.eval(), torch.randn(shape), path, rounds=1)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    feed = {session.get_inputs()[0].name: np.random.default_rng(0).normal(size=shape)}
    feed = {name: value.astype(np.float32) for name, value in feed.items()}
    return (lambda: session.run(None, feed)), report.error


def main(*, threads: int = 1, rounds: int = 200) -> None:
    """Print milliseconds and ratios.

    Parameters
    ----------
    threads : int
        Threads of ONNX Runtime.
    rounds : int
        Rounds; medians over them are printed.
    """
    torch.manual_seed(0)
    image, maps = (1, 3, 256, 192), (1, 256, 64, 48)
    networks = {
        "SimpleBaseline-R18": (PoseNetwork("resnet18").build(17, image[2:]), image),
        "  with three srl": (PoseNetwork("resnet18", block="srl").build(17, image[2:]), image),
        "  with three a2": (PoseNetwork("resnet18", block="a2").build(17, image[2:]), image),
        "one a2": (create_block("a2", 256, maps[2:]), maps),
        "one srl": (create_block("srl", 256, maps[2:]), maps),
    }
    with tempfile.TemporaryDirectory() as folder:
        made = {
            name: _session(network, shape, threads, Path(folder))
            for name, (network, shape) in networks.items()
        }
        times: dict[str, list[float]] = {name: [] for name in made}
        for number in range(rounds + 5):
            for name, (job, _) in made.items():
                start = time.perf_counter()
                job()
                if number >= 5:
                    times[name].append(1e3 * (time.perf_counter() - start))
    for name, (_, error) in made.items():
        base = times["one a2" if name.startswith("one") else "SimpleBaseline-R18"]
        ratio = statistics.median(a / b for a, b in zip(times[name], base, strict=True))
        median = statistics.median(times[name])
        print(f"{name:20} {median:8.2f} ms   x {ratio:.3f}   error {error:.0e}")


if __name__ == "__main__":
    import sys

    run_function(main, sys.argv[1:], "onnx_latency.py")
