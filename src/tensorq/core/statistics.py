"""Running means and variances, in NumPy or on tensors: only arithmetic is used."""

from __future__ import annotations

from typing import Any, NamedTuple

FIRST_COUNT = 1e-4  # of observations that the first mean of 0 and variance of 1 count for
EPSILON = 1e-8  # added to a variance, so that constants stay finite


class Statistics(NamedTuple):
    """What D numbers have been so far, in float64."""

    mean: Any  # [D]
    variance: Any  # [D], of the population
    count: Any  # scalar

    def after(self, mean: Any, variance: Any, count: Any) -> Statistics:
        """With `count` observations more, of this mean and variance (Chan, Golub and LeVeque 1979).

        The sums of squared deviations add up, and what lies between the two means is added to them:
        variance = (v1 n1 + v2 n2 + d^2 n1 n2 / (n1 + n2)) / (n1 + n2), d = mean2 - mean1.
        """
        total, difference = self.count + count, mean - self.mean
        squares = self.variance * self.count + variance * count + difference**2 * self.count * count / total
        return Statistics(self.mean + difference * count / total, squares / total, total)
