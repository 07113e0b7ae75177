"""Random and fixed crops, seen through pictures whose colours are coordinates."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

from spectral_residual.video import augment
from spectral_residual.video.augment import VideoAugment, normalise_video, train_clip

NONE = VideoAugment("none", flip_probability=0.0)


def ramp(height, width, frames=2, step=1):
    """Frames whose red is the column and green the row, `step` per pixel; blue is the frame."""
    picture = np.zeros((frames, height, width, 3), np.uint8)
    picture[..., 0] = step * np.arange(width)
    picture[..., 1] = step * np.arange(height)[:, None]
    picture[..., 2] = 20 * np.arange(frames)[:, None, None]
    return picture


def seen(clip):
    """First and last column and row of the source that a clip shows, from its inner slope."""
    red, green = clip[0, :, :, 0].astype(float), clip[0, :, :, 1].astype(float)
    return red[0, 0], red[0, -1], green[0, 0], green[-1, 0]


def draws(frames, size, config, count):
    return [train_clip(frames, size, config, np.random.default_rng(i)) for i in range(count)]


@pytest.mark.parametrize("jitter", ["tsn", "short-side", "none"])
def test_all_frames_get_the_same_crop_and_flip(jitter):
    config = VideoAugment(jitter, short_side=(60, 90))
    flips = 0
    for clip in draws(ramp(100, 140, 4), (56, 56), config, 40):
        assert clip.shape == (4, 56, 56, 3)
        assert clip.dtype == np.uint8
        np.testing.assert_array_equal(
            clip[..., :2], np.broadcast_to(clip[:1, ..., :2], (4, 56, 56, 2))
        )
        assert [frame[0, 0, 2] for frame in clip] == [0, 20, 40, 60]
        left, right, top, bottom = seen(clip)
        assert bottom > top  # never upside down
        flips += left > right
    assert 10 < flips < 30


def test_flip_is_the_mirror_image():
    frames = ramp(64, 64)
    for seed in range(3):
        plain, mirrored = (
            train_clip(
                frames,
                (56, 56),
                VideoAugment("none", flip_probability=p),
                np.random.default_rng(seed),
            )
            for p in (0.0, 1.0)
        )
        np.testing.assert_array_equal(mirrored, plain[:, :, ::-1])


def test_without_jitter_the_crop_lies_anywhere():
    """Short side 64 for an input of 56, as 256 for 224: 9 rows, 25 columns to start at."""
    corners = set()
    for clip in draws(ramp(64, 80), (56, 56), NONE, 1500):
        left, right, top, bottom = seen(clip)
        assert (right - left, bottom - top) == (55, 55)  # not resized
        corners.add((left, top))
    assert {x for x, _ in corners} == set(range(25))
    assert {y for _, y in corners} == set(range(9))
    assert len(corners) > 215  # of 225


def test_short_side_is_uniform_in_its_range():
    """The slope of the ramp is source pixels per pixel: 120 / short side."""
    config = VideoAugment("short-side", short_side=(60, 66), flip_probability=0.0)
    sides = Counter()
    lefts = set()
    for clip in draws(ramp(120, 120, step=2), (50, 50), config, 400):
        left, right, _, _ = seen(clip)
        sides[round(120 * 2 * 49 / (right - left))] += 1
        lefts.add(left)
    assert set(range(60, 67)) <= set(sides) <= set(range(59, 68))
    assert min(sides[side] for side in (60, 63, 66)) > 25  # 57 expected
    assert len(lefts) > 10


def test_tsn_crops():
    """Input 224: short side 256; all ten sizes, each in the four corners and the centre."""
    frames = ramp(256, 256)
    sides = (256, 224, 192, 168)
    found = Counter()
    for clip in draws(frames, (224, 224), VideoAugment(flip_probability=0.0), 700):
        left, right, top, bottom = seen(clip)
        # Half a source pixel more at both ends than the first and last pixel centres show.
        width, height = ((end - start) * 224 / 223 for start, end in ((left, right), (top, bottom)))
        size = tuple(min(sides, key=lambda s, x=x: abs(s - x)) for x in (height, width))
        assert max(abs(width - size[1]), abs(height - size[0])) < 2.5
        middle = ((top + bottom) / 2 - 127.5, (left + right) / 2 - 127.5)
        place = []
        for offset, side in zip(middle, size, strict=True):
            slack = 256 - side
            assert min(abs(abs(offset) - slack / 2), abs(offset)) < 1.5
            place.append(0 if slack == 0 or abs(offset) < slack / 4 else int(np.sign(offset)))
        found[size, tuple(place)] += 1
    gaps = {abs(sides.index(h) - sides.index(w)) for (h, w), _ in found}
    assert gaps == {0, 1}
    assert len({size for size, _ in found}) == 10
    assert {p for s, p in found if s == (168, 168)} == {(-1, -1), (-1, 1), (1, -1), (1, 1), (0, 0)}
    assert {p for s, p in found if s == (256, 256)} == {(0, 0)}


def test_tsn_side_that_is_nearly_the_input_is_not_resized():
    """Input 64: short side 73, and 0.875 of it is 63, which becomes 64."""
    slopes = Counter()
    for clip in draws(ramp(73, 73, step=3), (64, 64), VideoAugment(flip_probability=0.0), 60):
        slopes[float(np.diff(clip[0, 30, 10:50, 0].astype(float)).mean())] += 1
    assert slopes[3.0] > 10


def test_scaling_keeps_the_aspect_and_upright_videos_upright():
    for height, width in ((128, 171), (171, 128)):
        for clip in draws(ramp(height, width), (56, 56), NONE, 20):
            left, right, top, bottom = seen(clip)
            assert right - left == pytest.approx(110, abs=2.5)  # 128 source pixels to 64
            assert bottom - top == pytest.approx(110, abs=2.5)


@pytest.mark.parametrize(("height", "width"), [(60, 81), (81, 60), (60, 60)])
def test_fixed_crops_cover_both_ends_of_the_longer_side(height, width):
    clip = ramp(height, width, 3)
    crops = augment.test_crops(clip, (60, 60), 60, 3)
    assert crops.shape == (3, 3, 60, 60, 3)
    free = max(height, width) - 60
    for crop, offset in zip(crops, (0, free // 2, free), strict=True):
        y, x = (offset, 0) if height > width else (0, offset)
        np.testing.assert_array_equal(crop, clip[:, y : y + 60, x : x + 60])
    one = augment.test_crops(clip, (60, 60), 60, 1)
    np.testing.assert_array_equal(one[0], crops[1])


def test_fixed_crops_of_a_smaller_size_lie_in_the_middle_of_the_shorter_side():
    clip = ramp(65, 90)
    crops = augment.test_crops(clip, (32, 48), 65, 3)
    for crop, x in zip(crops, (0, 21, 42), strict=True):
        np.testing.assert_array_equal(crop, clip[:, 16:48, x : x + 48])


def test_fixed_crops_scale_the_short_side():
    """Bilinear by a factor of 2: each pixel is the mean of four."""
    clip = np.random.default_rng(0).integers(0, 256, (2, 40, 64, 3), dtype=np.uint8)
    scaled = clip.reshape(2, 20, 2, 32, 2, 3).astype(float).mean(axis=(2, 4))
    crops = augment.test_crops(clip, (20, 20), 20, 1)
    np.testing.assert_allclose(crops[0], scaled[:, :, 6:26], atol=0.76)


def test_normalise_is_imagenets_and_folds_without_a_copy():
    clips = torch.randint(0, 256, (2, 4, 6, 5, 3), dtype=torch.uint8)
    out = normalise_video(clips)
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    expected = ((clips.numpy() / 255.0 - mean) / std).transpose(0, 4, 1, 2, 3)
    assert out.dtype == torch.float32
    np.testing.assert_allclose(out.numpy(), expected, atol=1e-5)
    images = out.transpose(1, 2).reshape(8, 3, 6, 5)
    assert images.data_ptr() == out.data_ptr()
    assert images.is_contiguous(memory_format=torch.channels_last)
    np.testing.assert_allclose(images[5].numpy(), expected[1, :, 1], atol=1e-5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: VideoAugment(jitter="tns"), "did you mean 'tsn'"),
        (lambda: VideoAugment(short_side=(320, 256)), r"short_side: got \(320, 256\)"),
        (lambda: VideoAugment(flip_probability=1.5), "flip_probability: got 1.5"),
        (lambda: VideoAugment().check_input_size((64, 96)), "'tsn' needs a square input"),
        (
            lambda: VideoAugment("short-side", (256, 320)).check_input_size((288, 288)),
            "at least the input size 288",
        ),
        (lambda: augment.test_crops(ramp(9, 9), (8, 12), 10, 1), "short_side: got 10"),
        (lambda: augment.test_crops(ramp(9, 9), (8, 8), 9, 2), "crops: got 2"),
    ],
)
def test_wrong_settings(make, message):
    with pytest.raises(ValueError, match=message):
        make()
