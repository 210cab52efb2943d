"""Random numbers from (seed, stream, counter) in NumPy, equal to those of core/random.py to the bit."""

from __future__ import annotations

import numpy as np

# One stream for each purpose: numbers of different streams are independent, whatever their counters.
ACTING, REPLAY, EVALUATION, INITIAL, NOISE, LEARNING, UNSEEN = range(7)

# SplitMix64's constants (Steele, Lea and Flood 2014; the variant of Stafford's mixer that java.util uses).
STEP = 0x9E3779B97F4A7C15
ROUNDS = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))
LAST_SHIFT = 31


def random_bits(seed: int, stream: int, counters: np.ndarray, width: int) -> np.ndarray:
    """[counters, width] uint32 words, one row per counter; equal (seed, stream, counter) give equal rows."""
    key = _mix(np.uint64((seed * STEP + stream) % 2**64))
    position = counters.astype(np.uint64)[:, None] * np.uint64(width) + np.arange(1, width + 1, dtype=np.uint64)
    return (_mix(key + position * np.uint64(STEP)) >> np.uint64(32)).astype(np.uint32)


def _mix(number: np.ndarray | np.uint64) -> np.ndarray:
    z: np.ndarray = np.atleast_1d(number)  # products of arrays wrap around without a warning
    for shift, factor in ROUNDS:
        z = (z ^ (z >> np.uint64(shift))) * np.uint64(factor)
    return z ^ (z >> np.uint64(LAST_SHIFT))


class CounterRandom:
    """Gives one row of random_bits at a time, and computes a block of rows at once."""

    BLOCK = 64

    def __init__(self, seed: int, stream: int, width: int) -> None:
        self._seed, self._stream, self._width = seed, stream, width
        self._block = -1
        self._rows = np.zeros((0, width), np.uint32)

    def row(self, counter: int) -> np.ndarray:
        """The row of random_bits for this counter: [width] uint32 words."""
        block, place = divmod(counter, self.BLOCK)
        if block != self._block:
            counters = np.arange(block * self.BLOCK, (block + 1) * self.BLOCK)
            self._rows, self._block = random_bits(self._seed, self._stream, counters, self._width), block
        return self._rows[place]


def to_uniforms(bits: np.ndarray) -> np.ndarray:
    """Uniforms in [0, 1) float64 from uint32 words."""
    return bits * 2.0**-32


def to_noise(bits: np.ndarray) -> np.ndarray:
    """[Z] float32 numbers for noisy layers from [2 Z] words: core.exploration.noise in NumPy, up to rounding."""
    radius, angle = np.split(to_uniforms(bits), 2)
    normal = np.sqrt(-2.0 * np.log(1.0 - radius)) * np.cos(2 * np.pi * angle)
    return (np.sign(normal) * np.sqrt(np.abs(normal))).astype(np.float32)


def to_indices(bits: np.ndarray, size: int) -> np.ndarray:
    """Integers in [0, size) from uint32 words: floor(bits * size / 2^32)."""
    return np.right_shift(np.multiply(bits, size, dtype=np.uint64), 32, dtype=np.uint64)
