"""Running means and variances. They work in NumPy and on tensors, because they use only arithmetic."""

from __future__ import annotations

from typing import Any, NamedTuple

FIRST_COUNT = 1e-4  # the weight of the initial mean 0 and variance 1, as a number of observations
EPSILON = 1e-8  # added to a variance, so that an observation that never changes stays finite


class Statistics(NamedTuple):
    """Mean and variance of D numbers over the observations so far, in float64."""

    mean: Any  # [D]
    variance: Any  # [D], of the population
    count: Any  # scalar

    def after(self, mean: Any, variance: Any, count: Any) -> Statistics:
        """The statistics after `count` more observations with this mean and variance (Chan, Golub and LeVeque 1979).

        The sums of squared deviations are added, plus a term for the difference between the two means:
        variance = (v1 n1 + v2 n2 + d^2 n1 n2 / (n1 + n2)) / (n1 + n2), d = mean2 - mean1.
        """
        total, difference = self.count + count, mean - self.mean
        squares = self.variance * self.count + variance * count + difference**2 * self.count * count / total
        return Statistics(self.mean + difference * count / total, squares / total, total)
