"""Settings, and the parts to which they belong: dataclasses whose fields have bounds and a help text.

People write settings flat (options, keywords, presets, config.json); in the code they belong to parts. No TensorFlow
here, nor where a part is defined, so that help and errors do not wait for it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, TypeVar, get_args, get_origin, get_type_hints

from tensorq.errors import TensorqError
from tensorq.plugins import Registry

if TYPE_CHECKING:
    from tensorq.config import Config

P = TypeVar("P", bound="Part")


class Choices(Registry):
    """The alternatives of one setting, by name; a run has one of these parts. Each is imported when it is chosen."""

    def part(self, name: str) -> type[Part]:
        """The class of an alternative; raises KeyError if there is none of that name."""
        if name not in self:
            raise KeyError(name)
        found = self.load(name)
        if not (isinstance(found, type) and issubclass(found, Part)):
            raise TensorqError(f"{self.kind} {name}: {self.home(name)} is {found!r}, expected a subclass of tq.Part.")
        return found


def setting(
    default: Any,
    about: str,
    *,
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    choices: Choices | None = None,
    idle: bool = False,
    before: Any = dataclasses.MISSING,
    hidden: bool = False,
) -> Any:
    """Declare a setting, a field of a part.

    Args:
        default: its value if it is not given.
        about: the help text.
        at_least, above, at_most: bounds of the number, or of each number of a tuple.
        choices: the parts, if the value is the name of one of them.
        idle: whether it may be given if no part of the run has it. This suits sizes and the tuning of switches, which
            presets and sweeps set for several algorithms; other settings decide what is learned, and are refused.
        before: the value in runs whose config.json is older than the setting.
        hidden: whether the command line has no option for it.
    """
    metadata = {
        "about": about, "at_least": at_least, "above": above, "at_most": at_most, "choices": choices, "idle": idle,
        "before": before, "hidden": hidden,
    }  # fmt: skip
    if isinstance(default, (dict, list)):
        return dataclasses.field(default_factory=lambda: type(default)(default), hash=False, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


class Range(NamedTuple):
    """Numbers from `low` to `high`, both among them; `log` spreads them evenly by their logarithms."""

    low: float
    high: float
    log: bool = False


Space = Range | tuple[Any, ...]
"""The values of one setting among which a search chooses: a range of numbers, or each value."""


@dataclass(frozen=True)
class Part:
    """A part of a run with its settings. Its constructor checks each of them and raises TensorqError."""

    subject: ClassVar[str] = ""
    """The heading of its settings in the help."""
    uses: ClassVar[tuple[type[Part], ...]] = ()
    """The parts that it always comes with."""
    searched: ClassVar[Mapping[str, Space]] = {}
    """What `tensorq tune` varies, and where. A part that others come with may have another space for their setting."""

    def __post_init__(self) -> None:
        """Check types and bounds; convert whole floats and NumPy numbers to the field's type."""
        types = field_types(type(self))
        for field in dataclasses.fields(self):
            value = _checked(field, types[field.name], getattr(self, field.name))
            object.__setattr__(self, field.name, value)

    def check(self, config: Config) -> None:
        """Refuse settings that do not fit each other or those of other parts; raises TensorqError."""


def take(part: type[P], flat: Mapping[str, Any]) -> P:
    """Make a part from flat settings."""
    return part(**{field.name: flat[field.name] for field in dataclasses.fields(part) if field.name in flat})


def default_of(field: dataclasses.Field[Any]) -> Any:
    """A field's default value."""
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


def choices_of(part: type[Part]) -> list[tuple[str, Choices]]:
    """The names of the settings that choose another part, with the alternatives."""
    found = ((field.name, field.metadata["choices"]) for field in dataclasses.fields(part))
    return [(name, choices) for name, choices in found if choices is not None]


def chosen_parts(part: type[Part], flat: Mapping[str, Any]) -> list[type[Part]]:
    """A part, and the parts that come with it for these settings."""
    chosen = [choices.part(flat.get(name, getattr(part, name))) for name, choices in choices_of(part)]
    found = [part, *(each for other in (*part.uses, *chosen) for each in chosen_parts(other, flat))]
    return list(dict.fromkeys(found))


def all_parts(part: type[Part]) -> list[type[Part]]:
    """A part, and all parts that can come with it."""
    possible = [choices.part(name) for _, choices in choices_of(part) for name in choices]
    found = [part, *(each for other in (*part.uses, *possible) for each in all_parts(other))]
    return list(dict.fromkeys(found))


_types: dict[Any, dict[str, Any]] = {}


def field_types(part: type[Part]) -> dict[str, Any]:
    """The types of a part's fields, by name."""
    if part not in _types:
        _types[part] = get_type_hints(part)
    return _types[part]


def values_of(field: dataclasses.Field[Any], wanted: Any) -> tuple[str, ...] | None:
    """The texts that a field of this type allows; None if it is not a choice."""
    if field.metadata["choices"] is not None:
        return tuple(field.metadata["choices"])
    return get_args(wanted) if get_origin(wanted) is Literal else None


def _checked(field: dataclasses.Field[Any], wanted: Any, value: Any) -> Any:
    """Check a value and convert it to the field's type; raises TensorqError."""
    name = field.name
    if hasattr(value, "item") and getattr(value, "ndim", 1) == 0:
        value = value.item()
    if type(None) in get_args(wanted):
        if value is None:
            return None
        wanted = get_args(wanted)[0]
    choices, among = field.metadata["choices"], values_of(field, wanted)
    if among is not None:
        if value not in (among if choices is None else choices):
            among = values_of(field, wanted) or among  # now with those that packages registered
            raise TensorqError(f"{name}: received {value!r}, expected one of {', '.join(among)}.")
        return value
    if wanted is bool or wanted is str:
        if not isinstance(value, wanted):
            raise TensorqError(f"{name}: received {value!r}, expected {'true or false' if wanted is bool else 'text'}.")
        return value
    if wanted is int or wanted is float:
        return _checked_number(field, wanted, value)
    if get_origin(wanted) is tuple:
        return _checked_numbers(field, value)
    return _plain_arguments(name, value)


def _checked_number(field: dataclasses.Field[Any], wanted: type, value: Any) -> Any:
    kind = "a whole number" if wanted is int else "a number"
    received = f"{field.name}: received {value!r}, expected {kind}"
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < 2**63:
        bound = " below 2^63" if isinstance(value, int) and abs(value) >= 2**63 else ""
        raise TensorqError(f"{received}{bound}.")
    if wanted is int and value != int(value):
        raise TensorqError(f"{received}.")
    value = wanted(value)
    if not _within(field, value):
        raise TensorqError(f"{field.name}: received {value}, expected {kind} {_bounds(field)}.")
    return value


def _checked_numbers(field: dataclasses.Field[Any], value: Any) -> tuple[int, ...]:
    if isinstance(value, Iterable) and not isinstance(value, (str, bytes)):
        value = tuple(number.item() if hasattr(number, "item") else number for number in value)
    received = f"{field.name}: received {value!r}, expected whole numbers"
    if not isinstance(value, tuple) or any(isinstance(each, bool) or not isinstance(each, int) for each in value):
        raise TensorqError(f"{received} such as 256 256.")
    if not all(_within(field, number) for number in value):
        raise TensorqError(f"{received} {_bounds(field)}.")
    return value


def _within(field: dataclasses.Field[Any], value: float) -> bool:
    least, above, most = (field.metadata[name] for name in ("at_least", "above", "at_most"))
    return (least is None or value >= least) and (above is None or value > above) and (most is None or value <= most)


def _bounds(field: dataclasses.Field[Any]) -> str:
    """The bounds of a field in words."""
    least, above, most = (field.metadata[name] for name in ("at_least", "above", "at_most"))
    if least is not None:
        return f"of at least {least}" if most is None else f"from {least} to {most:,}"
    low = "" if above is None else f"above {above}"
    high = "" if most is None else f"{'and ' if low else 'of '}at most {most:,}"
    return " ".join(filter(None, (low, high)))


def _plain_arguments(setting_name: str, value: Any) -> dict[str, Any]:
    """Keywords that config.json can hold; tuples become lists."""

    def plain(name: str, value: Any) -> Any:
        if hasattr(value, "tolist"):  # NumPy
            value = value.tolist()
        if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
            return {key: plain(name, part) for key, part in value.items()}
        if isinstance(value, (list, tuple)):
            return [plain(name, part) for part in value]
        if value is None or isinstance(value, (bool, int, str)) or (isinstance(value, float) and math.isfinite(value)):
            return value
        raise TensorqError(
            f"{setting_name}: received {value!r} for {name}, expected a finite number, text, true or false, None, or a "
            "list or dict of these, which config.json can hold; for other values, give a function that makes the "
            "environment."
        )

    if not isinstance(value, Mapping) or not all(isinstance(name, str) and name.isidentifier() for name in value):
        expected = "expected values by name, such as {'is_slippery': False}"
        raise TensorqError(f"{setting_name}: received {value!r}, {expected}.")
    return {name: plain(name, part) for name, part in value.items()}
