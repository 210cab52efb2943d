"""The grid of a sweep: every combination of some values of settings."""

from __future__ import annotations

import itertools
import math
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_origin

from tensorq.config import Config
from tensorq.errors import TensorqError
from tensorq.settings import field_types

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Grid = Mapping[str, Sequence[Any]]
"""The values of each setting, by its name. `preset` is one, too."""


def combinations(grid: Grid, most: int) -> list[dict[str, Any]]:
    """Every combination of values; the last setting changes fastest.

    Raises TensorqError for a list that is none, and for more than `most` combinations.
    """
    for name, values in grid.items():
        if isinstance(values, str) or not isinstance(values, Sequence) or not values:
            raise TensorqError(
                f"{name}: received {values!r}, expected a list of values to try, such as [0.001, 0.0003]."
            )
        if name == "seed":
            raise TensorqError("seed: give seeds (--seeds), which has every seed.")
        if name == "env":
            raise TensorqError("env: a sweep has one environment: make a sweep for each.")
    if (count := math.prod(map(len, grid.values()))) > most:
        raise TensorqError(f"received {count:,} combinations of values, expected at most {most:,} with these seeds.")
    return [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]


def folder_name(values: Mapping[str, Any], seed: int) -> str:
    """The name of a run's folder, such as learning_rate=0.001,double=true-seed0."""
    found = ",".join(f"{name}={_short(value)}" for name, value in values.items())
    return f"{re.sub(r'[^A-Za-z0-9_=.,-]', '-', found)}-seed{seed}".lstrip("-.")


def _short(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    text = "x".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
    return Path(text).stem if text.endswith(".toml") else text


def read_set(texts: Iterable[str]) -> dict[str, list[Any]]:
    """The grid of texts such as learning_rate=1e-3,3e-4, with values as in TOML; plain words need no quotes."""
    grid: dict[str, list[Any]] = {}
    for text in texts:
        name, equals, values = text.partition("=")
        name = name.strip().replace("-", "_")
        if not equals or not name.isidentifier():
            raise TensorqError(f"--set: received {text!r}, expected NAME=VALUE,VALUE ... such as double=true,false.")
        if name in grid:
            raise TensorqError(f"--set: received {name} twice: give all of its values in one.")
        grid[name] = _values(name, values)
    return grid


def _values(name: str, text: str) -> list[Any]:
    """The values in a text: `1,2` and `[1,2]` are two numbers; for a setting that is a list, `[1,2]` is one value."""
    words = re.sub(r"(?<![\w.\"'+-])([A-Za-z_][\w-]*)(?![\w.\"'])", _quoted, text)
    try:
        found = tomllib.loads(f"values = [{words}]")["values"]
    except tomllib.TOMLDecodeError:
        raise TensorqError(
            f"--set: received {name}={text}, expected values as in TOML, such as {name}=1e-3,3e-4 or {name}=true,false."
        ) from None
    if len(found) == 1 and isinstance(found[0], list):
        inner = found[0]
        one_value = get_origin(field_types(Config).get(name)) is tuple and not any(
            isinstance(each, list) for each in inner
        )
        return found if one_value else inner
    return found


def _quoted(word: re.Match[str]) -> str:
    return word[0] if word[0] in ("true", "false", "inf", "nan") else f'"{word[0]}"'


def read_file(path: Path) -> dict[str, Any]:
    """A sweep.toml: settings, `preset` and `seeds` that every run has, and a table [sweep] with lists of values."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise TensorqError(f"--file: cannot read {path}: {getattr(error, 'strerror', None) or error}.") from error
    if not isinstance(content.get("sweep"), dict):
        raise TensorqError(f"--file: {path} has no table [sweep] with lists of values, such as double = [true, false].")
    for name in ("env", "run_dir", "init_from", "jobs", "progress", "observers", "grid"):
        if name in content:
            raise TensorqError(f"--file: {path} has {name!r}, expected it as an option of the command.")
    return content
