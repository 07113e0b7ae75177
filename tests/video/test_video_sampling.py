"""Frame numbers of clips against the protocols' formulas."""

from __future__ import annotations

import numpy as np
import pytest

from spectral_residual.video.sampling import Clip, Views, view_indices

STEPS = 8 * np.arange(8)


def rng(seed=0):
    return np.random.default_rng(seed)


def train_indices(clip, num_frames, rng):
    """A clip for training: one random view."""
    return view_indices(clip, Views(1, "random"), num_frames, rng)[0]


def test_training_starts_are_uniform_in_the_whole_range():
    """A video of 300 frames and a span of 64: 237 starts, both ends included."""
    source = rng()
    starts = []
    for _ in range(6000):
        indices = train_indices(Clip(8, 8), 300, source)
        np.testing.assert_array_equal(indices - indices[0], STEPS)
        starts.append(indices[0])
    assert set(starts) == set(range(237))
    assert np.bincount(starts).max() < 60  # 25 expected
    assert abs(np.mean(starts) - 118) < 3


@pytest.mark.parametrize("num_frames", [1, 5, 20, 63, 64])
@pytest.mark.parametrize("placing", ["train", "random", "centre"])
def test_short_videos_start_at_0_and_repeat(num_frames, placing):
    if placing == "train":
        indices = train_indices(Clip(8, 8), num_frames, rng())
    else:
        indices = view_indices(Clip(8, 8), Views(1, placing), num_frames, rng())[0]
    assert list(indices) == [int(8 * t) % num_frames for t in range(8)]


def test_one_frame_more_than_the_span_gives_two_starts():
    starts = {train_indices(Clip(4, 3), 13, rng(seed))[0] for seed in range(30)}
    assert starts == {0, 1}


def test_even_views_are_the_non_local_networks():
    indices = view_indices(Clip(8, 8), Views(10, "even"), 300, rng())
    assert list(indices[:, 0]) == [0, 30, 60, 90, 120, 150, 180, 210, 240, 270]
    np.testing.assert_array_equal(indices, (indices[:, :1] + STEPS) % 300)
    assert list(indices[9]) == [270, 278, 286, 294, 2, 10, 18, 26]
    starts = view_indices(Clip(2, 1), Views(7, "even"), 45, rng())[:, 0]
    assert list(starts) == [k * 45 // 7 for k in range(7)]


def test_random_views():
    views = Views(25, "random")
    indices = view_indices(Clip(8, 8), views, 300, rng(4))
    assert indices.shape == (25, 8)
    np.testing.assert_array_equal(indices - indices[:, :1], np.broadcast_to(STEPS, (25, 8)))
    assert len(set(indices[:, 0])) > 15
    np.testing.assert_array_equal(indices, view_indices(Clip(8, 8), views, 300, rng(4)))
    assert (indices != view_indices(Clip(8, 8), views, 300, rng(5))).any()
    starts = np.concatenate(
        [view_indices(Clip(8, 8), views, 70, rng(seed))[:, 0] for seed in range(20)]
    )
    assert set(starts) == set(range(7))


@pytest.mark.parametrize(("num_frames", "start"), [(64, 0), (65, 0), (66, 1), (300, 118)])
def test_centre_view(num_frames, start):
    indices = view_indices(Clip(8, 8), Views(1, "centre"), num_frames, rng())
    np.testing.assert_array_equal(indices, [start + STEPS])


@pytest.mark.parametrize("placing", ["random", "even"])
def test_no_frame_is_an_error(placing):
    with pytest.raises(ValueError, match="num_frames: got 0"):
        view_indices(Clip(), Views(2, placing), 0, rng())
    with pytest.raises(ValueError, match="num_frames: got 0"):
        train_indices(Clip(), 0, rng())


def test_span():
    assert Clip().span == 64
    assert Clip(4, 3).span == 12


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Clip(frames=0), "frames >= 1"),
        (lambda: Clip(stride=0), "stride >= 1"),
        (lambda: Views(clips=0), "clips >= 1"),
        (lambda: Views(crops=2), "crops 1 or 3"),
        (lambda: Views(clips=2, placing="centre"), "'centre' is one clip"),
        (lambda: Views(placing="center", clips=1), "did you mean 'centre'"),
    ],
)
def test_wrong_settings(make, message):
    with pytest.raises(ValueError, match=message):
        make()
