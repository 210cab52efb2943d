"""Weights by a seed, from initializers that are not ours; and the caller's random numbers as if none had been drawn."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator

import keras
import numpy as np
import tensorflow as tf

MOST_DRAWS = 100_000  # of TensorFlow's that are counted again, in less than a second


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed the global generators of Python, NumPy, TensorFlow and Keras; afterwards the first three are as before.

    Keras' layers and initializers take their seeds from Python's generator; functions may draw from the others, too.
    Two things cannot be put back. Keras' own generator, from which keras.random draws where it is given no seed, begins
    anew, by a seed from Python's. TensorFlow's operations that have a seed of their own, as in tf.random.normal([2],
    seed=1), begin their sequences again, as after every tf.random.set_seed.
    """
    python, numpy, restore_tensorflow = random.getstate(), np.random.get_state(), _remember_tensorflow()
    keras.utils.set_random_seed(seed)
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        restore_tensorflow()


def _remember_tensorflow() -> Callable[[], None]:
    """How to put TensorFlow's global seed back, and how many seeds its operations have taken from it."""
    take = tf.compat.v1.random.get_seed  # (global seed, the next operation's), or (None, None) without a global seed
    try:
        seed, upcoming = take(None)
    except RuntimeError:  # deterministic operations are wanted, and no seed is set
        seed, upcoming = None, None

    def restore() -> None:
        tf.random.set_seed(seed)
        if seed is None:
            return
        taken = next((count for count in range(MOST_DRAWS) if take(None)[1] == upcoming), 0)
        tf.random.set_seed(seed)
        for _ in range(taken):
            take(None)

    return restore
