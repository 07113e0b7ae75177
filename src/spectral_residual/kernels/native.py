"""`mixing.cpp`, compiled on the machine that it runs on.

The first call compiles it with the C++ compiler of the machine, in about three seconds, and keeps
the result in the user's cache folder (``$XDG_CACHE_HOME`` or ``~/.cache``), as Triton does for
GPUs. It shares the threads of PyTorch. Without it, see `unavailable_reason`, everything is computed
by PyTorch alone; ``SRL_NATIVE=0`` in the environment asks for that.
"""

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
from typing import Any

import torch
from torch import Tensor

VARIABLE = "SRL_NATIVE"

_SOURCE = Path(__file__).with_name("mixing.cpp")
_FLAGS = ("-std=c++17", "-O3", "-march=native", "-fPIC", "-fopenmp", "-Wno-psabi")
_TYPES = {torch.float32: 0, torch.float64: 1, torch.bfloat16: 2}
_SECONDS = 120


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
        and each.dtype in _TYPES
        and type(each) in (Tensor, torch.nn.Parameter)
        and each.numel() > 0
        for each in maps
    )


def mix_into(
    out: Tensor, maps: Tensor, weight: Tensor, residual: Tensor | None, first_row: Tensor | None
) -> None:
    """Write the grouped convolution of maps and of their mirror images.

    Parameters
    ----------
    out : Tensor
        (N, groups * outputs, H, W), float32, float64 or bfloat16, in any memory format.
    maps : Tensor
        (N, groups * inputs, H, W), likewise; float64 if and only if `out` is.
    weight : Tensor
        Of even and of odd sides, (2, groups, outputs, inputs).
    residual : Tensor or None
        Added, (N, groups * outputs, H, W), dtype of `out`.
    first_row : Tensor or None
        Added to the first row of every map, (groups * outputs, 1, W).
    """
    _call(maps, weight, out, residual=residual, first_row=first_row)


def derive(
    of_maps: Tensor | None, gradient: Tensor, maps: Tensor, weight: Tensor, residual: Tensor | None
) -> Tensor:
    """Derivatives of the convolution that `mix_into` computes.

    Parameters
    ----------
    of_maps : Tensor or None
        Gradient by the maps to write, (N, groups * inputs, H, W); None if it is not needed.
    gradient : Tensor
        Of the result, (N, groups * outputs, H, W).
    maps : Tensor
        (N, groups * inputs, H, W).
    weight : Tensor
        (2, groups, outputs, inputs).
    residual : Tensor or None
        Added to `of_maps`, of its shape and dtype, which is that of `maps`.

    Returns
    -------
    Tensor
        Gradient by the weight, at least float32.
    """
    of_weight = gradient.new_empty(weight.shape, dtype=_computing(gradient))
    _call(gradient, weight.mT, of_maps, residual=residual, other=maps, outer=of_weight)
    return of_weight


def _call(
    maps: Tensor,
    weight: Tensor,
    out: Tensor | None,
    *,
    residual: Tensor | None = None,
    first_row: Tensor | None = None,
    other: Tensor | None = None,
    outer: Tensor | None = None,
) -> None:
    """Call `srl_mix`, which names these things, with copies of what it cannot take as it is."""
    compute = _computing(maps)
    sizes = (ctypes.c_int64 * 6)(maps.shape[0], *weight.shape[1:], *maps.shape[2:])
    weight = weight.to(compute).contiguous()
    maps = _regular(maps)
    first_row = None if first_row is None else first_row.to(compute).contiguous()
    other = None if other is None else _regular(other)
    target = out
    if out is not None and not _is_regular(out):
        target = torch.empty_like(out, memory_format=torch.contiguous_format)
    if residual is not None and target is not None:
        residual = _regular(residual)
        if _distances(target)[2] == 1 != _distances(residual)[2]:
            residual = residual.contiguous()
    like_out = target if other is None else other
    _library().srl_mix(
        sizes,
        _TYPES[maps.dtype],
        maps.data_ptr(),
        _distances(maps),
        weight.data_ptr(),
        *_pointers(residual),
        None if first_row is None else first_row.data_ptr(),
        _TYPES[maps.dtype if like_out is None else like_out.dtype],
        *_pointers(target),
        *_pointers(other),
        None if outer is None else outer.data_ptr(),
        torch.get_num_threads(),
    )
    if out is not None and target is not None and target is not out:
        out.copy_(target)


def _computing(maps: Tensor) -> torch.dtype:
    return torch.float64 if maps.dtype == torch.float64 else torch.float32


def _is_regular(maps: Tensor) -> bool:
    """Whether neighbouring positions are all at the same distance."""
    height, width = maps.shape[2:]
    even = height == 1 or width == 1 or maps.stride(2) == maps.stride(3) * width
    return even and _distances(maps)[2] > 0


def _regular(maps: Tensor) -> Tensor:
    return maps if _is_regular(maps) else maps.contiguous()


def _distances(maps: Tensor) -> ctypes.Array[ctypes.c_int64]:
    """Of samples, channels and positions, in elements."""
    height, width = maps.shape[2:]
    position = maps.stride(3) if width > 1 else maps.stride(2) if height > 1 else 1
    return (ctypes.c_int64 * 3)(maps.stride(0), maps.stride(1), position)


def _pointers(maps: Tensor | None) -> tuple[int | None, ctypes.Array[ctypes.c_int64] | None]:
    return (None, None) if maps is None else (maps.data_ptr(), _distances(maps))


def _library() -> ctypes.CDLL:
    library = _load()
    if isinstance(library, str):
        raise RuntimeError(f"the native kernels are not available: {library}")
    return library


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
        path = _folder() / f"mixing-{_fingerprint(compiler, runtimes[0])}.so"
        if not path.exists():
            _compile(compiler, runtimes[0], path)
        library = ctypes.CDLL(str(path))
    except subprocess.CalledProcessError as error:
        return f"{compiler} failed: {error.stderr.strip()[-500:]}"
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"native kernels could not be made: {error}"
    integer, pointer = ctypes.c_int, ctypes.c_void_p
    maps: tuple[Any, ...] = (integer, pointer, pointer)
    library.srl_mix.argtypes = (pointer, *maps, *(pointer,) * 4, *maps, *(pointer,) * 3, integer)
    library.srl_mix.restype = None
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
    parts = (_SOURCE.read_text(encoding="utf-8"), *_FLAGS, compiler, str(runtime), cpu)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _compile(compiler: str, runtime: Path, path: Path) -> None:
    """Compile to a new file and move it to `path`, as other processes may do at the same time."""
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        code, library = Path(folder) / "mixing.o", Path(folder) / "mixing.so"
        _run([compiler, *_FLAGS, "-c", str(_SOURCE), "-o", str(code)])
        # Linked by hand: -fopenmp would bring in a second runtime with threads of its own.
        _run([compiler, "-shared", "-Wl,-z,defs", str(code), str(runtime), "-o", str(library)])
        os.replace(library, path)


def _run(command: Sequence[str]) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=_SECONDS)
