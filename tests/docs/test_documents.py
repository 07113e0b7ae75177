"""Every code block and every command of README and docs is run; nothing else passes."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
from types import SimpleNamespace

import pytest
import yaml
from documents import PAGES, ROOT, Block, blocks_of, commands_in_text, commands_of
from rules import EXCHANGED, NOT_RUN, SHORTENED
from stand_ins import furnish, make_stand_ins

from spectral_residual.cli import _COMMANDS, main

BLOCKS = {page: blocks_of(page) for page in PAGES}
IN_BLOCKS = [
    words
    for blocks in BLOCKS.values()
    for block in blocks
    if block.kind == "shell"
    for words in commands_of(block)
]
by_page = pytest.mark.parametrize(
    "page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES]
)


@pytest.fixture(scope="session")
def stand_ins(tmp_path_factory):
    root = tmp_path_factory.mktemp("stand-ins")
    with contextlib.redirect_stdout(io.StringIO()):
        make_stand_ins(root)
    return root


class NoHub:
    """A hub that takes everything."""

    def __init__(self, **options): ...

    def create_repo(self, repo_id, **options):
        return SimpleNamespace(repo_id=repo_id)

    def upload_folder(self, folder_path, **options):
        return f"https://hub/{folder_path}"


class Reader:
    """Goes through a page as a person does, in a folder that has what the page names."""

    def __init__(self, folder, stand_ins):
        furnish(folder, stand_ins)
        self.task = ""
        self.names: dict[str, object] = {"__name__": "__main__"}
        self.printed = ""

    def read(self, block: Block) -> None:
        # A real file: some commands start processes that write into it.
        with open("output.txt", "w+") as output:
            with contextlib.redirect_stdout(output):
                getattr(self, block.kind)(block)
            output.seek(0)
            if block.kind in ("python", "shell"):
                self.printed = output.read()

    def python(self, block: Block) -> None:
        exec(compile(block.text, str(block), "exec", dont_inherit=True), self.names)

    def shell(self, block: Block) -> None:
        for words in commands_of(block):
            self.command(words)

    def span(self, block: Block) -> None:
        for words in commands_of(block):
            if not is_mention(words) and words not in IN_BLOCKS:
                self.command(words)

    def yaml(self, block: Block) -> None:
        """Training of the kind that the page spoke of last takes it."""
        with open("block.yaml", "w") as file:
            file.write(block.text)
        words = ["srl", self.task, "fit", "--config", "FILE", "--config", "block.yaml"]
        self.command([*words, "--print_config"])
        assert yaml.safe_load(block.text)

    def json(self, block: Block) -> None:
        """Prediction takes it as boxes."""
        with open("block.json", "w") as file:
            file.write(block.text)
        words = ["srl", "pose", "predict", "--ckpt", "CHECKPOINT", "photo.jpg"]
        self.command([*words, "--boxes", "block.json"])

    def output(self, block: Block) -> None:
        """What the block before printed, but for line ends."""
        assert self.printed.split() == block.text.split(), f"printed:\n{self.printed}"

    def text(self, block: Block) -> None:
        assert not commands_in_text(block), "commands in a block of text; say ```sh"

    def command(self, words: list[str]) -> None:
        line = shlex.join(words)
        spoken = " ".join(words)
        for rule in NOT_RUN:
            if re.match(rule.pattern, spoken):
                assert rule.check(words), f"{spoken}: not as checked ({rule.reason})"
                return
        assert words[0] == "srl", f"{spoken}: neither run nor in NOT_RUN"
        if words[1] in ("pose", "video"):
            self.task = words[1]
        assert run(shortened(line)) == 0, f"failed: {line}"


def shortened(line: str) -> list[str]:
    """Words of the command that is run in place of a command of a document."""
    for pattern, name in EXCHANGED:
        line = re.sub(pattern, name, line)
    more = next((rule.options for rule in SHORTENED if re.match(rule.pattern, line)), "")
    return shlex.split(f"{line} {more}")


def run(words: list[str]) -> int:
    try:
        return main(words[1:])
    except SystemExit as end:
        return 0 if end.code is None else int(end.code)


def is_mention(words: list[str]) -> bool:
    """Whether a command is only spoken of: there is one of this name, options have no values."""
    if words[0] != "srl":
        return False
    found: object = _COMMANDS
    rest = list(words[1:])
    while rest and isinstance(found, dict):
        assert rest[0] in found or "" in found, f"{' '.join(words)}: no such command"
        if rest[0] not in found:
            break
        found = found[rest.pop(0)]
    return all(word.startswith("--") for word in rest)


@by_page
def test_every_block_and_command_of_a_page(page, stand_ins, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "src"))
    monkeypatch.setattr("huggingface_hub.HfApi", NoHub)
    reader = Reader(tmp_path, stand_ins)
    for block in BLOCKS[page]:
        assert hasattr(reader, block.kind), f"{block}: nothing runs a block of {block.kind}"
        try:
            reader.read(block)
        except Exception as error:
            raise AssertionError(f"{block}: {type(error).__name__}: {error}") from error


def all_commands():
    found = [b for blocks in BLOCKS.values() for b in blocks if b.kind in ("shell", "span")]
    return {
        " ".join(words)
        for block in found
        for words in commands_of(block)
        if block.kind == "shell" or not is_mention(words)
    }


def test_what_is_shortened_and_what_is_not_run(capsys):
    """No rule without a command; what is not run is told."""
    commands = all_commands()
    assert len(commands) > 60
    told = []
    for rule in NOT_RUN:
        matching = sorted(line for line in commands if re.match(rule.pattern, line))
        assert matching, f"nothing needs the rule {rule.pattern}"
        told.append(f"not run, as it {rule.reason}: {'; '.join(matching)}")
    for short in SHORTENED:
        assert any(re.match(short.pattern, line) for line in commands), short.pattern
    for pattern, _ in EXCHANGED:
        assert any(re.search(pattern, line) for line in commands), pattern
    with capsys.disabled():
        print("\n" + "\n".join(told))
