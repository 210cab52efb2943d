"""Random numbers from (seed, stream, counter), so that no generator state exists to be saved or shared."""

from __future__ import annotations

import tensorflow as tf

from tensorq.core.types import Tensor

# One stream a purpose: numbers of different streams are independent, whatever their counters.
ACTING, REPLAY, EVALUATION, INITIAL = range(4)


def random_bits(seed: Tensor, stream: int, counter: Tensor, count: int) -> Tensor:
    """[count] uint32 words, the same for the same (seed, stream, counter); Philox (Salmon 2011)."""
    key = tf.stack([tf.cast(seed, tf.int64) * 16 + stream, tf.cast(counter, tf.int64)])
    return tf.random.stateless_uniform((count,), key, minval=None, maxval=None, dtype=tf.uint32, alg="philox")


def to_uniforms(bits: Tensor) -> Tensor:
    """Uniforms in [0, 1) from uint32 words: their upper 24 bits, which float32 holds exactly."""
    return tf.cast(tf.bitwise.right_shift(bits, tf.constant(8, tf.uint32)), tf.float32) * 2.0**-24


def to_indices(bits: Tensor, size: Tensor) -> Tensor:
    """Integers in [0, size) from uint32 words, floor(bits * size / 2^32): exact for large sizes too."""
    return tf.cast(
        tf.bitwise.right_shift(tf.cast(bits, tf.uint64) * tf.cast(size, tf.uint64), tf.constant(32, tf.uint64)),
        tf.int32,
    )
