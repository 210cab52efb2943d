"""The pure functions against independent float64 versions in plain Python loops, on random inputs.

As users will run them: in float32, under XLA. test_core.py shows that eager, graph and XLA agree.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tensorq.agents import qtable
from tensorq.core import losses, targets

SAMPLES, ACTIONS, POINTS, ATOMS, STEPS = 3, 4, 5, 7, 6
LOW, HIGH = -3.0, 9.0
SPACING = (HIGH - LOW) / (ATOMS - 1)
TEMPERATURES = (0.03, 1.0)


def numbers(low: float, high: float, *shape: int) -> st.SearchStrategy[np.ndarray]:
    # Subnormal numbers are zero to XLA.
    return arrays(np.float32, shape, elements=st.floats(low, high, width=32, allow_subnormal=False))


def distributions(*shape: int) -> st.SearchStrategy[np.ndarray]:
    """Rows that sum to 1, some of their numbers 0."""

    def normalise(weights: np.ndarray) -> np.ndarray:
        weights = weights + (weights.sum(axis=-1, keepdims=True) == 0)
        return (weights / weights.sum(axis=-1, keepdims=True)).astype(np.float32)

    return arrays(np.float32, shape, elements=st.integers(0, 9)).map(normalise)


def masks() -> st.SearchStrategy[np.ndarray]:
    """At least one legal action a row."""

    def some(mask: np.ndarray) -> np.ndarray:
        return mask | ~mask.any(axis=1, keepdims=True)

    return arrays(bool, (SAMPLES, ACTIONS)).map(some)


q_values = numbers(-20, 20, SAMPLES, ACTIONS)
rewards = numbers(-5, 5, SAMPLES)
discounts = numbers(0, 1, SAMPLES)
next_points = numbers(-20, 20, SAMPLES, ACTIONS, POINTS)
next_probabilities = distributions(SAMPLES, ACTIONS, POINTS)
transitions = st.tuples(rewards, discounts, next_points, next_probabilities, q_values, masks())


@functools.cache
def compiled(function: Callable[..., Any], *settings: Any) -> Callable[..., Any]:
    return tf.function(lambda *tensors: function(*tensors, *settings), autograph=False, jit_compile=True)


def run(function: Callable[..., Any], arrays: tuple[np.ndarray, ...], *settings: Any) -> Any:
    """The function of arrays, then settings, as NumPy arrays."""
    result = compiled(function, *settings)(*map(tf.constant, arrays))
    return [part.numpy() for part in result] if isinstance(result, (list, tuple)) else result.numpy()


def slope(function: Callable[..., Any], arrays: tuple[np.ndarray, ...]) -> np.ndarray:
    """The derivative by the first of the arrays, of the sum of what the function has of them."""

    def gradient(first: Any, *others: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(first)
            result = function(first, *others)
        return tape.gradient(result, first)

    return run(_gradients.setdefault(function, gradient), arrays)  # one function each, so that it is compiled once


_gradients: dict[Callable[..., Any], Callable[..., Any]] = {}


def rows(*arrays: np.ndarray) -> Any:
    """The arrays' rows in float64."""
    return zip(*(array if array.dtype == bool else array.astype(np.float64) for array in arrays), strict=True)


# --- projections ------------------------------------------------------------------------------------------------------


def shared_by_algorithm_1(points: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Bellemare et al. 2017 as printed: b between l and u, the floor and the ceiling."""
    result = np.zeros(ATOMS)
    for point, probability in zip(points, probabilities, strict=True):
        b = (min(max(point, LOW), HIGH) - LOW) / SPACING
        lower, upper = math.floor(b), math.ceil(b)
        if lower == upper:  # the printed algorithm loses this probability
            result[lower] += probability
        else:
            result[lower] += probability * (upper - b)
            result[upper] += probability * (b - lower)
    return result


on_support = st.sampled_from([LOW + i * SPACING for i in range(ATOMS)])
anywhere = st.floats(-20, 20, width=32, allow_subnormal=False)


@given(arrays(np.float32, (SAMPLES, POINTS), elements=anywhere | on_support), distributions(SAMPLES, POINTS))
def test_categorical_projection(points: np.ndarray, probabilities: np.ndarray) -> None:
    found = run(losses.categorical_projection, (points, probabilities), LOW, HIGH, ATOMS)
    expected = [shared_by_algorithm_1(*row) for row in rows(points, probabilities)]
    np.testing.assert_allclose(found, expected, atol=2e-5)
    support = LOW + SPACING * np.arange(ATOMS)
    np.testing.assert_allclose(found @ support, (np.clip(points, LOW, HIGH) * probabilities).sum(axis=1), atol=1e-4)


@given(numbers(LOW, HIGH, SAMPLES), st.sampled_from([0.5, 0.75, 3.0]))
def test_gaussian_histogram(values: np.ndarray, deviation: float) -> None:
    found = run(losses.gaussian_histogram, (values,), LOW, HIGH, ATOMS, deviation)

    def below(x: float, value: float) -> float:
        return (1 + math.erf((x - value) / (deviation * SPACING) / math.sqrt(2))) / 2

    for row, value in zip(found, values.astype(float), strict=True):
        centres = [LOW + SPACING * i for i in range(ATOMS)]
        mass = [below(z + SPACING / 2, value) - below(z - SPACING / 2, value) for z in centres]
        np.testing.assert_allclose(row, np.array(mass) / sum(mass), atol=2e-6)


# --- losses -----------------------------------------------------------------------------------------------------------


@given(
    arrays(np.float32, 8, elements=st.floats(-50, 50, width=32, allow_subnormal=False) | st.sampled_from([-1, 0, 1]))
)
def test_squared_and_huber(errors: np.ndarray) -> None:
    def by_cases(d: float) -> float:
        return d * d / 2 if -1 <= d <= 1 else (d if d > 0 else -d) - 0.5

    np.testing.assert_allclose(run(losses.squared, (errors,)), [d * d for d in errors.tolist()], rtol=1e-6, atol=1e-30)
    np.testing.assert_allclose(
        run(losses.huber, (errors,)), [by_cases(d) for d in errors.tolist()], rtol=1e-6, atol=1e-30
    )
    np.testing.assert_allclose(slope(losses.squared, (errors,)), 2 * errors, rtol=1e-6, atol=1e-30)
    np.testing.assert_allclose(slope(losses.huber, (errors,)), np.clip(errors, -1, 1), rtol=1e-6, atol=1e-30)


@given(numbers(-50, 50, SAMPLES, POINTS), distributions(SAMPLES, POINTS))
def test_cross_entropy(logits: np.ndarray, probabilities: np.ndarray) -> None:
    found = run(losses.cross_entropy, (logits, probabilities))
    weights = np.exp(logits.astype(float) - logits.max(axis=1, keepdims=True))
    expected = weights / weights.sum(axis=1, keepdims=True) - probabilities
    np.testing.assert_allclose(slope(losses.cross_entropy, (logits, probabilities)), expected, atol=1e-5)
    for loss, x, p in zip(found, *(a.astype(float) for a in (logits, probabilities)), strict=True):
        total = math.log(sum(math.exp(each) for each in x))
        assert math.isclose(loss, -sum(p[k] * (x[k] - total) for k in range(POINTS)), rel_tol=1e-5, abs_tol=1e-4)


@given(
    numbers(-5, 5, SAMPLES, ACTIONS), numbers(0, 1, SAMPLES, ACTIONS), numbers(-5, 5, SAMPLES, POINTS),
    distributions(SAMPLES, POINTS),
)  # fmt: skip
def test_quantile_huber(
    quantiles: np.ndarray, fractions: np.ndarray, points: np.ndarray, probabilities: np.ndarray
) -> None:
    def by_equation_10(quantiles: Any, fractions: Any, points: Any, probabilities: Any) -> float:
        total = 0.0
        for theta, tau in zip(quantiles, fractions, strict=True):
            for target, probability in zip(points, probabilities, strict=True):
                u = target - theta
                huber = u * u / 2 if abs(u) <= 1 else abs(u) - 0.5
                total += probability * abs(tau - (u < 0)) * huber
        return total

    given_arrays = quantiles, fractions, points, probabilities
    expected = [by_equation_10(*row) for row in rows(*given_arrays)]
    np.testing.assert_allclose(run(losses.quantile_huber, given_arrays), expected, rtol=1e-5, atol=1e-5)
    error = points.astype(float)[:, None, :] - quantiles.astype(float)[:, :, None]
    share = probabilities[:, None, :] * np.abs(fractions[:, :, None] - (error < 0))
    by_quantile = -(share * np.clip(error, -1, 1)).sum(axis=2)
    np.testing.assert_allclose(slope(losses.quantile_huber, given_arrays), by_quantile, rtol=1e-5, atol=1e-5)


# --- targets ----------------------------------------------------------------------------------------------------------


def policy_of(q: np.ndarray, mask: np.ndarray, temperature: float) -> dict[int, tuple[float, float]]:
    """Probability and its logarithm for each legal action."""
    actions = np.flatnonzero(mask)
    best = max(q[actions])
    total = sum(math.exp((q[a] - best) / temperature) for a in actions)
    logs = {int(a): (q[a] - best) / temperature - math.log(total) for a in actions}
    return {a: (math.exp(log), log) for a, log in logs.items()}


@given(q_values, masks(), st.sampled_from(TEMPERATURES))
def test_log_policy(q: np.ndarray, mask: np.ndarray, temperature: float) -> None:
    found = run(log_policy_at(temperature), (q, mask))
    for row, q_row, mask_row in zip(found, q.astype(float), mask, strict=True):
        expected = policy_of(q_row, mask_row, temperature)
        for action in range(ACTIONS):
            if action in expected:
                assert math.isclose(row[action], expected[action][1], rel_tol=1e-5, abs_tol=2e-5)
            else:
                assert -math.inf < row[action] < -1e25
    unmasked = run(targets.log_policy, (q,), temperature)
    np.testing.assert_array_equal(unmasked, run(log_policy_at(temperature), (q, np.ones_like(mask))))


@functools.cache
def log_policy_at(temperature: float) -> Callable[..., Any]:
    return lambda q, mask: targets.log_policy(q, temperature, mask)


@given(transitions)
def test_greedy_target(given_arrays: tuple[np.ndarray, ...]) -> None:
    found = run(greedy_of, given_arrays)
    for i, (reward, discount, points, probabilities, q, mask) in enumerate(rows(*given_arrays)):
        action = max((a for a in range(ACTIONS) if mask[a]), key=lambda a: (q[a], -a))
        np.testing.assert_allclose(found[0][i], [reward + discount * point for point in points[action]], atol=1e-5)
        np.testing.assert_array_equal(found[1][i], probabilities[action])


def greedy_of(reward: Any, discount: Any, points: Any, probabilities: Any, q: Any, mask: Any) -> Any:
    return targets.greedy_target(reward, discount, points, probabilities, targets.greedy(q, mask))


@given(transitions, st.sampled_from(TEMPERATURES))
def test_soft_target(given_arrays: tuple[np.ndarray, ...], temperature: float) -> None:
    values, weights = run(soft_of(temperature), given_arrays)
    for i, (reward, discount, points, probabilities, q, mask) in enumerate(rows(*given_arrays)):
        policy = policy_of(q, mask, temperature)
        # Equation 3 of Vieillard et al. 2020, with the mean over points for the target network's Q.
        expected = reward + discount * sum(
            p * (points[a] @ probabilities[a] - temperature * log) for a, (p, log) in policy.items()
        )
        assert math.isclose(values[i].astype(float) @ weights[i], expected, rel_tol=1e-4, abs_tol=1e-4)
        assert math.isclose(weights[i].sum(), 1, rel_tol=1e-4)
        # As a distribution: each action's points, as probable as the action makes them.
        shares = weights[i].reshape(ACTIONS, POINTS)
        for a in range(ACTIONS):
            np.testing.assert_allclose(shares[a], policy.get(a, (0, 0))[0] * probabilities[a], atol=2e-5)
            if a in policy and policy[a][0] > 1e-30:
                shifted = reward + discount * (points[a] - temperature * policy[a][1])
                np.testing.assert_allclose(values[i].reshape(ACTIONS, POINTS)[a], shifted, rtol=1e-5, atol=1e-5)


@functools.cache
def soft_of(temperature: float) -> Callable[..., Any]:
    def run(reward: Any, discount: Any, points: Any, probabilities: Any, q: Any, mask: Any) -> Any:
        log_policy = targets.log_policy(q, temperature, mask)
        return targets.soft_target(reward, discount, points, probabilities, log_policy, temperature)

    return run


@given(
    numbers(-1000, 0, SAMPLES), st.sampled_from([0.3, 0.9]), st.sampled_from([-1.0, -5.0]), st.sampled_from([0.03, 1])
)
def test_munchausen_bonus(log_taken: np.ndarray, scale: float, lowest: float, temperature: float) -> None:
    found = run(targets.munchausen_bonus, (log_taken,), scale, temperature, lowest)
    expected = [scale * min(max(temperature * float(log), lowest), 0) for log in log_taken]
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7)


# --- returns ----------------------------------------------------------------------------------------------------------


def lambda_return(decay: float, reward: Any, discount: Any, value: Any, ended: Any) -> float:
    """(1 - lambda) sum over k < K of lambda^(k-1) G^(k), and lambda^(K-1) G^(K), of the first of some steps.

    G^(k) sums k rewards, then trusts the value; K is how many steps there are until the episode or all of them end.
    """
    last = next((k for k, end in enumerate(ended, 1) if end), len(ended))

    def of_length(k: int) -> float:
        total, factor = 0.0, 1.0
        for step in range(k):
            total, factor = total + factor * reward[step], factor * discount[step]
        return total + factor * value[k - 1]

    return (1 - decay) * sum(decay ** (k - 1) * of_length(k) for k in range(1, last)) + decay ** (last - 1) * of_length(
        last
    )


@given(
    numbers(-5, 5, STEPS, SAMPLES), numbers(0, 1, STEPS, SAMPLES), numbers(-20, 20, STEPS, SAMPLES),
    arrays(bool, (STEPS, SAMPLES)), arrays(bool, (STEPS, SAMPLES)), numbers(0, 1),
)  # fmt: skip
def test_lambda_returns(
    reward: np.ndarray, discount: np.ndarray, value: np.ndarray, terminated: np.ndarray, cut: np.ndarray,
    decay: np.ndarray,
) -> None:  # fmt: skip
    given_arrays = reward, discount * ~terminated, value, terminated | cut
    found = run(targets.lambda_returns, (*given_arrays, decay))
    for column, expected in enumerate(rows(*(array.T for array in given_arrays))):
        for t in range(STEPS):
            assert math.isclose(
                found[t, column],
                lambda_return(float(decay), *(part[t:] for part in expected)),
                rel_tol=1e-5,
                abs_tol=1e-4,
            )


# --- a table ----------------------------------------------------------------------------------------------------------

value = st.floats(-50, 50)


@given(value, value, st.sampled_from([0.0, 0.9, 1.0]), st.lists(st.tuples(value, st.booleans()), min_size=1))
def test_td_error_of_a_table(q: float, reward: float, discount: float, following: list[tuple[float, bool]]) -> None:
    values, mask = ([pair[place] for pair in following] for place in (0, 1))
    for legal in (None, mask):
        best = None
        for index, each in enumerate(values):
            if (legal is None or legal[index]) and (best is None or each > best):
                best = each
        expected = reward + discount * (best or 0) - q
        assert math.isclose(qtable.td_error(q, reward, discount, values, legal), expected, abs_tol=1e-9)
