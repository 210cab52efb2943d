"""core/random.py for NumPy: numbers from (seed, stream, counter), drawn a block of counters at a time."""

from __future__ import annotations

import numpy as np


class CounterRandom:
    """`row(counter)` is [width] uint32 words, the same for the same (seed, stream, counter); Philox (Salmon 2011)."""

    BLOCK = 256  # counters drawn at once: making a generator costs more than the numbers of one step

    def __init__(self, seed: int, stream: int, width: int) -> None:
        self._key = (seed, stream)
        self._width = width
        self._block = -1
        self._rows = np.zeros((0, width), np.uint32)

    def row(self, counter: int) -> np.ndarray:
        """[width] uint32 words."""
        block, place = divmod(counter, self.BLOCK)
        if block != self._block:
            philox = np.random.Philox(key=np.array(self._key, np.uint64), counter=[0, 0, block, 0])
            self._rows = np.random.Generator(philox).integers(0, 2**32, (self.BLOCK, self._width), dtype=np.uint32)
            self._block = block
        words: np.ndarray = self._rows[place]
        return words


def to_uniforms(bits: np.ndarray) -> np.ndarray:
    """Uniforms in [0, 1) float64 from uint32 words."""
    return bits * 2.0**-32


def to_indices(bits: np.ndarray, size: int) -> np.ndarray:
    """Integers in [0, size) from uint32 words: floor(bits * size / 2^32)."""
    return (bits.astype(np.uint64) * np.uint64(size)) >> np.uint64(32)
