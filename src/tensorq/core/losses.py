"""Losses: one number for each sample."""

from __future__ import annotations

from tensorq.core.lazy import tf
from tensorq.core.types import Tensor


def squared(td_error: Tensor) -> Tensor:
    """d^2 for each TD error: [B] -> [B]."""
    return tf.square(td_error)


def huber(td_error: Tensor) -> Tensor:
    """d^2 / 2 where |d| <= 1, |d| - 1/2 beyond: elementwise. Its gradient is d clipped to [-1, 1] (Huber 1964)."""
    size = tf.abs(td_error)
    inner = tf.minimum(size, 1.0)
    return inner * (size - 0.5 * inner)


def cross_entropy(logits: Tensor, probabilities: Tensor) -> Tensor:
    """-sum_k p_k log softmax(logits)_k: [B, K] and [B, K] -> [B]. Its gradient is softmax(logits) - p."""
    return tf.reduce_sum(probabilities * (tf.reduce_logsumexp(logits, axis=-1, keepdims=True) - logits), axis=-1)


def quantile_huber(quantiles: Tensor, fractions: Tensor, points: Tensor, probabilities: Tensor) -> Tensor:
    """Quantile regression with Huber's loss in place of |d| (Dabney et al. 2018a, equation 10, kappa = 1).

    sum over quantiles i of the expectation over target points j of |fraction_i - [d_ij < 0]| * huber(d_ij), with
    d_ij = point_j - quantile_i.

    Args:
        quantiles: [B, K], the present estimates.
        fractions: [B, K] or [K], the probability of a return below each quantile.
        points, probabilities: [B, M], the target distribution.

    Returns:
        [B].
    """
    # This takes a sixth of the time that XLA needs for the formula above. Quantiles are in the last axis. The last sum
    # is a matrix product, so that XLA does not fuse it with the sum before. Huber's loss is c (d - c / 2), where c is d
    # clipped; if c is held constant, its gradient is c.
    difference = points[:, :, None] - quantiles[:, None, :]
    below = tf.cast(difference < 0, quantiles.dtype)
    weight = tf.abs(fractions[..., None, :] - below) * probabilities[:, :, None]
    clipped = tf.stop_gradient(tf.clip_by_value(difference, -1.0, 1.0))
    expectation = tf.reduce_sum(weight * clipped * (difference - 0.5 * clipped), axis=1)
    return tf.linalg.matvec(expectation, tf.ones(quantiles.shape[1]))
