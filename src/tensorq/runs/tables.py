"""The tables of a run, metrics.csv and episodes.csv: appended to while training, cut back when a run is resumed."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tensorq.errors import TensorqError, nearest
from tensorq.extras import install_command
from tensorq.runs.checkpoint import open_in_place, writing_failed


class CsvTable:
    """A table of numbers that grows by rows. Appended rows wait in memory until `flush` or `position`."""

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        """Open `path`, or create it with a header; an existing file must have the same columns."""
        self.path = path
        self.columns = tuple(columns)
        self._header = (",".join(columns) + "\n").encode()
        self._pending = bytearray()
        self._file = os.fdopen(open_in_place(path), "r+b", buffering=0)
        try:
            found = self._file.read(len(self._header))
            if found != self._header and self._header.startswith(found):  # new, or killed while it wrote the header
                self._file.truncate(0)
                self._pending += self._header
                self.flush()
            elif found != self._header:
                expected = self._header.decode().strip()
                raise TensorqError(f"{path} does not begin with the columns {expected}; it is not a table of this run")
        except BaseException:
            self._file.close()
            raise

    def append(self, rows: Iterable[Sequence[object]]) -> None:
        """Add rows; None becomes an empty cell. Equal numbers give equal text, whatever their type."""
        for row in rows:
            if len(row) != len(self.columns):
                raise ValueError(f"{self.path}: a row of {len(row)} cells {row}, expected {self.columns}")
            self._pending += (",".join([_cell(value) for value in row]) + "\n").encode()

    def flush(self) -> None:
        """Write the appended rows. After an error the file still ends with a whole row, and memory keeps the rows."""
        size = self._file.seek(0, os.SEEK_END)
        written = 0
        try:
            while written < len(self._pending):
                written += self._file.write(memoryview(self._pending)[written:])
        except OSError as error:
            self._file.truncate(size)
            kept = "earlier rows and the last checkpoint are intact"
            raise writing_failed(self.path, error, len(self._pending), kept) from error
        self._pending.clear()

    def position(self) -> int:
        """Flush, wait for the disk, and return the size in bytes, which a checkpoint stores."""
        self.flush()
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            raise writing_failed(self.path, error, 0, "the last checkpoint is intact") from error
        return self._file.seek(0, os.SEEK_END)

    def truncate(self, position: int) -> None:
        """Drop all rows after `position`, as returned by `position()`; 0 drops every row and keeps the header."""
        self._pending.clear()
        position = max(position, len(self._header))
        size = self._file.seek(0, os.SEEK_END)
        self._file.seek(min(position, size) - 1)
        if size < position or self._file.read(1) != b"\n":
            raise TensorqError(
                f"{self.path} has {size} bytes and was changed: the checkpoint expects a row to end at byte {position};"
                " put the original file back, or train again into another run_dir (--run-dir)"
            )
        self._file.truncate(position)

    def close(self) -> None:
        """Flush and close; closing again does nothing."""
        if not self._file.closed:
            try:
                self.flush()
            finally:
                self._file.close()

    def __enter__(self) -> CsvTable:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if hasattr(value, "item"):  # a NumPy scalar
        value = value.item()
    # A float32 that went through a checkpoint comes back as a Python float: both must be written alike.
    return str(int(value)) if isinstance(value, int) else repr(float(value))


class Table(Mapping[str, np.ndarray]):
    """The columns of a table by name, [rows] float64 each and NaN where a cell is empty: table["steps"], table.steps.

    `return` is a keyword of Python, so this column is available only as table["return"].
    """

    def __init__(self, columns: Mapping[str, np.ndarray]) -> None:
        self._columns = dict(columns)

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self._columns:
            raise KeyError(f"there is no column {name!r}: {nearest(str(name), self._columns)}")
        return self._columns[name]

    def __getattr__(self, name: str) -> np.ndarray:
        columns = self.__dict__.get("_columns", {})  # missing while a copy is made
        if name not in columns:
            raise AttributeError(f"there is no column {name!r}: {nearest(name, columns)}")
        return columns[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._columns]

    def __repr__(self) -> str:
        rows = len(next(iter(self._columns.values()), ()))
        return f"<Table of {rows:,} row{'' if rows == 1 else 's'}: {', '.join(self._columns)}>"

    def to_pandas(self) -> Any:
        """The same as a pandas.DataFrame; raises TensorqError if pandas is not installed."""
        try:
            import pandas
        except ImportError as error:
            raise TensorqError(f"to_pandas() needs pandas: {install_command('pandas')}") from error
        return pandas.DataFrame(self._columns)


def read_table(path: Path) -> dict[str, np.ndarray]:
    """Return the columns as float64, NaN where a cell is empty. A last line that a crash cut short is left out."""
    if path.exists() and not path.is_file():
        raise TensorqError(f"{path} is not a regular file; put the original file back")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise TensorqError(f"cannot read the table {path}: {error.strerror or error}") from error
    try:
        text = data[: data.rfind(b"\n") + 1].decode().replace("\r\n", "\n")
        header, _, body = text.partition("\n")
        columns = header.split(",")
        if not all(columns) or len(set(columns)) < len(columns):
            raise ValueError(f"expected the names of columns in line 1, received {header[:100]!r}")
        values = _numbers(body, len(columns))
    except ValueError as error:
        why = "it is not text" if isinstance(error, UnicodeDecodeError) else error
        raise TensorqError(f"{path} is damaged: {why}; put the original file back, or leave this run out") from error
    return {name: np.ascontiguousarray(values[:, index]) for index, name in enumerate(columns)}


def _numbers(body: str, num_columns: int) -> np.ndarray:
    if not body:
        return np.empty((0, num_columns))
    body = "\n" + body
    for empty, filled in ((",,", ",nan,"), (",,", ",nan,"), ("\n,", "\nnan,"), (",\n", ",nan\n")):
        body = body.replace(empty, filled)
    lines = body[1:-1].split("\n")
    try:
        values = np.loadtxt(lines, delimiter=",", comments=None, ndmin=2)
    except ValueError:
        values = np.empty((0, 0))
    if values.shape != (len(lines), num_columns):
        raise ValueError(_first_damage(lines, num_columns))
    return values


def _first_damage(lines: Sequence[str], num_columns: int) -> str:
    for number, line in enumerate(lines, start=2):  # line 1 names the columns
        cells = line.split(",")
        if len(cells) != num_columns:
            return f"line {number} has {len(cells)} cells instead of {num_columns}"
        for cell in cells:
            try:
                float(cell)
            except ValueError:
                return f"line {number} has {cell[:40]!r}, expected a number"
    return "its lines are not rows of numbers"
