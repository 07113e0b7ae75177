"""A folder of ``srl export``: the network in ONNX Runtime, and what it needs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..pose.checks import Faults, number_field, read_json, short, typed_field

try:
    import onnxruntime
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(f"{error}: pip install onnxruntime", name=error.name) from error

FORMAT = 1
"""Version of ``model.json`` that is read."""

Floats = NDArray[np.float32]

Check = Callable[[Any, str, str], object]
"""Takes a record, the name of a field and the place of the record, as `typed_field`."""


def numbers(
    *shape: int, least: float = -math.inf, most: float = math.inf, whole: bool = False
) -> Check:
    """Check of finite numbers.

    Parameters
    ----------
    *shape : int
        Nothing for a single number, or the length of a list.
    least, most : float
        Smallest and largest value.
    whole : bool, default False
        Integers alone.
    """

    def check(record: Any, name: str, where: str) -> None:
        values = number_field(record, name, where, *shape)
        if (values < least).any() or (values > most).any() or (whole and (values % 1).any()):
            kind = "integers" if whole else "numbers"
            end = f" to {most:g}" if math.isfinite(most) else ""
            raise ValueError(
                f"{where}: {name}: got {short(record[name])}, expected {kind} from {least:g}{end}"
            )

    return check


def of_type(*kinds: type) -> Check:
    """Check of a type, one of those of `typed_field`."""
    return lambda record, name, where: typed_field(record, name, where, *kinds)


def names(record: Any, name: str, where: str) -> None:
    """Check of a list of different strings."""
    value = typed_field(record, name, where, list)
    if not value or not all(isinstance(each, str) for each in value):
        raise ValueError(f"{where}: {name}: got {short(value)}, expected a list of names")
    if len(set(value)) < len(value):
        raise ValueError(f"{where}: {name}: got {short(value)}, expected different names")


def built_by(function: Callable[[Any], object]) -> Check:
    """Check that something can be built of the field."""

    def check(record: Any, name: str, where: str) -> None:
        try:
            function(record[name])
        except (TypeError, ValueError, KeyError) as error:
            raise ValueError(f"{where}: {name}: {str(error).removeprefix(f'{name}: ')}") from error

    return check


def _colour(record: Any, name: str, where: str) -> None:
    if typed_field(record, name, where, str) != "RGB":
        raise ValueError(f"{where}: {name}: got {short(record[name])}, expected 'RGB'")


LONGEST_SIDE = 8192
"""Of an input, in pixels."""

_SMALLEST_DEVIATION = 1e-6
_FIELDS: dict[str, Check] = {
    "model": of_type(str),
    "input.size": numbers(2, least=1, most=LONGEST_SIDE, whole=True),
    "input.colour": _colour,
    "input.mean": numbers(3),
    "input.deviation": numbers(3, least=_SMALLEST_DEVIATION),
}


class ExportedModel:
    """A network that takes uint8 RGB pictures.

    Parameters
    ----------
    folder : path
        Folder with ``model.json`` and the file that it names.
    task : str
        ``"pose"`` or ``"video"``.
    fields : mapping of str to Check
        What ``model.json`` must have, as ``"part.field"``, and how it is checked.
    providers : sequence of str, optional
        Execution providers of ONNX Runtime; the CPU's by default.
    threads : int, optional
        Threads on the CPU; by default as many as there are cores.

    Attributes
    ----------
    folder : Path
        As given.
    description : dict
        Content of ``model.json``.
    size : (int, int)
        Height and width (H, W) of the input.

    Raises
    ------
    FileNotFoundError
        If a file is missing.
    ValueError
        If ``model.json`` is of another task or version, or its fields are missing or wrong (all
        faults at once), or ONNX Runtime does not take the network.
    """

    def __init__(
        self,
        folder: str | Path,
        task: str,
        fields: Mapping[str, Check],
        providers: Sequence[str] | None = None,
        threads: int | None = None,
    ) -> None:
        path = Path(folder) / "model.json"
        self.folder = Path(folder)
        self.description = _read(path, task, {**_FIELDS, **fields})
        given = self.description["input"]
        self.size = (int(given["size"][0]), int(given["size"][1]))
        self._mean = np.asarray(given["mean"], dtype=np.float32)
        self._deviation = np.asarray(given["deviation"], dtype=np.float32)
        file = self.folder / self.description["model"]
        if not file.is_file():
            raise FileNotFoundError(
                f"{path} names the network {self.description['model']}, which is not there"
            )
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

    def check_network(
        self, picture: tuple[str, Sequence[int]], output: tuple[str, Sequence[int]]
    ) -> None:
        """Compare the network with what ``model.json`` says of it, and later what it gives.

        Parameters
        ----------
        picture, output : (str, sequence of int)
            Fields that say it, and the shape without the samples of the input and of the output.

        Raises
        ------
        ValueError
            If the network has another shape, or more than one input or output.
        """
        faults = Faults(self.folder)
        for (fields, expected), name, nodes in (
            (picture, "input", self._session.get_inputs()),
            (output, "output", self._session.get_outputs()),
        ):
            shapes = [each.shape for each in nodes]
            if [len(shape) for shape in shapes] != [len(expected) + 1] or any(
                isinstance(length, int) and length != want
                for length, want in zip(shapes[0][1:], expected, strict=True)
            ):
                faults.found.append(
                    f"{fields} of model.json: got one {name} {tuple(expected)} for each sample, "
                    f"expected {shapes}, of {self.description['model']}"
                )
        faults.stop()
        self._output = output

    def run(self, pictures: NDArray[np.uint8]) -> Floats:
        """Output of the network.

        Parameters
        ----------
        pictures : ndarray
            (N, H, W, 3) or (N, T, H, W, 3) uint8 RGB.

        Raises
        ------
        ValueError
            If the output has not the shape that was given to `check_network`.
        """
        values = (pictures.astype(np.float32) - self._mean) / self._deviation
        (given,) = self._session.get_inputs()
        feed = {given.name: np.ascontiguousarray(np.moveaxis(values, -1, 1))}
        output = np.asarray(self._session.run(None, feed)[0], dtype=np.float32)
        fields, expected = self._output
        if output.shape != (len(pictures), *expected):
            raise ValueError(
                f"{self.folder}: {fields} of model.json: got outputs {tuple(expected)} for each "
                f"sample, expected {output.shape[1:]}, of {self.description['model']}"
            )
        return output


def _read(path: Path, task: str, fields: Mapping[str, Check]) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}; 'srl export' writes it")
    content = read_json(path)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        got = content.get("format") if isinstance(content, dict) else type(content).__name__
        raise ValueError(f"{path}: format: got {got!r}, expected {FORMAT}")
    if content.get("task") != task:
        raise ValueError(f"{path}: task: got {content.get('task')!r}, expected {task!r}")
    faults = Faults(path.parent)
    for name, check in fields.items():
        faults.check(_check_field, content, name, check)
    faults.found = list(dict.fromkeys(faults.found))
    faults.stop()
    return content


def _check_field(content: Any, path: str, check: Check) -> None:
    """Check a field by its path, ``"part.field"``, with ``?`` at its end if it may be missing."""
    value, where = content, "model.json"
    for name in path.removesuffix("?").split("."):
        if not isinstance(value, Mapping):
            raise ValueError(f"{where}: got {short(value)}, expected an object")
        if name not in value:
            if path.endswith("?"):
                return
            raise ValueError(f"{where}: missing field {name!r}")
        record, value, place, where = value, value[name], where, f"{where}: {name}"
    check(record, name, place)
