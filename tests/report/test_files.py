"""Files appear when they are complete."""

from __future__ import annotations

import json

import pytest

from spectral_residual.report.files import prepare_folder, replacing, write_file, write_metrics


@pytest.mark.parametrize("content", ["Ünder\n", b"\x00\xff"])
def test_write_and_replace(tmp_path, content):
    path = tmp_path / "new" / "folder" / "file"
    assert write_file(str(path), "before") == path
    assert write_file(path, content) == path
    assert path.read_bytes() == (content.encode() if isinstance(content, str) else content)
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("letter", ["a", "ü"])
def test_names_as_long_as_they_may_be(tmp_path, letter):
    path = tmp_path / (letter * (255 // len(letter.encode())))
    assert write_file(path, "text").read_text() == "text"


def test_folders_are_tried(tmp_path):
    prepare_folder(tmp_path / "new" / "folder")
    assert list((tmp_path / "new" / "folder").iterdir()) == []
    write_file(tmp_path / "file", "text")
    with pytest.raises(OSError, match="file"):
        prepare_folder(tmp_path / "file")
    (tmp_path / "poses.json").mkdir()
    prepare_folder(tmp_path, ["file", "other"])
    with pytest.raises(IsADirectoryError, match=r"poses\.json"):
        prepare_folder(tmp_path, ["file", "poses.json"])


def test_text_that_is_not_unicode_is_refused(tmp_path):
    with pytest.raises(UnicodeEncodeError):
        write_file(tmp_path / "file", "\udcff")
    assert list(tmp_path.iterdir()) == []


def test_a_failure_leaves_the_old_file_and_no_rest(tmp_path, monkeypatch):
    path = write_file(tmp_path / "file", "before")

    def stop_halfway():
        with replacing(path) as temporary:
            temporary.write_text("aft")
            raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        stop_halfway()

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_file(path, "after")
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_nobody_sees_half_of_it(tmp_path):
    path = write_file(tmp_path / "file", "before")
    with replacing(path) as temporary:
        temporary.write_text("after")
        assert path.read_text() == "before"
        assert temporary.parent == path.parent
    assert path.read_text() == "after"


def test_metrics_without_a_value_are_null(tmp_path):
    path = write_metrics(tmp_path / "metrics.json", {"AP": 0.5, "PCK": float("nan")})
    assert json.loads(path.read_text()) == {"AP": 0.5, "PCK": None}
