"""Projections of distributions onto a fixed support of K evenly spaced points."""

from __future__ import annotations

import math

from tensorq.core.lazy import tf
from tensorq.core.types import Tensor


def categorical_projection(points: Tensor, probabilities: Tensor, low: float, high: float, count: int) -> Tensor:
    """Share each point's probability between its two neighbours on the support (Bellemare et al. 2017, algorithm 1).

    Support point k gets sum_j p_j * max(0, 1 - |clip(point_j, low, high) - z_k| / spacing). If all points are within
    the support, the mean stays the same; a point that is on a support point gives it all of its probability.

    Args:
        points, probabilities: [B, M].
        low, high: the ends of the support.
        count: K, its number of points.

    Returns:
        [B, K] probabilities.
    """
    position = (tf.clip_by_value(points, low, high) - low) * ((count - 1) / (high - low))
    distance = tf.abs(position[:, :, None] - tf.range(count, dtype=points.dtype))
    return tf.reduce_sum(probabilities[:, :, None] * tf.nn.relu(1.0 - distance), axis=1)


def gaussian_histogram(value: Tensor, low: float, high: float, count: int, deviation: float) -> Tensor:
    """The probabilities that a normal distribution around each value gives to K bins (Farebrother et al. 2024, eq. 6).

    The bins are `spacing` wide and centred on the support's points. The mass outside the bins is shared among them in
    proportion, which moves the mean inwards: with a deviation of 0.75 bins, by 0.37 bins for a value at `low`, and by
    0.05 for a value one bin further in.

    Args:
        value: [B], all within [low, high].
        low, high: the first and last bin's centres.
        count: K.
        deviation: the standard deviation in bin widths; the paper's 0.75 spreads most over six bins.

    Returns:
        [B, K] probabilities.
    """
    spacing = (high - low) / (count - 1)
    edges = low + spacing * (tf.range(count + 1, dtype=value.dtype) - 0.5)
    scaled = (edges - value[:, None]) / (math.sqrt(2) * deviation * spacing)
    cumulative = tf.math.erf(scaled)
    mass = cumulative[:, 1:] - cumulative[:, :-1]
    return mass / (cumulative[:, -1:] - cumulative[:, :1])
