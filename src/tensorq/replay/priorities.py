"""The arithmetic of prioritised replay (Schaul et al. 2016), for arrays and for tensors. No TensorFlow here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

SMALLEST = 1e-6  # added to |TD error|, so that every transition can be drawn again
TREE_BYTES = 12  # at most, per transition: its priority in float64, and its share of the sums and maxima above
FIRST_PRIORITY = 1.0  # of the first transition; later ones get the largest priority now in the replay


def to_priority(size: Any, exponent: float) -> Any:
    """(|TD error| + 1e-6)^exponent, to which a transition's probability is proportional (equation 1)."""
    return (size + SMALLEST) ** exponent


def to_weights(relative: Any, exponent: Any, maximum: Callable[[Any], Any]) -> Any:
    """Importance weights (size * probability)^-exponent, divided by the largest of them (section 3.4).

    Args:
        relative: [B], the replay's size times each transition's probability.
        exponent: 0 corrects nothing, 1 corrects fully.
        maximum: the function that computes the maximum of an array or a tensor.
    """
    weight = relative**-exponent
    return weight / maximum(weight)
