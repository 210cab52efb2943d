"""Seeds initializers that are not ours, and afterwards restores the caller's random generators."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator

import keras
import numpy as np
import tensorflow as tf

MOST_DRAWS = 100_000  # the most seeds that TensorFlow has given out and that are counted again; takes under a second


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed the global generators of Python, NumPy, TensorFlow and Keras; afterwards the first three are as before.

    Keras' layers and initializers take their seeds from Python's generator; functions may draw from the others, too.
    Two things cannot be restored. Keras' own generator, which keras.random uses if it gets no seed, starts again with a
    seed from Python's generator. TensorFlow's operations with a seed of their own, as in tf.random.normal([2], seed=1),
    start their sequences again, as after every tf.random.set_seed.
    """
    take = tf.compat.v1.random.get_seed  # (global seed, the next operation's), or (None, None) without a global seed
    python, numpy = random.getstate(), np.random.get_state()
    try:
        global_seed, upcoming = take(None)
    except RuntimeError:  # deterministic operations are on, and no seed is set
        global_seed, upcoming = None, None
    keras.utils.set_random_seed(seed)
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        tf.random.set_seed(global_seed)
        if global_seed is not None:  # as many seeds as before have been taken from it
            taken = next((count for count in range(MOST_DRAWS) if take(None)[1] == upcoming), 0)
            tf.random.set_seed(global_seed)
            for _ in range(taken):
                take(None)
