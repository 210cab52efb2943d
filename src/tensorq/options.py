"""The command line's options, by argparse. Those of `tensorq train` are made from the settings of every part."""

from __future__ import annotations

import argparse
import ast
import contextlib
import dataclasses
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, get_args, get_origin

from tensorq.errors import TensorqError, similar
from tensorq.paths import absolute
from tensorq.settings import Part, field_types, values_of

if TYPE_CHECKING:
    from tensorq.config import Config


class Option(NamedTuple):
    """An option of a command, as argparse takes it."""

    names: tuple[str, ...]
    keywords: dict[str, Any]


class Parser(argparse.ArgumentParser):
    """Parses the arguments of one command; a mistake in them raises a TensorqError of one line."""

    def __init__(self, command: str, about: str, usage: str, options: Iterable[Option]) -> None:
        super().__init__(
            prog=f"tensorq {command}", description=about, usage=usage, allow_abbrev=False, exit_on_error=False
        )
        self._command = command
        for names, keywords in options:
            self.add_argument(*names, **keywords)

    @property
    def _flags(self) -> set[str]:
        """Options without a value, but --help."""
        flags = (action.option_strings for action in self._actions if action.nargs == 0 and action.dest != "help")
        return {name for names in flags for name in names}

    def read(self, arguments: Sequence[str]) -> dict[str, Any]:
        """Parse arguments into options by name; raises TensorqError."""
        try:
            found, unknown = self.parse_known_args(self._joined(arguments))
            if unknown:
                self.error(self._unknown(unknown, arguments))
        except argparse.ArgumentError as error:
            self.error(f"{error.argument_name}: {error.message}")
        return vars(found)

    def error(self, message: str) -> NoReturn:
        """Raise TensorqError; argparse itself would print the usage and end the process."""
        end = "" if message.endswith(("?", ".")) else "."
        raise TensorqError(f"{message}{end} `tensorq {self._command} --help` lists the options.")

    def _joined(self, arguments: Sequence[str]) -> list[str]:
        """Join negative numbers to their options by "=", because argparse takes some of them for options."""
        found: list[str] = []
        for argument in arguments:
            name, equals, value = argument.partition("=")
            if equals and name in self._flags:
                self.error(self._no_value(name, value))
            if found and found[-1].startswith("--") and "=" not in found[-1] and _is_negative(argument):
                found[-1] += f"={argument}"
            else:
                found.append(argument)
        return found

    def _unknown(self, words: list[str], arguments: Sequence[str]) -> str:
        """The error for arguments that are not understood: it names all options among them, or else the first value."""
        options = [name for action in self._actions for name in action.option_strings if name.startswith("--")]
        names = dict.fromkeys(word.partition("=")[0] for word in words if word.startswith("-"))
        if unknown := [name for name in names if name not in options]:
            hints = [self._hint(name, options) for name in unknown]
            if len(unknown) == 1:
                return f"unknown option {unknown[0]}" + (f": {hints[0]}" if hints[0] else "")
            listed = (name + (f" ({hint})" if hint else "") for name, hint in zip(unknown, hints, strict=True))
            return f"unknown options {', '.join(listed)}"
        word = words[0]
        before = next((one for one, other in zip(arguments, arguments[1:], strict=False) if other == word), "")
        return self._no_value(before, word) if before in self._flags else f"unexpected {word!r}"

    def _hint(self, option: str, options: list[str]) -> str:
        name = option.strip("-").replace("-", "_")
        close = similar(name, [each[2:].replace("-", "_") for each in options])
        if close:
            return f"did you mean {' or '.join(map(to_option, close))}?"
        if "--env-arg" in options and name.isidentifier():  # such as is_slippery in tutorials
            return f"a keyword of the environment is given as --env-arg {name}=VALUE"
        return ""

    def _no_value(self, flag: str, value: str) -> str:
        if value.lower() in ("false", "no", "off", "0") and not flag.startswith("--no-"):
            opposite = f"--no-{flag[2:]}"
            return f"{flag} takes no value: {f'give {opposite}' if opposite in self._flags else 'leave it out'}"
        return f"{flag} takes no value: received {value!r}"


def add_settings(parser: Parser, parts: Iterable[type[Part]], config: Config) -> None:
    """Add an option for each setting of these parts, grouped by part; the help shows its value in `config`.

    Options that are not given are not among the parser's results.
    """
    known: set[str] = set()
    for part in parts:
        fields = [
            field
            for field in dataclasses.fields(part)
            if field.name not in known and hasattr(config, field.name) and not field.metadata["hidden"]
        ]
        group = parser.add_argument_group(part.subject)  # not in the help if it stays empty
        for field in fields:
            known.add(field.name)
            about, usual = field.metadata["about"], _shown(getattr(config, field.name))
            keywords = {"default": argparse.SUPPRESS, "dest": field.name, **_reading(field, field_types(part))}
            text = f"{about} (default: {usual})".replace("%", "%%")
            group.add_argument(to_option(field.name), help=text, **keywords)


def _reading(field: dataclasses.Field[Any], types: dict[str, Any]) -> dict[str, Any]:
    """How argparse reads a setting."""
    wanted = types[field.name]
    among = values_of(field, wanted)
    if among is not None:
        return {"type": one_of(among), "metavar": f"{{{','.join(among)}}}"}
    if type(None) in get_args(wanted):
        wanted = get_args(wanted)[0]
    if wanted is bool:
        return {"action": _Switch}
    if get_origin(wanted) is tuple:
        return {"action": _Numbers, "nargs": "*", "metavar": "INT"}
    if wanted in (int, float):
        return {"type": whole if wanted is int else number, "metavar": "INT" if wanted is int else "FLOAT"}
    return {"metavar": "TEXT"}


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, tuple):
        return " ".join(map(str, value)) or "none"
    return "none" if value is None else str(value)


class _Switch(argparse.BooleanOptionalAction):
    """--name and --no-name; argparse's class would add the default to the help in its own words."""

    def __init__(self, option_strings: Sequence[str], dest: str, default: Any = None, help: str | None = None) -> None:
        super().__init__(option_strings, dest, default)
        self.help = help


class _Numbers(argparse.Action):
    """Whole numbers, also joined as tables show them: 64x64."""

    def __call__(self, parser: Any, namespace: argparse.Namespace, values: Any, option: str | None = None) -> None:
        try:
            found = tuple(whole(part) for text in values for part in text.split("x"))
        except argparse.ArgumentTypeError:
            found = ()
        if not found:
            received = ", ".join(map(repr, values)) or "nothing"
            parser.error(f"{option}: received {received}, expected whole numbers such as 256 256 or 256x256")
        setattr(namespace, self.dest, found)


def whole(text: str) -> int:
    """A whole number, also as 1e6 or 5_000."""
    with contextlib.suppress(ValueError):
        return int(text)
    with contextlib.suppress(ValueError, OverflowError):
        if (found := float(text)) == int(found):
            return int(found)
    raise argparse.ArgumentTypeError(f"received {text!r}, expected a whole number")


def number(text: str) -> float:
    """A number."""
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"received {text!r}, expected a number") from None


def one_of(names: Iterable[str]) -> Callable[[str], str]:
    """A reader of one of these texts."""

    def read(text: str) -> str:
        if text not in names:
            raise argparse.ArgumentTypeError(f"received {text!r}, expected one of {', '.join(names)}")
        return text

    return read


def folder(text: str) -> Path:
    """An absolute path."""
    return absolute(text)


def last_value(arguments: list[str], name: str) -> str | None:
    """The last value of an option, before the rest is parsed: the preset decides the defaults of other options."""
    value = None
    for index, argument in enumerate(arguments):
        if argument == name and index + 1 < len(arguments):
            value = arguments[index + 1]
        elif argument.startswith(f"{name}="):
            value = argument.partition("=")[2]
    return value


_WORDS = {"true": True, "false": False, "null": None}


def env_arguments(texts: Iterable[str]) -> dict[str, Any]:
    """Keywords for an environment from texts such as is_slippery=False: Python literals, or else plain text.

    true, false and null mean what they do in TOML and JSON; as text, false would switch on.
    """
    found: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (equals and name.isidentifier()):
            raise TensorqError(f"--env-arg: received {text!r}, expected NAME=VALUE, such as is_slippery=False.")
        try:
            found[name] = _WORDS[value] if value in _WORDS else ast.literal_eval(value)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            found[name] = value
    return found


def to_option(name: str) -> str:
    """The option that sets a field."""
    return f"--{name.replace('_', '-')}"


def _is_negative(text: str) -> bool:
    with contextlib.suppress(ValueError):
        float(text)
        return text.startswith("-")
    return False
