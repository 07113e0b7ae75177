"""Lists and csv files with entries that are mistyped, named twice, or outside the data."""

from __future__ import annotations

import os

import pytest

from spectral_residual.video.sources import VideoSource, read_classes, read_source

HEADER = "label,youtube_id,time_start,time_end,split\n"
ROW = "{},AAAAAAAAAA{},0,10,train\n"


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "root"
    touch(root, *(f"{name}.mp4" for name in "abcd"), "a/AAAAAAAAAA0_000000_000010.mp4")
    touch(tmp_path, "secret.mp4", "secret/AAAAAAAAAA0_000000_000010.mp4")
    (root / "link.mp4").symlink_to(tmp_path / "secret.mp4")
    (root / "inner.mp4").symlink_to(root / "a.mp4")
    (root / "linked").symlink_to(tmp_path / "secret")
    return root


def read(root, content, name="list.txt", classes=None, **options):
    (root / name).write_text(content, encoding="utf-8")
    return read_source(VideoSource(name, **options), root, classes)


@pytest.mark.parametrize(
    ("content", "faults"),
    [
        ("a.mp4 0\nb.mp4 1\na.mp4 0\n", ["line 3: the video .*a.mp4 is in line 1 already"]),
        ("a.mp4 0\n./a.mp4 1\n", ["line 2: the video .* is in line 1 already"]),
        ("a.mp4 0\na/../a.mp4 1\n", ["line 2: the video .* is in line 1 already"]),
        ("a.mp4 0\ninner.mp4 1\n", ["line 2: the video .*inner.mp4 is in line 1 already"]),
        ("a.mp4 0\nb.mp4 1.0\n", ["line 2: label '1.0': expected a whole number"]),
        ("a.mp4 0.0\nb.mp4 1.0\n", ["line 1: label '0.0'", "line 2: label '1.0'"]),
        ("a.mp4 0\nb.mp4 l\nc.mp4 2\n", ["line 2: label 'l': expected a whole number"]),
        ("a.mp4 0\nb.mp4 -2\n", ["line 2: label '-2'"]),
        ("a.mp4 +1\n", ["line 1: label '\\+1'"]),
        ("a.mp4 1e1\n", ["line 1: label '1e1'"]),
        ("a.mp4 ٣\n", ["line 1: label '٣'"]),
        ("a.mp4 0\nb.mp4 999999999999\n", ["line 2: label '999999999999'.*below"]),
        ("a.mp4 0\nb.mp4 5000000\n", ["line 2: label '5000000'.*below"]),
        (f"a.mp4 {'9' * 5000}\n", ["line 1: label '9999"]),
        ("a.mp4\nb.mp4 x\nc.mp4\n", ["line 1: expected '<path.*line 3: exp"]),
        ("../secret.mp4 0\nb.mp4 1\n", ["line 1: the video .*secret.mp4 lies outside"]),
        ("a/../../secret.mp4 0\n", ["line 1: the video .* lies outside"]),
        ("../absent.mp4 0\nb.mp4 1\n", ["line 1: the video .*absent.mp4 lies outside"]),
        ("/etc/passwd 0\nb.mp4 1\n", ["line 1: the video /etc/passwd lies outside"]),
        ("link.mp4 0\nb.mp4 1\n", ["line 1: the video .*link.mp4 lies outside"]),
        ("linked/AAAAAAAAAA0_000000_000010.mp4 0\n", ["line 1: .*lies outside"]),
        ("a.mp4 0\n\x1b[2J.mp4 x\n../\x1b.mp4 1\n", [r"\\x1b.mp4 lies outside"]),
        ("a\0.mp4 0\nb.mp4 1\n", ["line 1: expected '<path> <label>'"]),
    ],
)
def test_faults_of_a_list_are_named_together(root, content, faults):
    for fault in faults:
        with pytest.raises(ValueError, match=rf"(?s)list\.txt: got \d+ faults:.*{fault}") as caught:
            read(root, content)
        assert str(caught.value).replace("\n", "").isprintable()


@pytest.mark.parametrize(
    ("rows", "faults"),
    [
        (ROW.format("a", 0) * 2, ["line 3: the video .* is in line 2 already"]),
        (ROW.format("a", 0) + ROW.format("b", 0), []),  # the same file, found in both folders
        (ROW.format("1 ", 0), ["line 2: expected no spaces around the label, got '1 '"]),
        (ROW.format("1", 0) + ROW.format("1.0", 1), ["line 3: label '1.0'"]),
        (ROW.format("a", 0) + ROW.format("", 1), ["line 3: expected a label, got an empty"]),
        ("a,,0,10,train\n", ["line 2: expected a youtube_id"]),
        ("a,AAAAAAAAAA0,0\n", ["line 2: expected as many fields as columns"]),
        ("a,AAAAAAAAAA0,0,10,train,more\n", ["line 2: expected as many fields as columns"]),
        (
            "a,A,nan,10,x\na,B,0,inf,x\na,C,-1,1e300,x\n",
            ["line 2.*'nan'.*line 3.*'inf'.*line 4.*'1e300' in"],
        ),
        ("a,A,0:05,10,x\n", ["line 2: expected times in seconds, got '0:05' in time_start"]),
        (ROW.format("../../secret", 0), ["line 2: the video .* lies outside"]),
        ("a,AAAAAAAAAA9,0,10,../../secret\n", ["line 2: the video .* lies outside"]),
        (ROW.format("linked", 0), ["line 2: the video .* lies outside"]),
        ("a,../../secret,0,10,train\n", ["line 2: expected no / in the youtube_id"]),
    ],
)
def test_faults_of_a_csv_are_named_together(root, rows, faults):
    touch(root, "b/AAAAAAAAAA1_000000_000010.mp4")
    if not faults:
        read(root, HEADER + rows, "list.csv")
    for fault in faults:
        with pytest.raises(ValueError, match=rf"(?s)list\.csv: got \d+ faults:.*{fault}"):
            read(root, HEADER + rows, "list.csv")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('"a\nb,c,d\n', "list.csv, line"),
        ("a," + "9" * 200000 + ",0,10,train\n", "list.csv, line .: field larger"),
    ],
)
def test_malformed_csv(root, content, message):
    with pytest.raises(ValueError, match=message):
        read(root, HEADER + content, "list.csv")
    with pytest.raises(ValueError, match="each once"):
        read(root, f"label,{HEADER}", "list.csv")


def test_text_that_is_no_unicode(root):
    (root / "list.txt").write_bytes(b"\xff\xfe a.mp4 0\n")
    with pytest.raises(ValueError, match=r"list\.txt: expected text in UTF-8"):
        read_source(VideoSource("list.txt"), root)
    with pytest.raises(ValueError, match=r"list\.txt: expected text in UTF-8"):
        read_classes(root / "list.txt")


def test_files_outside_where_that_is_wanted(root):
    content = "../secret.mp4 0\nlink.mp4 1\n"
    with pytest.raises(ValueError, match="already"):
        read(root, content, files_outside=True)
    items, _ = read(root, "../secret.mp4 0\nb.mp4 1\n", files_outside=True)
    assert [item.label for item in items] == [0, 1]


def test_links_in_a_folder_of_classes(root, tmp_path):
    touch(root, "train/x/1.mp4")
    (root / "train/y").symlink_to(tmp_path / "secret")
    with pytest.raises(ValueError, match=r"AAAAAAAAAA0_000000_000010\.mp4 lies outside"):
        read_source(VideoSource("train"), root)
    assert len(read_source(VideoSource("train", files_outside=True), root)[0]) == 2
    os.unlink(root / "train/y")
    (tmp_path / "root_link").symlink_to(root)
    assert len(read_source(VideoSource("train"), tmp_path / "root_link")[0]) == 1
    (tmp_path / "data").mkdir()
    (tmp_path / "data/train").symlink_to(root / "train")
    assert len(read_source(VideoSource("train"), tmp_path / "data")[0]) == 1


def test_names_that_look_like_numbers_can_be_classes(root):
    classes = ["360", "chess", "1.5"]
    items, _ = read(root, "a.mp4 360\nb.mp4 chess\nc.mp4 1.5\n", classes=classes)
    assert [item.label for item in items] == [0, 1, 2]
    with pytest.raises(ValueError, match=r"(?s)list.txt: unknown class '7'.*line 1.*'8'.*line 2"):
        read(root, "a.mp4 7\nb.mp4 8\nc.mp4 chess\n", classes=classes)
