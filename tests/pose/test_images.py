"""Broken image files are recognised and named, whole ones are read as stored."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from spectral_residual.pose.dataset import ImageError, read_image


@pytest.fixture
def picture():
    rng = np.random.default_rng(0)
    return cv2.GaussianBlur(rng.integers(0, 255, (40, 60, 3), dtype=np.uint8), (0, 0), 3)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp"])
def test_reads_whole_pictures(tmp_path, picture, suffix):
    path = tmp_path / f"a{suffix}"
    cv2.imwrite(str(path), picture)
    assert np.abs(read_image(path, (40, 60)).astype(int) - picture).max() < 20


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp"])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.95])
def test_truncated_pictures_are_refused(tmp_path, picture, suffix, share):
    path = tmp_path / f"a{suffix}"
    cv2.imwrite(str(path), picture)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(ImageError, match=f"a{suffix}"):
        read_image(path)


def test_truncated_picture_with_whole_thumbnail_is_refused(tmp_path, picture):
    """An EXIF thumbnail is a whole JPEG inside the file: its end is not the picture's end."""
    path = tmp_path / "a.jpg"
    cv2.imwrite(str(path), picture)
    data = path.read_bytes()
    thumbnail = b"\xff\xe1\x00\x0c" + b"\xff\xd8\xff\xda..\xff\xd9" + b"\x00\x00"
    whole = data[:2] + thumbnail + data[2:]
    path.write_bytes(whole)
    assert read_image(path).shape == (40, 60, 3)
    path.write_bytes(whole[:-200])
    with pytest.raises(ImageError, match="truncated"):
        read_image(path)


def test_text_missing_folder_and_wrong_size(tmp_path, picture):
    text = tmp_path / "text.jpg"
    text.write_text("no picture")
    with pytest.raises(ImageError, match="not an image"):
        read_image(text)
    with pytest.raises(ImageError, match=r"absent\.jpg"):
        read_image(tmp_path / "absent.jpg")
    with pytest.raises(ImageError, match=str(tmp_path)):
        read_image(tmp_path)
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), picture)
    with pytest.raises(ImageError, match="expected 50x40 pixels.*got 60x40"):
        read_image(path, (40, 50))


def test_exif_orientation_is_ignored(tmp_path, picture):
    """Annotations refer to the stored raster, whatever the camera's orientation tag says."""
    path = tmp_path / "a.jpg"
    cv2.imwrite(str(path), picture)
    tag = bytes.fromhex("4949 2a00 0800 0000 0100 1201 0300 0100 0000 0600 0000 0000 0000")
    body = b"Exif\x00\x00" + tag
    segment = b"\xff\xe1" + (len(body) + 2).to_bytes(2, "big") + body
    data = path.read_bytes()
    path.write_bytes(data[:2] + segment + data[2:])
    rotated = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    assert rotated.shape == (60, 40, 3)
    assert read_image(path).shape == (40, 60, 3)
