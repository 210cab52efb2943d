"""The pure functions, against numbers worked out by hand: run eagerly, as a graph, and compiled by XLA."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tensorq.core import host_random, losses, random
from tensorq.core.exploration import epsilon_greedy
from tensorq.core.optimizers import adam, clip_by_norm
from tensorq.core.schedules import linear
from tensorq.core.targets import take, td_target
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


def close(found: Any, expected: Any, rtol: float = 1e-6) -> None:
    np.testing.assert_allclose(np.asarray(found), np.asarray(expected), rtol=rtol, atol=1e-7, strict=False)


# --- targets and losses -----------------------------------------------------------------------------------------------

REWARD, DISCOUNT = (1, 2, 3), (0.5, 0, 0.9)
NEXT_Q = ((1, 2), (5, 4), (-1, -3))
SELECTOR_Q = ((3, 1), (0, 1), (0, 1))


def test_take(mode: Mode) -> None:
    close(mode(take)(floats((1, 2, 3), (4, 5, 6)), tf.constant([2, 0])), [3, 4])


def test_target_of_q_learning(mode: Mode) -> None:
    # 1 + 0.5 * 2 = 2;  2 + 0 * 5 = 2;  3 + 0.9 * -1 = 2.1
    close(mode(td_target)(floats(*REWARD), floats(*DISCOUNT), floats(*NEXT_Q)), [2, 2, 2.1])


def test_target_of_double_q_learning_rates_the_action_that_the_other_chose(mode: Mode) -> None:
    # The selector chooses actions 0, 1, 1:  1 + 0.5 * 1 = 1.5;  2 + 0 * 4 = 2;  3 + 0.9 * -3 = 0.3
    close(mode(td_target)(floats(*REWARD), floats(*DISCOUNT), floats(*NEXT_Q), floats(*SELECTOR_Q)), [1.5, 2, 0.3])


def test_no_gradient_flows_through_a_target() -> None:
    next_q, selector_q = floats(*NEXT_Q), floats(*SELECTOR_Q)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([next_q, selector_q])
        single = td_target(floats(*REWARD), floats(*DISCOUNT), next_q)
        double = td_target(floats(*REWARD), floats(*DISCOUNT), next_q, selector_q)
    assert tape.gradient(single, next_q) is None
    assert tape.gradient(double, [next_q, selector_q]) == [None, None]


def test_losses_and_their_gradients(mode: Mode) -> None:
    td_error = floats(-2, 0.5, 1, 0, 3)

    def both(loss: Callable[..., Any]) -> tuple[Any, Any]:
        def run(td_error: Any) -> tuple[Any, Any]:
            with tf.GradientTape() as tape:
                tape.watch(td_error)
                value = loss(td_error)
            return value, tape.gradient(value, td_error)

        value, gradient = mode(run)(td_error)
        return value, gradient

    value, gradient = both(losses.squared)
    close(value, [4, 0.25, 1, 0, 9])
    close(gradient, [-4, 1, 2, 0, 6])
    # 2 - 1/2;  0.5^2 / 2;  1^2 / 2;  0;  3 - 1/2, and the error clipped to [-1, 1]
    value, gradient = both(losses.huber)
    close(value, [1.5, 0.125, 0.5, 0, 2.5])
    close(gradient, [-1, 0.5, 1, 0, 1])


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
