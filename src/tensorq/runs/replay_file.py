"""replay.bin: what was new in a replay at each checkpoint, for both loops. No TensorFlow here.

A checkpoint appends one block: the steps that came since the last one, and the observations at which episodes were cut
since. It stores where the blocks are that it needs (the cursor). A block stays as it was written while one of the last
two checkpoints needs it; then its place is free for a new one. So a process that is killed at any moment leaves the
last two checkpoints whole, and the file has the steps that they need and little more.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tensorq.errors import TensorqError
from tensorq.replay.columns import New
from tensorq.runs.checkpoint import open_in_place, writing_failed

KEPT_TEXT = "the last checkpoint is intact: correct this, then `tensorq resume` continues from it"


def most_steps(length: int, new: int) -> int:
    """About the most steps that the file has, if checkpoints need `length` steps and `new` come between two of them.

    Two checkpoints are kept while a third is written. The oldest block may be needed for one step only. Some place
    may stay free between blocks of different sizes.
    """
    return length + 3 * min(new, length)


class Block(NamedTuple):
    """A block in the file; its numbers are a row of the saved cursor. Steps and ends are counted from a run's start."""

    first: int  # number of its first step
    last: int  # number after its last step
    first_end: int  # number of its first cut episode's last observation
    last_end: int  # number after its last one
    offset: int  # in bytes
    size: int  # in bytes
    crc: int  # crc32 of its bytes


class ReplayFile:
    """The file of one replay."""

    def __init__(self, path: Path, steps: np.dtype, ends: np.dtype, length: int) -> None:
        """Create nothing yet: the file comes with the first block.

        Args:
            path: of the file.
            steps: the dtype of a step.
            ends: the dtype of an observation at which an episode was cut.
            length: how many of the newest steps a checkpoint needs.
        """
        self._path, self._steps, self._ends, self._length = path, steps, ends, length
        self._blocks: list[Block] = []
        self._oldest = 0  # number of the oldest step that the last checkpoint needs

    @property
    def saved(self) -> tuple[int, int]:
        """How many steps and how many ends the replay had had at the last checkpoint."""
        return (self._blocks[-1].last, self._blocks[-1].last_end) if self._blocks else (0, 0)

    def save(self, new: New) -> np.ndarray:
        """Append what is new, and return the cursor [blocks, 7] for the checkpoint.

        The cursor has the blocks of the checkpoint before it, too, because they must not be overwritten yet.
        """
        if len(new.steps) + len(new.ends):
            self._append(new)
        if len(new.steps):  # else it replaces a checkpoint of the same step, and the one before that stays
            self._blocks = [block for block in self._blocks if block.last > self._oldest]
            self._oldest = self.saved[0] - self._length
        return np.array(self._blocks, np.int64).reshape(-1, len(Block._fields))

    def _append(self, new: New) -> None:
        parts = new.steps.view(np.uint8), new.ends.view(np.uint8)
        size = sum(len(part) for part in parts)
        offset = self._free_place(size)
        last, last_end = new.first + len(new.steps), new.first_end + len(new.ends)
        crc = zlib.crc32(parts[1].data, zlib.crc32(parts[0].data))
        blocks = [*self._blocks, Block(new.first, last, new.first_end, last_end, offset, size, crc)]
        descriptor = open_in_place(self._path)
        try:
            os.lseek(descriptor, offset, os.SEEK_SET)
            for part in parts:
                _write(descriptor, part.data)
            os.ftruncate(descriptor, max(block.offset + block.size for block in blocks))
            os.fsync(descriptor)
        except OSError as error:
            raise writing_failed(self._path, error, size, KEPT_TEXT) from error
        finally:
            os.close(descriptor)
        self._blocks = blocks

    def _free_place(self, size: int) -> int:
        """The first offset where `size` bytes are free; what lies behind the last block is free, too."""
        offset = 0
        for block in sorted(self._blocks, key=lambda block: block.offset):
            if block.offset - offset >= size:
                break
            offset = block.offset + block.size
        return offset

    def restore(self, cursor: np.ndarray, written: int) -> Iterator[New]:
        """Go back to a checkpoint after `written` steps, and read what it needs of its blocks, oldest first.

        Raises TensorqError if blocks lack steps that it needs, and, as they are read, if one is not what was saved.
        """
        self._blocks = [Block(*row) for row in cursor.tolist()]
        self._oldest = written - self._length
        needed = [block for block in self._blocks if block.last > self._oldest]  # the others: by the one before it
        begins = [max(0, self._oldest), *(block.last for block in needed)]
        if begins[-1] != written or any(block.first > begin for block, begin in zip(needed, begins, strict=False)):
            raise TensorqError(
                f"{self._path} does not fit config.json: its checkpoint has fewer steps than replay_capacity needs. "
                "Put back the config.json that the run was started with, or train anew."
            )
        return self._read_all(needed)

    def _read_all(self, blocks: list[Block]) -> Iterator[New]:
        for block in blocks:
            data, count = self._read(block), block.last - block.first
            steps = np.frombuffer(data, self._steps, count)
            ends = np.frombuffer(data, self._ends, block.last_end - block.first_end, count * self._steps.itemsize)
            first = max(block.first, self._oldest)
            yield New(first, steps[first - block.first :], block.first_end, ends)

    def _read(self, block: Block) -> bytes:
        try:
            os.stat(self._path)  # or else it would be made
            with os.fdopen(open_in_place(self._path), "rb") as file:
                file.seek(block.offset)
                data = file.read(block.size)
        except OSError as error:
            raise TensorqError(
                f"cannot read the replay {self._path}: {error.strerror or error}. The run cannot be resumed without "
                "it; its kept agents can still be evaluated."
            ) from error
        if len(data) != block.size or zlib.crc32(data) != block.crc:
            raise TensorqError(
                f"{self._path} is damaged: steps {block.first} to {block.last} are not those that were saved. The run "
                "cannot be resumed; its kept agents can still be evaluated."
            )
        return data


def _write(descriptor: int, left: memoryview) -> None:
    while left:
        left = left[os.write(descriptor, left) :]
