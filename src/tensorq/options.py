"""The command line's options: parsed by tyro, its boxed errors put into one line of ours."""

from __future__ import annotations

import ast
import contextlib
import functools
import inspect
import io
import re
from collections.abc import Callable, Iterable
from itertools import chain
from pathlib import Path
from typing import Any

from tensorq.errors import TensorqError, similar
from tensorq.paths import absolute


def parse(target: Any, command: str, arguments: list[str], **keywords: Any) -> Any:
    """Parse the arguments of `tensorq COMMAND`: into a dataclass, or for a function, which is then called."""
    import tyro

    is_class = isinstance(target, type)
    errors = io.StringIO()
    try:
        with contextlib.redirect_stderr(errors):
            parsed, unknown = tyro.cli(
                target if is_class else _deferred(target),
                prog=f"tensorq {command}" + (" ENV" if is_class else ""),
                args=arguments,
                config=None if is_class else (tyro.conf.FlagCreatePairsOff,),
                registry=_numbers(),
                return_unknown_args=True,
                **keywords,
            )
        message = _unknown(unknown, arguments, target) if unknown else ""
    except SystemExit as stop:
        if not stop.code:
            raise
        message = _one_line(errors.getvalue())
    if message:
        end = "" if message.endswith("?") else "."
        raise TensorqError(f"{message}{end} `tensorq {command} --help` lists the options.")
    return parsed if is_class else parsed()


def last_value(arguments: list[str], name: str) -> str | None:
    """The last value of an option before the rest is parsed: the preset decides the other options' defaults."""
    value = None
    for index, argument in enumerate(arguments):
        if argument == name and index + 1 < len(arguments):
            value = arguments[index + 1]
        elif argument.startswith(f"{name}="):
            value = argument.partition("=")[2]
    return value


def env_arguments(texts: Iterable[str]) -> dict[str, Any]:
    """Keywords for an environment from texts such as is_slippery=False: Python literals, or else text as it stands."""
    found: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (equals and name.isidentifier()):
            raise TensorqError(f"--env-arg: received {text!r}, expected NAME=VALUE, such as is_slippery=False.")
        try:
            found[name] = ast.literal_eval(value)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            found[name] = value
    return found


def _to_option(name: str) -> str:
    """The option that sets a field."""
    return f"--{name.replace('_', '-')}"


def _deferred(function: Callable[..., None]) -> Callable[..., Callable[[], None]]:
    """The same signature, but the call is only prepared: what it prints and raises is then its own.

    The call gets absolute paths.
    """

    def whole(value: Any) -> Any:
        if isinstance(value, list):
            return [whole(item) for item in value]
        return absolute(value) if isinstance(value, Path) else value

    @functools.wraps(function)
    def prepare(*args: Any, **kwargs: Any) -> Callable[[], None]:
        return lambda: function(*map(whole, args), **{name: whole(value) for name, value in kwargs.items()})

    return prepare


def _whole(text: str) -> int:
    """A whole number, also as 1e6 or 5_000."""
    try:
        return int(text)
    except ValueError:
        if (number := float(text)) != int(number):
            raise
        return int(number)


def _wholes(texts: list[str]) -> tuple[int, ...]:
    """Whole numbers, also joined as tables show them: 64x64."""
    try:
        found = tuple(_whole(part) for text in texts for part in text.split("x"))
    except (ValueError, OverflowError):
        found = ()
    if not found:
        received = ", ".join(map(repr, texts)) or "nothing"
        raise ValueError(f"received {received}, expected whole numbers such as 256 256 or 256x256")
    return found


def _numbers() -> Any:
    """How tyro is to read numbers, and what it is to say where it cannot."""
    from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec

    registry = ConstructorRegistry()

    def reader(read: Callable[[str], Any], expected: str) -> Callable[[list[str]], Any]:
        def from_text(texts: list[str]) -> Any:
            try:
                return read(texts[0])
            except (ValueError, OverflowError):
                raise ValueError(f"received {texts[0]!r}, expected {expected}") from None

        return from_text

    @registry.primitive_rule
    def rule(info: Any) -> PrimitiveConstructorSpec[Any] | None:
        if info.type == tuple[int, ...]:
            return PrimitiveConstructorSpec(
                nargs="*",
                metavar="INT [INT ...]",
                instance_from_str=_wholes,
                is_instance=lambda value: isinstance(value, tuple),
                str_from_instance=lambda value: [str(part) for part in value],
            )
        if info.type not in (int, float):
            return None
        whole = info.type is int
        return PrimitiveConstructorSpec(
            nargs=1,
            metavar="INT" if whole else "FLOAT",
            instance_from_str=reader(_whole, "a whole number") if whole else reader(float, "a number"),
            is_instance=lambda value: isinstance(value, (int, float)),
            str_from_instance=lambda value: [str(value)],
        )

    return registry


def _one_line(boxed: str) -> str:
    """What tyro's box says, in the words of this project."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", boxed)
    text = " ".join(re.sub(r"[─-╿]", " ", text).split())
    text = re.split(r" For full helptext| Argument helptext:| Perhaps you meant:", text)[0].rstrip(" .")
    if found := re.search(r"Error parsing (-\S+): .*?(received .*)", text):
        return f"{found[1]}: {found[2]}"
    if found := re.search(r"invalid choice (.*?) for argument '(.*?)'\. Expected one of \((.*?),?\)", text):
        choices = found[3].replace("'", "")
        return f"{found[2]}: received {found[1]}, expected one of {choices}"
    if found := re.search(r"Missing value for argument '(-.*?)'", text):
        return f"{found[1]}: expected a value"
    if "Required options" in text or "Missing value" in text:
        return "expected the run's folder, such as runs/CartPole-v1-dqn-seed0"
    return text


def _unknown(words: list[str], arguments: list[str], target: Any) -> str:
    """What to say of arguments that are not understood: of all options among them, or else of the first value."""
    fields = [name for name in inspect.signature(target).parameters if name != "env"]
    options = [_to_option(name) for name in fields] + [_to_option(f"no_{name}") for name in fields]
    names = dict.fromkeys(word.partition("=")[0] for word in words if word.startswith("-"))
    if unknown := [name for name in names if name not in options]:
        plain = [name.strip("-").replace("-", "_") for name in unknown]
        close = [similar(name, fields) for name in plain]
        hints = [f"did you mean {' or '.join(map(_to_option, found))}?" if found else "" for found in close]
        if "env_arg" in fields:  # as tutorials have is_slippery
            own = [
                f"one of the environment's own is --env-arg {name}=VALUE" if name.isidentifier() else ""
                for name in plain
            ]
            hints = [hint or other for hint, other in zip(hints, own, strict=True)]
        if len(unknown) == 1:
            return f"unknown option {unknown[0]}" + (f": {hints[0]}" if hints[0] else "")
        listed = (name + (f" ({hint})" if hint else "") for name, hint in zip(unknown, hints, strict=True))
        return f"unknown options {', '.join(listed)}"
    word = words[0]
    pairs = ((before, after) for before, after in zip(arguments, arguments[1:], strict=False) if after == word)
    joined = (argument.split("=", 1) for argument in arguments if argument.endswith(f"={word}"))
    option = next((before for before, _ in chain(pairs, joined) if before in options), None)
    if option is None:
        return f"unexpected {word!r}"
    if word.lower() in ("false", "no", "off", "0") and not option.startswith("--no-"):
        return f"{option} takes no value: " + (
            f"give --no-{option[2:]}" if isinstance(target, type) else "leave it out"
        )
    return f"{option} takes no value: received {word!r}"
