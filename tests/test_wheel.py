"""The wheel: what it holds, and the commands of README from it, outside of the repository."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from spectral_residual import __version__

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src/spectral_residual"


def run(*words, cwd, **options):
    """Output of a command that must not find the sources of the repository."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    result = subprocess.run(
        [str(word) for word in words], cwd=cwd, env=environment | {"OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=600, check=False, **options,
    )  # fmt: skip
    assert result.returncode == 0, f"{words}: {result.stderr[-3000:]}"
    return result.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """That of ``make wheel``, or one built of a copy, without what was built before."""
    if os.environ.get("SRL_WHEEL"):
        return (ROOT / os.environ["SRL_WHEEL"]).resolve()
    folder = tmp_path_factory.mktemp("build")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    unwanted = shutil.ignore_patterns("__pycache__", "*.egg-info")
    shutil.copytree(ROOT / "src", folder / "src", ignore=unwanted)
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", "dist"]
    run(sys.executable, "-m", "pip", "wheel", *options, ".", cwd=folder)
    (built,) = folder.glob("dist/*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """Folder of the commands of an environment that has the wheel, and otherwise what this has."""
    folder = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder)
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "packages.pth").write_text(sysconfig.get_path("purelib") + "\n")
    options = ["--no-deps", "--no-index", "--ignore-installed", "--quiet"]
    python = folder / "bin/python"
    run(sys.executable, "-m", "pip", "--python", python, "install", *options, wheel, cwd=folder)
    return folder / "bin"


def test_everything_of_the_package_is_in_the_wheel(wheel):
    held = set(zipfile.ZipFile(wheel).namelist())
    tree = {
        path.relative_to(PACKAGE.parent).as_posix()
        for path in PACKAGE.rglob("*")
        if path.is_file()
        and not any(p.startswith((".", "__py")) for p in path.relative_to(PACKAGE).parts[:-1])
    }
    for name in ("py.typed", "configs/pose/lspet_short_128x96.yaml", "pose/coco.json"):
        assert f"spectral_residual/{name}" in tree
    assert tree == {name for name in held if name.startswith("spectral_residual/")}
    assert {name.split("/")[0].split("-")[0] for name in held} == {"spectral_residual"}


def test_metadata(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        text = archive.read(name).decode()
    citation = (ROOT / "CITATION.cff").read_text()
    assert f"\nVersion: {__version__}\n" in text
    assert f"\nversion: {__version__}\n" in citation
    (doi,) = re.findall(r"^ +doi: (\S+)$", citation, re.MULTILINE)
    assert f"Project-URL: Paper, https://doi.org/{doi}\n" in text
    assert "Classifier: Typing :: Typed\n" in text


def test_commands_outside_of_the_repository(installed, tmp_path):
    srl = installed / "srl"
    program = "import spectral_residual as s; print(s.__file__)"
    place = run(installed / "python", "-c", program, cwd=tmp_path)
    assert Path(place).is_relative_to(installed.parent)
    assert run(srl, "--version", cwd=tmp_path) == f"srl {__version__}\n"
    assert "https://cocodataset.org" in run(srl, "data", "where", "coco", cwd=tmp_path)
    listed = run(srl, "experiment", "list", cwd=tmp_path)
    names = [path.stem for path in PACKAGE.glob("configs/experiments/*.yaml")]
    assert all(f"| {name}: " in listed for name in names)
    planned = run(srl, "experiment", "run", "pose-table3", "--dry-run", cwd=tmp_path)
    assert "--config configs/pose/coco/resnet50.yaml" in planned


def test_own_data_from_the_wheel(installed, tmp_path):
    srl = installed / "srl"
    sizes = ["--train-images", "8", "--val-images", "4"]
    run(srl, "data", "people", "people", *sizes, cwd=tmp_path)
    options = ["--data.root", "people", "--trainer.accelerator", "cpu", "--trainer.max_epochs", "1"]
    small = ["--data.input_size", "[64,64]", "--data.loading.batch_size", "4"]
    run(srl, "pose", "fit", *options, *small, cwd=tmp_path)
    run(srl, "pose", "predict", *options, "--ckpt_path", "last", cwd=tmp_path)
    assert list((tmp_path / "runs/pose").rglob("*.jpg"))


def test_readme_from_the_wheel(installed, tmp_path):
    """Its code runs, and the configurations that it names are found."""
    text = (ROOT / "README.md").read_text()
    for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        run(installed / "python", "-c", code, cwd=tmp_path)
    lines = re.findall(r"^srl (pose|video) fit +(--config .*)$", text, re.MULTILINE)
    assert len(lines) >= 2
    for kind, options in lines:
        words = options.split()
        folder = ["--data.root", tmp_path]
        shown = run(installed / "srl", kind, "fit", *words, *folder, "--print_config", cwd=tmp_path)
        assert f"root: {tmp_path}" in shown
