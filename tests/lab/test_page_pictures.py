"""Pictures and clips that the page takes, and those that it refuses."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from page_networks import video_model

from spectral_residual.lab.generated.actions import ACTIONS
from spectral_residual.lab.page import clips, pictures
from spectral_residual.video.container import VideoError
from spectral_residual.video.reader import VideoReader


def test_examples_are_the_same_each_time_and_their_boxes_lie_in_them():
    first, second = pictures.examples(), pictures.examples()
    assert len(first) >= 6
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one.picture, other.picture)
        x, y, width, height = one.box
        assert min(width, height) > 20
        assert min(x, y) >= 0
        assert x + width <= one.picture.shape[1]
        assert y + height <= one.picture.shape[0]


def test_a_picture_is_rgb_and_reduced(tmp_path, monkeypatch):
    image = np.zeros((40, 80, 3), np.uint8)
    image[..., 2] = 200  # red, as OpenCV writes
    cv2.imwrite(str(tmp_path / "a.png"), image)
    picture = pictures.read_picture(tmp_path / "a.png")
    assert picture.shape == (40, 80, 3)
    assert picture[0, 0].tolist() == [200, 0, 0]
    monkeypatch.setattr(pictures, "LONGEST_SIDE", 20)
    assert pictures.read_picture(tmp_path / "a.png").shape == (10, 20, 3)


@pytest.mark.parametrize(
    ("size", "most", "message"),
    [
        ((30, 30), 800, "got 30x30 pixels .* at most 0 megapixels"),
        ((4, 30), 800, "got 30x4 pixels .* expected at least 8x8"),
    ],
)
def test_sizes_have_limits(tmp_path, monkeypatch, size, most, message):
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((*size, 3), np.uint8))
    monkeypatch.setattr(pictures, "MOST_PIXELS", most)
    with pytest.raises(ValueError, match=message):
        pictures.read_picture(tmp_path / "a.png")


def test_no_image_is_named_without_its_folder(tmp_path):
    (tmp_path / "a.png").write_text("no image")
    with pytest.raises(ValueError, match=r"^image a\.png: not an image that OpenCV can read$"):
        pictures.read_picture(tmp_path / "a.png")


def test_boxes_by_corners_in_any_order():
    assert pictures.corner_box((50, 10), (20, 90)) == (20, 10, 30, 80)
    assert pictures.whole_box(np.zeros((40, 80, 3), np.uint8)) == (0, 0, 79, 39)
    with pytest.raises(ValueError, match="the box is 3x80 pixels"):
        pictures.corner_box((50, 10), (53, 90))


def test_drawing_leaves_the_picture_as_it_is():
    picture = np.zeros((40, 80, 3), np.uint8)
    drawn = pictures.draw_box(picture, (10, 5, 30, 20), corner=(60, 20))
    assert not picture.any()
    assert drawn[5, 20].any()
    assert drawn[20, 60].any()
    assert not drawn[15, 25].any()


def test_a_generated_clip_and_its_classes(tmp_path):
    file = tmp_path / "clip.mp4"
    clips.write_example(ACTIONS[0], 3, file)
    model = video_model()
    found = clips.classify(model, file)
    assert list(found.classes) == list(model.predict(file))
    assert sum(found.classes.values()) == pytest.approx(1, abs=1e-5)
    assert found.frames.shape == (154, 4 * 154, 3), "four frames of the clip, in a row"
    assert found.seconds == pytest.approx(22 / 12, abs=0.1)


def test_sampled_frames_are_those_of_the_middle_in_order(tmp_path):
    file = tmp_path / "clip.mp4"
    clips.write_example(ACTIONS[1], 0, file)
    frames = clips.classify(video_model(), file).frames
    with VideoReader(file) as reader:
        start = (reader.num_frames - 12) // 2
        wanted = reader.read(list(range(start, start + 12, 3)))
    for number, frame in enumerate(wanted):
        small = cv2.resize(frame, (150, 150), interpolation=cv2.INTER_AREA)
        left = 154 * number
        np.testing.assert_array_equal(frames[:150, left : left + 150], small)


@pytest.mark.parametrize(
    ("limit", "value", "message"),
    [
        ("LONGEST_SECONDS", 1, r"^clip\.mp4: 2 s and 22 frames, expected at most 1 s"),
        ("MOST_FRAMES", 21, r"^clip\.mp4: 2 s and 22 frames, expected .* and 21 frames"),
        ("MOST_FRAME_PIXELS", 100, r"^clip\.mp4: frames of 160x160 pixels"),
    ],
)
def test_clips_have_limits(tmp_path, monkeypatch, limit, value, message):
    clips.write_example(ACTIONS[0], 0, tmp_path / "clip.mp4")
    monkeypatch.setattr(clips, limit, value)
    with pytest.raises(VideoError, match=message):
        clips.classify(video_model(), tmp_path / "clip.mp4")


def test_no_video_is_named_without_its_folder(tmp_path):
    (tmp_path / "a.mp4").write_text("no video")
    with pytest.raises(VideoError, match=r"^a\.mp4: not a video"):
        clips.classify(video_model(), tmp_path / "a.mp4")


def test_a_network_that_does_not_say_how_clips_are_sampled(tmp_path):
    clips.write_example(ACTIONS[0], 0, tmp_path / "clip.mp4")
    model = video_model()
    del model.stored["sampling"]
    with pytest.raises(ValueError, match="its sampling cannot be used"):
        clips.classify(model, tmp_path / "clip.mp4")
