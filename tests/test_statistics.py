"""Statistics over seeds, against values that can be worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from tensorq.errors import TensorqError
from tensorq.evaluation.statistics import (
    bootstrap_band,
    bootstrap_interval,
    interquartile_mean,
    interquartile_mean_interval,
)


def test_interval_of_two_values() -> None:
    # Two draws from {0, 1} have mean 0, 1/2 or 1 with chances 1/4, 1/2, 1/4: the middle 95 % reach from 0 to 1.
    assert bootstrap_interval([0.0, 1.0]) == (0.0, 1.0)


def test_interval_is_the_normal_one_for_many_values() -> None:
    values = np.random.default_rng(1).normal(size=1000)
    half = 1.96 * values.std() / np.sqrt(1000)
    assert bootstrap_interval(values) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.1 * half)


def test_interval_is_repeatable_and_one_value_has_no_spread() -> None:
    values = [3.0, 9.0, 4.0, 1.0]
    assert bootstrap_interval(values) == bootstrap_interval(values)
    assert bootstrap_interval([7.0]) == (7.0, 7.0)


def test_band_is_the_interval_of_each_column() -> None:
    rows = np.random.default_rng(0).normal(size=(5, 3))
    low, high = bootstrap_band(rows)
    assert np.stack([low, high], axis=1) == pytest.approx(np.array([bootstrap_interval(column) for column in rows.T]))


def test_interquartile_mean() -> None:
    assert interquartile_mean([100, 3, 0, 5, 2, 1, 6, 4]) == 3.5  # two cut at either end of 0 1 2 3 4 5 6 100
    assert interquartile_mean([1, 2, 3, 4, 100]) == 3.0  # floor(5 / 4) = 1 cut
    assert interquartile_mean([1, 2, 6]) == 3.0  # nothing to cut


@pytest.mark.parametrize("values", [[], [1.0, np.nan], [np.inf], [[1.0], [2.0]]])
def test_what_is_no_list_of_values_is_refused(values: list[float]) -> None:
    for function in (bootstrap_interval, interquartile_mean):
        with pytest.raises(TensorqError, match="finite values"):
            function(values)


def test_interquartile_mean_interval_draws_each_environment_from_itself() -> None:
    # Of one value in each of four environments every draw is the same: the middle two of 1, 2, 3, 10 have mean 2.5.
    assert interquartile_mean_interval([[1.0], [10.0], [3.0], [2.0]]) == (2.5, 2.5)
    # Pooled, the draws would hold 0 to 4 tens, and the interval would be wide.
    assert interquartile_mean_interval([[0.0, 0.0], [10.0, 10.0]]) == (5.0, 5.0)


def test_interquartile_mean_interval_of_two_values() -> None:
    # Nothing is cut of two, so a draw's mean is 0, 1 or 2, with chances 1/4, 1/2, 1/4: its middle 95 % is all.
    assert interquartile_mean_interval([[0.0, 2.0]]) == (0.0, 2.0)
    with pytest.raises(TensorqError, match="received none"):
        interquartile_mean_interval([])
