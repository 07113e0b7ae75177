"""Links lead somewhere, figures are those of the results, and the reference has every name."""

from __future__ import annotations

import importlib
import json
import re
import statistics

import pytest
from documents import PAGES, ROOT

import spectral_residual

COLUMNS = ("seeds", "PCK", "gain", "step", "ms", "MiB", "parameters")


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_links_lead_to_files(page):
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8"))
    missing = [x for x in links if "://" not in x and not (page.parent / x).exists()]
    assert not missing


def spread(values):
    mean = f"{statistics.mean(values):.1f}"
    return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(values):.1f}"


@pytest.fixture(scope="module")
def measured():
    """Cells of a row of docs/which.md by its block, "none" for the plain network."""
    runs: dict[str, dict[int, dict]] = {}
    for line in (ROOT / "results/lspet-short.jsonl").read_text().splitlines():
        record = json.loads(line)
        if not record["extra"]:
            runs.setdefault(record["run"], {})[record["seed"]] = record
    timed = json.loads((ROOT / "results/bench_lspet_short_cpu.json").read_text())["rows"]
    cells = {}
    for row in timed:
        records = runs.get("base" if row["name"] == "none" else row["name"], {})
        if not records:
            continue
        pck = {seed: 100 * record["metrics"]["PCK"] for seed, record in records.items()}
        gains = [value - 100 * runs["base"][s]["metrics"]["PCK"] for s, value in pck.items()]
        found = (
            str(len(pck)), spread(list(pck.values())),
            "-" if row["name"] == "none" else f"+{spread(gains)}",
            f"{row['ratio']['median']:.2f}", f"{row['milliseconds']['median']:.0f}",
            f"{row['peak_bytes'] / 2**20:.0f}",
            f"{next(iter(records.values()))['parameters'] / 1e6:.2f}",
        )  # fmt: skip
        cells[row["name"]] = dict(zip(COLUMNS, found, strict=True))
    return cells


def rows_of(text):
    """Cells of all rows of the tables of a text, without marks."""
    lines = re.findall(r"^\| (.*) \|$", text, re.MULTILINE)
    return [[re.sub(r"[*`]", "", cell).strip() for cell in line.split("|")] for line in lines]


def test_the_table_of_blocks_is_what_was_measured(measured):
    text = (ROOT / "docs/which.md").read_text(encoding="utf-8").partition("<!-- measured")[2]
    rows = [row for row in rows_of(text) if len(row) == 1 + len(COLUMNS) and row[0] in measured]
    assert len(rows) >= 12
    for name, *cells in rows:
        assert dict(zip(COLUMNS, cells, strict=True)) == measured[name], name


def test_the_table_of_the_readme_is_what_was_measured(measured):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = {row[0].split()[0]: row[1:] for row in rows_of(readme) if len(row) == 5}
    for name in ("none", "srl", "a2", "rcca"):
        cells = measured[name]
        gain = "" if name == "none" else cells["gain"]
        pck = cells["PCK"].split()[0]
        assert rows[name] == [pck, gain, cells["step"], f"{cells['parameters']} M"]


@pytest.mark.parametrize("package", ["", ".blocks", ".transforms", ".pose", ".video", ".runtime"])
def test_the_reference_has_every_public_name(package):
    listed = {
        name
        for page in ROOT.glob("docs/api/*.md")
        for name in re.findall(r"^::: (\S+)$", page.read_text(), re.MULTILINE)
    }
    module = importlib.import_module(spectral_residual.__name__ + package)
    for name in getattr(module, "__all__", []):
        where = getattr(getattr(module, name), "__module__", None) or ""
        of_ours = where.startswith(spectral_residual.__name__)
        assert not of_ours or where in listed, f"{name} of {where}"
