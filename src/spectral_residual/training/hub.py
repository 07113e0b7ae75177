"""Where trained networks lie: files, folders, those of this package, those on a hub.

The hub is that of huggingface_hub, with its cache, its revisions and its offline mode
(``HF_HUB_OFFLINE=1``).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .. import __version__
from ..errors import printable, unknown_name
from ..report.files import write_file

CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"
"""Files of a trained network's folder."""

PACKAGED = Path(__file__).parents[1] / "weights"
"""Folder of the trained networks that come with the package, one folder for each."""

_LIBRARY = "spectral_residual"
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+(@[\w./-]+)?", re.ASCII)
_PLAIN_NAME = re.compile(r"[A-Za-z0-9][\w.-]*", re.ASCII)
_FILES = (".ckpt", ".pt", ".pth", ".safetensors")


def packaged_names() -> list[str]:
    """Names of the trained networks that come with the package."""
    return sorted(path.parent.name for path in PACKAGED.glob(f"*/{CONFIG}"))


def locate(name: str | Path, *, revision: str | None = None, **options: Any) -> Path:
    """File or folder of a trained network.

    What exists is taken first, then, of a plain name, what comes with the package, and of
    ``owner/name`` or ``owner/name@revision`` what is on the hub.

    Parameters
    ----------
    name : str or path
        Checkpoint, folder, or name.
    revision : str, optional
        Branch, tag or commit on the hub, as after ``@``.
    **options
        Of `huggingface_hub.snapshot_download`: ``cache_dir``, ``token``, ``local_files_only``,
        ``force_download``, ...; what does not come from the hub needs none.

    Raises
    ------
    FileNotFoundError
        If there is no such file or folder, or it cannot be got from the hub.
    ModuleNotFoundError
        If a name is of the hub and huggingface_hub is not installed.
    ValueError
        If a plain name is unknown (the nearest is suggested), or a revision is given for what is
        not on the hub, or twice.
    """
    text, path = str(name), Path(name)
    is_file_name = isinstance(name, Path) or text.endswith(_FILES)
    if not path.exists() and not is_file_name and _HUB_NAME.fullmatch(text):
        repository, _, in_name = text.partition("@")
        if in_name and revision:
            raise ValueError(f"got revision {revision!r} and {text!r}, expected one revision")
        return _download(repository, revision or in_name or None, options)
    if revision is not None:
        raise ValueError(f"revision: got {revision!r} for {printable(name)}, which has no history")
    if path.exists() or is_file_name or not _PLAIN_NAME.fullmatch(text):
        return path
    known = packaged_names()
    if text not in known:
        raise unknown_name("file, folder, or network of this package", text, known)
    return PACKAGED / text


def push_folder(
    folder: str | Path,
    name: str,
    card: Callable[[str], str],
    *,
    private: bool | None = None,
    revision: str | None = None,
    token: str | bool | None = None,
    **options: Any,
) -> str:
    """Upload a trained network's folder to the hub; the repository is made if it is not there.

    Parameters
    ----------
    folder : path
        What to upload; gets a new card.
    name : str
        ``owner/name``, or a name alone for the owner of the token.
    card : callable
        Takes the repository's name, with its owner, and returns the model card.
    private : bool, optional
        Whether a new repository is private; by default as the owner's settings say.
    revision : str, optional
        Branch to commit to; it is made if it is not there.
    token : str or bool, optional
        As in huggingface_hub; by default that of ``hf auth login``.
    **options
        Of `huggingface_hub.HfApi.upload_folder`: ``commit_message``, ``create_pr``, ...

    Returns
    -------
    str
        Address of the commit.

    Raises
    ------
    ModuleNotFoundError
        If huggingface_hub is not installed.
    OSError
        If the hub cannot be reached or refuses.
    """
    api = _hub("push_to_hub").HfApi(token=token, library_name=_LIBRARY, library_version=__version__)
    try:
        repository = api.create_repo(repo_id=name, private=private, exist_ok=True).repo_id
        write_file(Path(folder) / CARD, card(repository))
        if revision is not None:
            api.create_branch(repo_id=repository, branch=revision, exist_ok=True)
        commit = api.upload_folder(
            repo_id=repository, folder_path=folder, revision=revision, repo_type="model", **options
        )
    except TypeError:  # an unknown option
        raise
    except Exception as error:  # of its HTTP library as well
        raise OSError(f"{name} on the hub: {_first_line(error)}") from error
    return str(commit)


def _download(name: str, revision: str | None, options: dict[str, Any]) -> Path:
    """Folder of huggingface_hub's cache that holds a repository's files."""
    hub = _hub(f"no file or folder {name}; a name on the hub")
    of = f" (revision {revision})" if revision else ""
    try:
        folder = hub.snapshot_download(
            name,
            revision=revision,
            allow_patterns=[CONFIG, WEIGHTS, CARD],
            library_name=_LIBRARY,
            library_version=__version__,
            **options,
        )
    except TypeError:  # an unknown option
        raise
    except Exception as error:  # of its HTTP library as well
        raise FileNotFoundError(
            f"no file or folder {name}, and from the hub{of}: {_first_line(error)}"
        ) from error
    return Path(folder)


def _hub(what: str) -> Any:
    try:
        import huggingface_hub
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f'{what} needs huggingface_hub: pip install "spectral_residual[pose]"', name=error.name
        ) from error
    return huggingface_hub


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {printable(str(error).strip().partition(chr(10))[0])}"
