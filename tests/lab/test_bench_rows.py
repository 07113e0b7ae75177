"""Rows of ``srl bench``: the package's, files with mistakes, selection."""

from __future__ import annotations

import dataclasses
import json

import pytest
from bench_rows import TINY

from spectral_residual.blocks import BLOCKS
from spectral_residual.lab.bench.rows import Row, group_rows, load_rows, select_rows, with_batch


@pytest.fixture
def rows_file(tmp_path):
    def write(entries):
        path = tmp_path / "rows.json"
        path.write_text(entries if isinstance(entries, str) else json.dumps(entries))
        return path

    return write


def test_packaged_rows():
    rows = load_rows(Row)
    groups = {group[0].input_shape: group for group in group_rows(rows)}
    for shape in ((4, 256, 64, 48), (2, 256, 96, 72), (1, 256, 128, 96)):
        found = select_rows(groups[shape], BLOCKS)
        assert {row.name for row in found} == set(BLOCKS)
        assert not any(row.options for row in found)
    for shape in ((1, 256, 32, 24), (1, 256, 64, 48)):
        names = {row.name for row in groups[shape]}
        assert {"srl-fft", "non-local", "a2", "cgnl", "rcca", "ffc", "gfnet"} <= names
        assert names <= {row.name for row in groups[1, 256, 128, 96]}
    videos = [row for row in rows if len(row.shape) == 3]
    assert {(row.channels, row.size) for row in videos} == {(128, "4x28x28"), (256, "4x14x14")}
    assert {"srl-fft", "srl-lo", "non-local", "a2", "cgnl"} <= {row.block for row in videos}
    variants = [row.options for row in rows if row.block == "non-local" and row.options]
    assert {"memory_efficient": False} in variants
    assert all(
        row.input_shape == (2, 256, 96, 72) for row in rows if row.name.startswith("non-local-")
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"block": "srl-fftt"}, "row 1.*unknown block 'srl-fftt'; did you mean 'srl-fft'"),
        ({"blok": "a2"}, "row 1.*'blok'; did you mean 'block'"),
        ({"channels": 0}, "row 1: channels must be a positive integer, got 0"),
        ({"channels": "16"}, "row 1: channels must be a positive integer, got '16'"),
        ({"channels": 18}, "row 1.*18"),
        ({"batch": True}, "row 1: batch must be a positive integer, got True"),
        ({"shape": [6]}, r"row 1: shape must be .* got \[6\]"),
        ({"shape": "6x5"}, "row 1: shape must be .* got '6x5'"),
        ({"block": "rcca", "channels": 64, "shape": [2, 6, 5]}, "row 1 .*not defined for videos"),
        ({"channels_last": 1}, "row 1: channels_last must be true or false, got 1"),
        ({"options": {"widht": 1}}, "row 1.*'widht'"),
        ({"options": [1]}, r"row 1: options must be an object, got \[1\]"),
        ({"name": ""}, "row 1: name must be a name, got ''"),
    ],
)
def test_wrong_rows_are_errors_at_load_time(rows_file, change, message):
    path = rows_file([{**TINY[0], **change}])
    with pytest.raises(ValueError, match=message) as raised:
        load_rows(Row, path)
    assert "rows.json" in str(raised.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[", "is not JSON"),
        ("{}", "expected a list of rows, got dict"),
        ([], "expected a list of rows"),
        ([3], "row 1: expected an object, got int"),
        ([{"block": "a2", "shape": [6, 5]}], "row 1: the field 'channels' is missing"),
        ([TINY[0], TINY[1], TINY[0]], "row 3: 'a2' with 16 channels at 6x5, batch 2 is row 1 too"),
    ],
)
def test_wrong_files_are_errors(rows_file, content, message):
    with pytest.raises(ValueError, match=message):
        load_rows(Row, rows_file(content))


def test_a_list_of_blocks_is_a_row_of_each(rows_file):
    path = rows_file([{**TINY[0], "block": ["a2", "gfnet"]}, TINY[1]])
    rows = load_rows(Row, path)
    assert rows == [Row(name, name, 16, (6, 5), 2) for name in ("a2", "gfnet", "srl-fft")]
    wrong = [([], r"row 1: block must be a name, got \[\]"), (["a2", 3], "row 2: block .* got 3")]
    for blocks, message in wrong:
        with pytest.raises(ValueError, match=message):
            load_rows(Row, rows_file([{**TINY[0], "block": blocks}]))


def test_missing_file_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.json"):
        load_rows(Row, tmp_path / "none.json")


def test_selection(rows_file):
    rows = load_rows(Row, rows_file(TINY))
    assert rows[2] == Row(
        "non-local-plain", "non-local", 16, (6, 5), 2, {"memory_efficient": False}
    )
    assert select_rows(rows) == rows
    assert select_rows(rows, ["a2"]) == [rows[0], rows[3]]
    assert select_rows(rows, ["a2"], ["2x4x3"]) == [rows[3]]
    with pytest.raises(ValueError, match="'srl-ftt'; did you mean 'srl-fft'"):
        select_rows(rows, ["srl-ftt"])
    with pytest.raises(ValueError, match="unknown size .*'6x6'.*'6x5'"):
        select_rows(rows, sizes=["6x6"])
    with pytest.raises(ValueError, match="no row has"):
        select_rows(rows, ["srl-fft"], ["2x4x3"])


def test_another_batch_size_joins_rows_that_become_equal():
    one, two, other = (Row("a2", "a2", 16, (6, 5), batch) for batch in (1, 2, 2))
    assert with_batch([one, two, dataclasses.replace(other, channels=8)], 3) == [
        Row("a2", "a2", 16, (6, 5), 3),
        Row("a2", "a2", 8, (6, 5), 3),
    ]
    differing = dataclasses.replace(two, block="gfnet")
    with pytest.raises(ValueError, match="batch size 3: 'a2' with 16 channels at 6x5, batch 3 is"):
        with_batch([one, differing], 3)


def test_groups_keep_the_order_of_their_first_row():
    rows = [Row(name, "a2", c, (4, 3)) for name, c in (("a", 8), ("b", 16), ("c", 8))]
    assert [[r.name for r in group] for group in group_rows(rows)] == [["a", "c"], ["b"]]
