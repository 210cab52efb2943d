"""Optimizers as functions (parameters, gradients, state) -> (parameters, state), on flat vectors of P numbers.

Keras' own optimizers keep their state in variables, which a compiled loop cannot carry.
"""

from __future__ import annotations

import tensorflow as tf

from tensorq.core.types import OptimizerState, Tensor

BETA_1, BETA_2 = 0.9, 0.999
DECAY = 0.95


def adam(
    params: Tensor, gradients: Tensor, state: OptimizerState, count: Tensor, learning_rate: Tensor, epsilon: float
) -> tuple[Tensor, OptimizerState]:
    """One step of Adam (Kingma and Ba 2015, section 2, in the reordered form that Keras uses, too).

    m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2;
    p = p - rate * sqrt(1 - b2^t) / (1 - b1^t) * m / (sqrt(v) + epsilon)

    Args:
        params, gradients: [P].
        state: the moments before this step.
        count: t, the number of this step, from 1.
        learning_rate: scalar.
        epsilon: added to the root of the second moment.
    """
    first = BETA_1 * state.first_moment + (1 - BETA_1) * gradients
    second = BETA_2 * state.second_moment + (1 - BETA_2) * tf.square(gradients)
    t = tf.cast(count, tf.float32)
    rate = learning_rate * tf.sqrt(1 - BETA_2**t) / (1 - BETA_1**t)
    return params - rate * first / (tf.sqrt(second) + epsilon), OptimizerState(first, second)


def rmsprop(
    params: Tensor, gradients: Tensor, state: OptimizerState, count: Tensor, learning_rate: Tensor, epsilon: float
) -> tuple[Tensor, OptimizerState]:
    """One step of the centred RMSProp of Nature DQN (Graves 2013, equations 38 to 41, without momentum).

    m = 0.95 m + 0.05 g;  n = 0.95 n + 0.05 g^2;  p = p - rate * g / sqrt(n - m^2 + epsilon)

    Arguments as for adam; epsilon is added within the root, and `count` is not needed.
    """
    first = DECAY * state.first_moment + (1 - DECAY) * gradients
    second = DECAY * state.second_moment + (1 - DECAY) * tf.square(gradients)
    variance = tf.maximum(second - tf.square(first), 0.0)  # rounding can make it negative
    return params - learning_rate * gradients / tf.sqrt(variance + epsilon), OptimizerState(first, second)


OPTIMIZERS = {"adam": adam, "rmsprop": rmsprop}


def clip_by_norm(gradients: Tensor, max_norm: float) -> Tensor:
    """The gradient, scaled down to norm max_norm if its norm is larger (Pascanu et al. 2013): [P] -> [P]."""
    norm = tf.sqrt(tf.reduce_sum(tf.square(gradients)))
    return gradients * (max_norm / tf.maximum(norm, max_norm))
