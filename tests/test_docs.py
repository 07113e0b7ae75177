"""The Python code of README and docs runs; the commands and files that they name exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(
    [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        *ROOT.glob("docs/*.md"),
        ROOT / "configs/README.md",
    ]
)


def test_readme_code_runs():
    code = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert len(code) == 2
    space: dict[str, object] = {}
    for block in code:
        exec(block, space)
    assert space["y"].shape == (2, 256, 64, 48)
    assert any("srl.alpha" in key for key in space["model"].state_dict())


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_and_configurations_exist(page):
    text = page.read_text()
    links = re.findall(r"\]\(([^)#]+)\)", text)
    paths = [page.parent / link for link in links if "://" not in link]
    paths += [ROOT / name for name in re.findall(r"--config (configs/[\w/.]+)", text)]
    missing = [str(path) for path in paths if not path.exists()]
    assert not missing
