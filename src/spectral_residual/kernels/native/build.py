"""Compile the C++ of this package on the machine that it runs on, and load it."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

VARIABLE = "SRL_NATIVE"

_SOURCES = tuple(Path(__file__).with_name(f"{name}.cpp") for name in ("convolution", "spectrum"))
_FLAGS = ("-std=c++17", "-O3", "-march=native", "-fPIC", "-fopenmp", "-Wno-psabi")
_SECONDS = 120

# Types that maps may have, as the library numbers them.
TYPES = {torch.float32: 0, torch.float64: 1, torch.bfloat16: 2}


def unavailable_reason() -> str | None:
    """Why PyTorch alone is used on this machine, without a full stop; None if it is not."""
    if os.environ.get(VARIABLE) == "0":
        return f"{VARIABLE}=0"
    reason = _load()
    return reason if isinstance(reason, str) else None


def takes(*maps: Tensor) -> bool:
    """Whether these maps are worked on here: plain tensors on CPU of a type that it knows."""
    return unavailable_reason() is None and all(
        each.device.type == "cpu"
        and each.dtype in TYPES
        and type(each) in (Tensor, torch.nn.Parameter)
        and each.numel() > 0
        for each in maps
    )


def library() -> ctypes.CDLL:
    """The functions; raises RuntimeError if they are not available."""
    loaded = _load()
    if isinstance(loaded, str):
        raise RuntimeError(f"the native kernels are not available: {loaded}")
    return loaded


@functools.cache
def _load() -> ctypes.CDLL | str:
    """The compiled library, or why there is none."""
    if sys.platform != "linux":
        return f"native kernels are compiled on Linux only, this is {sys.platform}"
    compiler = os.environ.get("CXX") or shutil.which("g++")
    if compiler is None:
        return "no C++ compiler: neither CXX is set nor g++ found"
    runtimes = sorted((Path(torch.__file__).parent / "lib").glob("libgomp*.so*"))
    if not runtimes:
        return "this PyTorch does not bring the OpenMP runtime whose threads could be shared"
    try:
        path = _folder() / f"native-{_fingerprint(compiler, runtimes[0])}.so"
        if not path.exists():
            _compile(compiler, runtimes[0], path)
        library = ctypes.CDLL(str(path))
    except subprocess.CalledProcessError as error:
        return f"{compiler} failed: {error.stderr.strip()[-500:]}"
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"native kernels could not be made: {error}"
    return library


def _folder() -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "spectral_residual"
    try:
        cache.mkdir(parents=True, exist_ok=True)
        if os.access(cache, os.W_OK):
            return cache
    except (OSError, RuntimeError):
        pass
    return Path(tempfile.mkdtemp(prefix="spectral_residual-"))


def _fingerprint(compiler: str, runtime: Path) -> str:
    """Of all that the library depends on: a home folder may be shared by different machines."""
    cpu = platform.machine()
    information = Path("/proc/cpuinfo")
    if information.is_file():
        lines = information.read_text(encoding="utf-8", errors="replace").splitlines()
        cpu += "".join(line for line in lines if line.startswith(("flags", "Features")))[:20000]
    sources = (source.read_text(encoding="utf-8") for source in _SOURCES)
    parts = (*sources, *_FLAGS, compiler, str(runtime), cpu)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _compile(compiler: str, runtime: Path, path: Path) -> None:
    """Compile to a new file and move it to `path`, as other processes may do at the same time."""
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        objects = [f"{folder}/{source.stem}.o" for source in _SOURCES]
        for source, compiled in zip(_SOURCES, objects, strict=True):
            _run([compiler, *_FLAGS, "-c", str(source), "-o", compiled])
        # Linked by hand: -fopenmp would bring in a second runtime with threads of its own.
        linked = f"{folder}/native.so"
        _run([compiler, "-shared", "-Wl,-z,defs", *objects, str(runtime), "-o", linked])
        os.replace(linked, path)


def _run(command: Sequence[str]) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=_SECONDS)
