"""Exploration from given random numbers."""

from __future__ import annotations

import tensorflow as tf

from tensorq.core.types import Tensor


def epsilon_greedy(q_values: Tensor, epsilon: Tensor, u: Tensor) -> Tensor:
    """A random action where the row's own coin u[:, 0] < epsilon, else the action of highest Q.

    Args:
        q_values: [N, A].
        epsilon: scalar in [0, 1].
        u: [N, 2] uniforms in [0, 1): a coin and a choice for each row.

    Returns:
        [N] int32 actions.
    """
    num_actions = q_values.shape[-1]
    # A uniform just below 1 may round up to num_actions in the product.
    random_action = tf.minimum(tf.cast(u[:, 1] * num_actions, tf.int32), num_actions - 1)
    greedy = tf.argmax(q_values, axis=-1, output_type=tf.int32)
    return tf.where(u[:, 0] < epsilon, random_action, greedy)
