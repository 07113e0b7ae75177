"""Who may import whom, read from the sources; and what ``import spectral_residual`` loads."""

from __future__ import annotations

import ast
import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

import spectral_residual

PACKAGE = Path(spectral_residual.__file__).parent
SOURCES = sorted(PACKAGE.rglob("*.py"))

# A part may import those of lower ranks and itself: pose and video do not know each other, and
# nothing below the laboratory knows it.
RANKS = {
    "errors": 0,
    "lazy": 0,
    "configs": 1,
    "transforms": 1,
    "blocks": 2,
    "meta": 3,
    "layers": 3,
    "insertion": 4,
    "cost": 5,
    "inserted": 5.5,
    "export": 5.5,
    "training": 6,
    "pose": 7,
    "video": 7,
    "lab": 8,
    "cli": 9,
    "__main__": 10,
}
# These stand beside: they never see a network, and what is not torch alone may use them.
BESIDE = {
    "report": {"errors", "report"},
    "commands": {"commands"},
    "runtime": {"errors", "lazy", "runtime"},
}
# What the runtime shares with training: files that import no torch.
SHARED_WITH_RUNTIME = {
    *("pose.checks", "pose.geometry", "pose.headers", "pose.images", "pose.skeleton"),
    *("video.reader", "video.sampling"),
}
TORCH_ALONE = [
    *("errors", "transforms", "blocks", "meta", "layers"),
    *("insertion", "cost", "inserted", "export"),
]
# Whose names are the package's.
NAMES_OF = {"blocks", "export", "inserted", "insertion", "layers", "meta", "transforms"}
ONNX = {"onnx", "onnxruntime", "onnxscript"}


def part_of(path):
    """First name below the package: "blocks" for blocks/spectral.py, "cli" for cli.py."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return "" if parts == ("__init__",) else parts[0]


def imported(path):
    """Absolute names of all modules imported anywhere in a file.

    For ``from a.b import c`` both ``a.b`` and ``a.b.c`` are given, as c may be a module.
    """
    tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    top_level = set(map(id, tree.body))
    package = ("spectral_residual", *path.relative_to(PACKAGE).parent.parts)
    for node in ast.walk(tree):
        at_top = id(node) in top_level
        if isinstance(node, ast.Import):
            yield from ((alias.name, at_top) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield from ((f"{module}.{alias.name}", at_top) for alias in node.names)


def own_imports(path):
    """Parts of the package that a file imports."""
    for name, _ in imported(path):
        names = name.split(".")
        if names[0] == "spectral_residual":
            yield names[1] if len(names) > 1 and names[1] != "__version__" else ""


def whole_imports(path):
    """Modules of other parts of the package that a file imports, by their whole names."""
    for name, _ in imported(path):
        parts = name.split(".")[1:]
        module = ".".join(["spectral_residual", *parts[: 1 if parts[:1] == ["lazy"] else 2]])
        if name.startswith("spectral_residual.") and not module.startswith(
            "spectral_residual.runtime"
        ):
            yield module


def allowed(part, target):
    if part in BESIDE:
        return target in BESIDE[part]
    if target in BESIDE:
        return target != "runtime" and RANKS[part] >= RANKS["training"]
    return target in ("", part) or RANKS[target] < RANKS[part]


def test_the_parser_sees_imports():
    """The check below can fail: relative, absolute and inner imports are all found."""
    blocks = set(own_imports(PACKAGE / "blocks" / "__init__.py"))
    assert {"errors", "transforms", "blocks"} <= blocks
    assert {"pose", "cost", "lab"} <= set(own_imports(PACKAGE / "lab" / "demo" / "pose.py"))
    assert set(own_imports(PACKAGE / "insertion.py")) == {"blocks", "meta"}
    assert {part_of(path) for path in SOURCES} >= {"", *RANKS, *BESIDE}


def test_the_rule_refuses():
    assert allowed("blocks", "transforms")
    assert allowed("training", "cost")
    assert allowed("cli", "commands")
    assert allowed("video", "report")
    assert not allowed("transforms", "blocks")
    assert not allowed("blocks", "insertion")
    assert not allowed("cost", "report")
    assert not allowed("training", "pose")
    assert not allowed("pose", "video")
    assert not allowed("video", "pose")
    assert not allowed("pose", "lab")
    assert not allowed("report", "transforms")
    assert not allowed("lab", "cli")
    assert not allowed("runtime", "pose")
    assert not allowed("pose", "runtime")
    assert not allowed("export", "training")


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_import_order(path):
    part = part_of(path)
    if part == "":
        assert set(own_imports(path)) == NAMES_OF | {"lazy"}
        return
    if part == "runtime":
        assert set(whole_imports(path)) <= {
            "spectral_residual.errors",
            "spectral_residual.lazy",
        } | {f"spectral_residual.{name}" for name in SHARED_WITH_RUNTIME}
        return
    wrong = {target for target in own_imports(path) if not allowed(part, target)}
    assert not wrong, f"{part} must not import {sorted(wrong)}"


@pytest.mark.parametrize("part", TORCH_ALONE)
def test_the_first_part_needs_torch_alone(part):
    for path in (path for path in SOURCES if part_of(path) == part):
        for name, at_top in imported(path):
            top = name.split(".")[0]
            known = top in {"torch", "spectral_residual"} or top in sys.stdlib_module_names
            known = known or (part == "export" and top in ONNX and not at_top)
            assert known, f"{path.name} imports {name}"


def test_import_loads_torch_and_nothing_else():
    program = (
        "import json, sys, torch\n"
        "before = set(sys.modules)\n"
        "import spectral_residual\n"
        "for name in spectral_residual.__all__: getattr(spectral_residual, name)\n"
        "print(json.dumps(sorted(set(sys.modules) - before)))"
    )
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=True
    )
    loaded = {name.split(".")[0] for name in json.loads(result.stdout)}
    own = {name for name in loaded if name not in sys.stdlib_module_names and name != "torch"}
    assert own == {"spectral_residual"}
    names = (name.split(".") for name in json.loads(result.stdout))
    parts = {name[1] for name in names if name[0] == "spectral_residual" and len(name) > 1}
    assert parts == NAMES_OF | {"errors", "lazy"}


@pytest.mark.parametrize("module", [*sorted(SHARED_WITH_RUNTIME), "runtime"])
def test_the_runtime_needs_no_torch(module):
    """In a process that cannot import torch, nor what only training needs."""
    program = (
        "import importlib, sys\n"
        "for name in ('torch', 'lightning', 'torchvision', 'matplotlib', 'jsonargparse'):\n"
        "    sys.modules[name] = None\n"
        f"found = importlib.import_module('spectral_residual.{module}')\n"
        "for name in getattr(found, '__all__', ()): getattr(found, name)"
    )
    subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)


def test_help_does_not_wait_for_torch():
    program = (
        "import sys\n"
        "from spectral_residual.cli import main\n"
        "statuses = [main([word]) for word in ('--help', '--version', 'pose')]\n"
        "assert statuses == [0, 0, 0] and 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)


def test_public_names():
    with pytest.raises(AttributeError, match="no attribute 'insert_block'"):
        _ = spectral_residual.insert_block
    assert set(spectral_residual.__all__) <= set(dir(spectral_residual))
    for name in spectral_residual.__all__:
        assert hasattr(spectral_residual, name)
    assert sorted(spectral_residual.__all__) == sorted(set(spectral_residual.__all__))


@pytest.mark.parametrize("name", ["", ".pose", ".video", ".runtime"])
def test_lazy_packages_list_and_give_their_names(name):
    package = importlib.import_module("spectral_residual" + name)
    assert {*package.__all__} <= {*dir(package)}
    for public in package.__all__:
        assert getattr(package, public) is vars(package)[public]
    with pytest.raises(AttributeError, match=f"{package.__name__}.* has no attribute 'nothing'"):
        _ = package.nothing


def test_modules_are_names_of_the_package():
    code = "import spectral_residual as s; print(len(s.transforms.TRANSFORMS) > 1)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "True\n"
