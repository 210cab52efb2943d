"""TensorBoard's event files: an observer that writes metrics and hyperparameters, without TensorBoard.

A file is a row of records, each an Event in the protocol buffer encoding: what is written here by hand is the few
fields that are needed of event.proto, summary.proto and hparams' plugin_data.proto.
"""

from __future__ import annotations

import math
import socket
import struct
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

from tensorq.events import Event, Finished, Progress, Started

FOLDER = "tensorboard"  # in a run's folder
_START = 1  # of a SessionLog's statuses: TensorBoard then forgets what was written of this step and later ones


class TensorBoard:
    """An observer: `tensorboard --logdir RUN` shows what it wrote into the run's folder.

    A run that is resumed writes another file, from which TensorBoard takes what came after the checkpoint.
    """

    def __init__(self) -> None:
        self._file: BinaryIO | None = None

    def __call__(self, event: Event) -> None:
        """Write what is new."""
        if isinstance(event, Started):
            self._begin(event)
        elif isinstance(event, Progress):
            self._write(_scalars({"episodes": event.episodes, **event.metrics}), event.steps)
        elif isinstance(event, Finished) and self._file is not None:
            self._file.close()
            self._file = None

    def _begin(self, event: Started) -> None:
        folder = event.run_dir / FOLDER
        folder.mkdir(exist_ok=True)
        self._file = _create(folder)
        self._record(_double(1, time.time()) + _bytes(3, b"brain.Event:2"))
        self._record(_double(1, time.time()) + _whole(2, event.steps_done + 1) + _bytes(7, _whole(1, _START)))
        self._write(_hyperparameters(event.config.to_dict()), event.steps_done)

    def _write(self, summary: bytes, steps: int) -> None:
        """An Event of a Summary at a step."""
        self._record(_double(1, time.time()) + _whole(2, steps) + _bytes(5, summary))

    def _record(self, data: bytes) -> None:
        """One record: its length, the data, and the checksum of each."""
        if self._file is None:
            return
        length = struct.pack("<Q", len(data))
        self._file.write(length + _checksum(length) + data + _checksum(data))
        self._file.flush()


def _create(folder: Path) -> BinaryIO:
    """A new file, whose name sorts behind those before it."""
    taken = len([*folder.iterdir()])
    return open(folder / f"events.out.tfevents.{int(time.time()):010d}.{socket.gethostname()}.{taken:04d}", "xb")


def _scalars(values: dict[str, float | None]) -> bytes:
    """A Summary of simple values; what there is not yet is left out."""
    present = [(name.encode(), _float32(value)) for name, value in values.items() if value is not None]
    return b"".join(_bytes(1, _bytes(1, name) + _key(2, 5) + value) for name, value in present)


def _float32(value: float) -> bytes:
    """Four bytes; a number that float32 does not hold becomes infinite."""
    try:
        return struct.pack("<f", value)
    except OverflowError:
        return struct.pack("<f", math.copysign(math.inf, value))


def _hyperparameters(settings: dict[str, Any]) -> bytes:
    """A Summary with the start of a session, from which the HPARAMS page takes its columns."""
    entries = b"".join(_bytes(1, _bytes(1, name.encode()) + _bytes(2, _value(each))) for name, each in settings.items())
    start = _bytes(3, entries + _double(5, time.time()))
    plugin = _bytes(1, _bytes(1, b"hparams") + _bytes(2, start))
    empty = _whole(1, 1) + _bytes(2, b"")  # a float tensor without shape
    return _bytes(1, _bytes(1, b"_hparams_/session_start_info") + _bytes(9, plugin) + _bytes(8, empty))


def _value(value: Any) -> bytes:
    """A google.protobuf.Value."""
    if isinstance(value, bool):
        return _whole(4, value)
    if isinstance(value, (int, float)):
        return _double(2, value)
    return _bytes(3, str(value).encode())


# --- the protocol buffer encoding: a field is its number and kind, then a number, or a length and as many bytes


def _varint(number: int) -> bytes:
    found = b""
    while number > 127:
        found, number = found + bytes([number % 128 + 128]), number // 128
    return found + bytes([number])


def _key(field: int, kind: int) -> bytes:
    return _varint(field * 8 + kind)


def _whole(field: int, number: int) -> bytes:
    return _key(field, 0) + _varint(number)


def _double(field: int, number: float) -> bytes:
    return _key(field, 1) + struct.pack("<d", number)


def _bytes(field: int, data: bytes) -> bytes:
    return _key(field, 2) + _varint(len(data)) + data


def _crc_table() -> list[int]:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)  # Castagnoli's polynomial, reversed
        table.append(byte)
    return table


_TABLE = _crc_table()


def _checksum(data: Iterable[int]) -> bytes:
    """CRC-32C, rotated and shifted as TensorFlow masks it."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _TABLE[(crc ^ byte) & 255]
    crc ^= 0xFFFFFFFF
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)
