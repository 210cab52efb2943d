"""Losses, one number a sample."""

from __future__ import annotations

import tensorflow as tf

from tensorq.core.types import Tensor


def squared(td_error: Tensor) -> Tensor:
    """d^2 for each TD error: [B] -> [B]."""
    return tf.square(td_error)


def huber(td_error: Tensor) -> Tensor:
    """d^2 / 2 where |d| <= 1, |d| - 1/2 beyond: [B] -> [B]. Its gradient is d clipped to [-1, 1] (Huber 1964)."""
    size = tf.abs(td_error)
    inner = tf.minimum(size, 1.0)
    return inner * (size - 0.5 * inner)
