"""Lists of videos: folders, csv files of Kinetics, lists of paths and labels."""

from __future__ import annotations

import logging

import pytest

from spectral_residual.video.sources import VideoItem, VideoSource, read_classes, read_source


def touch(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def listed(root, source="train", classes=None, videos=None):
    """Items as (path relative to the root, label), and the class names."""
    items, names = read_source(VideoSource(source, videos), root, classes)
    assert all(isinstance(item, VideoItem) for item in items)
    return [(str(item.path.relative_to(root)), item.label) for item in items], names


def test_folder_of_class_folders(tmp_path):
    touch(tmp_path / "train", "b/2.mp4", "b/1.AVI", "a b/x.webm", "a b/._x.mp4", "a b/notes.txt")
    touch(tmp_path / "train", "b/deeper/3.mp4", "readme.mp4", ".cache/1.mp4")
    (tmp_path / "train" / "aa").mkdir()
    items, names = listed(tmp_path)
    assert names == ["a b", "aa", "b"], "an empty class keeps its number"
    assert items == [("train/a b/x.webm", 0), ("train/b/1.AVI", 2), ("train/b/2.mp4", 2)]


def test_classes_of_the_training_data_decide(tmp_path):
    touch(tmp_path, "val/wave_left/1.mp4", "val/jump/1.mp4")
    items, names = listed(tmp_path, "val", ["wave left", "sit", "jump"])
    assert names == ["wave left", "sit", "jump"]
    assert items == [("val/jump/1.mp4", 2), ("val/wave_left/1.mp4", 0)]
    with pytest.raises(ValueError, match=r"val: unknown class 'jump'; did you mean 'jumps'\?"):
        listed(tmp_path, "val", ["wave left", "jumps"])


HEADER = "label,youtube_id,time_start,time_end,split\n"


def test_kinetics_csv(tmp_path):
    (tmp_path / "train.csv").write_text(
        HEADER
        + "playing chess,-Ab_cdefgh1,5,15,train\n"
        + '"arm wrestling",-Ab_cdefgh1,25.0,35.0,train\n'  # the same video at another time
        + "zumba,___________,0,10,train\n"
        + "playing chess,AAAAAAAAAAA,100,110,train\n"
        + "abseiling,BBBBBBBBBBB,1,11,train\n"
    )
    touch(
        tmp_path / "clips",
        "train/playing chess/-Ab_cdefgh1_000005_000015.mp4",
        "train/arm_wrestling/-Ab_cdefgh1_000025_000035.mkv",
        "zumba/____________000000_000010.webm",
        "AAAAAAAAAAA_000100_000110.avi",
        "AAAAAAAAAAA_000100_000111.mp4",
    )
    items, names = listed(tmp_path, "train.csv", videos="clips")
    assert names == ["abseiling", "arm wrestling", "playing chess", "zumba"]
    assert items == [
        ("clips/train/playing chess/-Ab_cdefgh1_000005_000015.mp4", 2),
        ("clips/train/arm_wrestling/-Ab_cdefgh1_000025_000035.mkv", 1),
        ("clips/zumba/____________000000_000010.webm", 3),
        ("clips/AAAAAAAAAAA_000100_000110.avi", 2),
    ]


def test_older_csv_with_other_columns_and_order(tmp_path):
    (tmp_path / "val.csv").write_text(
        "\ufeffyoutube_id,label,is_cc,split,time_end,time_start\nAAAAAAAAAAA,zumba,0,val,20,10\n",
        encoding="utf-8",
    )
    touch(tmp_path, "val/AAAAAAAAAAA_000010_000020.mp4")
    assert listed(tmp_path, "val.csv") == ([("val/AAAAAAAAAAA_000010_000020.mp4", 0)], ["zumba"])


def test_csv_without_labels(tmp_path):
    (tmp_path / "test.csv").write_text(
        "youtube_id,time_start,time_end,split\nAAAAAAAAAAA,10,20,test\n"
    )
    touch(tmp_path, "AAAAAAAAAAA_000010_000020.mp4")
    items, names = listed(tmp_path, "test.csv", ["a", "b"])
    assert items == [("AAAAAAAAAAA_000010_000020.mp4", None)]
    assert names == ["a", "b"]


def test_of_several_endings_the_first_counts(tmp_path):
    touch(tmp_path, "train/a/x.mov", "train/a/x.mp4", "train/a/x.mkv")
    assert listed(tmp_path)[0] == [("train/a/x.mp4", 0)]


def test_missing_videos_are_counted_in_one_warning(tmp_path, caplog):
    rows = [f"a,{number:011d},0,10,train" for number in range(9)]
    (tmp_path / "train.csv").write_text(HEADER + "\n".join(rows))
    touch(tmp_path, "a/00000000004_000000_000010.mp4")
    with caplog.at_level(logging.WARNING):
        items, _ = listed(tmp_path, "train.csv")
    assert len(items) == 1
    assert len(caplog.records) == 1
    assert "8 of the 9 videos" in caplog.text
    assert "train/a/00000000000_000000_000010.mp4" in caplog.text
    assert "00000000008" not in caplog.text, "the first few are named"
    (tmp_path / "a" / "00000000004_000000_000010.mp4").unlink()
    with pytest.raises(FileNotFoundError, match=r"none of the 9 videos of .*train\.csv exists"):
        listed(tmp_path, "train.csv")


def test_list_with_numbers(tmp_path):
    touch(tmp_path / "lists", "a b/x.mp4", "y.avi", "z.mp4")
    (tmp_path / "lists/train.txt").write_text("a b/x.mp4 2\n\ny.avi\t 10\nz.mp4  -1\n")
    items, names = listed(tmp_path, "lists/train.txt")
    assert items == [("lists/a b/x.mp4", 2), ("lists/y.avi", 10), ("lists/z.mp4", None)]
    assert names == [str(number) for number in range(11)]
    assert listed(tmp_path, "lists/train.txt", list("abcdefghijk"))[0] == items
    with pytest.raises(ValueError, match=r"train\.txt: unknown class '10'"):
        listed(tmp_path, "lists/train.txt", list("abcdefghij"))


def test_list_with_names_in_another_folder(tmp_path):
    touch(tmp_path / "videos", "x.mp4", "y.mp4")
    (tmp_path / "train.csv").write_text(f"x.mp4 wave_left\n{tmp_path}/videos/y.mp4 jump\n")
    items, names = listed(tmp_path, "train.csv", videos="videos")
    assert (items, names) == ([("videos/x.mp4", 1), ("videos/y.mp4", 0)], ["jump", "wave_left"])


def test_class_file(tmp_path):
    (tmp_path / "classes.txt").write_text("zumba\narm wrestling\n\n")
    assert read_classes(tmp_path / "classes.txt") == ["zumba", "arm wrestling"]
    (tmp_path / "classes.txt").write_text("arm wrestling\narm_wrestling\n")
    with pytest.raises(ValueError, match="each once"):
        read_classes(tmp_path / "classes.txt")
    with pytest.raises(FileNotFoundError, match=r"classes: no file .*none\.txt"):
        read_classes(tmp_path / "none.txt")


@pytest.mark.parametrize(
    ("name", "content", "videos", "error", "message"),
    [
        ("none", None, None, FileNotFoundError, "source: no folder, csv or list of videos .*none"),
        ("folder", None, None, ValueError, "folder holds no video"),
        ("folder", None, "x", ValueError, "videos: got 'x', expected none"),
        ("a.csv", HEADER, None, ValueError, r"a\.csv holds no video"),
        ("a.csv", HEADER, "x", FileNotFoundError, "videos: no folder .*x"),
        ("a.csv", "label,id,time_start,time_end\n", None, ValueError, r"\['youtube_id'\] too"),
        ("a.csv", HEADER + "a,AAAAAAAAAAA,,10,train\n", None, ValueError, "line 2: expected times"),
        ("a.txt", "x.mp4\n", None, ValueError, r"line 1: expected '<path> <label>'"),
    ],
)
def test_wrong_sources(tmp_path, name, content, videos, error, message):
    (tmp_path / "folder").mkdir()
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(error, match=message):
        listed(tmp_path, name, videos=videos)
