"""TensorBoard's event files: an observer that writes metrics and hyperparameters, without TensorBoard.

A file consists of records, each an Event in the protocol buffer encoding. The numbers below are those of the fields in
event.proto, summary.proto and hparams' plugin_data.proto.
"""

from __future__ import annotations

import socket
import struct
import time
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from tensorq.events import Event, Finished, Progress, Started

FOLDER = "tensorboard"  # in a run's folder
_START = 1  # the status START of a SessionLog: TensorBoard then drops this step and later ones


class TensorBoard:
    """An observer: `tensorboard --logdir RUN` shows what it wrote into the run's folder.

    A run that is resumed writes another file, from which TensorBoard takes the steps after the checkpoint.
    """

    _file: BinaryIO  # from the event Started on

    def __call__(self, event: Event) -> None:
        """Write an event to the file."""
        if isinstance(event, Started):
            self._file = _create(event.run_dir / FOLDER)
            self._write(_field(3, b"brain.Event:2"))
            self._write(_field(2, event.steps_done + 1) + _field(7, _field(1, _START)))
            self._write(_field(2, event.steps_done) + _field(5, _hyperparameters(event.config.to_dict())))
        elif isinstance(event, Progress):
            scalars = _scalars({"episodes": event.episodes, **event.metrics})
            self._write(_field(2, event.steps) + _field(5, scalars))
        elif isinstance(event, Finished):
            self._file.close()

    def _write(self, fields: bytes) -> None:
        """Write one record, an Event with these fields and the time: its length, the data, and the checksum of each."""
        data = _field(1, time.time()) + fields
        length = struct.pack("<Q", len(data))
        self._file.write(length + _checksum(length) + data + _checksum(data))
        self._file.flush()


def _create(folder: Path) -> BinaryIO:
    """A new file, whose name sorts after those of earlier files."""
    folder.mkdir(exist_ok=True)
    taken = len([*folder.iterdir()])
    return open(folder / f"events.out.tfevents.{int(time.time()):010d}.{socket.gethostname()}.{taken:04d}", "xb")


def _scalars(values: dict[str, float | None]) -> bytes:
    """A Summary of simple values; missing values are left out."""
    present = [(name.encode(), _float32(value)) for name, value in values.items() if value is not None]
    return b"".join(_field(1, _field(1, name) + _varint(2 * 8 + 5) + value) for name, value in present)


def _float32(value: float) -> bytes:
    """Four bytes; a number that float32 does not hold becomes infinite."""
    with np.errstate(over="ignore"):
        return np.array(value, "<f4").tobytes()


def _hyperparameters(settings: dict[str, Any]) -> bytes:
    """A Summary with the start of a session, from which the HPARAMS page takes its columns."""
    entries = b"".join(_field(1, _field(1, name.encode()) + _field(2, _value(each))) for name, each in settings.items())
    plugin = _field(1, b"hparams") + _field(2, _field(3, entries + _field(5, time.time())))
    empty = _field(1, 1) + _field(2, b"")  # a float tensor without shape
    return _field(1, _field(1, b"_hparams_/session_start_info") + _field(9, _field(1, plugin)) + _field(8, empty))


def _value(value: Any) -> bytes:
    """A google.protobuf.Value."""
    if isinstance(value, bool):
        return _field(4, int(value))
    return _field(2, float(value)) if isinstance(value, (int, float)) else _field(3, str(value).encode())


def _field(number: int, value: bytes | float) -> bytes:
    """A field: its number and kind, then a whole number, a double, or a length and as many bytes."""
    if isinstance(value, bytes):
        return _varint(number * 8 + 2) + _varint(len(value)) + value
    if isinstance(value, float):
        return _varint(number * 8 + 1) + struct.pack("<d", value)
    return _varint(number * 8) + _varint(value)


def _varint(number: int) -> bytes:
    """A whole number, with seven bits in each byte, the lowest first."""
    found = b""
    while number > 127:
        found, number = found + bytes([number % 128 + 128]), number // 128
    return found + bytes([number])


def _checksum(data: bytes) -> bytes:
    """CRC-32C, rotated and shifted as TensorFlow masks it."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _CRC_TABLE[(crc ^ byte) & 255]
    crc ^= 0xFFFFFFFF
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


_CRC_TABLE = [*range(256)]
for _ in range(8):
    _CRC_TABLE = [number >> 1 ^ (0x82F63B78 if number & 1 else 0) for number in _CRC_TABLE]  # Castagnoli's, reversed
