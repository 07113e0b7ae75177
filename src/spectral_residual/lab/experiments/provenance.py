"""Where a result comes from: code, machine and data."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

SPLITS = ("train", "val")
_PATH_KEYS = ("annotations", "images", "detections", "source", "videos")


def code_version() -> dict[str, Any]:
    """Git commit of this package's code.

    Returns
    -------
    dict
        ``commit``, or None outside of a repository, and ``dirty``: whether files of the package
        or of ``configs`` beside it differ from that commit or are not in it.
    """
    package = Path(__file__).parents[1]
    commit = _git(package, "rev-parse", "HEAD")
    if commit is None:
        return {"commit": None, "dirty": False}
    places = [":/src", ":/configs"]
    changes = _git(package, "status", "--porcelain", "--untracked-files=all", "--", *places)
    return {"commit": commit, "dirty": bool(changes)}


def data_fingerprint(data: Mapping[str, Any]) -> dict[str, Any]:
    """Fingerprint of training and validation data.

    Parameters
    ----------
    data : mapping
        The section ``data`` of a configuration: ``root`` and the splits.

    Returns
    -------
    dict
        ``sha256``: over the content of annotation and list files, and the names and sizes of all
        files in image and video folders; it does not depend on where the root is. ``files`` and
        ``bytes``: number and total size of what it covers.

    Raises
    ------
    FileNotFoundError
        If something is missing.
    """
    digest, files, size = hashlib.sha256(), 0, 0
    for split in SPLITS:
        for key in _PATH_KEYS:
            name = (data.get(split) or {}).get(key)
            if name is None:
                continue
            place = Path(data["root"]) / name
            if not place.exists():
                raise FileNotFoundError(f"data.{split}.{key}: no file or folder {place}")
            digest.update(f"{split}.{key}\n".encode())
            if place.is_file():
                digest.update(hashlib.sha256(place.read_bytes()).digest())
                files, size = files + 1, size + place.stat().st_size
                continue
            for file in sorted(path for path in place.rglob("*") if path.is_file()):
                length = file.stat().st_size
                digest.update(f"{file.relative_to(place).as_posix()}\t{length}\n".encode())
                files, size = files + 1, size + length
    return {"sha256": digest.hexdigest(), "files": files, "bytes": size}


def peak_memory(device: torch.device) -> tuple[int, str]:
    """Greatest memory of this process so far, in bytes, and what that is.

    On CUDA it is what PyTorch's allocator had given out at most, elsewhere the resident set,
    without loader processes.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device), "CUDA allocator"
    # Not getrusage where it can be avoided: Linux counts the parent process in it.
    status = Path("/proc/self/status")
    if status.is_file():
        for line in status.read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1]), "resident set"
    import resource  # Windows does not have it

    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, "resident set"


def _git(folder: Path, *arguments: str) -> str | None:
    """Output of a git command, None if there is no repository or no git."""
    command = ["git", "-C", str(folder), *arguments]
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return result.stdout.strip()
