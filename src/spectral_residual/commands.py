"""Commands from functions: their parameters are the options, their docstrings the help.

Positional parameters are arguments of the command, keyword-only ones its options. What a
parameter's type becomes:

=========================  ==============================================================
``bool = False``           ``--name``, without a value
``list[T]``                one or more values; none too if there is a default that is not empty,
                           or if it is positional with a default
``tuple[T, T]``            as many values
``list[tuple[T, T]]``      such values, and the option may be repeated
``dict[str, Any]``         ``--name KEY=VALUE``, which may be repeated; values are JSON if they can
a dataclass                an option of each field
``**rest``                 all options that are not the function's own, as ``rest["rest"]``
=========================  ==============================================================

An underscore at the end of a name is left out, others become hyphens.
"""

from __future__ import annotations

import functools
import inspect
import json
import re
import textwrap
from argparse import Action
from collections.abc import Callable, Sequence
from dataclasses import MISSING, fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, NoReturn, Union, get_args, get_origin, get_type_hints

from docstring_parser import parse as parse_docstring
from jsonargparse import ArgumentParser, DefaultHelpFormatter


class HelpFormatter(DefaultHelpFormatter):
    """Keeps the paragraphs of texts, and lines that are indented."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        fill = functools.partial(textwrap.fill, width=width, subsequent_indent=indent)
        blocks = []
        for paragraph in text.strip().split("\n\n"):
            first, *listed = re.split(r"\n(?= )", paragraph)
            lines = [fill(" ".join(first.split()))]
            lines += [fill(line, subsequent_indent="      ") for line in listed]
            blocks.append("\n".join(lines))
        return "\n\n".join(blocks)

    def _expand_help(self, action: Action) -> str:
        return _plain_types(super()._expand_help(action))


class _Parser(ArgumentParser):
    """Names options in errors as they are typed."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        typed = {a.dest: a.option_strings[0] for a in self._actions if a.option_strings}
        message = re.sub(
            r'Parser key "(\w+)"( element \d+)?:\s*',
            lambda m: f"{typed.get(m[1], m[1])}{m[2] or ''}: ",
            _plain_types(message),
        )
        start, required, names = message.partition("arguments are required: ")
        if required:
            names = ", ".join(typed.get(name, name) for name in names.split(", "))
        super().error(start + required + names, ex)


def _plain_types(text: str) -> str:
    return re.sub(r"<class '(?:\w+\.)*(\w+)'>", lambda found: found[1].lower(), text)


def run_function(function: Callable[..., int | None], arguments: Sequence[str], prog: str) -> int:
    """Call a function with the options of a command line.

    Parameters
    ----------
    function : callable
        Typed, with a NumPy docstring; see this module's docstring.
    arguments : sequence of str
        Of the command, without its name.
    prog : str
        The command, e.g. ``"srl cost block"``.

    Returns
    -------
    int
        What the function returns, 0 for None.

    Raises
    ------
    SystemExit
        With 0 after ``--help``, with 2 for wrong options.
    ValueError
        If an argument is not KEY=VALUE where that is expected.
    """
    parser = command_parser(function, prog)
    hints = get_type_hints(function)
    positional: list[Any] = []
    named: dict[str, Any] = {}
    parameters = inspect.signature(function).parameters
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        arguments, named["rest"] = _split(parser, arguments)
    found = vars(parser.parse_args(list(arguments)))
    for name, parameter in parameters.items():
        kind = hints[name]
        if parameter.kind is parameter.VAR_KEYWORD:
            continue
        if is_dataclass(kind):
            own = {key: _value(of, found[key], key) for key, of in get_type_hints(kind).items()}
            named[name] = kind(**own)  # type: ignore[operator]
        elif parameter.kind is parameter.KEYWORD_ONLY:
            named[name] = _value(kind, found[name], name)
        else:
            positional.append(_value(kind, found[name], name))
    return function(*positional, **named) or 0


def command_parser(function: Callable[..., Any], prog: str) -> ArgumentParser:
    """Parser of a function's parameters; see `run_function`."""
    text = parse_docstring(inspect.getdoc(function) or "")
    description = "\n\n".join(filter(None, (text.short_description, text.long_description)))
    parser = _Parser(
        prog=prog, description=description, allow_abbrev=False, formatter_class=HelpFormatter
    )
    _add_parameters(parser, function)
    return parser


def _add_parameters(parser: ArgumentParser, source: Any) -> None:
    """Options of the parameters of a function or of the fields of a dataclass."""
    hints = get_type_hints(source)
    made = {f.name: f.default_factory for f in fields(source)} if is_dataclass(source) else {}
    documented = parse_docstring(inspect.getdoc(source) or "").params
    helps = {p.arg_name: " ".join((p.description or "").split()) for p in documented}
    for name, parameter in inspect.signature(source).parameters.items():
        kind = hints[name]
        if is_dataclass(kind):
            _add_parameters(parser, kind)
        elif parameter.kind is not parameter.VAR_KEYWORD:
            positional = not is_dataclass(source) and parameter.kind is not parameter.KEYWORD_ONLY
            factory = made.get(name, MISSING)
            default = parameter.default if factory is MISSING else factory()
            settings = _settings(kind, default, positional)
            settings["help"] = helps.get(name, "").replace("%", "%%")
            _add(parser, name, positional, settings)


def _add(parser: ArgumentParser, name: str, positional: bool, settings: dict[str, Any]) -> None:
    if positional:
        parser.add_argument(name, **settings)
        return
    spelled = name.rstrip("_").replace("_", "-")
    parser.add_argument(f"--{spelled}", dest=name, **settings)


def _settings(kind: Any, default: Any, positional: bool) -> dict[str, Any]:
    """Settings of `ArgumentParser.add_argument` for a type and a default."""
    required = default is inspect.Parameter.empty
    choices = [part for part in get_args(kind) if part is not NoneType]
    if get_origin(kind) in (Union, UnionType) and len(choices) == 1:
        kind = choices[0]
    inner, origin = get_args(kind), get_origin(kind)
    if kind is bool:
        return {"action": "store_true"}
    settings: dict[str, Any] = {}
    if not required:
        # jsonargparse puts values into it.
        settings["default"] = list(default) if isinstance(default, tuple) else default
    elif not positional and origin is not dict:
        settings["required"] = True
    if origin is dict:
        return settings | {"action": "append", "default": [], "metavar": "KEY=VALUE"}
    if origin is list and get_origin(inner[0]) is tuple:
        count = len(get_args(inner[0]))
        return settings | {"action": "append", "nargs": count, "type": get_args(inner[0])[0]}
    if origin is list:
        may_be_none = not required and (positional or bool(default))
        return settings | {"type": inner[0], "nargs": "*" if may_be_none else "+"}
    if origin is tuple:
        return settings | {"type": inner[0], "nargs": len(inner)}
    return settings | {"type": kind} | ({"nargs": "?"} if positional and not required else {})


def _value(kind: Any, value: Any, name: str) -> Any:
    if get_origin(kind) is tuple:
        return tuple(value)
    if get_origin(kind) is not dict:
        return value
    options: dict[str, Any] = {}
    for pair in value:
        key, equals, text = pair.partition("=")
        if not key or not equals:
            raise ValueError(f"--{name} must be KEY=VALUE, got {pair!r}")
        try:
            options[key] = json.loads(text)
        except json.JSONDecodeError:
            options[key] = text
    return options


def _split(parser: ArgumentParser, arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Arguments of the parser's own options, and those of all others, each with its values."""
    own: list[str] = []
    rest: list[str] = []
    target = own
    for argument in arguments:
        if argument.startswith("-") and not _is_number(argument):
            known = argument.partition("=")[0] in parser._option_string_actions
            target = own if known else rest
        target.append(argument)
    return own, rest


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
