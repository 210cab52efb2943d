"""What others add, named as MODULE:NAME: imported when it is needed, with errors that say whose it is."""

from __future__ import annotations

import importlib
from typing import Any

from tensorq.errors import TensorqError, where_raised


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
                f"{what} {home!r}: Python finds no module {error.name!r}, expected it in the current folder, or "
                "installed."
            ) from error
        raise TensorqError(f"{what} {home!r} needs the Python package {error.name!r}: install it.") from error
    except Exception as error:  # anything: it is not ours
        raise TensorqError(f"{what} {home!r} cannot be imported: {where_raised(error)}.") from error
    if not hasattr(found, name):
        raise TensorqError(f"{what} {home!r}: module {module} has no {name!r}.")
    return getattr(found, name)


def load_observer(home: str) -> Any:
    """The observer that MODULE:NAME names: a function, or a class of which one is made."""
    found = load(home, "observer")
    if isinstance(found, type):
        try:
            found = found()
        except Exception as error:  # anything: it is not ours
            raise TensorqError(f"observer {home!r} cannot be made: {where_raised(error)}.") from error
    if not callable(found):
        raise TensorqError(f"observer {home!r}: received {found!r}, expected a function that takes one event.")
    return found
