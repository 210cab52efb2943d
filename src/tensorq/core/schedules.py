"""Schedules, on plain numbers and on tensors. No TensorFlow here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def linear(start: float, final: float, length: int, count: Any, minimum: Callable[..., Any] = min) -> Any:
    """Linear from `start` at count 0 to `final` at `length`, constant after; a length of 0 is `final` at once.

    Args:
        start, final: the two ends.
        length: in the unit of count.
        count: a number; or an integer tensor, with minimum=tf.minimum.
        minimum: the function that takes the smaller of two.
    """
    return start + (final - start) * minimum(count / length, 1.0) if length else final
