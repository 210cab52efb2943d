"""DQN against an independent version in float64 NumPy with the gradient by hand, and each of its switches."""

from __future__ import annotations

import functools
from typing import Any

import gymnasium as gym
import keras
import numpy as np
import pytest
import tensorflow as tf

from tensorq.agents.dqn import DQN
from tensorq.config import Config
from tensorq.core.types import AgentState, Batch
from tensorq.networks.mlp import build_mlp
from tensorq.networks.network import Network
from tensorq.networks.numpy_network import NumpyNetwork

INPUTS, HIDDEN, ACTIONS, SAMPLES, UPDATES = 2, 6, 3, 16, 9
SPACE = gym.spaces.Box(-np.inf, np.inf, (INPUTS,), np.float32)
BASE: dict[str, Any] = {"learning_rate": 0.05, "target_sync_updates": 4}
SWITCHES: list[dict[str, Any]] = [
    {"double": True},
    {"loss": "mse"},
    {"max_gradient_norm": 0.2},
    {"target_sync_rate": 0.3},
    {"target_sync_updates": 2},
    {"learning_rate": 0.02},
    {"learning_rate_final": 0.005, "learning_rate_anneal_updates": 4},
    {"optimizer_epsilon": 0.1},
    {"double": True, "loss": "mse", "max_gradient_norm": 1.0, "target_sync_rate": 0.5, "optimizer_epsilon": 0.01},
]


@functools.cache
def network() -> Network:
    layers = keras.layers
    first = layers.Dense(HIDDEN, "relu", kernel_initializer=keras.initializers.GlorotUniform(1))
    second = layers.Dense(ACTIONS, kernel_initializer=keras.initializers.GlorotUniform(2))
    return Network(keras.Sequential([keras.Input((INPUTS,)), first, second]))


def agent(**settings: Any) -> DQN:
    return DQN(Config(**BASE | settings), network())


@functools.cache
def batches() -> list[Batch]:
    """Transitions whose TD errors are on both sides of Huber's 1, some terminal, of different weights."""
    generator = np.random.default_rng(3)

    def batch() -> Batch:
        obs, next_obs = generator.normal(size=(2, SAMPLES, INPUTS)).astype(np.float32)
        action = generator.integers(0, ACTIONS, SAMPLES).astype(np.int32)
        reward = (2 * generator.normal(size=SAMPLES)).astype(np.float32)
        discount = (0.9 * (generator.random(SAMPLES) < 0.8)).astype(np.float32)
        weight = generator.random(SAMPLES).astype(np.float32)
        return Batch(obs, action, reward, discount, next_obs, weight)

    return [batch() for _ in range(UPDATES)]


def tensors(batch: Batch) -> Batch:
    return Batch(*map(tf.constant, batch[:6]))


def learn(dqn: DQN, mode: str = "eager") -> list[tuple[AgentState, Any]]:
    """State and metrics after each update."""
    step = dqn.update if mode == "eager" else tf.function(dqn.update, jit_compile=True, autograph=False)
    nothing = tf.zeros(0)
    state, history = dqn.init(), []
    for batch in batches():
        state, metrics = step(state, tensors(batch), nothing)
        history.append((state, metrics))
    return history


@functools.cache
def baseline() -> list[tuple[AgentState, Any]]:
    return learn(agent())


def split(params: np.ndarray) -> list[np.ndarray]:
    """Kernel and bias of the hidden layer, then of the output."""
    ends = np.cumsum([INPUTS * HIDDEN, HIDDEN, HIDDEN * ACTIONS])
    first, bias_1, second, bias_2 = np.split(params, ends)
    return [first.reshape(INPUTS, HIDDEN), bias_1, second.reshape(HIDDEN, ACTIONS), bias_2]


def forward(params: np.ndarray, obs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    first, bias_1, second, bias_2 = split(params)
    hidden = np.maximum(obs @ first + bias_1, 0)
    return hidden, hidden @ second + bias_2


def learn_in_numpy(config: Config, params: np.ndarray) -> list[dict[str, Any]]:
    """What `learn` should give, by Mnih et al. 2015 and van Hasselt et al. 2016, Kingma and Ba 2015."""
    params = params.astype(np.float64)
    target, first_moment, second_moment = params, np.zeros_like(params), np.zeros_like(params)
    rows, history = np.arange(SAMPLES), []
    for t, batch in enumerate(batches(), 1):
        obs = batch.obs.astype(np.float64)
        next_q = forward(target, batch.next_obs)[1]
        chooser = forward(params, batch.next_obs)[1] if config.double else next_q
        y = batch.reward + batch.discount * next_q[rows, chooser.argmax(axis=1)]
        hidden, q = forward(params, obs)
        error = y - q[rows, batch.action]
        if config.loss == "mse":
            each, slope = error**2, 2 * error
        else:
            small = np.abs(error) <= 1
            each, slope = np.where(small, error**2 / 2, np.abs(error) - 0.5), np.where(small, error, np.sign(error))
        # d loss / d q, then back through the two layers
        q_slope = np.zeros_like(q)
        q_slope[rows, batch.action] = -batch.weight * slope / SAMPLES
        hidden_slope = (q_slope @ split(params)[2].T) * (hidden > 0)
        parts = [obs.T @ hidden_slope, hidden_slope.sum(axis=0), hidden.T @ q_slope, q_slope.sum(axis=0)]
        gradient = np.concatenate([part.ravel() for part in parts])
        norm = np.linalg.norm(gradient)
        if config.max_gradient_norm and norm > config.max_gradient_norm:
            gradient = gradient / norm * config.max_gradient_norm
        first_moment = 0.9 * first_moment + 0.1 * gradient
        second_moment = 0.999 * second_moment + 0.001 * gradient**2
        rate = config.learning_rate
        if config.learning_rate_anneal_updates:
            done = min(1, (t - 1) / config.learning_rate_anneal_updates)
            rate += done * (config.learning_rate_final - config.learning_rate)
        rate *= np.sqrt(1 - 0.999**t) / (1 - 0.9**t)
        params = params - rate * first_moment / (np.sqrt(second_moment) + config.optimizer_epsilon)
        if t % config.target_sync_updates == 0:
            target = config.target_sync_rate * params + (1 - config.target_sync_rate) * target
        loss, mean_q = np.mean(batch.weight * each), q[rows, batch.action].mean()
        history.append({"params": params, "target_params": target, "loss": loss, "mean_q": mean_q})
    return history


@pytest.mark.parametrize("switch", [{}, *SWITCHES], ids=str)
def test_updates_are_those_of_an_independent_version(switch: dict[str, Any]) -> None:
    dqn = agent(**switch)
    history = learn(dqn)
    for (state, metrics), expected in zip(history, learn_in_numpy(dqn.config, network().initial_params()), strict=True):
        for name in ("params", "target_params"):
            np.testing.assert_allclose(getattr(state, name), expected[name], rtol=2e-5, atol=2e-5)
        for name in ("loss", "mean_q"):
            np.testing.assert_allclose(getattr(metrics, name), expected[name], rtol=2e-5, atol=2e-5)
    assert int(history[-1][0].updates) == UPDATES


def test_updates_are_the_same_under_xla() -> None:
    for (eager, _), (compiled, _) in zip(learn(agent(double=True)), learn(agent(double=True), "xla"), strict=True):
        np.testing.assert_allclose(compiled.params, eager.params, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(compiled.target_params, eager.target_params, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("switch", SWITCHES, ids=str)
def test_each_switch_does_something(switch: dict[str, Any]) -> None:
    difference = learn(agent(**switch))[-1][0].params - baseline()[-1][0].params
    assert np.abs(difference).max() > 5e-3  # a hundred times what the comparison above lets pass


def test_init_copies_the_network_into_both() -> None:
    state = agent().init()
    np.testing.assert_array_equal(state.params, network().initial_params())
    np.testing.assert_array_equal(state.target_params, state.params)
    assert int(state.updates) == 0
    assert not np.any(state.optimizer)


def test_hard_copies_come_exactly_every_target_sync_updates() -> None:
    history = baseline()
    params = [agent().init().params, *(state.params for state, _ in history)]
    copied = [0, 0, 0, 4, 4, 4, 4, 8, 8]  # the update whose parameters the target has after updates 1, 2, 3 ...
    for (state, _), update in zip(history, copied, strict=True):
        np.testing.assert_array_equal(state.target_params, params[update])


def test_soft_moves_go_part_of_the_way() -> None:
    history = learn(agent(target_sync_updates=1, target_sync_rate=0.25))
    target = agent().init().target_params
    for state, _ in history:
        target = target + 0.25 * (state.params - target)
        np.testing.assert_allclose(state.target_params, target, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("loss", ["mse", "huber"])
def test_weights_count(loss: str) -> None:
    dqn, batch = agent(loss=loss), batches()[0]

    def update(weight: Any) -> tuple[np.ndarray, float]:
        state, metrics = dqn.update(dqn.init(), tensors(batch._replace(weight=np.asarray(weight, np.float32))))
        return state.optimizer.first_moment.numpy(), float(metrics.loss)

    ones, zeros = np.ones(SAMPLES), np.zeros(SAMPLES)
    gradient, mean = update(ones)
    for weight, factor in ((zeros, 0), (3 * ones, 3)):
        np.testing.assert_allclose(update(weight)[0], factor * gradient, rtol=1e-5)
        assert update(weight)[1] == pytest.approx(factor * mean, rel=1e-5)
    single = [update(row) for row in np.eye(SAMPLES)]  # a batch is the sum of its samples
    np.testing.assert_allclose(sum(each for each, _ in single), gradient, rtol=1e-4, atol=1e-6)
    assert sum(each for _, each in single) == pytest.approx(mean, rel=1e-5)


def test_learning_rate_anneals_in_updates() -> None:
    dqn = agent(learning_rate=0.1, learning_rate_final=0.02, learning_rate_anneal_updates=4)
    rates = [float(dqn.learning_rate(tf.constant(updates, tf.int64))) for updates in (0, 1, 2, 4, 400)]
    assert rates == pytest.approx([0.1, 0.08, 0.06, 0.02, 0.02])
    constant = agent(learning_rate=0.1, learning_rate_final=0.02, learning_rate_anneal_updates=0)
    assert float(constant.learning_rate(tf.constant(400, tf.int64))) == pytest.approx(0.1)


def test_act_is_greedy_for_its_own_parameters() -> None:
    dqn, obs = agent(), batches()[0].obs
    params = dqn.init().params
    u = tf.zeros((SAMPLES, 2))
    best = forward(params.numpy().astype(np.float64), obs)[1].argmax(axis=1)
    assert len(set(best)) > 1
    np.testing.assert_array_equal(dqn.act(params, tf.constant(obs), tf.constant(0.0), u), best)
    np.testing.assert_array_equal(dqn.act(params, tf.constant(obs), tf.constant(1.0), u), 0 * best)


@pytest.mark.parametrize(
    ("space", "obs"),
    [
        (gym.spaces.Box(-1, 1, (2, 3), np.float32), np.linspace(-1, 1, 24, dtype=np.float32).reshape(4, 2, 3)),
        (gym.spaces.Box(0, 255, (2, 2), np.uint8), np.arange(0, 240, 15, np.uint8).reshape(4, 2, 2)),
        (gym.spaces.Box(-9, 9, (2,), np.int64), np.arange(-4, 4).reshape(4, 2)),
        (gym.spaces.Discrete(4, start=-1), np.array([-1, 0, 1, 2], np.int32)),
    ],
    ids=str,
)
def test_the_network_in_numpy_is_the_one_in_keras(space: gym.Space, obs: np.ndarray) -> None:
    wrapped = Network(build_mlp(space, ACTIONS, (5, 4), seed=2))
    params = wrapped.initial_params() + np.float32(0.1)  # biases start at zero
    numpy_q = NumpyMLP(space, layers_from_flat(params, [input_size(space), 5, 4, ACTIONS]))(obs)
    assert numpy_q.shape == (4, ACTIONS)
    assert len(np.unique(numpy_q.round(5), axis=0)) == 4
    np.testing.assert_allclose(wrapped.q_values(tf.constant(params), tf.constant(obs)), numpy_q, rtol=1e-5, atol=1e-6)


def test_the_seed_decides_the_weights() -> None:
    weights = [Network(build_mlp(SPACE, ACTIONS, (4, 4), seed)).initial_params() for seed in (5, 5, 6)]
    np.testing.assert_array_equal(weights[0], weights[1])
    assert not np.isclose(weights[0], weights[2])[weights[0] != 0].any()
