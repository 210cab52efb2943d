"""Statistics over seeds, as advised by Agarwal et al. 2021, "Deep RL at the Edge of the Statistical Precipice".

A handful of seeds says little about the next seed, so a mean is given together with an interval that shows how little.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tensorq.errors import TensorqError

FloatArray = npt.NDArray[np.float64]


def bootstrap_interval(
    values: npt.ArrayLike, confidence: float = 0.95, resamples: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """Interval of the mean of `values` (one per seed) by the percentile bootstrap.

    n of the n values are drawn with replacement, `resamples` times over; the interval holds the central `confidence`
    share of the means of these draws (Efron 1979; Agarwal et al. 2021, section 4.1). The same seed gives the same
    interval. One value gives an interval of no width: it says nothing about spread.

    Raises TensorqError for no values, values that are not finite, a confidence outside (0, 1) or resamples below 1.
    """
    low, high = bootstrap_band(_column(values)[:, None], confidence, resamples, seed)
    return float(low[0]), float(high[0])


def bootstrap_band(
    values: npt.ArrayLike, confidence: float = 0.95, resamples: int = 2000, seed: int = 0
) -> tuple[FloatArray, FloatArray]:
    """`bootstrap_interval` of every column of `values` (seeds, points); whole rows are drawn, so curves stay whole."""
    rows = np.asarray(values, dtype=np.float64)
    if rows.ndim != 2 or rows.shape[0] == 0 or not np.isfinite(rows).all():
        expected = "finite values of shape (seeds, points) with at least one seed"
        raise TensorqError(f"expected {expected}, received {np.array2string(rows, threshold=6)}")
    _check_bootstrap(confidence, resamples)
    count = rows.shape[0]
    # How often each row is drawn follows a multinomial, so a product of matrices replaces fancy indexing.
    draws = np.random.default_rng(seed).multinomial(count, np.full(count, 1.0 / count), size=resamples)
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(draws @ rows / count, [tail, 1.0 - tail], axis=0)
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


def interquartile_mean_interval(
    strata: Sequence[npt.ArrayLike], confidence: float = 0.95, resamples: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """Interval of the interquartile mean of all values together, by the stratified bootstrap.

    `strata` holds a row of values (one per seed) for each environment. Each is drawn anew from itself alone, so that
    every draw has as many values of each environment as there are (Agarwal et al. 2021, section 4.3). The same seed
    gives the same interval. Raises TensorqError as `bootstrap_interval` does.
    """
    columns = [_column(values) for values in strata]
    if not columns:
        raise TensorqError("expected the values of one or more environments, received none")
    _check_bootstrap(confidence, resamples)
    generator = np.random.default_rng(seed)
    draws = [column[generator.integers(column.size, size=(resamples, column.size))] for column in columns]
    ordered = np.sort(np.concatenate(draws, axis=1), axis=1)
    cut = ordered.shape[1] // 4
    means = ordered[:, cut : ordered.shape[1] - cut].mean(axis=1)
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(means, [tail, 1.0 - tail])
    return float(low), float(high)


def _check_bootstrap(confidence: float, resamples: int) -> None:
    if not 0.0 < confidence < 1.0 or resamples < 1:
        raise TensorqError(
            f"expected 0 < confidence < 1 and resamples >= 1, received confidence={confidence}, resamples={resamples}"
        )


def _column(values: npt.ArrayLike) -> FloatArray:
    column = np.asarray(values, dtype=np.float64)
    if column.ndim != 1 or column.size == 0 or not np.isfinite(column).all():
        raise TensorqError(f"expected one or more finite values, received {np.array2string(column, threshold=6)}")
    return column
