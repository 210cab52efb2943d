"""Random numbers from (seed, stream, counter), so there is no generator state that would have to be saved or shared.

Number i is SplitMix64 (Steele, Lea and Flood 2014) at position counter * width + i of a sequence that seed and stream
select. It passes BigCrush and needs a dozen operations; TensorFlow's Philox took a third of the program's compile time.
"""

from __future__ import annotations

import tensorflow as tf

from tensorq.core import host_random
from tensorq.core.host_random import ACTING, EVALUATION, INITIAL, LEARNING, NOISE, REPLAY, UNSEEN
from tensorq.core.types import Tensor

__all__ = [
    "ACTING", "EVALUATION", "INITIAL", "LEARNING", "NOISE", "REPLAY", "UNSEEN",
    "random_bits", "to_indices", "to_uniforms",
]  # fmt: skip


def random_bits(seed: Tensor, stream: int, counter: Tensor, width: int) -> Tensor:
    """[width] uint32 words. They depend on (seed, stream, counter) alone and equal those of host_random.random_bits."""
    key = _mix(tf.cast(seed, tf.uint64) * _word(host_random.STEP) + _word(stream))
    position = tf.cast(counter, tf.uint64) * _word(width) + tf.cast(tf.range(1, width + 1), tf.uint64)
    return tf.cast(_shift(_mix(key + position * _word(host_random.STEP)), 32), tf.uint32)


def to_uniforms(bits: Tensor) -> Tensor:
    """Uniforms in [0, 1) from uint32 words: their upper 24 bits, which float32 holds exactly."""
    return tf.cast(tf.bitwise.right_shift(bits, tf.constant(8, tf.uint32)), tf.float32) * 2.0**-24


def to_indices(bits: Tensor, size: Tensor) -> Tensor:
    """Integers in [0, size) from uint32 words, floor(bits * size / 2^32): exact for large sizes too."""
    return tf.cast(_shift(tf.cast(bits, tf.uint64) * tf.cast(size, tf.uint64), 32), tf.int32)


def _mix(z: Tensor) -> Tensor:
    for shift, factor in host_random.ROUNDS:
        z = tf.bitwise.bitwise_xor(z, _shift(z, shift)) * _word(factor)
    return tf.bitwise.bitwise_xor(z, _shift(z, host_random.LAST_SHIFT))


def _shift(z: Tensor, count: int) -> Tensor:
    return tf.bitwise.right_shift(z, _word(count))


def _word(number: int) -> Tensor:
    return tf.constant(number, tf.uint64)
