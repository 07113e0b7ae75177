"""What the documents print: fenced blocks and commands in the text, each with its kind."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted(ROOT.glob("docs/**/*.md")),
    ROOT / "src/spectral_residual/configs/README.md",
]
_PROGRAMS = r"(?:srl|hf|make|pip|pipx|pytest|(?:\.venv/bin/)?python)"
_COMMAND = re.compile(rf"^(?:\w+=\S+ )*(?:time )?{_PROGRAMS}(?: |$)")
_KINDS = {
    "python": "python", "sh": "shell", "yaml": "yaml", "json": "json", "output": "output",
    "text": "text",
}  # fmt: skip


class Block(NamedTuple):
    """Part of a page: its kind is one of `_KINDS` or, within a line, span."""

    page: Path
    line: int
    kind: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks_of(page: Path) -> list[Block]:
    """All fenced blocks of a page, and the commands in single backticks, in order.

    A block without a language is one of commands if its first line is a command, else text.
    """
    found: list[Block] = []
    fence: tuple[str, int, str] | None = None
    inside: list[str] = []
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        mark = re.match(r"^( *)(`{3,}|~{3,})([\w+-]*)[^`]*$", line)
        if fence is None and mark:
            fence, inside = (mark[2], number, mark[3]), []
        elif fence is not None and mark and mark[2].startswith(fence[0]) and not mark[3]:
            text = "\n".join(inside) + "\n"
            found.append(Block(page, fence[1], _kind(fence[2], inside), text))
            fence = None
        elif fence is not None:
            inside.append(line)
        else:
            spans = [span for span in re.findall(r"`([^`]+)`", line) if _COMMAND.match(span)]
            found += [Block(page, number, "span", span) for span in spans]
    if fence is not None:
        raise ValueError(f"{page}:{fence[1]}: the block has no end")
    return found


def _kind(language: str, lines: list[str]) -> str:
    if language:
        return _KINDS.get(language, f"unknown ({language})")
    return "shell" if lines and _COMMAND.match(lines[0]) else "text"


def commands_in_text(block: Block) -> list[str]:
    """Lines of a block that nothing would run although they are commands."""
    return [line for line in block.text.splitlines() if re.match(r"^\$? ?(srl|pip|make) ", line)]


def commands_of(block: Block) -> list[list[str]]:
    """The words of each command of a block of commands or of a span.

    Lines that end in a backslash go on; comments are left out. Of a synopsis, ``[--json]`` is an
    option that is given, ``[--KEY VALUE ...]`` one that is not, and ``FILE ...`` one file.
    """
    text = block.text.replace("\\\n", " ")
    commands = []
    for line in text.splitlines():
        line = re.sub(r"\[(-[^\]]*)\]", lambda m: "" if m[1].endswith("...") else m[1], line)
        words = [word for word in shlex.split(line, comments=True) if word != "..."]
        if words:
            commands.append(words[1:] if words[0] == "time" else words)
    return commands
