"""Schedules, on plain numbers and on tensors. No TensorFlow here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def linear(start: float, final: float, length: int, count: Any, minimum: Callable[..., Any] = min) -> Any:
    """Linear from `start` at count 0 to `final` at count `length`, then constant. With length 0 it is always `final`.

    `count` is a number; or an integer tensor, with minimum=tf.minimum.
    """
    return start + (final - start) * minimum(count / length, 1.0) if length else final
