"""The command's standard streams: closed ones are opened, and a failed write stops nothing but is remembered."""

from __future__ import annotations

import io
import os
import sys
from typing import Any, TextIO


def open_missing() -> None:
    """Open os.devnull in place of closed streams; otherwise a file of the run would get their number and output."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "r+"))  # noqa: SIM115


class Output(io.FileIO):
    """A standard stream that never fails: what cannot be written is left out, and the reason is kept in `error`."""

    def __init__(self, stream: TextIO) -> None:
        """Write to the same descriptor as the stream."""
        super().__init__(stream.fileno(), "w", closefd=False)
        self.stream = stream  # kept: a stream without references closes its descriptor
        self.error: OSError | None = None

    def write(self, data: Any, /) -> int:
        """Write bytes; returns how many."""
        try:
            return super().write(data)
        except OSError as error:
            self.error = error
            return len(data)


def watch(name: str) -> Output:
    """Put an Output behind sys.stdout or sys.stderr. A terminal stays as it is, because writing to it does not fail."""
    stream = getattr(sys, name)
    output = Output(stream)
    if not stream.isatty():
        buffer = io.BufferedWriter(output)
        wrapper = io.TextIOWrapper(buffer, stream.encoding, stream.errors, line_buffering=stream.line_buffering)
        setattr(sys, name, wrapper)
    return output
