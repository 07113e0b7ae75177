"""Score files that are damaged, hostile, or hold no probabilities."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest

from spectral_residual.cli import main
from spectral_residual.video.results import VideoScores, read_scores, write_evaluation

NAN, INF = float("nan"), float("inf")


def arrays(**changes):
    scores = np.random.default_rng(0).random((3, 4, 2), dtype=np.float32)
    return {
        "scores": scores / scores.sum(axis=2, keepdims=True),
        "labels": np.array([1, 0, -1]),
        "videos": np.array(["a/1.mp4", "b/2.mp4", "c/3.mp4"]),
        "class_names": np.array(["jump", "sit"]),
        "crops": np.array(2),
        "missing": np.array([], dtype=np.str_),
        **changes,
    }


def changed(*place, value):
    scores = arrays()["scores"]
    scores[place] = value
    return scores


@pytest.fixture
def path(tmp_path):
    return tmp_path / "scores_val.npz"


def test_sound_scores_are_read(path):
    np.savez(path, **arrays())
    scores = read_scores(path)
    np.testing.assert_array_equal(scores.scores, arrays()["scores"])
    assert (scores.videos[1], scores.crops, scores.missing) == ("b/2.mp4", 2, [])
    assert main(["video", "score", str(path)]) == 0


@pytest.mark.parametrize(
    ("changes", "messages"),
    [
        ({"scores": changed(0, 0, 0, value=NAN)}, ["a/1.mp4: scores that are not finite"]),
        ({"scores": changed(2, 3, value=INF)}, ["c/3.mp4: scores that are not finite"]),
        ({"scores": changed(1, 0, value=[-0.5, 1.5])}, ["b/2.mp4: scores from -0.5 to 1.5"]),
        ({"scores": changed(1, 2, value=[0.5, 0.2])}, ["b/2.mp4: .*sum other than 1"]),
        ({"scores": changed(slice(None), 0, value=0)}, ["got 3 faults", "a/1.mp4", "c/3.mp4"]),
        ({"labels": np.array([0, 2, -2])}, ["b/2.mp4: label 2", "c/3.mp4: label -2"]),
        ({"labels": np.array([0, 1])}, ["3 videos, 2 labels"]),
        ({"labels": np.array([0.0, 1.0, 1.0])}, ["labels is an array of shape .* float64"]),
        ({"labels": np.array([[0, 1, 1]])}, ["labels is an array of shape .*expected 1 axes"]),
        ({"labels": np.array(["0", "1", "1"])}, ["labels is an array"]),
        ({"scores": arrays()["scores"][0]}, ["scores is an array of shape"]),
        ({"scores": arrays()["scores"] > 0.5}, ["scores is an array of shape .* bool"]),
        ({"scores": np.zeros((3, 0, 2), np.float32)}, ["got shape"]),
        ({"crops": np.array(0)}, ["with 0 crops"]),
        ({"crops": np.array(-2)}, ["with -2 crops"]),
        ({"crops": np.array(3)}, ["with 3 crops"]),
        ({"crops": np.array([2])}, ["crops is an array"]),
        ({"class_names": np.array(["a", "a"])}, ["each name once"]),
        ({"class_names": np.array([b"a", b"b"])}, ["class_names is an array"]),
        ({"videos": np.array(["a", "b", {}], dtype=object)}, ["videos is an array .* object"]),
        (
            {
                "scores": np.zeros((0, 1, 2), np.float32),
                "labels": np.zeros(0, int),
                "videos": np.zeros(0, "U1"),
            },
            ["it holds no video"],
        ),
    ],
)
def test_other_content_is_refused(path, changes, messages, capsys):
    np.savez(path, **arrays(**changes))
    for message in messages:
        with pytest.raises(ValueError, match=rf"(?s)scores_val\.npz: .*{message}"):
            read_scores(path)
    assert main(["video", "score", str(path)]) == 2
    assert "srl: error: " in capsys.readouterr().err


@pytest.mark.parametrize("name", sorted(arrays()))
def test_missing_arrays_are_named(path, name):
    np.savez(path, **{key: value for key, value in arrays().items() if key != name})
    with pytest.raises(ValueError, match=rf"scores_val\.npz: .*it has no {name}"):
        read_scores(path)


def test_escape_characters_are_not_printed(path, capsys):
    np.savez(
        path,
        **arrays(
            videos=np.array(["\x1b[2J.mp4", "b", "c"]),
            class_names=np.array(["\x1b]0;a\x07", "\u202eb\n"]),
            scores=changed(0, value=[1, 0]),
        ),
    )
    assert main(["video", "score", str(path)]) == 0
    printed = capsys.readouterr().out
    assert r"\x1b]0;a\x07" in printed
    assert "\x1b" not in printed
    assert "\u202e" not in printed
    np.savez(path, **arrays(videos=np.array(["\x1b[2J", "b", "c"]), labels=np.array([9, 0, 0])))
    assert main(["video", "score", str(path)]) == 2
    error = capsys.readouterr().err
    assert r"\x1b[2J: label 9" in error
    assert "\x1b" not in error


def test_scores_without_any_label_say_so(path, capsys):
    np.savez(path, **arrays(labels=np.array([-1, -1, -1])))
    assert main(["video", "score", str(path)]) == 0
    printed = capsys.readouterr().out
    assert "nothing to measure" in printed
    assert "nan" not in printed


def write_members(path, **replaced):
    """An archive with some members as given: (header's shape, content)."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, value in arrays().items():
            file = io.BytesIO()
            if name in replaced:
                shape, content = replaced[name]
                header = {"descr": "<f4", "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(file, header)
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    member.write(file.getvalue())
                    for part in content:
                        member.write(part)
            else:
                np.save(file, value)
                archive.writestr(f"{name}.npy", file.getvalue())


@pytest.mark.parametrize(
    ("shape", "content", "message"),
    [
        ((10**6, 10**3, 2), [b"12345678"], "but has 8 bytes"),
        ((10**9, 10**9, 2), [b""], "but has 0 bytes"),
        ((-3, 4, 2), [b""], "but has 0 bytes"),
        ((1000, 1024, 100), [bytes(2**20)] * 400, "would unpack to 4"),
    ],
)
def test_memory_that_the_file_does_not_fill_is_not_taken(path, shape, content, message):
    write_members(path, scores=(shape, content))
    with pytest.raises(ValueError, match=rf"scores_val\.npz: .*{message}"):
        read_scores(path)


def test_damaged_archives_are_errors_that_name_the_file(path):
    np.savez_compressed(path, **arrays())
    sound, rng = path.read_bytes(), np.random.default_rng(14)
    for number in range(100):
        content = bytearray(sound)
        place = int(rng.integers(len(content)))
        length = int(rng.integers(1, 60))
        if number % 4 == 0:
            del content[place:]
        elif number % 4 == 1:
            del content[place : place + length]
        elif number % 4 == 2:
            content[place:place] = rng.bytes(length)
        else:
            for flipped in rng.integers(len(content), size=length):
                content[flipped] ^= int(rng.integers(1, 256))
        path.write_bytes(content)
        try:
            scores = read_scores(path)
        except ValueError as error:
            assert str(error).startswith(f"{path}: "), error  # noqa: PT017
        else:
            np.testing.assert_array_equal(scores.scores, arrays()["scores"])


def test_nothing_that_is_no_probability_is_written(tmp_path):
    scores = VideoScores(
        scores=changed(1, value=NAN),
        labels=np.array([0, 1, 1]),
        videos=["a", "b", "c"],
        class_names=["jump", "sit"],
    )
    with pytest.raises(ValueError, match="b: scores that are not finite"):
        write_evaluation(tmp_path, "val", scores, scores.metrics())
    assert not list(tmp_path.iterdir())
