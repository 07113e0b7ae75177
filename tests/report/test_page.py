"""HTML pages: everything is escaped, and nothing is loaded or run."""

from __future__ import annotations

import numpy as np
import pytest
from html_pages import HOSTILE, Page, decode
from matplotlib.figure import Figure

from spectral_residual.report.figures import render
from spectral_residual.report.page import (
    Picture,
    descriptions,
    gallery,
    join,
    note,
    plot,
    table,
    write_page,
)

PNG = render(Figure(figsize=(2, 1)))
IMAGE = np.zeros((40, 60, 3), np.uint8)
IMAGE[:, :30], IMAGE[:, 30:] = (250, 20, 10), (10, 40, 240)
CONTROL = "\x00\x07\x1b\r\n\x0b"


def parts_of(text):
    """One of each part, with a text in every place."""
    return {
        f"Table {text}": table(
            f"label {text}",
            ["network", f"header {text}"],
            [[f"row {text}", (text, f"small {text}")]],
        ),
        "Plot": plot(PNG, f"alt {text}", f"caption {text}"),
        "Gallery": gallery([Picture(f"title {text}", f"caption {text}", IMAGE)]),
        "Descriptions": join(
            [descriptions({f"key {text}": f"value {text}"}), note(f"note {text}")]
        ),
    }


def page_of(tmp_path, title="Title", lead="Lead.", sections=None):
    path = write_page(tmp_path / "page.html", title, lead, sections or {})
    return Page(path.read_bytes().decode())


def test_every_text_is_escaped(tmp_path):
    harmless = page_of(tmp_path, sections=parts_of("x"))
    text = f"{HOSTILE}{CONTROL}"
    page = page_of(tmp_path, f"title {text}", f"lead {text}", parts_of(text))
    assert page.tags == harmless.tags
    assert [sorted(a) for _, a in page.attributes] == [sorted(a) for _, a in harmless.attributes]
    places = {
        "title": "title", "h1": "title", "p": "lead", "a": "Table", "h2": "Table", "th": "row",
        "td": "", "small": "small", "strong": "title", "dt": "key", "dd": "value",
    }  # fmt: skip
    for tag, words in places.items():
        assert f"{words} {text}".strip() in [found.strip() for found in page.text_of(tag)], tag
    assert f"note {text}" in page.text_of("p")
    assert f"header {text}" in page.text_of("th")
    assert [a["alt"] for a in page.of("img")] == [f"alt {text}", f"title {text}"]
    labels = [f"label {text}", f"caption {text}", f"title {text}"]
    assert [a["aria-label"] for a in page.of("div") if "aria-label" in a] == labels


def test_half_a_surrogate_pair_becomes_a_question_mark(tmp_path):
    page = page_of(tmp_path, "Ünder \udcff", "\ud83d", parts_of("\udcff"))
    assert page.text_of("h1") == ["Ünder ?"]
    assert page.text_of("dt") == ["key ?"]


def test_the_page_loads_nothing_and_runs_nothing(tmp_path):
    page = page_of(tmp_path, sections=parts_of("x"))
    assert {"script", "link", "iframe", "object", "base"}.isdisjoint(page.tags)
    for _, attributes in page.attributes:
        assert attributes.get("src", "data:image/").startswith("data:image/")
        assert attributes.get("href", "#").startswith("#")
        assert not any(name.startswith("on") for name in attributes)
    policy = next(a["content"] for a in page.of("meta") if "http-equiv" in a)
    assert policy.startswith("default-src 'none'")
    (style,) = page.text_of("style")
    assert "url(" not in style
    assert "@import" not in style
    assert "@media (prefers-color-scheme: dark)" in style
    assert style.count("{") == style.count("}")
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in page.of("meta")


def test_links_lead_to_the_sections(tmp_path):
    page = page_of(tmp_path, sections={"One": note("a"), "Two words": note("b")})
    assert page.text_of("a") == page.text_of("h2") == ["One", "Two words"]
    assert [a["href"] for a in page.of("a")] == ["#one", "#two-words"]
    assert [a["id"] for a in page.of("section")] == ["one", "two-words"]


def test_images_are_embedded_as_they_were_given(tmp_path):
    page = page_of(tmp_path, sections=parts_of("x"))
    drawing, picture = page.of("img")
    kind, content, decoded = decode(drawing["src"])
    assert (kind, content) == ("png", PNG)
    assert decoded.shape[:2] == (int(drawing["height"]) * 2, int(drawing["width"]) * 2)
    kind, _, decoded = decode(picture["src"])
    assert (kind, picture["width"], picture["height"]) == ("jpeg", "60", "40")
    assert np.abs(decoded.astype(int) - IMAGE).max() <= 6


def test_details_of_several_lines_keep_them(tmp_path):
    details = descriptions({"Device": "CPU\n", "Configuration": "model:\n  depth: 50"})
    page = page_of(tmp_path, sections={"Details": details})
    assert page.of("dd") == [{}, {"class": "lines"}]
    assert page.text_of("dd") == ["CPU\n", "model:\n  depth: 50"]


def test_small_print_only_where_there_is_some(tmp_path):
    page = page_of(tmp_path, sections={"T": table("T", ["a", "b"], [["x", ("1", "")], ["y", "2"]])})
    assert "small" not in page.tags
    assert page.text_of("td") == ["1", "2"]


def test_a_plot_must_be_png():
    with pytest.raises(ValueError, match=r"'alt': got b'GIF89a'\.\.\., expected a PNG"):
        plot(b"GIF89a", "alt", "caption")
