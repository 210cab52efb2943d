"""The arithmetic of prioritised replay (Schaul et al. 2016), on arrays and on tensors alike. No TensorFlow here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

SMALLEST = 1e-6  # added to |TD error|: nothing is never drawn again
TREE_BYTES = 12  # a transition, at most: its priority in float64, and its share of the sums and maxima above
FIRST_PRIORITY = 1.0  # of a transition stored when no other is there; else it gets the largest now in the replay


def to_priority(size: Any, exponent: float) -> Any:
    """(|TD error| + 1e-6)^exponent, to which a transition's probability is proportional (equation 1)."""
    return (size + SMALLEST) ** exponent


def to_weights(relative: Any, exponent: Any, maximum: Callable[[Any], Any]) -> Any:
    """Importance weights (size * probability)^-exponent over the largest of them (section 3.4).

    Args:
        relative: [B], the replay's size times each transition's probability.
        exponent: 0 corrects nothing, 1 corrects fully.
        maximum: over an array or a tensor.
    """
    weight = relative**-exponent
    return weight / maximum(weight)
