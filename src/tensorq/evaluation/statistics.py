"""Statistics over seeds, as advised by Agarwal et al. 2021, "Deep RL at the Edge of the Statistical Precipice".

A handful of seeds says little about the next seed, so a mean is given together with an interval that shows how little.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tensorq.errors import TensorqError

FloatArray = npt.NDArray[np.float64]
RESAMPLES = 2000
TAILS = (0.025, 0.975)  # of the resampled means, around the central 95 %


def bootstrap_interval(values: npt.ArrayLike) -> tuple[float, float]:
    """95 % interval of the mean of `values` (one per seed) by the percentile bootstrap.

    n of the n values are drawn with replacement, 2000 times over; the interval holds the central 95 % of the means of
    these draws (Efron 1979; Agarwal et al. 2021, section 4.1). The same values give the same interval. One value gives
    an interval of no width: it says nothing about spread.

    Raises TensorqError for no values or values that are not finite.
    """
    low, high = bootstrap_band(_column(values)[:, None])
    return float(low[0]), float(high[0])


def bootstrap_band(values: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
    """`bootstrap_interval` of every column of `values` (seeds, points); whole rows are drawn, so curves stay whole."""
    rows = np.asarray(values, dtype=np.float64)
    if rows.ndim != 2 or rows.shape[0] == 0 or not np.isfinite(rows).all():
        expected = "finite values of shape (seeds, points) with at least one seed"
        raise TensorqError(f"expected {expected}, received {np.array2string(rows, threshold=6)}")
    count = rows.shape[0]
    # How often each row is drawn follows a multinomial, so a product of matrices replaces fancy indexing.
    draws = np.random.default_rng(0).multinomial(count, np.full(count, 1.0 / count), size=RESAMPLES)
    low, high = np.quantile(draws @ rows / count, TAILS, axis=0)
    return low, high


def interquartile_mean(values: npt.ArrayLike) -> float:
    """Mean of the middle half: what is left after a quarter of the values is cut at either end.

    Robust to outliers like the median, and less noisy than it with few seeds (Agarwal et al. 2021, section 4.3). Of n
    values floor(n / 4) are cut at either end, as `scipy.stats.trim_mean(values, 0.25)` does.

    Raises TensorqError for no values or values that are not finite.
    """
    ordered = np.sort(_column(values))
    cut = ordered.size // 4
    return float(ordered[cut : ordered.size - cut].mean())


def interquartile_mean_interval(strata: Sequence[npt.ArrayLike]) -> tuple[float, float]:
    """95 % interval of the interquartile mean of all values together, by the stratified bootstrap.

    `strata` holds a row of values (one per seed) for each environment. Each row is resampled on its own, so that
    every draw has as many values of each environment as there are (Agarwal et al. 2021, section 4.3). The same values
    give the same interval. Raises TensorqError as `bootstrap_interval` does.
    """
    columns = [_column(values) for values in strata]
    if not columns:
        raise TensorqError("expected the values of one or more environments, received none")
    generator = np.random.default_rng(0)
    draws = [column[generator.integers(column.size, size=(RESAMPLES, column.size))] for column in columns]
    ordered = np.sort(np.concatenate(draws, axis=1), axis=1)
    cut = ordered.shape[1] // 4
    means = ordered[:, cut : ordered.shape[1] - cut].mean(axis=1)
    low, high = np.quantile(means, TAILS)
    return float(low), float(high)


def _column(values: npt.ArrayLike) -> FloatArray:
    column = np.asarray(values, dtype=np.float64)
    if column.ndim != 1 or column.size == 0 or not np.isfinite(column).all():
        raise TensorqError(f"expected one or more finite values, received {np.array2string(column, threshold=6)}")
    return column
