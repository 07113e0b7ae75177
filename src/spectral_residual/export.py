"""Networks as ONNX files that are known to give the same numbers in ONNX Runtime."""

from __future__ import annotations

import copy
import importlib
import math
import os
import statistics
import time
import uuid
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

OPSET = 18
"""Operator set of the files: the oldest that PyTorch's exporter writes without converting."""

TOLERANCE = 1e-4
"""Largest error that a file may have, as a share of the output's range with zero."""

Inputs = tuple[Tensor, ...]


@dataclass(frozen=True)
class ExportReport:
    """What was written, and how it compares with the network.

    Attributes
    ----------
    path : Path
        The file.
    opset : int
        Operator set of its graph.
    size : int
        Bytes of the file.
    inputs, outputs : dict of str to tuple of (int or str)
        Shapes by name; axes of any length have a name.
    checked : tuple of tuple of tuple of int
        Shapes of the inputs that the file was compared with the network at.
    error : float
        Largest difference over all of them, as a share of the range of the network's output and
        zero; of outputs of integers or booleans the difference itself.
    tolerance : float
        Largest error that was allowed.
    onnx_ms, torch_ms : float
        Milliseconds for one sample in ONNX Runtime and in PyTorch, on the CPU: medians of
        `rounds`, in each of which both ran.
    rounds, threads : int
        Rounds, and threads of both.
    """

    path: Path
    opset: int
    size: int
    inputs: dict[str, tuple[int | str, ...]]
    outputs: dict[str, tuple[int | str, ...]]
    checked: tuple[tuple[tuple[int, ...], ...], ...]
    error: float
    tolerance: float
    onnx_ms: float
    torch_ms: float
    rounds: int
    threads: int


def to_onnx(
    model: nn.Module,
    example: Tensor | Inputs,
    path: str | Path,
    *,
    dynamic_batch: bool = True,
    dynamic_size: bool = False,
    names: tuple[Sequence[str], Sequence[str]] | None = None,
    opset: int = OPSET,
    tolerance: float = TOLERANCE,
    rounds: int = 10,
) -> ExportReport:
    """Write a network as an ONNX file, run it in ONNX Runtime, and compare.

    It is taken in evaluation mode, on the CPU, and not changed. The file appears if it has passed.

    Parameters
    ----------
    model : nn.Module
        Any network, with or without blocks.
    example : Tensor or tuple of Tensor
        Its inputs, samples on the first axis.
    path : path
        File to write.
    dynamic_batch : bool, default True
        Whether the file takes any number of samples.
    dynamic_size : bool, default False
        Whether it takes maps (N, C, H, W) or videos (N, C, T, H, W) of all sizes of the network.
    names : (sequence of str, sequence of str), optional
        Names of the inputs and outputs.
    opset : int, default 18
        Operator set.
    tolerance : float, default 1e-4
        Largest error allowed, as a share of the output's range with zero.
    rounds : int, default 10
        Rounds of timing.

    Raises
    ------
    ValueError
        If it cannot be exported in this way, or the error is above the tolerance.
    ModuleNotFoundError
        If a package of the extra ``export`` is not installed.
    """
    check_packages()
    inputs = _checked(model, example, dynamic_size, tolerance, rounds)
    network = copy.deepcopy(model).cpu().eval()
    axes = [_free_axes(each, dynamic_batch, dynamic_size) for each in inputs]
    with _replacing(Path(path)) as temporary:
        _traced(network, inputs, axes, names, opset).save(temporary, external_data=False)
        session = _session(temporary, opset)
        checked = list(_variants(inputs, dynamic_batch, dynamic_size))
        error = max(_error(network, session, each) for each in checked)
        _check_error(error, tolerance, path)
        times = _latencies(network, session, inputs, rounds)
        size = temporary.stat().st_size
    return ExportReport(
        Path(path), opset, size, _shapes(session.get_inputs()), _shapes(session.get_outputs()),
        tuple(map(_sizes, checked)), error, tolerance, *times, rounds, torch.get_num_threads(),
    )  # fmt: skip


def _sizes(tensors: Inputs) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(each.shape) for each in tensors)


def _check_error(error: float, tolerance: float, path: str | Path) -> None:
    if not error <= tolerance:
        raise ValueError(
            f"{path}: not written: in ONNX Runtime the output differs from PyTorch's by "
            f"{error:.1e} of its range, more than {tolerance:g}"
        )


def check_packages() -> None:
    """Raise ModuleNotFoundError, with what installs it, if a package for the export is missing."""
    for name in ("onnx", "onnxscript", "onnxruntime"):
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                f'{error}: pip install "spectral_residual[export]"', name=error.name
            ) from error


def report_lines(report: ExportReport) -> list[str]:
    """A report as text, a line for each fact."""
    shapes = [
        f"{kind:8}{name} ({', '.join(map(str, shape))})"
        for kind, named in (("input", report.inputs), ("output", report.outputs))
        for name, shape in named.items()
    ]
    at = "; ".join(" ".join("x".join(map(str, s)) for s in each) for each in report.checked)
    return [
        f"{report.path}: opset {report.opset}, {report.size / 1e6:.1f} MB",
        *shapes,
        f"error   {report.error:.1e} of the output's range, limit {report.tolerance:g}, at {at}",
        f"latency {report.onnx_ms:.1f} ms in ONNX Runtime, {report.torch_ms:.1f} ms in PyTorch "
        f"(1 sample, CPU, threads: {report.threads}, medians of {report.rounds} rounds)",
    ]


def _checked(
    network: nn.Module,
    example: Tensor | Inputs,
    dynamic_size: bool,
    tolerance: float,
    rounds: int,
) -> Inputs:
    """The inputs on the CPU; ValueError if something cannot be used."""
    if rounds < 1 or not tolerance > 0:
        raise ValueError(
            f"expected rounds >= 1 and tolerance > 0, got rounds {rounds}, tolerance {tolerance}"
        )
    inputs = (example,) if isinstance(example, Tensor) else tuple(example)
    if not inputs or not all(isinstance(each, Tensor) for each in inputs):
        kinds = ", ".join(type(each).__name__ for each in inputs) or "nothing"
        raise ValueError(f"example: expected a tensor or a tuple of tensors, got {kinds}")
    shapes = [tuple(each.shape) for each in inputs]
    if not all(shape and shape[0] for shape in shapes):
        raise ValueError(f"example: expected samples on the first axis, got shapes {shapes}")
    if dynamic_size and not any(len(shape) in (4, 5) for shape in shapes):
        raise ValueError(
            f"dynamic_size: expected an input (N, C, H, W) or (N, C, T, H, W), got shapes {shapes}"
        )
    if dynamic_size:
        _check_padding(network)
    return tuple(each.detach().cpu() for each in inputs)


def _check_padding(network: nn.Module) -> None:
    """Raise ValueError for padding that is computed from the size: its export does not end.

    With a stride of 1 it is the same for all sizes, and PyTorch can do with one of another.
    """
    found = [
        f"{name or 'it'} ({kind.__name__})"
        for name, module in network.named_modules()
        if (kind := type(module)).__module__.startswith("timm.")
        and (kind.__name__.endswith("Same") or getattr(module, "dynamic_padding", False))
        and getattr(module, "stride", 1) not in (1, (1, 1), [1, 1])
    ]
    if len(found) > 1:
        raise ValueError(
            f"dynamic_size: expected padding that is the same for all sizes, got {found[0]} and "
            f"{len(found) - 1} more with timm's SAME padding: export it for one size"
        )


def _free_axes(x: Tensor, dynamic_batch: bool, dynamic_size: bool) -> dict[int, str]:
    """Axes of any length, with their names."""
    axes = {0: "batch"} if dynamic_batch else {}
    if dynamic_size and x.dim() in (4, 5):
        axes |= {x.dim() - 2: "height", x.dim() - 1: "width"}
    return axes


def _traced(
    network: nn.Module,
    inputs: Inputs,
    axes: Sequence[dict[int, str]],
    names: tuple[Sequence[str], Sequence[str]] | None,
    opset: int,
) -> Any:
    """ONNX program of a network; in the order of axes that ONNX has in memory."""
    plain = copy.deepcopy(network)
    for tensor in (*plain.parameters(), *plain.buffers()):
        tensor.data = tensor.data.contiguous()
    # An axis of length 1 would be taken for one that always has it.
    single = 0 in axes[0] and any(each.shape[0] == 1 for each in inputs)
    traced = tuple((torch.cat([x, x]) if single else x).contiguous() for x in inputs)
    free = sorted({name for each in axes for name in each.values()})
    any_length = f" with any {', '.join(free)}" if free else ""
    what = f"{type(network).__name__} cannot be exported to ONNX{any_length}"
    with _explained(what), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.onnx.export(
            plain,
            traced,
            dynamo=True,
            dynamic_shapes=tuple(axes) if any(axes) else None,
            input_names=None if names is None else list(names[0]),
            output_names=None if names is None else list(names[1]),
            opset_version=opset,
            external_data=False,
            verbose=False,
        )


@contextmanager
def _explained(what: str) -> Iterator[None]:
    """Raise ValueError, in one line, for whatever error a library raises."""
    try:
        yield
    except Exception as error:
        raise ValueError(f"{what}: {_reason(error)}") from error


def _reason(error: BaseException) -> str:
    """What went wrong first, in one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def _session(path: Path, opset: int) -> Any:
    """Session of a file; ValueError if the exporter has not converted it to the operator set."""
    import onnx
    import onnxruntime

    graph = onnx.load(path)
    got = next(each.version for each in graph.opset_import if not each.domain)
    if got != opset:
        raise ValueError(
            f"opset: expected one that the graph can be converted to, got {opset}, and {got} from "
            "the exporter"
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 4  # what it says is in the error too
    with _explained("ONNX Runtime does not take the file"):
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def _shapes(described: Sequence[Any]) -> dict[str, tuple[int | str, ...]]:
    return {each.name: tuple(each.shape) for each in described}


def _variants(inputs: Inputs, dynamic_batch: bool, dynamic_size: bool) -> Iterator[Inputs]:
    """Inputs to compare at: the example, and one for each axis that may have another length."""
    yield inputs
    if dynamic_batch:
        for count in {1, inputs[0].shape[0] + 2} - {inputs[0].shape[0]}:
            yield tuple(_resized(each, {0: count}) for each in inputs)
    if dynamic_size:
        for from_end in (2, 1):
            yield tuple(
                _resized(x, {x.dim() - from_end: 2 * x.shape[-from_end]} if x.dim() > 3 else {})
                for x in inputs
            )


def _resized(x: Tensor, lengths: dict[int, int]) -> Tensor:
    """The same values, repeated and cut; of floating numbers each sample is another multiple."""
    for axis, length in lengths.items():
        times = math.ceil(length / x.shape[axis])
        x = torch.cat([x] * times, dim=axis).narrow(axis, 0, length)
    if 0 in lengths and x.is_floating_point():
        x = x * torch.linspace(0.5, 1, len(x), dtype=x.dtype).reshape(-1, *[1] * (x.dim() - 1))
    return x


def _run(session: Any, inputs: Inputs) -> list[Tensor]:
    feed = {
        each.name: x.contiguous().numpy()
        for each, x in zip(session.get_inputs(), inputs, strict=True)
    }
    return [torch.from_numpy(each) for each in session.run(None, feed)]


@torch.no_grad()
def _error(network: nn.Module, session: Any, inputs: Inputs) -> float:
    """Largest difference of any output, as a share of that output's range with zero.

    A single number has no range of its own. Integers and booleans must be the same.
    """
    shapes = ", ".join(str(tuple(each.shape)) for each in inputs)
    with _explained(f"the network does not take inputs of shape {shapes}"):
        expected = [each for each in tree_leaves(network(*inputs)) if isinstance(each, Tensor)]
    with _explained(f"ONNX Runtime does not run the file for inputs of shape {shapes}"):
        found = _run(session, inputs)
    if [each.shape for each in found] != [each.shape for each in expected]:
        raise ValueError(
            f"in ONNX Runtime the outputs have the shapes {[tuple(each.shape) for each in found]}, "
            f"in PyTorch {[tuple(each.shape) for each in expected]}"
        )
    errors = []
    for got, wanted in zip(found, expected, strict=True):
        if not wanted.isfinite().all():
            raise ValueError("the network's output is not finite for the example")
        error = (got.double() - wanted.double()).abs().max()
        if wanted.is_floating_point() and error != 0:
            error /= wanted.max().clamp(min=0) - wanted.min().clamp(max=0)
        errors.append(float(error))
    return max(errors) if not any(map(math.isnan, errors)) else math.nan


@torch.no_grad()
def _latencies(
    network: nn.Module, session: Any, inputs: Inputs, rounds: int
) -> tuple[float, float]:
    """Milliseconds of ONNX Runtime and of PyTorch for one sample."""
    one = tuple(x[:1] for x in inputs) if _takes_one(session) else inputs
    jobs: list[Callable[[], object]] = [lambda: _run(session, one), lambda: network(*one)]
    times: list[list[float]] = [[], []]
    for number in range(rounds + 1):  # the first is for warming up
        for job, measured in zip(jobs, times, strict=True):
            start = time.perf_counter()
            job()
            if number:
                measured.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times[0]), statistics.median(times[1])


def _takes_one(session: Any) -> bool:
    return all(isinstance(each.shape[0], str) for each in session.get_inputs())


@contextmanager
def _replacing(target: Path) -> Iterator[Path]:
    """A temporary file beside a path, which takes its place unless there is an error."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    try:
        yield temporary
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
