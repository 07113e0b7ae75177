"""Video files that are damaged, hostile or odd, and caches of decoded frames that are."""

from __future__ import annotations

import os
import struct
import time
import zlib

import numpy as np
import pytest
from encoded_videos import decode_plainly, moving_frames, write_video

from spectral_residual.cli import main
from spectral_residual.video import dataset as dataset_module
from spectral_residual.video.dataset import ClipDataset, _cache_name, _CachedReader
from spectral_residual.video.reader import VideoError, VideoReader
from spectral_residual.video.sampling import Clip, Views
from spectral_residual.video.sources import VideoItem

SECONDS = 10


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """Small videos in several formats."""
    folder = tmp_path_factory.mktemp("sound")
    frames = moving_frames(20, (32, 40))
    return [
        write_video(folder / name, frames, codec, **options)
        for name, codec, options in (
            ("a.mp4", "mpeg4", {"audio": True}),
            ("b.mkv", "libx264", {}),
            ("c.webm", "libvpx-vp9", {}),
            ("d.avi", "mpeg4", {}),
            ("e.mp4", "libx264", {"container_options": {"movflags": "faststart"}}),
        )
    ]


def read_views(path):
    items = [VideoItem(path, 0)]
    views = Views(3, "random", 3)
    return ClipDataset(items, Clip(4, 3), (24, 24), short_side=28, views=views)[0]


def test_damaged_videos_are_read_or_are_an_error(sound, tmp_path):
    rng = np.random.default_rng(14)
    read = 0
    for number in range(100):
        source = sound[number % len(sound)]
        content = bytearray(source.read_bytes())
        place, length = int(rng.integers(len(content))), int(rng.integers(1, 200))
        kind = number // len(sound) % 5
        if kind == 0:
            del content[place:]
        elif kind == 1:
            del content[place : place + length]
        elif kind == 2:
            content[place:place] = rng.bytes(length)
        else:  # anywhere, or in the header and the index
            for flipped in rng.integers(len(content) if kind == 3 else 600, size=length // 8 + 1):
                content[flipped] = int(rng.choice([0, 1, 127, 128, 255, rng.integers(256)]))
        path = tmp_path / f"damaged{source.suffix}"
        path.write_bytes(content)
        begin = time.monotonic()
        try:
            assert read_views(path)["video"].shape == (9, 4, 24, 24, 3)
            read += 1
        except VideoError as error:
            assert str(error).startswith(f"{path}: ")  # noqa: PT017
        assert time.monotonic() - begin < SECONDS
    assert read > 20


def picture_of(width, height):
    """A PNG whose header claims a size, in some hundred bytes."""

    def chunk(kind, content):
        check = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + check

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = [chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(bytes(99))), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("list.mp4", b"ffconcat version 1.0\nfile good.mp4\n"),
        ("list.ffconcat", b"ffconcat version 1.0\nfile good.mp4\n"),
        ("list.m3u8", b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\ngood.mp4\n#EXT-X-ENDLIST\n"),
        ("web.m3u8", b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n"),
        ("sdp.mp4", b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nt=0 0\nm=video 5004 RTP/AVP 96\n"),
        ("40000.mp4", picture_of(40000, 40000)),
        ("20000.mp4", picture_of(20000, 20000)),
        ("long.mp4", picture_of(100, 20000)),
        ("y4m.mp4", b"YUV4MPEG2 W30000 H30000 F25:1 Ip A1:1 C420jpeg\nFRAME\n" + bytes(999)),
        ("zeros.mp4", bytes(10**6)),
    ],
)
def test_what_is_no_single_video_of_sane_size(tmp_path, name, content):
    write_video(tmp_path / "good.mp4", moving_frames(4))
    (tmp_path / name).write_bytes(content)
    begin = time.monotonic()
    with pytest.raises(VideoError, match=rf"{name}: "):
        VideoReader(tmp_path / name)
    assert time.monotonic() - begin < SECONDS


def test_what_is_no_file_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "link.mp4").symlink_to(tmp_path / "pipe.mp4")
    (tmp_path / "round.mp4").symlink_to("round.mp4")
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "device.mp4").symlink_to("/dev/zero")
    names = ["pipe", "link", "round", "folder", "device", "absent", "null\0", "n" * 300]
    for name in names:
        with pytest.raises(VideoError):
            VideoReader(tmp_path / f"{name}.mp4")
        assert main(["video", "predict", "--ckpt", "x", str(tmp_path / f"{name}.mp4")]) == 2


def test_names_are_printed_without_control_characters(tmp_path):
    for name in ["\x1b[31m.mp4", "line\nbreak.mp4", os.fsdecode(b"\xff.mp4"), "\u202e.mp4"]:
        path = write_video(tmp_path / "plain.mp4", moving_frames(4)).rename(tmp_path / name)
        with VideoReader(path) as reader:
            assert reader.num_frames == 4
        path.write_text("no video")
        with pytest.raises(VideoError) as caught:
            VideoReader(path)
        assert str(caught.value).isprintable()


@pytest.fixture
def cached(tmp_path):
    """A video, its frames and the file that they are cached in."""
    path = write_video(tmp_path / "a.mp4", moving_frames(9, (32, 40)))
    with _CachedReader(path, tmp_path / "cache") as reader:
        assert reader.num_frames == 9
    return path, decode_plainly(path), tmp_path / "cache" / _cache_name(path)


def spoil(file, kind, tmp_path):
    content = file.read_bytes()
    if kind == "cut":
        file.write_bytes(content[:-1])
    elif kind == "half":
        file.write_bytes(content[: len(content) // 2])
    elif kind == "empty":
        file.write_bytes(b"")
    elif kind == "text":
        file.write_text("no frames\n" * 99)
    elif kind == "pickle":
        np.save(file, np.array([{}], dtype=object), allow_pickle=True)
    elif kind == "archive":
        with file.open("wb") as part:
            np.savez(part, frames=np.zeros(3))
    elif kind == "link":
        other = tmp_path / "other.npy"
        np.save(other, np.zeros((9, 32, 40, 3), np.uint8))
        file.unlink()
        file.symlink_to(other)
    elif kind == "header":
        file.write_bytes(content[:20] + b"\xff" + content[21:])
    else:
        np.save(file, np.asfortranarray(np.zeros(*kind)))


KINDS = [
    *("cut", "half", "empty", "text", "pickle", "archive", "link", "header"),
    *(((9, 40, 32, 3), np.uint8), ((8, 32, 40, 3), np.uint8), ((9, 32, 40, 3), np.uint8)),
    *(((9, 32, 40, 3), np.float32), ((9, 32, 40), np.uint8), ((), np.uint8)),
]


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_damaged_caches_are_decoded_again(cached, tmp_path, kind):
    path, frames, file = cached
    spoil(file, kind, tmp_path)
    dataset_module._frames_of.cache_clear()
    with _CachedReader(path, tmp_path / "cache") as reader:
        np.testing.assert_array_equal(reader.read(range(9)), frames)
    assert not file.is_symlink()
    assert np.load(file).shape == frames.shape
    other = tmp_path / "other.npy"
    assert not other.exists() or not np.load(other).any(), "what a link points to stays"
