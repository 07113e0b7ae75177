"""Headers: sizes, EXIF orientation, bombs, trailers, files that are no files."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import tracemalloc
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from spectral_residual.pose.dataset import ImageError, image_instances, list_images, read_image
from spectral_residual.pose.headers import Header, read_header
from spectral_residual.pose.images import image_size

SUFFIXES = ["jpg", "png", "bmp", "webp", "gif", "tiff", "ppm", "pam", "jp2", "avif", "hdr", "ras"]


@pytest.fixture
def picture():
    rng = np.random.default_rng(0)
    return cv2.GaussianBlur(rng.integers(0, 255, (40, 60, 3), dtype=np.uint8), (0, 0), 3)


def encode(picture, suffix, *options):
    return cv2.imencode(f".{suffix}", picture, options)[1].tobytes()


def chunk(kind, content):
    checksum = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + checksum


def png_bomb(width, height, pixels=b""):
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    data = chunk(b"IDAT", zlib.compress(pixels))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + data + chunk(b"IEND", b"")


def exif(orientation, order="<"):
    mark = b"II*\0" if order == "<" else b"MM\0*"
    return mark + struct.pack(order + "IHHHIHHI", 8, 1, 0x112, 3, 1, orientation, 0, 0)


def with_exif(jpeg, data):
    body = b"Exif\0\0" + data
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + jpeg[2:]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_header_states_the_size_of_every_format(picture, suffix):
    wide = encode(picture.astype(np.float32) if suffix == "hdr" else picture, suffix)
    assert read_header(wide) == Header(40, 60)
    assert cv2.imdecode(np.frombuffer(wide, np.uint8), cv2.IMREAD_COLOR).shape == (40, 60, 3)


def test_header_of_lossless_webp_and_progressive_jpeg(picture):
    assert read_header(encode(picture, "webp", cv2.IMWRITE_WEBP_QUALITY, 101)) == Header(40, 60)
    options = (cv2.IMWRITE_JPEG_PROGRESSIVE, 1, cv2.IMWRITE_JPEG_RST_INTERVAL, 1)
    assert read_header(encode(picture, "jpg", *options)) == Header(40, 60)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tiff"])
def test_orientation_is_applied_as_pillow_applies_it(tmp_path, picture, suffix, orientation):
    path = tmp_path / f"a.{suffix}"
    tags = Image.Exif()
    tags[0x112] = orientation
    Image.fromarray(picture[:, :, ::-1]).save(path, exif=tags)
    upright = np.asarray(ImageOps.exif_transpose(Image.open(path)).convert("RGB"))[:, :, ::-1]
    stored = read_image(path)
    assert stored.shape == (upright.shape if suffix == "tiff" else (40, 60, 3))
    turned = read_image(path, upright.shape[:2], apply_exif=True)
    assert np.abs(turned.astype(int) - upright).max() <= 3
    assert image_size(path) == upright.shape[:2]
    assert (turned.shape == stored.shape) == (orientation < 5 or suffix == "tiff")


@pytest.mark.parametrize("order", "<>")
def test_orientation_in_both_byte_orders_and_none_that_is_damaged(picture, order):
    jpeg = encode(picture, "jpg")
    assert read_header(with_exif(jpeg, exif(8, order))).orientation == 8
    for data in (exif(0, order), exif(9, order), exif(6, order)[:-9], b"II*\0", b"", b"\xff" * 40):
        assert read_header(with_exif(jpeg, data)) == Header(40, 60)


def test_size_check_names_exif(tmp_path, picture):
    path = tmp_path / "phone.jpg"
    path.write_bytes(with_exif(encode(picture, "jpg"), exif(6)))
    with pytest.raises(ImageError, match=r"40x60 .*got 60x40; its EXIF orientation 6 .*upright"):
        read_image(path, (60, 40))
    with pytest.raises(ImageError, match=r"60x40 .*got 40x60; its EXIF orientation 6 .*stored"):
        read_image(path, (40, 60), apply_exif=True)
    with pytest.raises(ImageError, match="expected 50x60") as error:
        read_image(path, (60, 50))
    assert "EXIF" not in str(error.value)


@pytest.mark.parametrize(
    "bomb",
    [
        png_bomb(40000, 40000),
        b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, 40000, -40000, 1, 24, *[0] * 6),
        b"P6 40000 40000 255\n",
        b"P7\nWIDTH 40000\nHEIGHT 40000\nDEPTH 3\nMAXVAL 255\nENDHDR\n",
        b"GIF89a" + struct.pack("<HH", 65000, 65000) + b"\0\0\0;",
    ],
    ids=["png", "bmp", "ppm", "pam", "gif"],
)
@pytest.mark.parametrize("expected", [None, (40, 60), "as claimed"])
def test_header_that_claims_too_much(tmp_path, bomb, expected):
    path = tmp_path / "a.png"
    path.write_bytes(bomb)
    header = read_header(bomb)
    if expected == "as claimed":
        expected = (header.height, header.width)
    with pytest.raises(ImageError, match=r"expected (at most \d+|60x40)|OpenCV can read"):
        read_image(path, expected)
    with pytest.raises(ImageError, match=r"expected at most 268435456 \(268 megapixels\)"):
        image_size(path)


def test_large_picture_of_another_size_is_not_decoded(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(png_bomb(30000, 30000, bytes(30000 * 3751)))
    tracemalloc.start()
    for size in (None, (480, 640)):
        with pytest.raises(ImageError, match="30000x30000"):
            read_image(path, size)
    assert tracemalloc.get_traced_memory()[1] < 10e6
    tracemalloc.stop()


@pytest.mark.parametrize("suffix", ["jpg", "png"])
@pytest.mark.parametrize(
    "trailer",
    [b"\0" * 30, b"ftypmp42" + bytes(range(256)) * 40, b"\xff\xda\0\0SEFT", b"\xff\xd8\xff\xe0"],
    ids=["zeros", "video", "marker", "second picture cut short"],
)
def test_bytes_after_the_end(tmp_path, picture, suffix, trailer):
    whole = encode(picture, suffix)
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(whole)
    plain = read_image(path)
    path.write_bytes(whole + trailer)
    np.testing.assert_array_equal(read_image(path), plain)
    path.write_bytes(whole + whole)
    np.testing.assert_array_equal(read_image(path), plain)
    path.write_bytes(whole[: len(whole) // 2] + bytes(64))
    with pytest.raises(ImageError):
        read_image(path)


def test_what_is_no_regular_file_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "device.jpg").symlink_to("/dev/zero")
    (tmp_path / "loop.jpg").symlink_to(tmp_path / "loop.jpg")
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "absent")
    (tmp_path / "empty.jpg").touch()
    with (tmp_path / "huge.jpg").open("wb") as file:
        file.truncate(2**40)
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(tmp_path / "socket.jpg"))
        images = list_images(tmp_path)
        assert len(images) == 8
        for path in images:
            with pytest.raises(ImageError, match=path.name):
                read_image(path)
        assert {tuple(i.box) for i in image_instances(images, 3)} == {(0, 0, 1, 1)}
    with pytest.raises(ImageError, match="null"):
        read_image("a\0b.jpg")


def test_suffix_does_not_matter(tmp_path, picture):
    path = tmp_path / "a.jpg"
    path.write_bytes(encode(picture, "png"))
    np.testing.assert_array_equal(read_image(path), picture)


def test_names_are_printed_with_escapes(tmp_path):
    path = tmp_path / "a\x1b[31m\n\u202eb\udcff.jpg"
    with pytest.raises(ImageError) as error:
        read_image(path)
    assert r"a\x1b[31m\n\u202eb\udcff.jpg" in str(error.value)
    assert str(error.value).isprintable()


def test_mutated_pictures_are_read_or_refused(tmp_path, picture):
    rng = np.random.default_rng(0)
    path = tmp_path / "a"
    for number in range(200):
        suffix = SUFFIXES[number % len(SUFFIXES)]
        data = bytearray(encode(picture.astype(np.float32) if suffix == "hdr" else picture, suffix))
        for at in rng.integers(0, min(len(data), 64 if number % 2 else len(data)), 3):
            data[at] = rng.integers(256)
        path.write_bytes(data[: rng.integers(1, len(data))] if number % 3 == 0 else data)
        for size in (None, (40, 60)):
            with contextlib.suppress(ImageError):
                assert read_image(path, size, apply_exif=True).ndim == 3


def test_a_picture_of_one_pixel_is_predicted_on(tmp_path):
    cv2.imwrite(str(tmp_path / "dot.png"), np.zeros((1, 1, 3), np.uint8))
    (instance,) = image_instances(list_images(tmp_path), 3)
    assert instance.box.tolist() == [0, 0, 1, 1]
