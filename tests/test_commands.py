"""Options from the parameters of functions."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from spectral_residual.commands import run_function


@dataclass(frozen=True)
class Places:
    """Where things are.

    Attributes
    ----------
    output : Path
        Folder to write to.
    seeds : list of int
        Seeds.
    """

    output: Path = Path("runs")
    seeds: list[int] = field(default_factory=list)


def paint(
    name: str,
    files: list[Path] = [],  # noqa: B006
    *,
    places: Places,
    size: tuple[int, int],
    pair: list[tuple[str, str]] = [],  # noqa: B006
    option: dict[str, Any] = {},  # noqa: B006
    mode: Literal["thick", "thin"] = "thin",
    after: list[str] | None = None,
    limit: int | None = None,
    dry_run: bool = False,
    json_: bool = False,
) -> None:
    """Paint a name on files, 100 % of them.

    Parameters
    ----------
    name : str
        What to paint.
    files : list of Path
        On what.
    places : Places
        Where.
    size : (int, int)
        Height and width.
    pair, option, mode, after, limit, dry_run, json_
        More.
    """
    seen.update(locals())


seen: dict[str, Any] = {}


def run(*arguments: str) -> dict[str, Any]:
    seen.clear()
    assert run_function(paint, arguments, "srl paint") == 0
    return seen


def test_defaults():
    expected = {
        "name": "cat", "files": [], "places": Places(), "size": (1, 2), "pair": [], "option": {},
        "mode": "thin", "after": None, "limit": None, "dry_run": False, "json_": False,
    }  # fmt: skip
    got = run("cat", "--size", "1", "2")
    assert {**got, "size": tuple(got["size"])} == expected


def test_every_kind_of_option():
    got = run(
        *("cat", "a.png", "b.png", "--size", "3", "4", "--output", "there", "--seeds", "1", "-2"),
        *("--pair", "a", "b", "--pair", "c", "d", "--option", "groups=1", "--option", "order=x=y"),
        *("--mode", "thick", "--after", "x", "y", "--limit", "3", "--dry-run", "--json"),
    )
    assert got["files"] == [Path("a.png"), Path("b.png")]
    assert list(got["size"]) == [3, 4]
    assert got["places"] == Places(Path("there"), [1, -2])
    assert [tuple(pair) for pair in got["pair"]] == [("a", "b"), ("c", "d")]
    assert got["option"] == {"groups": 1, "order": "x=y"}
    assert (got["mode"], got["after"], got["limit"]) == ("thick", ["x", "y"], 3)
    assert got["dry_run"] is got["json_"] is True


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["cat"], "required: --size"),
        (["--size", "1", "2"], "name"),
        (["cat", "--size", "1"], "expected 2 arguments"),
        (["cat", "--size", "1", "2", "--mode", "broad"], "broad"),
        (["cat", "--size", "1", "2", "--siz", "1"], "--siz"),
        (["cat", "--size", "1", "2", "--limit", "x"], "--limit: "),
        (
            ["cat", "--size", "1", "2", "--seeds", "1", "x"],
            "--seeds element 2: Expected a int. Got value: x",
        ),
        (["cat", "--size", "1", "x"], "x"),
    ],
)
def test_wrong_options(capsys, arguments, message):
    with pytest.raises(SystemExit) as stop:
        run(*arguments)
    assert stop.value.code == 2
    assert message in capsys.readouterr().err
    assert not seen


def test_an_option_without_a_key():
    with pytest.raises(ValueError, match="--option must be KEY=VALUE, got 'groups'"):
        run("cat", "--size", "1", "2", "--option", "groups")


def test_a_list_that_is_not_empty_by_default_may_be_emptied():
    found = []

    def draw(*, names: list[str] = ["a", "b"]) -> None:  # noqa: B006
        """Draw."""
        found.append(names)

    for arguments in ([], ["--names"], ["--names", "c"]):
        assert run_function(draw, arguments, "srl draw") == 0
    assert found == [["a", "b"], [], ["c"]]


def test_help(capsys):
    with pytest.raises(SystemExit) as stop:
        run("--help")
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert "srl paint" in text
    assert "Paint a name on files, 100 % of them." in text
    for name in ("--dry-run", "--json", "--output", "--seeds", "Height and width", "thick,thin"):
        assert name in text


def test_other_options_are_handed_on():
    def fit(name: str, *, limit: int = 0, **rest: Any) -> int:
        """Fit a network."""
        assert (name, limit) == ("x", 2)
        assert rest["rest"] == ["--model.block", "srl", "--a=-1", "--b", "-1"]
        return 3

    words = ["x", "--model.block", "srl", "--limit", "2", "--a=-1", "--b", "-1"]
    assert run_function(fit, words, "srl fit") == 3


def test_numbers_of_a_pair_are_a_tuple_given_or_by_default():
    def scale(*, size: tuple[int, int] = (3, 4)) -> None:
        sizes.append(size)

    sizes: list[tuple[int, int]] = []
    run_function(scale, [], "srl scale")
    run_function(scale, ["--size", "5", "6"], "srl scale")
    assert sizes == [(3, 4), (5, 6)]
