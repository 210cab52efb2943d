"""Targets of temporal-difference learning."""

from __future__ import annotations

import tensorflow as tf

from tensorq.core.types import Tensor


def take(q_values: Tensor, action: Tensor) -> Tensor:
    """Q of the given actions: [B, A] and [B] -> [B]. A masked sum, which XLA fuses where a gather would not."""
    return tf.reduce_sum(q_values * tf.one_hot(action, q_values.shape[-1], dtype=q_values.dtype), axis=-1)


def td_target(reward: Tensor, discount: Tensor, next_q: Tensor, selector_q: Tensor | None = None) -> Tensor:
    """y = reward + discount * next_q[argmax selector_q], no gradient flowing through.

    Args:
        reward: [B].
        discount: [B], gamma^k * (1 - terminated).
        next_q: [B, A], Q of the next observations by the target network.
        selector_q: [B, A], the Q-values that choose the next action: the online network's for double
            Q-learning (van Hasselt et al. 2016, equation 4); None lets next_q choose (Mnih et al. 2015, equation 1).

    Returns:
        [B] targets.
    """
    if selector_q is None:
        value = tf.reduce_max(next_q, axis=-1)
    else:
        value = take(next_q, tf.argmax(selector_q, axis=-1, output_type=tf.int32))
    return tf.stop_gradient(reward + discount * value)
