"""Paths: absolute in the code, because the working directory may change, and short in texts for people."""

from __future__ import annotations

import os
import re
from pathlib import Path

from tensorq.errors import TensorqError


def absolute(path: str | os.PathLike[str]) -> Path:
    """The absolute path, with `~` as the home folder; raises TensorqError if the folder where it begins is missing."""
    try:
        return Path(path).expanduser().absolute()
    except RuntimeError as error:
        raise TensorqError(f"{os.fspath(path)}: there is no such home folder; write the whole path.") from error
    except FileNotFoundError as error:
        raise TensorqError(
            f"{os.fspath(path)}: the current folder has been removed; change to another, or write the whole path."
        ) from error


def shown(text: str | Path) -> str:
    """A path, or a text with paths, for people: paths below the current folder are shown relative to it.

    Paths stay absolute if an environment has changed the current folder: the user's folder is another one.
    """
    here = _current_folder()
    if here in (None, os.sep) or _began_in not in (None, here):
        return str(text)
    # Only where a path begins, not within another path.
    return re.sub(rf"(?<![^\s'\"`(]){re.escape(f'{here}{os.sep}')}(?=[^\s'\"`])", "", str(text))


def remember_current_folder() -> None:
    """Remember the current folder as the one in which the user gave the command."""
    global _began_in
    _began_in = _current_folder()


def _current_folder() -> str | None:
    try:
        return os.getcwd()
    except OSError:  # it has been removed
        return None


_began_in: str | None = None
