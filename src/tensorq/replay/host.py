"""Replay of the host loop: packed rows in a memory-mapped file, so that a checkpoint copies nothing.

No TensorFlow here. The file is a ring with more rows than the replay's capacity. Therefore the rows that a checkpoint
needs are still there after training has continued past it, and a killed run can be resumed.
"""

from __future__ import annotations

import errno
import os
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tensorq.core.host_random import to_indices, to_uniforms
from tensorq.errors import TensorqError
from tensorq.replay.host_tree import HostTree
from tensorq.replay.priorities import FIRST_PRIORITY, to_priority, to_weights
from tensorq.replay.settings import ReplaySettings

if TYPE_CHECKING:
    from tensorq.config import Config

CHECKPOINTS_KEPT = 2


def row_dtype(
    settings: ReplaySettings, obs_dtype: np.dtype, obs_shape: tuple[int, ...], masked_actions: int = 0
) -> np.dtype:
    """The dtype of one packed transition. `masked_actions` is the number of actions if they are masked, else 0."""
    fields: list[tuple[object, ...]] = [
        ("obs", obs_dtype, obs_shape),
        ("next_obs", obs_dtype, obs_shape),
        ("action", np.int32),
        ("reward", np.float32),
        ("discount", np.float32),
    ]
    if masked_actions:
        fields += [("mask", np.bool_, (masked_actions,)), ("next_mask", np.bool_, (masked_actions,))]
    if settings.priority_exponent:
        fields += [("weight", np.float32)]  # written when the row is drawn; it must be the last field
    return np.dtype(fields)


def slack_rows(config: Config, num_envs: int) -> int:
    """The number of rows that may be written after the oldest kept checkpoint without destroying its rows."""
    return (CHECKPOINTS_KEPT + 1) * (config.checkpoint_period_steps + num_envs)


class HostReplay:
    """Replay of n-step transitions over the last `capacity` steps.

    As on the device (replay.device.DeviceReplay), a row is written at its first step, and its window grows with each
    later step of its episode, up to n steps.
    """

    def __init__(self, path: Path, config: Config, num_envs: int, slack: int, dtype: np.dtype) -> None:
        """Open or create the file. `slack` rows may be written after a checkpoint without destroying its rows."""
        self._settings, self._gamma = config.part(ReplaySettings), config.gamma
        self.capacity = self._settings.replay_capacity
        self.written = 0
        self._windows: list[list[int]] = [[] for _ in range(num_envs)]  # transitions that still grow, newest first
        self._tree = HostTree(self.capacity) if self._settings.priority_exponent else None
        self._length = self.capacity + slack
        self._path = path
        _reserve(path, self._length * dtype.itemsize)
        self._map = np.memmap(path, dtype, "r+", shape=(self._length,))
        self._rows = self._map.view(np.ndarray)  # the same memory, without the overhead of the class memmap
        # The same rows as bytes: to gather bytes is twice as fast, and TensorFlow takes them as one tensor.
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
        ended: np.ndarray,
        mask: np.ndarray | None = None,
        next_mask: np.ndarray | None = None,
    ) -> None:
        """Store the valid steps of N environments. `ended` marks the last steps of episodes."""
        for index in range(len(action)):
            if not valid[index]:
                continue
            row = self.written % self._length
            fields = [obs[index], next_obs[index], action[index], reward[index], discount[index]]
            if mask is not None and next_mask is not None:
                fields += [mask[index], next_mask[index]]
            if self._tree is not None:
                fields += [1.0]
            self._rows[row] = tuple(fields)
            if self._tree is not None:
                self._tree.set_to_maximum(self.written % self.capacity, FIRST_PRIORITY)
            if self._settings.n_step > 1:
                window = self._windows[index]
                self._grow(window, row)
                self._windows[index] = [] if ended[index] else [self.written, *window][: self._settings.n_step - 1]
            self.written += 1

    def _grow(self, window: list[int], last: int) -> None:
        """Extend the windows of earlier steps by the step in row `last`."""
        rows = self._rows
        for back, number in enumerate(window, start=1):
            row = number % self._length
            gamma = self._gamma**back
            rows["reward"][row] += np.float32(gamma) * rows["reward"][last]
            rows["discount"][row] = gamma * rows["discount"][last]
            rows["next_obs"][row] = rows["next_obs"][last]
            if "next_mask" in rows.dtype.fields:
                rows["next_mask"][row] = rows["next_mask"][last]

    def cut(self) -> None:
        """Cut all episodes here: no window grows any more."""
        self._windows = [[] for _ in self._windows]

    def sample(self, bits: np.ndarray, importance_exponent: float) -> tuple[np.ndarray, np.ndarray | None]:
        """Draw rows as bytes [K, B, row bytes] for random words [K, B]. With priorities, also return their places.

        Draws are uniform with replacement, or by priorities with weights, as in replay.device.DeviceReplay.sample. All
        K batches are drawn from the same priorities.
        """
        size = min(self.written, self.capacity)
        oldest = self.written - size
        if self._tree is None:
            indices = to_indices(bits, size)
            indices = (indices + np.uint64(oldest)) % np.uint64(self._length)
            return self._bytes.take(indices.view(np.int64), axis=0), None
        places, probability = self._tree.sample(to_uniforms(bits))
        weights = to_weights(probability * size, importance_exponent, lambda w: w.max(axis=1, keepdims=True))
        numbers = places
        if oldest:  # a place holds the newest transition whose number, mod the capacity, is this place
            numbers = (self.written - 1 - (self.written - 1 - places) % self.capacity) % self._length
        rows = self._bytes.take(numbers, axis=0)
        rows[..., -4:] = weights.astype(np.float32)[..., None].view(np.uint8)
        return rows, places

    def prioritise(self, places: np.ndarray | None, td_error: np.ndarray) -> None:
        """Set new priorities for the transitions at these places, from their TD errors [K, B]."""
        if self._tree is not None and places is not None:
            priorities = to_priority(np.abs(td_error.astype(np.float64)), self._settings.priority_exponent)
            self._tree.set(places.ravel(), priorities.ravel())

    def save(self) -> dict[str, np.ndarray]:
        """Flush the rows, and return the tensors with which a checkpoint finds and checks them again.

        Rows whose windows still grow will change in the file, so the checkpoint holds a copy of them and of later rows.
        """
        settled = min((number for window in self._windows for number in window), default=self.written)
        if settled > self._saved:
            self._segments.append((self._saved, settled, self._crc(self._saved, settled)))
            self._saved = settled
        oldest = self.written - self.capacity
        self._segments = [segment for segment in self._segments if segment[1] > oldest]
        self._map.flush()
        saved: dict[str, np.ndarray] = {
            "replay.written": np.array(self.written, np.int64),
            "replay.segments": np.array(self._segments, np.int64).reshape(-1, 3),
            "replay.growing": self._bytes[np.arange(settled, self.written) % self._length],
            **{f"replay.window.{env}": np.array(window, np.int64) for env, window in enumerate(self._windows)},
        }
        if self._tree is not None:
            saved["replay.priorities"] = self._tree.leaves[: min(self.written, self.capacity)].copy()
        return saved

    def restore(self, tensors: dict[str, np.ndarray]) -> None:
        """Restore a checkpoint; raises TensorqError if rows that it needs have changed on disk."""
        self.written = int(tensors["replay.written"])
        growing = tensors["replay.growing"]
        self._saved = self.written - len(growing)
        self._bytes[np.arange(self._saved, self.written) % self._length] = growing
        self._windows = [tensors[f"replay.window.{env}"].tolist() for env in range(len(self._windows))]
        if self._tree is not None:
            self._tree.restore(tensors["replay.priorities"])
        self._segments = [(int(first), int(last), int(crc)) for first, last, crc in tensors["replay.segments"]]
        for first, last, crc in self._segments:
            if self._crc(first, last) != crc:
                raise TensorqError(
                    f"{self._path} is damaged: transitions {first} to {last} are not those that were saved. The run "
                    "cannot be resumed; its kept agents can still be evaluated."
                )

    def _crc(self, first: int, last: int) -> int:
        """crc32 of rows first to last - 1, which are in two pieces if they cross the end of the ring."""
        start, count = first % self._length, last - first
        pieces = self._bytes[start : start + count], self._bytes[: max(0, start + count - self._length)]
        return zlib.crc32(pieces[1].data, zlib.crc32(pieces[0].data))

    def close(self) -> None:
        """Write to disk what is not there yet."""
        self._map.flush()


def _reserve(path: Path, size: int) -> None:
    """Make the file as large as needed and allocate its blocks, so that a full disk is an error now and not later."""
    if path.exists() and not path.is_file():
        raise TensorqError(f"{path} is not a regular file; remove it.")
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o644)
    except OSError as error:
        why = "it is a link; remove it" if path.is_symlink() else error.strerror
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
            raise TensorqError(f"{path}: the replay needs {size:,} bytes of disk, but they are not free.") from error
        raise
    finally:
        os.close(descriptor)
