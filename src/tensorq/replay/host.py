"""Replay of the host loop: packed rows in a memory-mapped file, so that a checkpoint copies nothing.

No TensorFlow here. The file is a ring with more rows than the replay's capacity. The rows that a checkpoint
needs are therefore still there after training went on past it, and a run that was killed finds them.
"""

from __future__ import annotations

import errno
import os
import zlib
from pathlib import Path

import numpy as np

from tensorq.core.host_random import to_indices
from tensorq.errors import TensorqError


def row_dtype(obs_dtype: np.dtype, obs_shape: tuple[int, ...]) -> np.dtype:
    """One transition, packed."""
    return np.dtype(
        [
            ("obs", obs_dtype, obs_shape),
            ("next_obs", obs_dtype, obs_shape),
            ("action", np.int32),
            ("reward", np.float32),
            ("discount", np.float32),
        ]
    )


class HostReplay:
    """Uniform replay over the last `capacity` transitions."""

    def __init__(self, path: Path, capacity: int, slack: int, dtype: np.dtype) -> None:
        """Open or create the file. `slack` is how many rows may be written past a checkpoint that must stay intact."""
        self.capacity = capacity
        self.written = 0
        self._length = capacity + slack
        self._path = path
        _reserve(path, self._length * dtype.itemsize)
        self._map = np.memmap(path, dtype, "r+", shape=(self._length,))
        self._rows = self._map.view(np.ndarray)  # the same memory, without the costs of the class memmap
        # The same rows as bytes: gathering those is twice as fast, and TensorFlow takes them as one tensor.
        self._bytes = self._rows.view(np.uint8).reshape(self._length, dtype.itemsize)
        self._saved = 0  # rows up to here are covered by segments
        self._segments: list[tuple[int, int, int]] = []  # (first row, row after the last, crc32)

    def add(
        self,
        obs: np.ndarray,
        action: np.ndarray,
        reward: np.ndarray,
        discount: np.ndarray,
        next_obs: np.ndarray,
        valid: np.ndarray,
    ) -> None:
        """Store the valid ones of N transitions."""
        for index in range(len(action)):
            if valid[index]:
                self._rows[self.written % self._length] = (
                    obs[index], next_obs[index], action[index], reward[index], discount[index]
                )  # fmt: skip
                self.written += 1

    def sample(self, bits: np.ndarray) -> np.ndarray:
        """Rows as bytes [..., row bytes], uniformly and with replacement, one for each random uint32 word."""
        size = min(self.written, self.capacity)
        indices = to_indices(bits, size)
        return self._bytes[(indices + np.uint64(self.written - size)) % np.uint64(self._length)]

    def save(self) -> dict[str, np.ndarray]:
        """Flush the rows, and return what a checkpoint must hold to find and check them again."""
        if self.written > self._saved:
            self._segments.append((self._saved, self.written, self._crc(self._saved, self.written)))
            self._saved = self.written
        oldest = self.written - self.capacity
        self._segments = [segment for segment in self._segments if segment[1] > oldest]
        self._map.flush()
        return {
            "replay.written": np.array(self.written, np.int64),
            "replay.segments": np.array(self._segments, np.int64).reshape(-1, 3),
        }

    def restore(self, tensors: dict[str, np.ndarray]) -> None:
        """Go back to a checkpoint; raises TensorqError when rows it needs have changed on disk."""
        self.written = self._saved = int(tensors["replay.written"])
        self._segments = [(int(first), int(last), int(crc)) for first, last, crc in tensors["replay.segments"]]
        for first, last, crc in self._segments:
            if self._crc(first, last) != crc:
                raise TensorqError(
                    f"{self._path} is damaged: transitions {first} to {last} are not those that were saved. The run "
                    "cannot be resumed; its kept agents can still be evaluated."
                )

    def _crc(self, first: int, last: int) -> int:
        """crc32 of rows first to last - 1, in at most two pieces around the end of the ring."""
        start, count = first % self._length, last - first
        pieces = self._bytes[start : start + count], self._bytes[: max(0, start + count - self._length)]
        return zlib.crc32(pieces[1].data, zlib.crc32(pieces[0].data))

    def close(self) -> None:
        """Write what is not on disk yet."""
        self._map.flush()


def _reserve(path: Path, size: int) -> None:
    """Make the file as large as needed and its blocks real: a full disk shows here, not as a crash while training."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o644)
    except OSError as error:
        why = "it is a link, remove that" if path.is_symlink() else error.strerror
        raise TensorqError(f"cannot open the replay {path}: {why}.") from error
    try:
        present = os.fstat(descriptor).st_size
        if present not in (0, size):
            raise TensorqError(f"{path}: found {present} bytes, expected {size}; the replay of this run is damaged.")
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(descriptor, 0, size)
        else:
            os.truncate(descriptor, size)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            if present == 0:
                os.unlink(path)
            raise TensorqError(f"{path}: the replay needs {size:,} bytes of disk, and they are not free.") from error
        raise
    finally:
        os.close(descriptor)
