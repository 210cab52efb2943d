"""Paths: absolute inside, whatever becomes of the working directory, and short where a person reads them."""

from __future__ import annotations

import os
import re
from pathlib import Path

from tensorq.errors import TensorqError


def absolute(path: str | os.PathLike[str]) -> Path:
    """The path from the root, with `~` as the home folder; raises TensorqError where the folder it begins in is not."""
    try:
        return Path(path).expanduser().absolute()
    except RuntimeError as error:
        raise TensorqError(f"{os.fspath(path)}: there is no such home folder; write the whole path.") from error
    except FileNotFoundError as error:
        raise TensorqError(
            f"{os.fspath(path)}: the current folder has been removed; change to another, or write the whole path."
        ) from error


def shown(text: str | Path) -> str:
    """A path, or a text that names some, for a person: paths below the current folder begin there.

    In a command whose environment, say, has changed the current folder, paths stay absolute: the person's is another.
    """
    here = _current_folder()
    if here in (None, os.sep) or _began_in not in (None, here):
        return str(text)
    # Where a path begins: not within another one.
    return re.sub(rf"(?<![^\s'\"`(]){re.escape(f'{here}{os.sep}')}(?=[^\s'\"`])", "", str(text))


def remember_current_folder() -> None:
    """Take the current folder for the one that the person who gave the command stands in."""
    global _began_in
    _began_in = _current_folder()


def _current_folder() -> str | None:
    try:
        return os.getcwd()
    except OSError:  # it has been removed
        return None


_began_in: str | None = None
