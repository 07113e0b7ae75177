"""The report of the pose demo, and figures of learnt filters."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
import torch
from html_pages import HOSTILE, Page, decode
from matplotlib._pylab_helpers import Gcf
from torch import nn

from spectral_residual import SRLBlock, create_block, create_transform
from spectral_residual.lab.demo import report
from spectral_residual.lab.demo.report import Run, loss_figure, summary_table, write_report
from spectral_residual.lab.viz import filters
from spectral_residual.lab.viz.filters import filter_figure, filter_panels
from spectral_residual.report.figures import render
from spectral_residual.report.page import Picture


def make_run(name="plain", **changes):
    fields = {
        "name": name,
        "metrics": {"AP": 0.7044, "AP50": 0.886, "AP75": 0.783, "AR": 0.763, "PCK": 0.9},
        "parameters": 33_999_697,
        "gflops": 8.9911,
        "milliseconds": 4.304,
        "images_per_second": 1843.21,
        "losses": [(1, 0.01), (2, 0.001), (3, 0.0001)],
        "validation": [(1, 0.25), (3, 0.7044)],
    }
    return Run(**{**fields, **changes})


BLOCK = make_run(
    "with block",
    metrics={"AP": 0.7104, "AP50": 0.8804, "AP75": 0.7833, "AR": -1},
    parameters=34_262_609,
    gflops=10.0,
    milliseconds=12.0,
    images_per_second=12.0,
    losses=[],
    validation=[],
)


def write(path, **changes):
    fields = {
        "runs": [BLOCK],
        "filters": {},
        "pictures": [],
        "details": {},
    }
    return write_report(path, **{**fields, **changes})


def page_of(tmp_path, **changes):
    return Page(write(tmp_path / "report.html", **changes).read_text(encoding="utf-8"))


def make_block(name="srl-fft", size=(8, 6)):
    return create_block(name, 16, size)


@pytest.fixture(scope="module")
def parts():
    """Something for every section of the page."""
    return {
        "runs": [make_run(), BLOCK],
        "filters": {"with block": filter_figure(make_block())},
        "pictures": [Picture("A", "b", np.zeros((4, 5, 3), np.uint8))],
        "details": {"Device": "CPU"},
    }


@pytest.fixture
def drawn(monkeypatch):
    """Figures that are drawn while it is in use."""
    kept = []

    def keep(figure):
        kept.append(figure)
        return render(figure)

    for module in (filters, report):
        monkeypatch.setattr(module, "render", keep)
    return kept


def test_the_table_is_exact():
    expected = """\
| model      |   AP | AP50 | AP75 |   AR |  PCK | parameters (M) | GFLOPs | ms/image |
| ---------- | ---: | ---: | ---: | ---: | ---: | -------------: | -----: | -------: |
| plain      | 70.4 | 88.6 | 78.3 | 76.3 | 90.0 |         34.000 |  8.991 |     4.30 |
| with block | 71.0 | 88.0 | 78.3 |    - |    - |         34.263 | 10.000 |    12.00 |"""
    assert summary_table([make_run(), BLOCK]) == expected


def test_a_metric_that_is_nan_is_not_known_and_a_bar_stays_in_its_cell():
    table = summary_table([make_run("a|b", metrics={"AP": math.nan, "AR": 0.0})])
    row = [cell.strip() for cell in re.split(r"(?<!\\)\|", table.splitlines()[2])[1:-1]]
    assert row == ["a\\|b", "-", "-", "-", "0.0", "-", "34.000", "8.991", "4.30"]


def test_the_page_compares_with_the_first_row(tmp_path):
    reference = make_run()
    same = make_run("same", metrics={**reference.metrics, "AP": 0.7041})
    page = page_of(tmp_path, runs=[reference, BLOCK, same])
    headers = "model|AP|AP50|AP75|AR|PCK|parameters (M)|GFLOPs|ms/image|images/s"
    assert "|".join(page.text_of("th")) == f"{headers}|plain|with block|same"
    cells = page.text_of("td")
    assert " ".join(cells[:9]) == "70.4 88.6 78.3 76.3 90.0 34.000 8.991 4.30 1843.2"
    assert " ".join(cells[9:18]) == "71.0 88.0 78.3 - - 34.263 10.000 12.00 12.0"
    # 71.04 - 70.44 = 0.60; 88.04 - 88.60 = -0.56; AR and PCK are not known.
    differences = " ".join(page.text_of("small"))
    assert differences == (
        "reference +0.6 −0.6 ±0.0 +0.263 +1.009 +7.70 −1831.2 "
        "±0.0 ±0.0 ±0.0 ±0.0 ±0.0 ±0.000 ±0.000 ±0.00 ±0.0"
    )


def test_one_run_is_compared_with_nothing(tmp_path):
    page = page_of(tmp_path, runs=[make_run()])
    assert page.text_of("small") == []
    assert not any("Small print" in text for _, text in page.texts)


def test_sections_stand_in_order_and_empty_ones_are_left_out(tmp_path, parts):
    page = page_of(tmp_path, **parts)
    headings = ["Results", "Training", "Skeletons", "Learnt filters", "Details"]
    assert page.text_of("h2") == headings == page.text_of("a")
    targets = [attributes["href"] for attributes in page.of("a")]
    assert targets == ["#" + attributes["id"] for attributes in page.of("section")]
    without = page_of(tmp_path, **{**parts, "filters": {}})
    assert without.text_of("h2") == [h for h in headings if h != "Learnt filters"]


def test_every_text_is_escaped(tmp_path, parts):
    harmless = page_of(tmp_path, **parts)
    (figure,), (picture,) = parts["filters"].values(), parts["pictures"]
    page = page_of(
        tmp_path,
        runs=[make_run(f"run {HOSTILE}"), BLOCK],
        filters={f"filter {HOSTILE}": figure},
        pictures=[Picture(f"picture {HOSTILE}", f"caption {HOSTILE}", picture.image)],
        details={f"label {HOSTILE}": f"detail {HOSTILE}"},
    )
    assert page.tags == harmless.tags
    assert [sorted(a) for _, a in page.attributes] == [sorted(a) for _, a in harmless.attributes]
    tags = [("th", "run"), ("strong", "picture"), ("dt", "label"), ("dd", "detail")]
    for tag, words in tags:
        assert f"{words} {HOSTILE}" in page.text_of(tag)
    captions = page.text_of("figcaption")
    assert any(text.startswith(f"filter {HOSTILE}: ") for text in captions)
    assert f" caption {HOSTILE}" in captions
    alts = [attributes["alt"] for attributes in page.of("img")]
    assert f"run {HOSTILE}: loss 0.0001, AP 70.4 %; with block: loss -, AP -." in alts[0]
    assert alts[1] == f"picture {HOSTILE}"
    assert f" of filter {HOSTILE}," in alts[2]


def test_images_are_embedded_as_they_were_given(tmp_path, parts):
    image = np.zeros((40, 60, 3), np.uint8)
    image[:, :30], image[:, 30:] = (250, 20, 10), (10, 40, 240)
    page = page_of(tmp_path, **{**parts, "pictures": [Picture("A", "b", image)]})
    curves, picture, maps = page.of("img")
    kind, content, decoded = decode(curves["src"])
    assert (kind, content) == ("png", loss_figure([make_run(), BLOCK]))
    assert decoded.shape[:2] == (int(curves["height"]) * 2, int(curves["width"]) * 2)
    assert decode(maps["src"])[:2] == ("png", parts["filters"]["with block"])
    kind, _, decoded = decode(picture["src"])
    assert kind == "jpeg"
    assert (picture["width"], picture["height"]) == ("60", "40")
    assert np.abs(decoded.astype(int) - image).max() <= 6
    assert len(page.of("figure")) == len(page.text_of("figcaption")) == 3


def test_curves_show_the_data(drawn):
    managers = Gcf.get_num_fig_managers()
    odd = make_run("odd", losses=[(0, 0.5), (5, math.nan), (10, 0)], validation=[(0, -1), (5, 0.5)])
    content = loss_figure([make_run(), BLOCK, odd])
    assert Gcf.get_num_fig_managers() == managers
    assert content.startswith(b"\x89PNG")
    loss, ap = drawn[0].axes
    assert (loss.get_yscale(), ap.get_yscale()) == ("log", "linear")
    assert (loss.get_xlabel(), loss.get_ylabel()) == ("epoch", "training loss (log scale)")
    assert (ap.get_xlabel(), ap.get_ylabel()) == ("epoch", "AP (%)")
    plain, block, last = (line.get_xydata() for line in loss.get_lines())
    np.testing.assert_array_equal(plain, [(1, 0.01), (2, 0.001), (3, 0.0001)])
    assert block.shape == (0, 2)
    np.testing.assert_array_equal(last, [(0, 0.5), (5, np.nan), (10, np.nan)])
    plain, block, last = (line.get_xydata() for line in ap.get_lines())
    np.testing.assert_allclose(plain, [(1, 25), (3, 70.44)], rtol=1e-15)
    assert block.shape == (0, 2)
    np.testing.assert_array_equal(last, [(0, np.nan), (5, 50)])
    texts = drawn[0].legends[0].get_texts()
    assert [text.get_text() for text in texts] == ["plain", "with block", "odd"]
    styles = {(line.get_color(), line.get_marker()) for line in loss.get_lines()}
    assert len(styles) == 3
    assert styles == {(line.get_color(), line.get_marker()) for line in ap.get_lines()}


def test_curves_that_are_missing_are_named(drawn):
    loss_figure([BLOCK])
    assert [[text.get_text() for text in axes.texts] for axes in drawn[0].axes] == [
        ["not recorded"],
        ["not recorded"],
    ]
    loss_figure([BLOCK, make_run()])
    assert [list(axes.texts) for axes in drawn[1].axes] == [[], []]


@pytest.mark.parametrize("size", [(8, 6), (9, 7), (8, 7), (5, 8), (1, 1)])
def test_fourier_filters_are_arranged_by_frequency(size):
    height, width = size
    block = make_block(size=size)
    vertical = torch.fft.fftfreq(height, dtype=torch.float64)
    horizontal = torch.arange(width // 2 + 1, dtype=torch.float64) / width
    with torch.no_grad():
        block.relu.weight.copy_(10 * vertical[:, None] + horizontal)
        block.relu.bias.copy_(vertical[:, None] - 10 * horizontal)
    (panel,) = filter_panels(block)
    assert (panel.name, panel.unit) == ("relu", "frequency (cycles per pixel)")
    left, right, bottom, top = panel.extent
    rows, columns = panel.weight.shape
    assert (rows, columns) == (height, width // 2 + 1)
    y = top + (np.arange(rows) + 0.5) * (bottom - top) / rows
    x = left + (np.arange(columns) + 0.5) * (right - left) / columns
    np.testing.assert_allclose(panel.weight, 10 * y[:, None] + x, atol=1e-6)
    np.testing.assert_allclose(panel.bias, y[:, None] - 10 * x, atol=1e-6)
    assert y[height // 2] == pytest.approx(0, abs=1e-12)
    assert y.min() >= -0.5 - 1e-12
    assert y.max() < 0.5
    assert (np.diff(y) > 0).all()


def test_a_filter_over_time_has_a_panel_for_every_temporal_frequency():
    block = create_block("srl-fft-3d", 8, (4, 6, 5), groups=1, spread=1.0)
    panels = filter_panels(block)
    assert [panel.name.split("\n")[1] for panel in panels] == [
        f"{t}/4 cycles per frame" for t in (0, 1, -2, -1)
    ]
    for panel, t in zip(panels, (0, 1, 2, 3), strict=True):
        weight = block.relu.weight[t].detach().double().numpy()
        np.testing.assert_array_equal(panel.weight, np.fft.fftshift(weight, axes=0))


def test_a_low_pass_is_in_the_centre_row_and_left_column():
    block = make_block(size=(16, 12))
    with torch.no_grad():
        block.relu.weight[0, 0] = 5
        block.relu.weight[1, 0] = 4
        block.relu.weight[-1, 0] = 3
    weight = filter_panels(block)[0].weight
    np.testing.assert_array_equal(weight[7:10, 0], [3, 5, 4])
    assert (np.delete(weight.ravel(), [7 * 7, 8 * 7, 9 * 7]) == 1).all()


def test_a_wave_is_found_at_its_own_frequency():
    """A wave of 3 periods rightwards and 2 downwards is drawn right of and below the centre."""
    y, x = torch.meshgrid(torch.arange(16), torch.arange(24), indexing="ij")
    wave = torch.cos(2 * math.pi * (3 * x / 24 + 2 * y / 16))
    block = make_block(size=(16, 24))
    spectrum = create_transform("fft", (16, 24))(wave[None, None].double())
    with torch.no_grad():
        block.relu.weight.copy_(spectrum[0, 0, 0])
    panel = filter_panels(block)[0]
    row, column = np.unravel_index(panel.weight.argmax(), panel.weight.shape)
    assert (row, column) == (8 + 2, 3)
    left, _, _, top = panel.extent
    assert left + (column + 0.5) / 24 == pytest.approx(3 / 24)
    assert top + (row + 0.5) / 16 == pytest.approx(2 / 16)


@pytest.mark.parametrize("name", ["srl-lo", "srl-dct", "srl-wht", "srl-haar", "srl-slant"])
def test_real_transforms_keep_the_order_of_indices(name):
    block = make_block(name, (4, 2))
    values = torch.arange(8.0).reshape(4, 2)
    with torch.no_grad():
        block.relu.weight.copy_(values)
        block.relu.bias.copy_(-values)
    (panel,) = filter_panels(block)
    assert panel.unit == "index"
    np.testing.assert_array_equal(panel.weight, values)
    np.testing.assert_array_equal(panel.bias, -values)
    assert panel.extent == (-0.5, 1.5, 3.5, -0.5)


def test_lowest_frequencies_are_drawn_from_minus_r_to_r():
    block = create_block("srl-fft", 8, (12, 10), modes=5)
    with torch.no_grad():
        block.relu.weight.copy_(torch.tensor([0.0, 1.0, 2.0, -2.0, -1.0])[:, None].expand(5, 3))
    (panel,) = filter_panels(block)
    assert panel.weight[:, 0].tolist() == [-2, -1, 0, 1, 2]
    assert panel.extent == (-0.5, 2.5, 2.5, -2.5)
    assert panel.unit == "frequency (cycles per map)"


def test_panels_are_copies_in_the_order_of_the_network():
    model = nn.Sequential(make_block(), nn.ReLU(), make_block("srl-dct"))
    panels = filter_panels(model)
    assert [panel.name for panel in panels] == ["0.relu", "2.relu"]
    for panel in panels:
        panel.weight[:] = 7
    assert all((block.relu.weight == 1).all() for block in (model[0], model[2]))
    (alone,) = filter_panels(model[0].relu.to(torch.bfloat16))
    assert (alone.name, alone.weight.dtype) == ("SpectralReLU", np.float64)


def test_a_network_without_blocks_has_no_filter_figure():
    assert filter_figure(nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU())) is None


def test_filters_are_drawn_as_arranged(drawn):
    model = nn.Sequential(*(make_block(n) for n in ["srl-fft", "srl-dct", "srl-fft", "srl-wht"]))
    with torch.no_grad():
        model[0].relu.weight[2, 1] = 3.0
        model[0].relu.bias[0, 0] = -0.25
        model[1].relu.bias[0, 0] = math.nan
    assert filter_figure(model).startswith(b"\x89PNG")
    parts = drawn[0].subfigs
    names = ["0.relu", "1.relu", "2.relu", "3.relu"]
    assert [part.get_suptitle() for part in parts if part.axes] == names
    for part, panel in zip(parts, filter_panels(model), strict=False):
        weight, bias = (axes for axes in part.axes if axes.get_title())
        assert (weight.get_title(), bias.get_title()) == ("weight W", "bias B")
        unit = panel.unit
        assert part.get_supxlabel() == f"horizontal {unit}"
        assert part.get_supylabel() == f"vertical {unit}"
        for axes, values, centre in ((weight, panel.weight, 1), (bias, panel.bias, 0)):
            (image,) = axes.images
            np.testing.assert_array_equal(image.get_array().filled(np.nan), values)
            assert image.origin == "upper"
            assert tuple(image.get_extent()) == panel.extent
            assert axes.yaxis_inverted()
            assert image.colorbar is not None
            assert sum(image.get_clim()) / 2 == pytest.approx(centre)
    weight, bias = (axes.images[0] for axes in parts[0].axes if axes.get_title())
    assert weight.get_clim() == (-1, 3)
    assert bias.get_clim() == (-0.25, 0.25)
    untrained = next(axes.images[0] for axes in parts[2].axes if axes.get_title())
    assert untrained.get_clim() == pytest.approx((0.99, 1.01))


def test_a_block_of_ready_made_parts_is_recognised():
    block = SRLBlock(16, (8, 2), create_transform("fft", (8, 2)))
    other = SRLBlock(16, (8, 2), create_transform("haar", (8, 2)))
    assert block.relu.weight.shape == other.relu.weight.shape
    units = [filter_panels(b)[0].unit for b in (block, other)]
    assert units == ["frequency (cycles per pixel)", "index"]
