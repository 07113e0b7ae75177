"""How the commands of the documents are run here: what is shortened, exchanged, or only checked."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from documents import ROOT

from spectral_residual.cli import _COMMANDS, _function
from spectral_residual.commands import command_parser

_HERE = "--data.loading.workers 0 --data.loading.batch_size 2 --trainer.enable_progress_bar false"
_ONE_STEP = (
    "--trainer.max_epochs 1 --trainer.limit_train_batches 1 --trainer.limit_val_batches 1 "
    f"--trainer.precision 32-true {_HERE}"
)
_CPU = "--trainer.accelerator cpu --trainer.devices 1 --trainer.strategy auto"
_SMALL = "--data.input_size [128,96]"
_NO_DOWNLOAD = "--model.network.weights null"


class Short(NamedTuple):
    """Commands that match, and the options that are put behind them so that they are short."""

    pattern: str
    options: str


SHORTENED = [
    Short(r"srl pose fit .*configs/pose/coco/", f"{_ONE_STEP} {_CPU} {_NO_DOWNLOAD} {_SMALL}"),
    Short(
        r"srl video fit .*kinetics400",
        f"{_ONE_STEP} {_CPU} {_NO_DOWNLOAD} --data.train.source train --data.val.source val "
        "--data.train.videos null --data.val.videos null "
        "--data.clip.stride 2 --data.input_size [64,64] --data.short_side 73",
    ),
    Short(r"srl pose fit ", f"{_ONE_STEP} {_SMALL} --trainer.accelerator cpu"),
    Short(r"srl video fit ", f"{_ONE_STEP} --trainer.accelerator cpu"),
    Short(r"srl pose (validate|test|predict) .*--(config|data)\b", _HERE),
    Short(r"srl video (validate|test|predict) .*--config", _HERE),
    Short(r"srl (pose|video) speed ", f"--rounds 1 --steps 1 {_HERE}"),
    Short(r"srl data people ", "--train-images 2 --val-images 2"),
    Short(r"srl data videos ", "--train-videos 1 --val-videos 1"),
    Short(r"srl export ", "--rounds 1"),
    Short(r"srl bench networks\b", "--rounds 3 --sizes 128x96 --blocks srl"),
    Short(r"srl bench --ratio srl/rcca", "--rounds 3 --sizes 64x48 --blocks srl,rcca"),
    Short(
        r"srl bench --compare ", "--rounds 3 --sizes 64x48 --blocks srl,a2,srl-fft --tolerance 1000"
    ),
    Short(r"srl experiment run lspet-short$", f"--runs base --seeds 0 --limit 1 {_HERE}"),
    Short(r"srl experiment run (?!.*--dry-run)", "--dry-run"),
    Short(r"srl experiment viz ", "--runs base --images 4"),
    Short(r"srl viz ", "--images 4"),
]
"""The first that matches counts. Trainings take one step, on the CPU; 30 hours are a dry run."""

EXCHANGED = [
    (r"(srl video .*--data\.root )FOLDER", r"\1data/actions"),
    (r"(srl video .*)FILE", r"\1video.yaml"),
    (r"(srl video .*)CHECKPOINT", r"\1video.ckpt"),
    (r"(srl data people) FOLDER", r"\1 new"),
    (r"(srl data videos) data/actions", r"\1 made"),
    (r"OWNER/", ""),
    (
        r"(srl pose convert) FILE --output FOLDER",
        r"\1 pose_hrnet_w32_256x192.pth --output converted",
    ),
    (r"(srl data where) NAME", r"\1 coco"),
    (r"(srl data split) FILE", r"\1 all.json"),
    (r"(srl bench show) FILE", r"\1 results/bench_lspet_short_cpu.json"),
    (r"=FILE", "=network.ckpt"),
    (r"--html FILE", "--html page.html"),
    (r"--clips N", "--clips 1"),
    (r"(--model\.network\.weights) lite0\.safetensors", r"\1 null"),
]
"""Names that stand for something else than the files of `stand_ins.furnish`."""


def requirements_exist(words: Sequence[str]) -> bool:
    """Of ``pip install NAME ".[EXTRA]"``: does pyproject.toml have the packages and extras?"""
    project = (ROOT / "pyproject.toml").read_text()
    known = {".", *re.findall(r'^    "([\w-]+)', project, re.MULTILINE)}
    known |= {f".[{extra}]" for extra in re.findall(r"^(\w+) = \[$", project, re.MULTILINE)}
    for word in words[2:]:
        names = re.fullmatch(r"(?:\.|spectral_residual)\[([\w,]+)\]", word)
        wanted = [f".[{extra}]" for extra in names[1].split(",")] if names else [word]
        if not word.startswith("--") and not known.issuperset(wanted):
            return False
    return True


def targets_exist(words: Sequence[str]) -> bool:
    """Of ``make NAME``: is it in the Makefile?"""
    known = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    return {word for word in words[1:] if "=" not in word} <= set(known)


def files_exist(words: Sequence[str]) -> bool:
    """Are all files and folders of tests and benchmarks that are named there, and is one named?"""
    paths = [word for word in words[1:] if re.match(r"(tests|benchmarks)\b", word)]
    return bool(paths) and all((ROOT / path).exists() for path in paths)


def run_elsewhere(words: Sequence[str]) -> bool:
    """Of ``python examples/NAME.py``: is it there, and named in a test?"""
    tests = [path.read_text() for path in ROOT.glob("tests/**/test_*.py")]
    name = Path(words[1]).name
    return (ROOT / words[1]).exists() and any(name in text for text in tests)


def parses(words: Sequence[str]) -> bool:
    """Of ``srl demo NAME``: does its parser take the options?"""
    command_parser(_function(_COMMANDS["demo"][words[2]]), "srl").parse_args(list(words[3:]))
    return True


def known(words: Sequence[str]) -> bool:
    """Tools of others, which are named."""
    return True


class NotRun(NamedTuple):
    """Commands that match and are not run: why, and what is checked in place of it."""

    pattern: str
    reason: str
    check: Callable[[Sequence[str]], bool]


NOT_RUN = [
    NotRun(r"pip install ", "would change this environment; names exist", requirements_exist),
    NotRun(r"pip download ", "wants the network", known),
    NotRun(r"pip$", "is spoken of", known),
    NotRun(r"make$", "is spoken of", known),
    NotRun(r"make ", "makes an environment, or runs these tests; the target exists", targets_exist),
    NotRun(r"(\w+=\S+ )*\S*(python -m )?pytest ", "is other tests; the files exist", files_exist),
    NotRun(r"(pipx run pre-commit|hf upload) ", "wants the network", known),
    NotRun(r"PYTHONPATH=examples python ", "takes minutes; the examples are tested", known),
    NotRun(
        r"srl demo ", "takes minutes or serves, and tests/lab run it; the options are right", parses
    ),
    NotRun(r"python examples/", "other tests run it", run_elsewhere),
    NotRun(r"python -m http.server ", "serves until it is stopped", known),
    NotRun(r"python benchmarks/", "measures for minutes; the file exists", files_exist),
]
"""The first that matches counts; each is printed by the test."""
