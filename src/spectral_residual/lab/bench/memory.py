"""Peak memory of a call.

On CUDA it is what the allocator had given out at most, less what it had given out before. On CPU
it is summed up from the profiler's record of every allocation and release that PyTorch's
allocator has seen during the call: tensors, what autograd saves, gradients, and the workspaces
that operators take from it. Buffers that oneDNN, MKL and the like keep for themselves are not
seen. Both count from the state before the call, so that input and weights are not included, and
are the same in every run on the same machine with the same number of threads.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

METHODS = {
    "cuda": "torch.cuda.max_memory_allocated, less what was allocated before",
    "cpu": "peak of the allocations minus the releases that torch.profiler records",
}


def peak_memory(call: Callable[[], object], device: torch.device) -> int:
    """Greatest number of bytes that were allocated during a call and not yet released.

    Parameters
    ----------
    call : callable
        What to measure. Call it before, so that caches and lazily made buffers exist.
    device : torch.device
        CPU or CUDA device on which the tensors are.

    Returns
    -------
    int
        Bytes beyond those that were allocated before the call.
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        call()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    live = peak = 0
    for change in _changes(call):
        live += change
        peak = max(peak, live)
    return peak


def _changes(call: Callable[[], object]) -> list[int]:
    """Bytes of all allocations (positive) and releases (negative) on CPU, in their order."""
    # The profiler's library tells every start and stop, and on machines without a GPU an error.
    os.environ.setdefault("KINETO_LOG_LEVEL", "6")
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        call()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(path))
        events = json.loads(path.read_text(encoding="utf-8"))["traceEvents"]
    changes = [event for event in events if event.get("name") == "[memory]"]
    changes.sort(key=lambda event: event["ts"])
    return [int(event["args"]["Bytes"]) for event in changes]
