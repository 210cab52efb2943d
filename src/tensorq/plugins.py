"""Extensions: objects named as MODULE:NAME, and packages that register theirs. Errors name the package.

A package that extends tensorq has an entry point in the group `tensorq.plugins`: a module that calls tq.register_head
or similar. It is imported only when a name is not known, so that other uses do not wait for it.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from importlib import metadata
from typing import Any

from tensorq.errors import TensorqError, where_raised

GROUP = "tensorq.plugins"
OURS = "tensorq"
_loading = ""  # the package whose module is being imported
_is_loaded = False


class Registry:
    """Objects of one kind by name, each with its home (MODULE:NAME or a path) and the package that registered it."""

    def __init__(self, kind: str, homes: Mapping[str, str]) -> None:
        """Begin with tensorq's own; `kind` is the word for one object in errors."""
        self.kind = kind
        self._homes = dict(homes)
        self._owners = dict.fromkeys(homes, OURS)

    def register(self, name: str, home: str) -> None:
        """Register an object; raises TensorqError if another has its name."""
        if not isinstance(name, str) or not name:
            raise TensorqError(f"{self.kind}: received the name {name!r}, expected text.")
        if self._homes.get(name, home) != home:
            owners = f"{self._owners[name]} and {_loading or home}"
            raise TensorqError(f"{self.kind} {name!r} is registered twice, by {owners}: remove one of them.")
        self._homes[name] = home
        self._owners.setdefault(name, _loading)

    def __iter__(self) -> Iterator[str]:
        """The names that are known so far."""
        return iter(self._homes)

    def __contains__(self, name: object) -> bool:
        """Whether a name is known; if it is not, packages register theirs first."""
        if not isinstance(name, str):
            return False
        if name not in self._homes:
            load_plugins()
        return name in self._homes

    def home(self, name: str) -> str:
        """The home of an object, as MODULE:NAME or a path."""
        return self._homes[name]

    def load(self, name: str) -> Any:
        """The object itself; raises TensorqError if it cannot be imported."""
        owner = self.owner(name)
        whose = "" if owner in ("", OURS) else f" of the package {owner}"
        return load(self._homes[name], f"{self.kind} {name}{whose}")

    def owner(self, name: str) -> str:
        """The package that registered it; empty if it was no package."""
        return self._owners.get(name, "")


def load_plugins() -> None:
    """Import the extensions of installed packages, once; raises TensorqError with the name of a package that fails."""
    global _is_loaded, _loading
    if _is_loaded or _loading:
        return
    for entry in metadata.entry_points(group=GROUP):
        package = entry.dist.name if entry.dist else entry.value
        _loading = package
        try:
            entry.load()
        except TensorqError as error:
            raise TensorqError(f"the package {package}, which extends tensorq: {error}") from error
        except Exception as error:  # any exception: the code is not ours
            text = f"the package {package}, which extends tensorq, raised {where_raised(error)}"
            raise TensorqError(f"{text}: correct or uninstall it.") from error
        finally:
            _loading = ""
    _is_loaded = True


def require_packages(packages: Any, whose: str) -> None:
    """Raise TensorqError if a package with which a run was trained is missing."""
    for package, version in (packages if isinstance(packages, Mapping) else {}).items():
        try:
            metadata.version(str(package))
        except (metadata.PackageNotFoundError, ValueError) as error:
            text = f"{whose} was trained with the package {package} {version}, which is not installed"
            raise TensorqError(f"{text}: install it.") from error


def load(home: str, what: str) -> Any:
    """Import the object MODULE:NAME; raises TensorqError that begins with `what` if it is missing or raises."""
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
    except Exception as error:  # any exception: the code is not ours
        raise TensorqError(f"{what}, {home}, cannot be imported: {where_raised(error)}.") from error
    if not hasattr(found, name):
        raise TensorqError(f"{what}: the module {module} has no {name!r}.")
    return getattr(found, name)


def load_observer(home: str) -> Any:
    """The observer MODULE:NAME: a function, or an object of a class."""
    found = load(home, "observer")
    if isinstance(found, type):
        try:
            found = found()
        except Exception as error:  # any exception: the code is not ours
            raise TensorqError(f"observer {home} cannot be made: {where_raised(error)}.") from error
    if not callable(found):
        raise TensorqError(f"observer {home}: received {found!r}, expected a function that takes one event.")
    return found
