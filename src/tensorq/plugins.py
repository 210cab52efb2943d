"""What others add: things named as MODULE:NAME, and packages that register theirs. Errors say whose it is.

A package that adds to tensorq has an entry point in the group `tensorq.plugins`: a module that calls tq.register_head
and the like. It is imported only when a name is not known, so that nobody else waits for it.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator, Mapping
from importlib import metadata
from typing import Any

from tensorq.errors import TensorqError, where_raised

GROUP = "tensorq.plugins"
OURS = "tensorq"
_loading = ""  # the package whose module is being imported
_is_loaded = False


class Registry:
    """Things of one kind by name, each with its home and the package that it is from."""

    def __init__(self, kind: str, homes: Mapping[str, str]) -> None:
        """Take tensorq's own; `kind` is what to call one."""
        self.kind = kind
        self._homes = dict(homes)
        self._owners = dict.fromkeys(homes, OURS)

    def register(self, name: str, home: str) -> None:
        """Add one; raises TensorqError where another has its name."""
        if not isinstance(name, str) or not name:
            raise TensorqError(f"{self.kind}: received the name {name!r}, expected text.")
        if self._homes.get(name, home) != home:
            owners = f"{self._owners[name]} and {_loading or home}"
            raise TensorqError(f"{self.kind} {name!r} is registered twice, by {owners}: one of them has to go.")
        self._homes[name] = home
        self._owners.setdefault(name, _loading)

    def __iter__(self) -> Iterator[str]:
        """The names that are known so far."""
        return iter(self._homes)

    def __contains__(self, name: object) -> bool:
        """Whether a name is known; where it is not, after the packages have registered theirs."""
        if not isinstance(name, str):
            return False
        if name not in self._homes:
            load_plugins()
        return name in self._homes

    def home(self, name: str) -> str:
        """Where it is, as MODULE:NAME or a path."""
        return self._homes[name]

    def load(self, name: str) -> Any:
        """The thing itself; raises TensorqError where it cannot be imported."""
        owner = self._owners.get(name, "")
        whose = "" if owner in ("", OURS) else f" of the package {owner}"
        return load(self._homes[name], f"{self.kind} {name}{whose}")

    def owner(self, name: str) -> str:
        """The package that registered it; empty where that was no package."""
        return self._owners.get(name, "")


def load_plugins() -> None:
    """Import what installed packages register, once; raises TensorqError with the package that raises."""
    global _is_loaded, _loading
    if _is_loaded or _loading:
        return
    for entry in metadata.entry_points(group=GROUP):
        package = entry.dist.name if entry.dist else entry.value
        _loading = package
        try:
            entry.load()
        except TensorqError as error:
            raise TensorqError(f"the package {package}, which adds to tensorq: {error}") from error
        except Exception as error:  # anything: it is not ours
            text = f"the package {package}, which adds to tensorq, raised {where_raised(error)}"
            raise TensorqError(f"{text}: mend or uninstall it.") from error
        finally:
            _loading = ""
    _is_loaded = True


def versions_of(packages: Iterable[str]) -> dict[str, str]:
    """The versions of packages that add to tensorq, for config.json."""
    return {package: metadata.version(package) for package in packages}


def require_packages(packages: Any, whose: str) -> None:
    """Raise TensorqError where a package is missing that a run was trained with."""
    for package, version in (packages if isinstance(packages, Mapping) else {}).items():
        try:
            metadata.version(str(package))
        except (metadata.PackageNotFoundError, ValueError) as error:
            text = f"{whose} was trained with the package {package} {version}, which is not installed"
            raise TensorqError(f"{text}: install it.") from error


def load(home: str, what: str) -> Any:
    """What MODULE:NAME names; raises TensorqError, with `what` it is, where there is no such thing or it raises."""
    module, colon, name = home.partition(":")
    if not (colon and name.isidentifier() and all(part.isidentifier() for part in module.split("."))):
        raise TensorqError(f"{what}: received {home!r}, expected MODULE:NAME, such as my_module:MyClass.")
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{module}.".startswith(f"{error.name}."):
            raise TensorqError(
                f"{what}: Python finds no module {error.name!r}, expected it in the current folder, or installed."
            ) from error
        raise TensorqError(f"{what}, {home}, needs the Python package {error.name!r}: install it.") from error
    except Exception as error:  # anything: it is not ours
        raise TensorqError(f"{what}, {home}, cannot be imported: {where_raised(error)}.") from error
    if not hasattr(found, name):
        raise TensorqError(f"{what}: the module {module} has no {name!r}.")
    return getattr(found, name)


def load_observer(home: str) -> Any:
    """The observer that MODULE:NAME names: a function, or a class of which one is made."""
    found = load(home, "observer")
    if isinstance(found, type):
        try:
            found = found()
        except Exception as error:  # anything: it is not ours
            raise TensorqError(f"observer {home} cannot be made: {where_raised(error)}.") from error
    if not callable(found):
        raise TensorqError(f"observer {home}: received {found!r}, expected a function that takes one event.")
    return found
