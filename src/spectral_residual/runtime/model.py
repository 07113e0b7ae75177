"""A folder of ``srl export``: the network in ONNX Runtime, and what it needs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

try:
    import onnxruntime
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(f"{error}: pip install onnxruntime", name=error.name) from error

FORMAT = 1
"""Version of ``model.json`` that is read."""

Floats = NDArray[np.float32]


class ExportedModel:
    """A network that takes uint8 RGB pictures.

    Parameters
    ----------
    folder : path
        Folder with ``model.json`` and the file that it names.
    task : str
        ``"pose"`` or ``"video"``.
    fields : mapping of str to sequence of str
        What ``model.json`` must have, by part.
    providers : sequence of str, optional
        Execution providers of ONNX Runtime; the CPU's by default.
    threads : int, optional
        Threads on the CPU; by default as many as there are cores.

    Attributes
    ----------
    description : dict
        Content of ``model.json``.
    size : (int, int)
        Height and width (H, W) of the input.

    Raises
    ------
    FileNotFoundError
        If a file is missing.
    ValueError
        If ``model.json`` is of another task or version, lacks something, or ONNX Runtime does not
        take the network.
    """

    def __init__(
        self,
        folder: str | Path,
        task: str,
        fields: Mapping[str, Sequence[str]],
        providers: Sequence[str] | None = None,
        threads: int | None = None,
    ) -> None:
        path = Path(folder) / "model.json"
        self.description = _read(path, task, fields)
        given = self.description["input"]
        self.size = (int(given["size"][0]), int(given["size"][1]))
        self._mean = np.asarray(given["mean"], dtype=np.float32)
        self._deviation = np.asarray(given["deviation"], dtype=np.float32)
        file = path.with_name(self.description["model"])
        if not file.is_file():
            raise FileNotFoundError(f"{path} names the network {file.name}, which is not there")
        options = onnxruntime.SessionOptions()
        if threads is not None:
            options.intra_op_num_threads = threads
        wanted = ["CPUExecutionProvider"] if providers is None else list(providers)
        absent = [name for name in wanted if name not in onnxruntime.get_available_providers()]
        if absent:
            raise ValueError(
                f"providers: got {absent}, expected some of "
                f"{onnxruntime.get_available_providers()}, those of this onnxruntime"
            )
        try:
            self._session = onnxruntime.InferenceSession(file, options, providers=wanted)
        except Exception as error:
            reason = str(error).strip().split("\n")[0]
            raise ValueError(f"{file}: ONNX Runtime does not take it: {reason}") from error

    def run(self, pictures: NDArray[np.uint8]) -> Floats:
        """Output of the network.

        Parameters
        ----------
        pictures : ndarray
            (N, H, W, 3) or (N, T, H, W, 3) uint8 RGB.
        """
        values = (pictures.astype(np.float32) - self._mean) / self._deviation
        (given,) = self._session.get_inputs()
        feed = {given.name: np.ascontiguousarray(np.moveaxis(values, -1, 1))}
        return np.asarray(self._session.run(None, feed)[0], dtype=np.float32)


def _read(path: Path, task: str, fields: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}; 'srl export' writes it")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: not JSON: {error}") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        got = content.get("format") if isinstance(content, dict) else type(content).__name__
        raise ValueError(f"{path}: format: got {got!r}, expected {FORMAT}")
    if content.get("task") != task:
        raise ValueError(f"{path}: task: got {content.get('task')!r}, expected {task!r}")
    wanted = {"model": [], "input": ["size", "colour", "mean", "deviation"], **fields}
    missing = [
        f"{part}.{name}" if name else part
        for part, names in wanted.items()
        for name in (names if isinstance(content.get(part), Mapping) else [""])
        if part not in content or (name and name not in content[part])
    ]
    if missing:
        raise ValueError(f"{path}: missing fields: {', '.join(missing)}")
    if content["input"]["colour"] != "RGB":
        raise ValueError(f"{path}: input.colour: got {content['input']['colour']!r}, expected RGB")
    return content
