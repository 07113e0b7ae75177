"""Frames of video files against a full decode; broken files."""

from __future__ import annotations

import os

import numpy as np
import pytest
from encoded_videos import (
    decode_plainly,
    moving_frames,
    write_broken,
    write_sound,
    write_video,
)

from spectral_residual.video.reader import VideoError, VideoReader
from spectral_residual.video.sampling import Clip, Views, view_indices

B_FRAMES = {"bf": "2"}
X264 = {"codec": "libx264", "gop": 12}
VARIABLE = [i + 3 * (i // 7) + 40 * (i > 30) for i in range(40)]

# File name, how it is written, and whether it can be read by seeking.
KINDS = [
    ("plain.mp4", {}, True),
    ("b_frames.mp4", {"options": B_FRAMES}, True),
    ("h264.mp4", X264, True),
    ("h264.mkv", X264, True),
    ("open_gop.mkv", {**X264, "options": {"x264-params": "open-gop=1:scenecut=0"}}, True),
    ("variable_rate.mp4", {**X264, "times": VARIABLE}, True),
    ("late_start.mp4", {**X264, "times": range(50, 90)}, True),
    ("sound.mp4", {**X264, "audio": True}, True),
    ("no_duration.mp4", {**X264, "container_options": {"movflags": "frag_keyframe"}}, True),
    ("plain.avi", {}, True),
    ("no_times_b_frames.avi", {"options": B_FRAMES}, False),
    ("no_times_h264.avi", X264, False),
    ("vp8.webm", {"codec": "libvpx", "options": {"cpu-used": "8"}}, False),
    ("vp9.webm", {"codec": "libvpx-vp9", "options": {"cpu-used": "8"}}, True),
    ("raw.h264", X264, False),
    ("transport.ts", X264, False),
]


@pytest.fixture(scope="module")
def movie():
    return moving_frames(40)


@pytest.mark.parametrize(("name", "options", "seeks"), KINDS, ids=[kind[0] for kind in KINDS])
def test_frames_are_those_of_a_full_decode(movie, tmp_path, name, options, seeks):
    path = write_video(tmp_path / name, movie, **options)
    expected = decode_plainly(path)
    assert np.abs(expected.astype(int) - movie).mean() < 10  # in the order of showing
    rng = np.random.default_rng(1)
    with VideoReader(path) as reader:
        assert reader.num_frames == len(movie)
        assert reader.size == movie.shape[1:3]
        assert (reader.decoded_frames < 5) == seeks
        for count in (1, 3, 8):
            for _ in range(4):
                indices = rng.integers(0, len(movie), count)
                np.testing.assert_array_equal(reader.read(indices), expected[indices])
        np.testing.assert_array_equal(reader.read(range(39, -1, -1)), expected[::-1])
        numbers = [index for index, _ in reader.frames([7, 3, 7, 30])]
        assert sorted(numbers) == [3, 7, 30]


def test_frames_before_the_start_are_not_shown(movie, tmp_path):
    """Frames with negative times: the container says to decode and not to show them."""
    path = write_video(tmp_path / "cut.mp4", movie, **X264, times=range(-5, 35))
    expected = decode_plainly(path)
    assert len(expected) == 35
    with VideoReader(path) as reader:
        assert reader.num_frames == 35
        for index in (0, 1, 20, 34):
            np.testing.assert_array_equal(reader.read([index])[0], expected[index])


def test_frames_that_seeking_does_not_give(movie, tmp_path):
    """With intra refresh a decoder that starts at a key frame shows nothing for a while."""
    path = write_video(
        tmp_path / "refresh.mp4", movie, "libx264", gop=16,
        options={"x264-params": "intra-refresh=1:bframes=0"},
    )  # fmt: skip
    expected = decode_plainly(path)
    with VideoReader(path) as reader:
        np.testing.assert_array_equal(reader.read([18, 5, 39]), expected[[18, 5, 39]])


@pytest.mark.parametrize("size", [(47, 63), (33, 50), (1, 1), (64, 48)])
def test_sizes(tmp_path, size):
    movie = moving_frames(5, size)
    path = write_video(tmp_path / "odd.mp4", movie)
    with VideoReader(path) as reader:
        assert reader.size == size
        frames = reader.read([4, 0])
    assert frames.shape == (2, *size, 3)
    assert frames.dtype == np.uint8
    assert np.abs(frames.astype(int) - movie[[4, 0]]).mean() < 16


def test_one_frame(tmp_path):
    path = write_video(tmp_path / "one.mp4", moving_frames(1), "libx264")
    with VideoReader(path) as reader:
        assert reader.num_frames == 1
        np.testing.assert_array_equal(reader.read([0, 0])[1], decode_plainly(path)[0])


# Counter-clockwise quarter turns, then mirrored left-right and upside down.
@pytest.mark.parametrize("turns", [0, 1, 2, 3])
@pytest.mark.parametrize("flips", [(False, False), (True, False), (False, True)])
def test_orientation(tmp_path, turns, flips):
    path = write_video(
        tmp_path / "turned.mp4", moving_frames(6), "libx264", rotation=90 * turns, flips=flips
    )
    expected = np.rot90(decode_plainly(path), turns, axes=(1, 2))
    expected = expected[:, :, ::-1] if flips[0] else expected
    expected = expected[:, ::-1] if flips[1] else expected
    with VideoReader(path) as reader:
        assert reader.size == expected.shape[1:3]
        np.testing.assert_array_equal(reader.read([3, 1]), expected[[3, 1]])


def test_decodes_from_the_key_frame_before(tmp_path):
    """On a long file only the frames from the key frame to the wanted one are decoded."""
    path = write_video(tmp_path / "long.mp4", moving_frames(600, (32, 32)), gop=50)
    expected = decode_plainly(path)
    with VideoReader(path) as reader:
        assert reader.num_frames == 600
        assert reader.decoded_frames == 0
        clip = [455, 460, 465, 470]
        np.testing.assert_array_equal(reader.read(clip), expected[clip])
        assert reader.decoded_frames == 21  # 450 to 470
        far = [10, 599, 10, 300]
        np.testing.assert_array_equal(reader.read(far), expected[far])
        assert reader.decoded_frames == 21 + 11 + 50 + 1
        reader.read(range(600))
        assert reader.decoded_frames == 21 + 62 + 600  # nothing twice


def test_frames_that_no_other_needs_are_not_decoded(tmp_path):
    options = {"x264-params": "bframes=3:b-adapt=0:b-pyramid=none:scenecut=0"}
    path = write_video(tmp_path / "b.mp4", moving_frames(81), "libx264", gop=200, options=options)
    with VideoReader(path) as reader:
        np.testing.assert_array_equal(reader.read([80])[0], decode_plainly(path)[80])
        assert reader.decoded_frames <= 22  # one of four, and the last


@pytest.mark.parametrize("index", [-1, 5])
def test_index_out_of_range(tmp_path, index):
    path = write_video(tmp_path / "short.mp4", moving_frames(5))
    with VideoReader(path) as reader:
        with pytest.raises(IndexError, match=rf"short\.mp4: got frame {index}, .*\[0, 5\)"):
            reader.read([0, index])
        with pytest.raises(IndexError, match="no frame to read"):
            reader.read([])


@pytest.mark.parametrize("name", ["a b %d.mp4", "-start.mp4", "concat:x|y.mp4", "ü.mp4"])
def test_file_names(tmp_path, name, monkeypatch):
    write_video(tmp_path / "plain.mp4", moving_frames(3)).rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    with VideoReader(name) as reader:
        assert reader.num_frames == 3


@pytest.mark.parametrize("name", ["demo.mp4", "part_0.mp4", "test.avi", "test.mp4"])
def test_25_clips_of_real_videos(shared_data, name):
    path = shared_data("video_samples") / name
    expected = decode_plainly(path)
    with VideoReader(path) as reader:
        assert reader.num_frames == len(expected)
        rng = np.random.default_rng(3)
        indices = view_indices(Clip(8, 8), Views(25, "random"), reader.num_frames, rng).ravel()
        np.testing.assert_array_equal(reader.read(indices), expected[indices])


def test_broken_files(tmp_path):
    good = write_video(tmp_path / "good.mp4", moving_frames(8))
    paths = [*write_broken(tmp_path, good), tmp_path / "absent.mp4", tmp_path]
    reasons = [
        "header is lost",
        "empty",
        "not a video",
        "not a video",
        "no video stream, but: audio",
    ]
    reasons += ["no such file", "no such file"]
    for path, reason in zip(paths, reasons, strict=True):
        with pytest.raises(VideoError) as caught:
            VideoReader(path)
        assert str(caught.value).startswith(f"{path}: ")
        assert reason in str(caught.value)


def test_header_without_frames(tmp_path):
    path = write_video(
        tmp_path / "a.mp4", moving_frames(8), container_options={"movflags": "faststart"}
    )
    content = path.read_bytes()
    path.write_bytes(content[: content.index(b"mdat") + 4])
    with pytest.raises(VideoError, match=r"a\.mp4: no frame can be decoded"):
        VideoReader(path)


@pytest.mark.parametrize("suffix", [".mp4", ".avi", ".mkv"])
def test_lost_end_leaves_the_frames_before(tmp_path, suffix):
    path = write_video(
        tmp_path / f"a{suffix}", moving_frames(40),
        container_options={"movflags": "faststart"} if suffix == ".mp4" else {},
    )  # fmt: skip
    expected = decode_plainly(path)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 6 // 10])
    with VideoReader(path) as reader:
        assert 5 < reader.num_frames < 35
        np.testing.assert_array_equal(
            reader.read(range(reader.num_frames)), expected[: reader.num_frames]
        )


def test_lost_frames_are_an_error_where_they_are_asked_for(tmp_path):
    """A download that kept its length: the end of the file is zeros."""
    path = write_video(
        tmp_path / "zeros.mp4", moving_frames(40), "libx264",
        container_options={"movflags": "faststart"},
    )  # fmt: skip
    expected = decode_plainly(path)
    content = path.read_bytes()
    kept = len(content) * 6 // 10
    path.write_bytes(content[:kept] + bytes(len(content) - kept))
    with VideoReader(path) as reader:
        np.testing.assert_array_equal(reader.read([0, 3]), expected[[0, 3]])
        with pytest.raises(VideoError, match=r"zeros\.mp4: damaged: \d+ of its 40 frames"):
            reader.read([39])


def test_file_that_shrinks_while_it_is_read(tmp_path):
    """Frames that a later decode does not give are an error, not pictures without content."""
    path = write_video(tmp_path / "slow.avi", moving_frames(40), options=B_FRAMES)
    with VideoReader(path) as reader:
        os.truncate(path, path.stat().st_size // 2)
        with pytest.raises(VideoError, match=r"slow\.avi: damaged: frame 39 cannot be decoded"):
            reader.read([0, 39])


def test_files_are_closed(tmp_path):
    good = write_video(tmp_path / "good.mp4", moving_frames(20))
    slow = write_video(tmp_path / "slow.avi", moving_frames(20), options=B_FRAMES)
    sound = write_sound(tmp_path / "only_sound.mp4")

    def open_files():
        return len(os.listdir("/proc/self/fd"))

    before = open_files()
    for _ in range(5):
        for path in (good, slow):
            with VideoReader(path) as reader:
                reader.read([15, 2])
                next(reader.frames([3, 9]))  # left before its end
            with pytest.raises(IndexError), VideoReader(path) as reader:
                reader.read([99])
        for path in (sound, tmp_path / "absent.mp4"):
            with pytest.raises(VideoError):
                VideoReader(path)
    assert open_files() == before
