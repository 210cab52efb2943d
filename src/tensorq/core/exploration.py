"""Exploration from given random numbers."""

from __future__ import annotations

import tensorflow as tf

from tensorq.core.cosine import cos_pi
from tensorq.core.targets import greedy
from tensorq.core.types import Tensor


def epsilon_greedy(q_values: Tensor, epsilon: Tensor, u: Tensor, mask: Tensor | None = None) -> Tensor:
    """[N] int32 legal actions: for each row, a random one if u[:, 0] < epsilon, else that of highest Q.

    Args:
        q_values: [N, A].
        epsilon: scalar in [0, 1], or [N] of them.
        u: [N, 2] uniforms in [0, 1); for each row, one decides whether to explore, one picks the random action.
        mask: [N, A] bool, the legal actions; None if all are.
    """
    if mask is None:
        num_actions = q_values.shape[-1]
        # A uniform just below 1 may round up to num_actions in the product.
        random_action = tf.minimum(tf.cast(u[:, 1] * num_actions, tf.int32), num_actions - 1)
    else:
        place = tf.cumsum(tf.cast(mask, tf.float32), axis=-1)  # numbers the legal actions, from 1
        choice = tf.minimum(tf.floor(u[:, 1:] * place[:, -1:]), place[:, -1:] - 1)
        random_action = tf.argmax(place > choice, axis=-1, output_type=tf.int32)
    return tf.where(u[:, 0] < epsilon, random_action, greedy(q_values, mask))


def noise(u: Tensor) -> Tensor:
    """[Z] numbers for the factorised noise of noisy layers (Fortunato et al. 2018, section 3): sign(x) sqrt(|x|).

    x are normals, which Box and Muller's formula (1958) makes of u, [2 Z] uniforms in [0, 1), in float32.
    """
    radius, angle = tf.split(u, 2)
    normal = tf.sqrt(-2.0 * tf.math.log(1.0 - radius)) * cos_pi(2.0 * angle)
    result = tf.sign(normal) * tf.sqrt(tf.abs(normal))
    # Without the matrix product, XLA would fuse and compute these logarithms again for every weight that uses a number.
    # With it, a layer of 256 inputs and 102 units takes 6 us in place of 78.
    return tf.matmul(tf.stack([result, result], axis=1), tf.constant([[0.5], [0.5]]))[:, 0]
