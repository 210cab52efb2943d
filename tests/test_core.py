"""The pure functions, against numbers worked out by hand: run eagerly, as a graph, and compiled by XLA."""

from __future__ import annotations

import functools
from collections.abc import Callable
from statistics import NormalDist
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from gymnasium.wrappers.utils import RunningMeanStd

from tensorq.core import host_random, losses, random
from tensorq.core.cosine import cos, cos_pi, sin
from tensorq.core.exploration import epsilon_greedy, noise
from tensorq.core.optimizers import adam, clip_by_norm, rmsprop
from tensorq.core.schedules import linear
from tensorq.core.statistics import FIRST_COUNT, Statistics
from tensorq.core.targets import greedy, greedy_target, lambda_returns, log_policy, munchausen_bonus, soft_target, take
from tensorq.core.types import OptimizerState

BELOW_ONE = float(np.nextafter(np.float32(1), np.float32(0)))
Mode = Callable[[Callable[..., Any]], Callable[..., Any]]


@pytest.fixture(params=["eager", "graph", "xla"])
def mode(request: pytest.FixtureRequest) -> Mode:
    """Makes a function one of tensors, run in one of the three ways."""
    if request.param == "eager":
        return lambda function: function
    return functools.partial(tf.function, autograph=False, jit_compile=request.param == "xla")


def floats(*values: Any) -> tf.Tensor:
    return tf.constant(values, tf.float32)


def legal(*rows: str) -> tf.Tensor:
    """Masks from text: "101" is a row in which the middle action is illegal."""
    return tf.constant([[letter == "1" for letter in row] for row in rows])


def close(found: Any, expected: Any, rtol: float = 1e-6) -> None:
    np.testing.assert_allclose(np.asarray(found), np.asarray(expected), rtol=rtol, atol=1e-7, strict=False)


# --- targets ----------------------------------------------------------------------------------------------------------

REWARD, DISCOUNT = (1, 2, 3), (0.5, 0, 0.9)
NEXT_Q = ((1, 2), (5, 4), (-1, -3))


def test_take(mode: Mode) -> None:
    close(mode(take)(floats((1, 2, 3), (4, 5, 6)), tf.constant([2, 0])), [3, 4])
    rows = floats(((1, 2), (3, 4)), ((5, 6), (7, 8)))  # [B, A, M]
    close(mode(take)(rows, tf.constant([1, 0])), [[3, 4], [5, 6]])


def test_greedy_takes_the_first_of_the_best_legal_actions(mode: Mode) -> None:
    q_values = floats((1, 3, 3), (9, -2, -1), (9, 8, 7), (-4, -4, -4))
    np.testing.assert_array_equal(mode(greedy)(q_values), [1, 0, 0, 0])
    mask = legal("101", "011", "010", "011")
    np.testing.assert_array_equal(mode(greedy)(q_values, mask), [2, 2, 1, 1])


def test_target_of_q_learning(mode: Mode) -> None:
    # One point an action, its value. The best actions are 1, 0, 0:
    # 1 + 0.5 * 2 = 2;  2 + 0 * 5 = 2;  3 + 0.9 * -1 = 2.1
    values = floats(*NEXT_Q)[:, :, None]
    run = mode(lambda *given: greedy_target(*given, greedy(given[2][:, :, 0])))
    points, probabilities = run(floats(*REWARD), floats(*DISCOUNT), values, tf.ones_like(values))
    close(points, [[2], [2], [2.1]])
    close(probabilities, [[1], [1], [1]])


def test_target_of_double_q_learning_rates_the_action_that_another_chose(mode: Mode) -> None:
    # Actions 0, 1, 1:  1 + 0.5 * 1 = 1.5;  2 + 0 * 4 = 2;  3 + 0.9 * -3 = 0.3
    values = floats(*NEXT_Q)[:, :, None]
    run = mode(greedy_target)
    points, _ = run(floats(*REWARD), floats(*DISCOUNT), values, tf.ones_like(values), tf.constant([0, 1, 1]))
    close(points, [[1.5], [2], [0.3]])


def test_greedy_target_of_a_distribution(mode: Mode) -> None:
    # Action 1's points 2, 4 of probability 0.3, 0.7 become 1 + 0.5 * 2 = 2 and 1 + 0.5 * 4 = 3.
    points, probabilities = floats(((0, 1), (2, 4))), floats(((0.5, 0.5), (0.3, 0.7)))
    found = mode(greedy_target)(floats(1), floats(0.5), points, probabilities, tf.constant([1]))
    close(found[0], [[2, 3]])
    close(found[1], [[0.3, 0.7]])


LOG_3 = float(np.log(3))


def test_log_policy(mode: Mode) -> None:
    # Temperature 0.5: exponents 0 and log(3) above the first. softmax = 1/4, 3/4.
    run = mode(lambda q_values: log_policy(q_values, 0.5))
    close(run(floats((2, 2 + 0.5 * LOG_3))), np.log([[0.25, 0.75]]), 1e-5)
    # Far below the best: (0 - 600) / 0.5 = -1200 exactly, where a logarithm of a softmax would be of 0.
    close(run(floats((600, 0))), [[0, -1200]])


def test_log_policy_knows_only_legal_actions(mode: Mode) -> None:
    # The best is illegal. Among the others, log(3) / 2 apart at temperature 0.5: 1/4, 3/4.
    run = mode(lambda q_values, mask: log_policy(q_values, 0.5, mask))
    found = run(floats((7, 99, 7 + 0.5 * LOG_3)), legal("101")).numpy()
    close(found[:, [0, 2]], np.log([[0.25, 0.75]]), 1e-5)
    assert -np.inf < found[0, 1] < -1e20
    # Where a state has no legal action, as a terminal one may, all is finite still.
    assert np.isfinite(run(floats((7, 99, 7)), legal("000"))).all()


def test_munchausen_bonus(mode: Mode) -> None:
    # 0.9 * 0.5 * log(1/4) = -0.6238;  0.9 * max(0.5 * -4, -1) = -0.9;  0.9 * 0 = 0;  illegal: -0.9
    run = mode(lambda taken: munchausen_bonus(taken, 0.9, 0.5, -1.0))
    close(run(floats(np.log(0.25), -4, 0, -1e30)), [-0.6238325, -0.9, 0, -0.9])


def test_soft_target(mode: Mode) -> None:
    # Policy 1/4, 3/4 at temperature 0.5, whose entropy bonuses are -0.5 log(1/4) = 0.693147, -0.5 log(3/4) = 0.143841.
    # Points:        1 + 0.5 * (0 + 0.693147) = 1.346574, 1 + 0.5 * (1 + 0.693147) = 1.846574,
    #                1 + 0.5 * (2 + 0.143841) = 2.071921, 1 + 0.5 * (4 + 0.143841) = 3.071921
    # Probabilities: 0.5 / 4, 0.5 / 4, 0.3 * 3 / 4, 0.7 * 3 / 4
    points, probabilities = floats(((0, 1), (2, 4))), floats(((0.5, 0.5), (0.3, 0.7)))
    run = mode(lambda *given: soft_target(*given, 0.5))
    found = run(floats(1), floats(0.5), points, probabilities, floats(np.log([0.25, 0.75])))
    close(found[0], [[1.346574, 1.846574, 2.071921, 3.071921]])
    close(found[1], [[0.125, 0.125, 0.225, 0.525]])


def test_soft_target_leaves_illegal_actions_out(mode: Mode) -> None:
    # One legal action of probability 1, no entropy: 1 + 0.5 * 2 = 2. The other, 1 + 0.5 * 50 = 26, counts for nothing.
    def run(q_values: Any, mask: Any) -> Any:
        return soft_target(
            floats(1), floats(0.5), q_values[:, :, None], tf.ones((1, 2, 1)), log_policy(q_values, 0.03, mask), 0.03
        )

    points, probabilities = mode(run)(floats((50, 2)), legal("01"))
    close(points, [[26, 2]])
    close(probabilities, [[0, 1]])


def test_no_gradient_flows_through_a_target() -> None:
    points, probabilities, policy = floats(((0, 1), (2, 4))), floats(((0.5, 0.5), (0.3, 0.7))), floats((-1, -1))
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([points, probabilities, policy])
        found = [
            *greedy_target(floats(1), floats(0.5), points, probabilities, tf.constant([1])),
            *soft_target(floats(1), floats(0.5), points, probabilities, policy, 0.5),
        ]
    for value in found:
        assert tape.gradient(value, [points, probabilities, policy]) == [None] * 3


# --- returns ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("decay", "expected"),
    [
        # Each step by itself. First column: 1 + 0.5 * 10 = 6, 2 + 0.5 * 20 = 12, 3, 4 + 0.5 * 40 = 24. In the second
        # column the third is no end: 3 + 0.5 * 30 = 18.
        (0, [[6, 6], [12, 12], [3, 18], [24, 24]]),
        # From below. First: 24;  3;  2 + 0.5 * (0.35 * 20 + 0.65 * 3) = 6.475;
        #   1 + 0.5 * (0.35 * 10 + 0.65 * 6.475) = 4.854375.
        # Second: 24;  3 + 0.5 * (0.35 * 30 + 0.65 * 24) = 16.05;  2 + 0.5 * 20 = 12, for the episode was cut there;
        #   1 + 0.5 * (0.35 * 10 + 0.65 * 12) = 6.65.
        (0.65, [[4.854375, 6.65], [6.475, 12], [3, 16.05], [24, 24]]),
        # First: 24;  3;  2 + 0.5 * 3 = 3.5;  1 + 0.5 * 3.5 = 2.75.
        # Second: 24;  3 + 0.5 * 24 = 15;  12;  1 + 0.5 * 12 = 7.
        (1, [[2.75, 7], [3.5, 12], [3, 15], [24, 24]]),
    ],
)
def test_lambda_returns(mode: Mode, decay: float, expected: Any) -> None:
    # The first column's third step terminates; a limit cuts the second column's second. gamma = 0.5.
    reward, value = floats(*[(t, t) for t in (1, 2, 3, 4)]), floats(*[(t, t) for t in (10, 20, 30, 40)])
    discount = floats((0.5, 0.5), (0.5, 0.5), (0, 0.5), (0.5, 0.5))
    ended = tf.constant([[False, False], [False, True], [True, False], [False, False]])
    close(mode(lambda *given: lambda_returns(*given, decay))(reward, discount, value, ended), expected)


# --- losses and projections -------------------------------------------------------------------------------------------


def value_and_gradient(mode: Mode, function: Callable[..., Any], x: Any, *rest: Any) -> tuple[Any, Any]:
    def run(x: Any, *rest: Any) -> tuple[Any, Any]:
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = function(x, *rest)
        return value, tape.gradient(value, x)

    value, gradient = mode(run)(x, *rest)
    return value, gradient


def test_losses_of_a_td_error_and_their_gradients(mode: Mode) -> None:
    td_error = floats(-2, 0.5, 1, 0, 3)
    value, gradient = value_and_gradient(mode, losses.squared, td_error)
    close(value, [4, 0.25, 1, 0, 9])
    close(gradient, [-4, 1, 2, 0, 6])
    # 2 - 1/2;  0.5^2 / 2;  1^2 / 2;  0;  3 - 1/2, and the error clipped to [-1, 1]
    value, gradient = value_and_gradient(mode, losses.huber, td_error)
    close(value, [1.5, 0.125, 0.5, 0, 2.5])
    close(gradient, [-1, 0.5, 1, 0, 1])


def test_cross_entropy(mode: Mode) -> None:
    # softmax(log 1, log 3) = 1/4, 3/4.  -0.2 log(1/4) - 0.8 log(3/4) = 0.507404; gradient 0.25 - 0.2, 0.75 - 0.8.
    # softmax(0, -200) = 1, 0, whose logarithms are 0 and -200:  0.5 * 200 = 100; gradient 1 - 0.5, 0 - 0.5.
    logits, probabilities = floats((0, LOG_3), (0, -200)), floats((0.2, 0.8), (0.5, 0.5))
    value, gradient = value_and_gradient(mode, losses.cross_entropy, logits, probabilities)
    close(value, [0.5074044, 100])
    close(gradient, [[0.05, -0.05], [0.5, -0.5]], 1e-5)


def test_quantile_huber(mode: Mode) -> None:
    # Differences d_ij = point_j - quantile_i: 0.5 and 3 from quantile 0; -1.5 and 1 from quantile 2.
    # Huber: 0.125, 2.5; 1, 0.5.  |fraction - [d < 0]|: 0.25, 0.25; 0.25, 0.75.  Probabilities 0.4, 0.6.
    # 0.4 * 0.25 * 0.125 + 0.6 * 0.25 * 2.5 + 0.4 * 0.25 * 1 + 0.6 * 0.75 * 0.5 = 0.7125
    # d / d quantile: -(0.4 * 0.25 * 0.5 + 0.6 * 0.25 * 1) = -0.2; -(0.4 * 0.25 * -1 + 0.6 * 0.75 * 1) = -0.35
    quantiles, points, probabilities = floats((0, 2)), floats((0.5, 3)), floats((0.4, 0.6))
    for fractions in (floats(0.25, 0.75), floats((0.25, 0.75))):  # for all rows, or each row's own
        given = quantiles, fractions, points, probabilities
        value, gradient = value_and_gradient(mode, losses.quantile_huber, *given)
        close(value, [0.7125])
        close(gradient, [[-0.2, -0.35]])


def test_each_row_has_its_own_fractions(mode: Mode) -> None:
    # Differences 1 and -1, Huber's 0.5 each: 0.9 * 0.5 above, |0.2 - 1| * 0.5 below.
    fractions = floats((0.9,), (0.2,))
    found = mode(losses.quantile_huber)(floats((0,), (0,)), fractions, floats((1,), (-1,)), floats((1,), (1,)))
    close(found, [0.45, 0.4])


def test_categorical_projection(mode: Mode) -> None:
    # Support 0, 0.5, 1. 0.6 is a fifth of the way from 0.5 to 1; 0.5 is on it; -3 and 7 are clipped to its ends.
    # 0.4 on 0.6: 0.32 and 0.08; 0.3 on 0.5; 0.1 on 0; 0.2 on 1.
    points, probabilities = floats((0.6, 0.5, -3, 7)), floats((0.4, 0.3, 0.1, 0.2))
    run = mode(lambda *given: losses.categorical_projection(*given, 0.0, 1.0, 3))
    close(run(points, probabilities), [[0.1, 0.62, 0.28]])


def test_categorical_projection_below_zero(mode: Mode) -> None:
    # Support -4, -2, 0: -3.5 is a quarter of the way from -4 to -2. Two rows do not mix.
    run = mode(lambda *given: losses.categorical_projection(*given, -4.0, 0.0, 3))
    close(run(floats((-3.5,), (0,)), floats((1,), (1,))), [[0.75, 0.25, 0], [0, 0, 1]])


def test_gaussian_histogram(mode: Mode) -> None:
    # Bins 0, 1, 2 with edges -0.5, 0.5, 1.5, 2.5. Around 1, deviation 0.75, the edges are -2, -2/3, 2/3, 2 deviations
    # off, where the normal distribution is 0.0227501, 0.2524925, 0.7475075, 0.9772499:
    # masses 0.2297424, 0.4950150, 0.2297424 of 0.9544997.
    # Around 0 they are -2/3, 2/3, 2, 10/3 off: 0.2524925, 0.7475075, 0.9772499, 0.9995709:
    # masses 0.4950150, 0.2297424, 0.0223210 of 0.7470784.
    run = mode(lambda value: losses.gaussian_histogram(value, 0.0, 2.0, 3, 0.75))
    outer = [0.6626011, 0.3075212, 0.0298777]
    close(run(floats(1, 0, 2)), [[0.2406941, 0.5186120, 0.2406941], outer, outer[::-1]], 1e-5)


def test_gaussian_histogram_measures_its_deviation_in_bins(mode: Mode) -> None:
    # Support 10 to 14 is that of 0 to 2, twice as wide: 12 is in its middle as 1 was.
    run = mode(lambda value: losses.gaussian_histogram(value, 10.0, 14.0, 3, 0.75))
    close(run(floats(12)), [[0.2406941, 0.5186120, 0.2406941]], 1e-5)


# --- optimizers -------------------------------------------------------------------------------------------------------


def test_adam_by_hand(mode: Mode) -> None:
    step = mode(adam)
    # m = 0.1 * 2 = 0.2, v = 0.001 * 4 = 0.004, rate = 0.1 * sqrt(0.001) / 0.1 = 0.0316228
    # p = 1 - 0.0316228 * 0.2 / (0.0632456 + 0.01) = 0.9136533
    zeros = OptimizerState(floats(0), floats(0))
    params, state = step(floats(1), floats(2), zeros, tf.constant(1, tf.int64), tf.constant(0.1), 0.01)
    close(params, [0.9136533], 1e-5)
    close(state, [[0.2], [0.004]], 1e-5)
    # m = 0.9 * 0.2 - 0.1 = 0.08, v = 0.999 * 0.004 + 0.001 = 0.004996
    # rate = 0.1 * sqrt(1 - 0.998001) / (1 - 0.81) = 0.0235317
    # p = 0.9136533 - 0.0235317 * 0.08 / (0.0706824 + 0.01) = 0.8903205
    params, state = step(params, floats(-1), state, tf.constant(2, tf.int64), tf.constant(0.1), 0.01)
    close(params, [0.8903205], 1e-5)
    close(state, [[0.08], [0.004996]], 1e-5)


@pytest.mark.parametrize("epsilon", [1e-7, 0.1])
def test_adam_is_that_of_keras(mode: Mode, epsilon: float) -> None:
    generator = np.random.default_rng(0)
    variable = keras.Variable(generator.normal(size=50).astype(np.float32))
    optimizer = keras.optimizers.Adam(0.01, epsilon=epsilon)
    params = tf.constant(variable.numpy())
    state = OptimizerState(tf.zeros(50), tf.zeros(50))
    step = mode(adam)
    for count in range(1, 11):
        gradients = tf.constant(generator.normal(size=50) * 10.0 ** generator.integers(-5, 5), tf.float32)
        params, state = step(params, gradients, state, tf.constant(count, tf.int64), tf.constant(0.01), epsilon)
        optimizer.apply([gradients], [variable])
        close(params, variable.numpy(), 1e-5)


def test_rmsprop_by_hand(mode: Mode) -> None:
    step = mode(rmsprop)
    # m = 0.05 * 2 = 0.1, n = 0.05 * 4 = 0.2, p = 1 - 0.1 * 2 / sqrt(0.2 - 0.01 + 0.06) = 1 - 0.2 / 0.5 = 0.6
    zeros = OptimizerState(floats(0), floats(0))
    params, state = step(floats(1), floats(2), zeros, tf.constant(1, tf.int64), tf.constant(0.1), 0.06)
    close(params, [0.6])
    close(state, [[0.1], [0.2]])
    # m = 0.95 * 0.1 - 0.05 = 0.045, n = 0.95 * 0.2 + 0.05 = 0.24
    # p = 0.6 + 0.1 / sqrt(0.24 - 0.002025 + 0.06) = 0.6 + 0.1 / 0.5458709 = 0.7831936
    params, state = step(params, floats(-1), state, tf.constant(2, tf.int64), tf.constant(0.1), 0.06)
    close(params, [0.7831936])
    close(state, [[0.045], [0.24]])


def test_rmsprop_is_that_of_keras(mode: Mode) -> None:
    generator = np.random.default_rng(0)
    variable = keras.Variable(generator.normal(size=50).astype(np.float32))
    optimizer = keras.optimizers.RMSprop(0.01, rho=0.95, epsilon=0.01, centered=True)
    params = tf.constant(variable.numpy())
    state = OptimizerState(tf.zeros(50), tf.zeros(50))
    step = mode(rmsprop)
    for count in range(1, 11):
        gradients = tf.constant(generator.normal(size=50), tf.float32)
        params, state = step(params, gradients, state, tf.constant(count, tf.int64), tf.constant(0.01), 0.01)
        optimizer.apply([gradients], [variable])
        close(params, variable.numpy(), 1e-5)


def test_rmsprop_bears_a_variance_that_rounding_made_negative(mode: Mode) -> None:
    # A gradient that is always 1 + 2^-12 has none, and n - m^2 may come out below zero by more than 1e-12.
    state = OptimizerState(tf.fill(64, 1.0 + 2.0**-12), tf.fill(64, (1.0 + 2.0**-12) ** 2 - 2.0**-20))
    params, _ = mode(rmsprop)(
        tf.zeros(64), tf.fill(64, 1.0 + 2.0**-12), state, tf.constant(1, tf.int64), tf.constant(1e-6), 1e-12
    )
    close(params, tf.fill(64, -1.0 - 2.0**-12))  # 1e-6 / sqrt(1e-12) = 1


def test_clip_by_norm(mode: Mode) -> None:
    clip = mode(clip_by_norm)
    close(clip(floats(3, 4), 1.0), [0.6, 0.8])
    close(clip(floats(3, -4), 5.0), [3, -4])
    close(clip(floats(3, 4), 100.0), [3, 4])
    close(clip(floats(0, 0), 1.0), [0, 0])


# --- exploration ------------------------------------------------------------------------------------------------------


def test_epsilon_greedy_tosses_a_coin_for_each_row(mode: Mode) -> None:
    q_values = floats((0, 9, 1), (0, 1, 9), (9, 1, 0), (0, 9, 1), (1, 0, 9))
    # Coins 0 and 0.29 are below epsilon: actions floor(0.99 * 3) = 2 and floor(0.3 * 3) = 0. 0.3 is not below it.
    u = floats((0, 0.99), (0.29, 0.3), (0.3, 0.99), (0.9, 0), (BELOW_ONE, 0))
    np.testing.assert_array_equal(mode(epsilon_greedy)(q_values, tf.constant(0.3), u), [2, 0, 0, 1, 2])


def test_epsilon_greedy_at_its_ends(mode: Mode) -> None:
    act = mode(epsilon_greedy)
    ties = tf.zeros((2, 5))
    np.testing.assert_array_equal(act(ties, tf.constant(0.0), floats((0, 0.5), (0, 0.9))), [0, 0])
    np.testing.assert_array_equal(act(ties, tf.constant(1.0), floats((BELOW_ONE, 0.5), (0, 0.9))), [2, 4])
    for count in range(1, 20):  # the largest uniform is still an action
        action = epsilon_greedy(tf.zeros((1, count)), tf.constant(1.0), floats((0, BELOW_ONE)))
        np.testing.assert_array_equal(action, [count - 1])


def test_epsilon_greedy_takes_legal_actions_only(mode: Mode) -> None:
    q_values = floats(*[(9, 1, 8, 2)] * 6)
    mask = legal("0101", "0101", "0101", "0101", "1111", "0010")
    # Greedy: 3. Random of actions 1 and 3: number floor(0.49 * 2) = 0, floor(0.5 * 2) = 1, and the last at the largest
    # uniform; of four, number floor(0.5 * 4) = 2; of one, that one.
    u = floats((0.3, 0), (0, 0.49), (0, 0.5), (0, BELOW_ONE), (0, 0.5), (0, 0))
    np.testing.assert_array_equal(mode(epsilon_greedy)(q_values, tf.constant(0.3), u, mask), [3, 1, 3, 3, 2, 2])


@pytest.mark.parametrize("count", [1, 2, 3, 7, 100])
def test_random_actions_are_legal_at_the_largest_uniform(count: int) -> None:
    mask = legal("00000" + "1" * count + "00000")
    action = epsilon_greedy(tf.zeros((1, count + 10)), tf.constant(1.0), floats((0, BELOW_ONE)), mask)
    np.testing.assert_array_equal(action, [count + 4])


def test_random_legal_actions_are_alike_in_frequency(mode: Mode) -> None:
    mask = legal(*["101101"] * 4_000)
    u = tf.stack([tf.zeros(4_000), (tf.range(4_000, dtype=tf.float32) + 0.5) / 4_000], axis=1)
    action = mode(epsilon_greedy)(tf.zeros((4_000, 6)), tf.constant(1.0), u, mask)
    np.testing.assert_array_equal(np.bincount(action, minlength=6), [1000, 0, 1000, 1000, 0, 1000])


def test_cosines(mode: Mode) -> None:
    # cos 0, pi / 3, pi / 2, pi, -2 pi / 3, 63.75 pi = -pi / 4 and 126.5 pi = pi / 2.
    close(mode(cos_pi)(floats(0, 1 / 3, 0.5, 1, -2 / 3, 63.75, 126.5)), [1, 0.5, 0, -1, -0.5, 0.5**0.5, 0], 3e-7)
    x = np.linspace(-130, 130, 100_001, dtype=np.float32)
    np.testing.assert_allclose(mode(cos_pi)(tf.constant(x)), np.cos(np.pi * x.astype(float)), rtol=0, atol=2e-7)


def test_cosine_and_sine_of_doubles(mode: Mode) -> None:
    x = np.linspace(-12, 12, 100_001)
    for ours, numpys in ((cos, np.cos), (sin, np.sin)):
        np.testing.assert_allclose(mode(ours)(tf.constant(x)), numpys(x), rtol=0, atol=3e-15)


def test_noise_by_hand(mode: Mode) -> None:
    # Box and Muller: sqrt(-2 log(1 - u)) cos(2 pi v), first halves u, second halves v. With 1 - u = exp(-2), exp(-8), 1
    # radii are 2, 4, 0; cosines of v = 0, 1/2, 1/8: 1, -1, 0.7071068. Normals 2, -4, 0; sign(x) sqrt(|x|).
    u = floats(1 - np.exp(-2), 1 - np.exp(-8), 0, 0, 0.5, 0.125)
    close(mode(noise)(u), [2**0.5, -2, 0], 1e-5)
    assert mode(noise)(tf.zeros(0)).shape == (0,)


def test_noise_is_finite_at_the_ends_of_its_uniforms(mode: Mode) -> None:
    u = floats(0, BELOW_ONE, 0, BELOW_ONE, 0, 0, BELOW_ONE, BELOW_ONE)
    assert np.isfinite(mode(noise)(u)).all()


def test_noise_squared_with_its_sign_is_normal(mode: Mode) -> None:
    bits = random.random_bits(3, random.NOISE, 5, 60_000).numpy() & 0xFFFFFF00  # what float32 holds exactly
    found = mode(noise)(random.to_uniforms(tf.constant(bits))).numpy()
    np.testing.assert_allclose(host_random.to_noise(bits), found, atol=1e-3)
    normal = np.sort(np.sign(found) * found**2)
    expected = np.array([NormalDist().inv_cdf((i + 0.5) / len(normal)) for i in range(len(normal))])
    assert np.abs(normal - expected)[100:-100].max() < 0.1
    assert abs(np.corrcoef(found[1:], found[:-1])[0, 1]) < 0.02


def test_linear_schedule(mode: Mode) -> None:
    # 1 - 0.9 * count / 100
    points = {0: 1, 1: 0.991, 50: 0.55, 100: 0.1, 1000: 0.1}
    schedule = mode(lambda count: linear(1.0, 0.1, 100, count, tf.minimum))
    for count, value in points.items():
        assert linear(1.0, 0.1, 100, count) == pytest.approx(value)
        close(schedule(tf.constant(count, tf.int64)), value)
    assert linear(1.0, 0.1, 0, 0) == 0.1


# --- random numbers ---------------------------------------------------------------------------------------------------

EDGES = np.array([0, 1, 255, 2**31 - 1, 2**31, 2**32 - 1], np.uint32)
SIZES = (1, 2, 3, 1000, 2**31 - 1)


def uniform_enough(counts: np.ndarray) -> bool:
    """Pearson's statistic is below what one draw in ten thousand exceeds, for up to 20 cells."""
    expected = counts.sum() / counts.size
    return float(((counts - expected) ** 2 / expected).sum()) < 50


def splitmix64(state: int, position: int) -> int:
    """Output number `position` (from 1) of Steele, Lea and Flood's generator, in whole numbers."""
    z = (state + position * 0x9E3779B97F4A7C15) % 2**64
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
    return z ^ (z >> 31)


def test_random_bits_are_splitmix64_everywhere(mode: Mode) -> None:
    assert splitmix64(0, 1) == 0xE220A8397B1DCDAF  # the generator's first published output for state 0
    # Seed 7 and stream 1 choose the sequence: one mix of 7 * step + 1. Counter 123 of width 3 begins at position 370.
    key = splitmix64(1, 7)
    expected = [splitmix64(key, 123 * 3 + i) >> 32 for i in (1, 2, 3)]
    bits = mode(lambda seed, counter: random.random_bits(seed, random.REPLAY, counter, 3))
    np.testing.assert_array_equal(bits(tf.constant(7), tf.constant(123, tf.int64)), expected)
    np.testing.assert_array_equal(host_random.random_bits(7, random.REPLAY, np.array([5, 123]), 3)[1], expected)
    np.testing.assert_array_equal(host_random.CounterRandom(7, random.REPLAY, 3).row(123), expected)


def test_random_bits_differ_by_seed_stream_and_counter() -> None:
    keys = [(seed, stream, counter) for seed in (0, 1, 16) for stream in range(4) for counter in (0, 1, 2**40)]
    drawn = {tuple(random.random_bits(*key, 2).numpy()) for key in keys}
    assert len(drawn) == len(keys)


def test_random_bits_are_uniform(mode: Mode) -> None:
    bits = mode(lambda: random.random_bits(3, random.ACTING, 5, 60_000))()
    assert uniform_enough(np.bincount(random.to_indices(bits, 6), minlength=6))
    u = random.to_uniforms(bits).numpy()
    assert uniform_enough(np.histogram(u, 20, (0, 1))[0])
    assert uniform_enough(np.histogram(u[1:][u[:-1] < 0.25], 20, (0, 1))[0])  # neighbours know nothing of each other


def test_uniforms_and_indices(mode: Mode) -> None:
    # The upper 24 bits: 255 is 0, 2^32 - 1 is 1 - 2^-24.
    uniforms = mode(random.to_uniforms)(tf.constant(EDGES))
    np.testing.assert_array_equal(uniforms, [0, 0, 0, 0.5 - 2**-24, 0.5, BELOW_ONE])
    indices = mode(random.to_indices)
    for size in SIZES:
        expected = [int(bit) * size // 2**32 for bit in EDGES]
        np.testing.assert_array_equal(indices(tf.constant(EDGES), tf.constant(size, tf.int64)), expected)


def test_uniforms_and_indices_on_the_host() -> None:
    np.testing.assert_array_equal(host_random.to_uniforms(EDGES), EDGES.astype(float) / 2**32)
    for size in SIZES:
        expected = [int(bit) * size // 2**32 for bit in EDGES]
        np.testing.assert_array_equal(host_random.to_indices(EDGES, size), expected)


def test_counter_random_is_a_function_of_its_key() -> None:
    block = host_random.CounterRandom.BLOCK
    counters = (0, 1, block - 1, block, block + 1, 7 * block, 1)
    one, other = host_random.CounterRandom(5, 1, 4), host_random.CounterRandom(5, 1, 4)
    forwards = [one.row(counter).copy() for counter in counters]
    backwards = [other.row(counter).copy() for counter in reversed(counters)]
    np.testing.assert_array_equal(forwards, backwards[::-1])
    assert one.row(0).dtype == np.uint32
    np.testing.assert_array_equal(one.row(2**40), other.row(2**40))
    keys = [(seed, stream, counter) for seed in (0, 1, 2**31) for stream in range(4) for counter in (0, 1, block)]
    drawn = {tuple(host_random.CounterRandom(seed, stream, 2).row(counter)) for seed, stream, counter in keys}
    assert len(drawn) == len(keys)


def test_counter_random_is_uniform() -> None:
    source = host_random.CounterRandom(0, 0, 50)
    bits = np.concatenate([source.row(counter) for counter in range(1_200)])
    assert uniform_enough(np.bincount(host_random.to_indices(bits, 6).astype(int), minlength=6))
    u = host_random.to_uniforms(bits)
    assert uniform_enough(np.histogram(u, 20, (0, 1))[0])
    assert uniform_enough(np.histogram(u[1:][u[:-1] < 0.25], 20, (0, 1))[0])


def test_running_statistics_are_those_of_everything_seen() -> None:
    # 0 and 4 have mean 2 and variance 4; with 8 the mean is 4 and the variance (16 + 0 + 16) / 3.
    two = Statistics(np.array(2.0), np.array(4.0), 2).after(np.array(8.0), np.array(0.0), 1)
    close([two.mean, two.variance, two.count], [4, 32 / 3, 3])
    ours, gymnasium = Statistics(np.zeros(3), np.ones(3), FIRST_COUNT), RunningMeanStd(shape=(3,))
    generator = np.random.default_rng(0)
    for size in (1, 5, 2):
        rows = generator.normal(size=(size, 3)) * (1, 10, 100) + 7
        ours = ours.after(rows.mean(axis=0), rows.var(axis=0), size)
        gymnasium.update(rows)
    close(ours.mean, gymnasium.mean)
    close(ours.variance, gymnasium.var)
    assert ours.count == pytest.approx(gymnasium.count)
