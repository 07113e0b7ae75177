"""Generated video files: layout, bytes, exact reversal after decoding, and what is refused."""

from __future__ import annotations

import json
from fractions import Fraction

import av
import numpy as np
import pytest

from spectral_residual.cli import main
from spectral_residual.lab.generated import write_videos
from spectral_residual.lab.generated.actions import (
    ACTION_PAIRS,
    ACTIONS,
    render_action,
    sample_action,
)
from spectral_residual.lab.generated.write_videos import (
    VideoDatasetSummary,
    VideoOptions,
    generate_action_videos,
    write_video,
)

FEW = {"train_videos": 2, "val_videos": 1, "frames": 4, "image_size": (64, 80)}


def generate(root, workers=0, **options):
    return generate_action_videos(root, VideoOptions(**options), workers=workers, progress=False)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    root = tmp_path_factory.mktemp("videos") / "data"
    return root, generate(root, **FEW, seed=5)


@pytest.fixture(scope="module")
def frames():
    return render_action(sample_action("sit_down", np.random.default_rng(0)))


def decode(file):
    """(T, H, W, 3) RGB."""
    with av.open(str(file)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def contents(root):
    return {
        str(file.relative_to(root)): file.read_bytes() for file in root.rglob("*") if file.is_file()
    }


def test_files_lie_in_folders_of_classes(dataset):
    root, summary = dataset
    assert summary == VideoDatasetSummary(root, train_videos=16, val_videos=8)
    expected = {"dataset.json"}
    for name in ACTIONS:
        expected |= {f"train/{name}/00000.mp4", f"train/{name}/00001.mp4", f"val/{name}/00000.mp4"}
    assert set(contents(root)) == expected
    assert decode(root / "train" / "sit_down" / "00001.mp4").shape == (4, 64, 80, 3)


def test_a_pair_decodes_to_the_same_frames_in_opposite_order(dataset):
    root, _ = dataset
    seen = []
    for first, second in ACTION_PAIRS:
        for video in ("train/{}/00000.mp4", "train/{}/00001.mp4", "val/{}/00000.mp4"):
            forwards, backwards = (decode(root / video.format(name)) for name in (first, second))
            np.testing.assert_array_equal(backwards, forwards[::-1])
            assert (forwards[0] != forwards[-1]).any()
            seen.append(forwards[0].astype(float))
    differences = [np.abs(a - b).mean() for i, a in enumerate(seen) for b in seen[:i]]
    assert min(differences) > 10  # no scene twice: splits, numbers and pairs differ


@pytest.mark.parametrize("encoder", write_videos.ENCODERS)
def test_every_encoder_is_symmetric_in_time_and_of_high_quality(tmp_path, frames, encoder):
    if encoder not in av.codecs_available:
        pytest.skip(f"PyAV has no {encoder}")
    files = {name: tmp_path / f"{name}.mp4" for name in ("forwards", "again", "backwards")}
    write_video(files["forwards"], frames, encoder=encoder)
    write_video(files["again"], frames, encoder=encoder)
    write_video(files["backwards"], frames[::-1], encoder=encoder)
    assert files["forwards"].read_bytes() == files["again"].read_bytes()
    decoded = decode(files["forwards"])
    np.testing.assert_array_equal(decode(files["backwards"]), decoded[::-1])
    # Grey levels: colours are stored at half the size.
    error = (decoded.astype(float) - frames).mean(axis=3)
    assert 10 * np.log10(255**2 / np.mean(error**2)) > 36


def test_every_frame_is_a_key_frame_of_its_time(tmp_path, frames):
    write_video(tmp_path / "a.mp4", frames)
    with av.open(str(tmp_path / "a.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.height, stream.width, stream.frames) == (80, 80, 22)
        assert stream.average_rate == 12
        decoded = list(container.decode(stream))
        times = [frame.pts * stream.time_base for frame in decoded]
        assert times == [Fraction(i, 12) for i in range(22)]
        assert all(frame.key_frame for frame in decoded)
        assert len(container.streams) == 1


def test_same_seed_gives_the_same_bytes_whatever_the_workers_and_the_count(dataset, tmp_path):
    root, _ = dataset
    fewer = {**FEW, "train_videos": 1}
    generate(tmp_path / "a", **fewer, seed=5, workers=2)
    generate(tmp_path / "b", **fewer, seed=6)
    whole, part, other = (contents(folder) for folder in (root, tmp_path / "a", tmp_path / "b"))
    for name in part.keys() - {"dataset.json"}:
        assert part[name] == whole[name]
        assert part[name] != other[name]
    assert len(part) == len(other) == 17


def test_the_same_data_set_is_not_rendered_again(dataset, monkeypatch):
    root, summary = dataset

    def fail(*_, **__):
        raise AssertionError("rendered again")

    monkeypatch.setattr(write_videos, "sample_action", fail)
    assert generate(root, **FEW, seed=5) == summary
    with pytest.raises(FileExistsError, match=r"another data set.*'seed': 5.*'seed': 4"):
        generate(root, **FEW, seed=4)


def test_other_peoples_files_are_not_touched_and_damage_is_reported(tmp_path):
    root = tmp_path / "data"
    options = {**FEW, "train_videos": 1, "frames": 2}
    generate(root, **options)
    (root / "val" / "stand_up" / "00000.mp4").unlink()
    with pytest.raises(ValueError, match="stand_up: got 0 files, expected 1"):
        generate(root, **options)

    (tmp_path / "notes").mkdir()
    note = tmp_path / "notes" / "notes.txt"
    note.write_text("keep")
    for taken in (note.parent, note):
        with pytest.raises(FileExistsError, match="no generated data set"):
            generate(taken, **options)
    assert [path.name for path in note.parent.iterdir()] == ["notes.txt"]
    assert note.read_text() == "keep"


def test_an_empty_folder_is_filled_and_an_interrupted_run_leaves_nothing(tmp_path, monkeypatch):
    root = tmp_path / "data"
    root.mkdir()
    options = {**FEW, "train_videos": 1, "frames": 2}
    written = []

    def interrupt(file, *arguments, **keywords):
        written.append(file)
        if len(written) == 3:
            raise KeyboardInterrupt
        write_video(file, *arguments, **keywords)

    with monkeypatch.context() as patch:
        patch.setattr(write_videos, "write_video", interrupt)
        with pytest.raises(KeyboardInterrupt):
            generate(root, **options)
    assert list(tmp_path.iterdir()) == [root]
    assert list(root.iterdir()) == []
    generate(root, **options)
    assert {path.name for path in root.iterdir()} == {"dataset.json", "train", "val"}
    assert list(tmp_path.iterdir()) == [root]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"train_videos": 0}, "train_videos must be from 1 to 99,999, got 0"),
        ({"val_videos": 100_000}, "val_videos must be from 1 to 99,999, got 100000"),
        ({"image_size": (32, 80)}, "image_size must be even .* at least 64, got \\(32, 80\\)"),
        ({"image_size": (80, 81)}, "image_size must be even"),
        ({"frames": 1}, "frames must be 2 or more, got 1"),
        ({"seed": -1}, "seed must be 0 or more, got -1"),
        ({"workers": -1}, "workers must be 0 or more, got -1"),
    ],
)
def test_numbers_out_of_range_are_refused(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        generate(tmp_path / "a", **options)
    assert list(tmp_path.iterdir()) == []


def test_frames_that_cannot_be_written_are_refused(tmp_path, frames):
    file = tmp_path / "a.mp4"
    with pytest.raises(ValueError, match=r"uint8 of shape \(T, H, W, 3\), got float64"):
        write_video(file, frames / 255)
    with pytest.raises(ValueError, match=r"got uint8 of \(80, 80, 3\)"):
        write_video(file, frames[0])
    with pytest.raises(ValueError, match="even height and width, got 79 x 80"):
        write_video(file, frames[:, :79])
    with pytest.raises(ValueError, match="unknown video encoder 'x264'; did you mean 'libx264'"):
        write_video(file, frames, encoder="x264")
    assert not file.exists()


def test_the_encoder_is_the_first_that_pyav_has(monkeypatch):
    for codecs, expected in (({"mpeg4", "libx264"}, "libx264"), ({"mpeg4", "vp9"}, "mpeg4")):
        monkeypatch.setattr(av, "codecs_available", codecs)
        assert write_videos.find_encoder() == expected
    monkeypatch.setattr(av, "codecs_available", {"vp9"})
    with pytest.raises(OSError, match="no video encoder of libx264, mpeg4"):
        write_videos.find_encoder()


def test_command_line(tmp_path, capsys):
    root = tmp_path / "data"
    counts = ["--train-videos", "2", "--val-videos", "1", "--frames", "3"]
    options = ["--image-size", "64", "72", "--seed", "9"]
    assert main(["data", "videos", str(root), *counts, *options]) == 0
    assert "16 videos to train on, 8 to validate" in capsys.readouterr().out
    assert json.loads((root / "dataset.json").read_text())["parameters"] == {
        "generator_version": write_videos.GENERATOR_VERSION,
        "train_videos": 2,
        "val_videos": 1,
        "frames": 3,
        "image_size": [64, 72],
        "seed": 9,
        "encoder": write_videos.find_encoder(),
    }
    assert decode(root / "val" / "bend_down" / "00000.mp4").shape == (3, 64, 72, 3)
