"""The house stays small: lengths of files and functions, numbers of options, names in the map."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import spectral_residual

PACKAGE = Path(spectral_residual.__file__).parent
ROOT = Path(__file__).parents[1]
SOURCES = sorted(PACKAGE.rglob("*.py"))
MOST_LINES, LONGEST_FUNCTION, MOST_OPTIONS = 400, 60, 10
# Their options are keys of configurations, or of `create_block`, that users have.
MORE_OPTIONS = {"VideoDataModule": 15, "VideoTask": 11, "SRLBlock": 11, "SRLVideoBlock": 11}


def functions(path):
    """Name of the class (or ""), and definition, of every function of a file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inside = {
        id(node): owner.name
        for owner in ast.walk(tree)
        if isinstance(owner, ast.ClassDef)
        for node in owner.body
    }
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield inside.get(id(node), ""), node


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_sizes(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MOST_LINES
    for owner, node in functions(path):
        length = node.end_lineno - node.lineno + 1
        assert length <= LONGEST_FUNCTION, f"{owner}.{node.name} has {length} lines"
        options = [a.arg for a in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
        count = len(options) - (options[:1] in (["self"], ["cls"]))
        most = MORE_OPTIONS.get(owner, MOST_OPTIONS) if node.name == "__init__" else MOST_OPTIONS
        assert count <= most, f"{owner}.{node.name} has {count} options"


def test_no_assert_and_no_word_of_what_is_outside():
    for path in SOURCES:
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"^\s*assert\s", text, re.MULTILINE), path
        assert "../shared" not in text, path


def test_no_parser_by_hand():
    by_hand = [p for p in SOURCES if re.search(r"^\s*import argparse", p.read_text(), re.MULTILINE)]
    assert not by_hand


def test_the_map_names_files_and_things_that_exist():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    files = set(re.findall(r"`((?:\w+/)*\w+\.py)`", text))
    assert len(files) > 10
    beside = {"transforms", "blocks", "training"}
    for name in files:
        places = [PACKAGE / name, ROOT / name, *(PACKAGE / room / name for room in beside)]
        assert any(place.is_file() for place in places), name
    rows = re.findall(r"^\| .* \| `(\w+/[\w.]+\.py)`.*$", text, re.MULTILINE)
    for line in text.splitlines():
        found = re.match(r"\| .* \| `(\w+/\w+\.py)`, (?:class )?`(\w+)` \|", line)
        if found:
            assert re.search(rf"(class|def) {found[2]}\b", (PACKAGE / found[1]).read_text()), line
    assert rows
