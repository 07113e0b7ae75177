"""Figures and pictures as files."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from matplotlib._pylab_helpers import Gcf
from matplotlib.figure import Figure

from spectral_residual.report.figures import (
    COLOURS,
    MARKERS,
    contact_sheet,
    encode,
    render,
    save_figure,
)

IMAGE = np.random.default_rng(0).integers(0, 255, (6, 8, 3), dtype=np.uint8)


def decoded(content):
    return cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)[:, :, ::-1]


def test_a_figure_is_drawn_alone_and_alike_each_time():
    figures = [Figure(figsize=(3, 2)) for _ in range(2)]
    for figure in figures:
        figure.subplots().plot([1, 2])
    first, second = map(render, figures)
    assert first == second
    assert decoded(first).shape == (320, 480, 3)
    assert decoded(render(figures[0], dpi=50)).shape == (100, 150, 3)
    assert Gcf.get_num_fig_managers() == 0


@pytest.mark.parametrize(
    ("name", "start"),
    [("a.png", b"\x89PNG"), ("a.SVG", b"<?xml"), ("a.pdf", b"%PDF"), ("a", b"\x89PNG")],
)
def test_the_suffix_names_the_kind_of_file(tmp_path, name, start):
    save_figure(tmp_path / name, Figure(figsize=(1, 1)))
    assert (tmp_path / name).read_bytes().startswith(start)


def test_an_unknown_kind_of_file_is_not_written(tmp_path):
    with pytest.raises(ValueError, match="gif2"):
        save_figure(tmp_path / "a.gif2", Figure(figsize=(1, 1)))
    assert list(tmp_path.iterdir()) == []


def test_pictures_keep_their_colours():
    np.testing.assert_array_equal(decoded(encode(IMAGE)), IMAGE)
    smooth = np.zeros((40, 60, 3), np.uint8)
    smooth[:, :30], smooth[:, 30:] = (250, 20, 10), (10, 40, 240)
    assert np.abs(decoded(encode(smooth, ".jpg")).astype(int) - smooth).max() <= 6
    assert len(encode(IMAGE, ".jpg", quality=20)) < len(encode(IMAGE, ".jpg"))


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 5), np.uint8),
        np.zeros((4, 5, 4), np.uint8),
        np.zeros((0, 5, 3), np.uint8),
        np.zeros((4, 5, 3)),
    ],
)
def test_pictures_are_checked(image):
    with pytest.raises(ValueError, match=r"image: got shape .* expected \(H, W, 3\) and uint8"):
        encode(image)


def test_contact_sheet():
    sheet = contact_sheet([IMAGE, IMAGE, IMAGE], columns=2)
    assert sheet.shape == (20, 24, 3)
    np.testing.assert_array_equal(sheet[10:16, :8], IMAGE)
    assert (sheet[10:, 12:] == 255).all()
    with pytest.raises(ValueError, match="at least one picture"):
        contact_sheet([], columns=2)


def test_colours_and_markers_differ():
    assert len(set(COLOURS)) == len(COLOURS) == len(set(MARKERS)) == len(MARKERS)
