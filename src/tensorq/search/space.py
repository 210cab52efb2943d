"""The space of a search: for each setting that it varies, a range of numbers or a list of values."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tensorq.config import Config
from tensorq.errors import TensorqError
from tensorq.many.grid import read_set
from tensorq.settings import Range, Space, field_types

SpaceGiven = Mapping[str, Range | Sequence[Any]]


def usual_space(config: Config) -> dict[str, Space]:
    """The space that the parts of a run bring with them; that of an algorithm replaces those of the parts it uses."""
    found: dict[str, Space] = {}
    for part in reversed(config.parts):
        found |= part.searched
    return found


def checked_space(given: SpaceGiven) -> dict[str, Space]:
    """A space that a user gave; raises TensorqError for one that is none."""
    found: dict[str, Space] = {}
    if not isinstance(given, Mapping):
        raise TensorqError(f"space: received {given!r}, expected spaces by name, such as {{'gamma': [0.9, 0.99]}}.")
    for name, space in given.items():
        if name in ("env", "env_args", "preset", "seed"):
            raise TensorqError(f"space: received {name}, expected a setting that one search can vary.")
        if isinstance(space, Range):
            found[name] = _checked_range(name, space)
        elif isinstance(space, str) or not isinstance(space, Sequence) or not space or not all(map(_is_value, space)):
            raise TensorqError(
                f"space: received {space!r} for {name}, expected a list of values, or a tq.Range such as "
                "tq.Range(1e-4, 1e-2, log=True)."
            )
        else:
            found[name] = tuple(tuple(each) if isinstance(each, list) else each for each in space)
    return found


def _is_value(value: Any) -> bool:
    """Whether a setting could have this value."""
    if isinstance(value, (list, tuple)):
        return all(_is_value(each) and not isinstance(each, (list, tuple)) for each in value)
    return value is None or isinstance(value, (bool, int, str)) or (isinstance(value, float) and math.isfinite(value))


def _checked_range(name: str, space: Range) -> Range:
    numbers = (space.low, space.high)
    if any(isinstance(each, bool) or not isinstance(each, (int, float)) for each in numbers) or not (
        abs(space.low) < 1e300 and abs(space.high) < 1e300 and space.low < space.high
    ):
        raise TensorqError(f"space: received {name}={space.low}:{space.high}, expected two numbers, the lower first.")
    if space.log and space.low <= 0:
        raise TensorqError(f"space: received {name}={space.low}:{space.high}:log, expected numbers above 0 with log.")
    wanted = field_types(Config).get(name)
    if wanted not in (int, float):
        raise TensorqError(f"space: received a range for {name}, expected a list of values: it is not one number.")
    if wanted is int and (space.low != int(space.low) or space.high != int(space.high)):
        raise TensorqError(f"space: received {name}={space.low}:{space.high}, expected whole numbers.")
    return Range(wanted(space.low), wanted(space.high), bool(space.log))


def read_space(texts: Iterable[str]) -> dict[str, Range | Sequence[Any]]:
    """The space of texts such as learning_rate=1e-4:1e-2:log or n_step=1,3,5; values are written as for a sweep."""
    found: dict[str, Range | Sequence[Any]] = {}
    for text in texts:
        name, _, values = text.partition("=")
        name = name.strip().replace("-", "_")
        if name in found:
            raise TensorqError(f"--space: received {name} twice: give all of its values in one.")
        if match := re.fullmatch(r"([^:,\[\]\"']+):([^:,\[\]\"']+?)(:log)?", values.strip()):
            found[name] = Range(_number(text, match[1]), _number(text, match[2]), match[3] is not None)
        else:
            try:
                found |= read_set([text])
            except TensorqError:
                raise TensorqError(
                    f"--space: received {text!r}, expected a range such as learning_rate=1e-4:1e-2:log, or values such "
                    "as n_step=1,3,5."
                ) from None
    return found


def _number(text: str, part: str) -> float:
    try:
        return float(part)
    except ValueError:
        raise TensorqError(f"--space: received {text!r}, expected two numbers, such as 1e-4:1e-2.") from None


def to_json(space: Mapping[str, Space]) -> dict[str, Any]:
    """A space as JSON holds it."""
    return {
        name: {"low": each.low, "high": each.high, "log": each.log} if isinstance(each, Range) else list(each)
        for name, each in space.items()
    }


def from_json(data: Mapping[str, Any]) -> dict[str, Space]:
    """The space that to_json wrote."""
    return checked_space({name: Range(**each) if isinstance(each, dict) else each for name, each in data.items()})


def within(value: Any, space: Space) -> bool:
    """Whether a value is in a space."""
    return space.low <= value <= space.high if isinstance(space, Range) else value in space
