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
    """A path, or a text that names some, for a person: paths below the current folder begin there."""
    try:
        here = os.getcwd()
    except OSError:  # it has been removed
        return str(text)
    if here == os.sep:
        return str(text)
    # Where a path begins: not within another one.
    return re.sub(rf"(?<![^\s'\"`(]){re.escape(here + os.sep)}(?=[^\s'\"`])", "", str(text))
