"""DQN against an independent version in float64 NumPy with the gradient by hand, and each of its switches."""

from __future__ import annotations

import functools
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from dqn_in_numpy import expectation, loss_and_slope, target_of
from tensorq.agents.dqn import DQN
from tensorq.config import Config
from tensorq.core.types import AgentState, Batch
from tensorq.heads.head import Head
from tensorq.networks.network import Network

INPUTS, HIDDEN, ACTIONS, SAMPLES, UPDATES = 2, 6, 3, 16, 6
BASE: dict[str, Any] = {"learning_rate": 0.1, "target_sync_updates": 4}
CATEGORICAL: dict[str, Any] = {"head": "categorical", "num_atoms": 5, "value_min": -3, "value_max": 4}
HL_GAUSS: dict[str, Any] = {
    "head": "hl_gauss", "num_atoms": 5, "hl_gauss_spare_bins": 0, "value_min": -3, "value_max": 4
}  # fmt: skip
QUANTILE: dict[str, Any] = {"head": "quantile", "num_atoms": 4}
MUNCHAUSEN: dict[str, Any] = {"munchausen": True, "munchausen_temperature": 0.5}
# Settings, and what is changed in them. Each change must show, and be what the version in NumPy does. What
# belongs to no head stands here with two of them; test_heads.py has it with all.
SWITCHES: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {"double": True}),
    ({}, {"loss": "mse"}),
    ({}, {"max_gradient_norm": 0.2}),
    ({}, {"target_sync_rate": 0.3}),
    ({}, {"target_sync_updates": 2}),
    ({}, {"learning_rate": 0.03}),
    ({}, {"learning_rate_final": 0.005, "learning_rate_anneal_updates": 3}),
    ({}, {"optimizer_epsilon": 0.1}),
    ({"optimizer_epsilon": 0.01}, {"optimizer": "rmsprop"}),
    ({"optimizer": "rmsprop", "optimizer_epsilon": 0.01}, {"optimizer_epsilon": 0.1}),
    ({}, {"masked": True}),
    ({"double": True}, {"masked": True}),
    ({}, MUNCHAUSEN),
    (MUNCHAUSEN, {"munchausen_scale": 0.3}),
    (MUNCHAUSEN, {"munchausen_temperature": 2.0}),
    (MUNCHAUSEN, {"munchausen_clip": -0.1}),
    (MUNCHAUSEN, {"double": True}),
    (MUNCHAUSEN, {"masked": True}),
    (CATEGORICAL, {"double": True}),
    (CATEGORICAL, {"masked": True}),
    (CATEGORICAL, MUNCHAUSEN),
    (CATEGORICAL, {"value_min": 0}),
    (CATEGORICAL, {"value_max": 0}),
    (HL_GAUSS, {"value_min": 0}),
    (HL_GAUSS, {"hl_gauss_deviation": 2.0}),
    (HL_GAUSS, {"hl_gauss_spare_bins": 1}),
    (CATEGORICAL, {"head": "hl_gauss", "hl_gauss_spare_bins": 0}),
    ({}, {"double": True, "loss": "mse", "max_gradient_norm": 1.0, "target_sync_rate": 0.5, "optimizer_epsilon": 0.01}),
]
# Other numbers of outputs have other numbers of parameters: the version in NumPy decides, nothing is compared.
EXACT = [{}, CATEGORICAL, QUANTILE, HL_GAUSS, CATEGORICAL | {"num_atoms": 2}, QUANTILE | {"num_atoms": 7}]


@functools.cache
def network(outputs_per_action: int = 1) -> Network:
    layers = keras.layers
    first = layers.Dense(HIDDEN, "relu", kernel_initializer=keras.initializers.GlorotUniform(1))
    outputs = ACTIONS * outputs_per_action
    second = layers.Dense(outputs, kernel_initializer=keras.initializers.GlorotUniform(2))
    shape = [layers.Reshape((ACTIONS, outputs_per_action))] if outputs_per_action > 1 else []
    return Network(keras.Sequential([keras.Input((INPUTS,)), first, second, *shape]))


class Configured(DQN):
    """A DQN that knows everything it was told."""

    def __init__(self, config: Config, network: Network) -> None:
        super().__init__(config, network)
        self.config = config


def agent(**settings: Any) -> Configured:
    config = Config(**BASE | settings)
    return Configured(config, network(config.part(Head).outputs_per_action))


@functools.cache
def batches(masked: bool = False) -> list[Batch]:
    """Transitions whose TD errors are on both sides of Huber's 1, some terminal, of different weights."""
    generator = np.random.default_rng(3)

    def batch() -> Batch:
        obs, next_obs = generator.normal(size=(2, SAMPLES, INPUTS)).astype(np.float32)
        action = generator.integers(0, ACTIONS, SAMPLES).astype(np.int32)
        reward = (2 * generator.normal(size=SAMPLES)).astype(np.float32)
        discount = (0.9 * (generator.random(SAMPLES) < 0.8)).astype(np.float32)
        weight = generator.random(SAMPLES).astype(np.float32)
        mask, next_mask = generator.random((2, SAMPLES, ACTIONS)) < 0.5
        mask[np.arange(SAMPLES), action] = True
        next_mask[discount > 0, 1] = True  # a terminal state may have no legal action
        return Batch(obs, action, reward, discount, next_obs, weight, *((mask, next_mask) if masked else ()))

    return [batch() for _ in range(UPDATES)]


def tensors(batch: Batch) -> Batch:
    return Batch(*(None if part is None else tf.constant(part) for part in batch))


def learn(dqn: DQN, masked: bool = False, mode: str = "eager") -> list[tuple[AgentState, Any]]:
    """State and metrics after each update."""
    step = dqn.update if mode == "eager" else tf.function(dqn.update, jit_compile=True, autograph=False)
    nothing = tf.zeros(0)
    state, history = dqn.init(), []
    for batch in batches(masked):
        state, metrics = step(state, tensors(batch), nothing)
        history.append((state, metrics))
    return history


@functools.cache
def baseline() -> list[tuple[AgentState, Any]]:
    return learn(agent())


# --- the independent version ------------------------------------------------------------------------------------------


def split(params: np.ndarray) -> list[np.ndarray]:
    """Kernel and bias of the hidden layer, then of the output."""
    first, bias_1, rest = np.split(params, [INPUTS * HIDDEN, INPUTS * HIDDEN + HIDDEN])
    second, bias_2 = np.split(rest, [len(rest) // (HIDDEN + 1) * HIDDEN])
    return [first.reshape(INPUTS, HIDDEN), bias_1, second.reshape(HIDDEN, -1), bias_2]


def forward(params: np.ndarray, obs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Hidden [N, H] and outputs [N, A, M]."""
    first, bias_1, second, bias_2 = split(params)
    hidden = np.maximum(obs @ first + bias_1, 0)
    return hidden, (hidden @ second + bias_2).reshape(len(obs), ACTIONS, -1)


def learn_in_numpy(config: Config, params: np.ndarray, masked: bool = False) -> list[dict[str, Any]]:
    """What `learn` should give, by the papers that core/ and agents/ name."""
    params = params.astype(np.float64)
    target, first_moment, second_moment = params, np.zeros_like(params), np.zeros_like(params)
    rows, history = np.arange(SAMPLES), []
    for t, batch in enumerate(batches(masked), 1):
        obs = batch.obs.astype(np.float64)
        next_outputs = forward(target, batch.next_obs)[1]
        next_q = expectation(config, forward(params, batch.next_obs)[1] if config.double else next_outputs)
        points, probabilities = target_of(
            config, batch, expectation(config, forward(target, obs)[1]), next_q, next_outputs
        )
        hidden, outputs = forward(params, obs)
        each, slope = loss_and_slope(config, outputs[rows, batch.action], points, probabilities)
        # d loss / d outputs, then back through the two layers
        slopes = np.zeros_like(outputs)
        slopes[rows, batch.action] = batch.weight[:, None] * slope / SAMPLES
        slopes = slopes.reshape(SAMPLES, -1)
        hidden_slope = (slopes @ split(params)[2].T) * (hidden > 0)
        parts = [obs.T @ hidden_slope, hidden_slope.sum(axis=0), hidden.T @ slopes, slopes.sum(axis=0)]
        gradient = np.concatenate([part.ravel() for part in parts])
        norm = np.linalg.norm(gradient)
        if config.max_gradient_norm and norm > config.max_gradient_norm:
            gradient = gradient / norm * config.max_gradient_norm
        rate = config.learning_rate
        if config.learning_rate_anneal_updates:
            done = min(1, (t - 1) / config.learning_rate_anneal_updates)
            rate += done * (config.learning_rate_final - config.learning_rate)
        if config.optimizer == "adam":
            first_moment = 0.9 * first_moment + 0.1 * gradient
            second_moment = 0.999 * second_moment + 0.001 * gradient**2
            rate *= np.sqrt(1 - 0.999**t) / (1 - 0.9**t)
            params = params - rate * first_moment / (np.sqrt(second_moment) + config.optimizer_epsilon)
        else:
            first_moment = 0.95 * first_moment + 0.05 * gradient
            second_moment = 0.95 * second_moment + 0.05 * gradient**2
            params = params - rate * gradient / np.sqrt(second_moment - first_moment**2 + config.optimizer_epsilon)
        if t % config.target_sync_updates == 0:
            target = config.target_sync_rate * params + (1 - config.target_sync_rate) * target
        q_taken = expectation(config, outputs)[rows, batch.action]
        found = {"params": params, "target_params": target, "loss": np.mean(batch.weight * each)}
        error = (points * probabilities).sum(axis=1) - q_taken
        history.append({**found, "mean_q": q_taken.mean(), "td_error": error})
    return history


def both(settings: dict[str, Any], mode: str = "eager") -> tuple[list[tuple[AgentState, Any]], list[dict[str, Any]]]:
    settings = dict(settings)
    masked = settings.pop("masked", False)
    dqn = agent(**settings)
    return learn(dqn, masked, mode), learn_in_numpy(dqn.config, dqn.network.initial_params(), masked)


@pytest.mark.parametrize("settings", [*EXACT, *(base | switch for base, switch in SWITCHES)], ids=str)
def test_updates_are_those_of_an_independent_version(settings: dict[str, Any]) -> None:
    history, wanted = both(settings)
    for (state, metrics), expected in zip(history, wanted, strict=True):
        for name in ("params", "target_params"):
            np.testing.assert_allclose(getattr(state, name), expected[name], rtol=5e-5, atol=5e-5)
        for name, found in {**metrics.values, "td_error": metrics.td_error}.items():
            np.testing.assert_allclose(found, expected[name], rtol=5e-5, atol=5e-5)
    assert int(history[-1][0].updates) == UPDATES


@pytest.mark.parametrize(("base", "switch"), SWITCHES, ids=str)
def test_each_switch_does_something(base: dict[str, Any], switch: dict[str, Any]) -> None:
    found = []
    for settings in (base, base | switch):
        masked = settings.get("masked", False)
        config = Config(**BASE | {name: value for name, value in settings.items() if name != "masked"})
        params = network(config.part(Head).outputs_per_action).initial_params()
        found.append(learn_in_numpy(config, params, masked)[-1]["params"])
    assert np.abs(found[0] - found[1]).max() > 5e-3  # a hundred times what the comparison above lets pass


def test_updates_are_the_same_under_xla() -> None:
    history, wanted = both(CATEGORICAL | MUNCHAUSEN | {"masked": True, "double": True}, "xla")
    for (state, _), expected in zip(history, wanted, strict=True):
        np.testing.assert_allclose(state.params, expected["params"], rtol=1e-4, atol=1e-4)


# --- what holds for every head ----------------------------------------------------------------------------------------

HEADS: list[dict[str, Any]] = [{"loss": "mse"}, {}, CATEGORICAL, QUANTILE, HL_GAUSS]


@pytest.mark.parametrize("settings", HEADS, ids=str)
def test_weights_count_in_the_loss_and_not_in_the_td_error(settings: dict[str, Any]) -> None:
    dqn, batch = agent(**settings), batches()[0]
    update = tf.function(dqn.update, autograph=False)

    def run(weight: Any) -> tuple[np.ndarray, float, np.ndarray]:
        weighted = tensors(batch._replace(weight=np.asarray(weight, np.float32)))
        state, metrics = update(dqn.init(), weighted, tf.zeros(0))
        return state.optimizer.first_moment.numpy(), float(metrics.values["loss"]), metrics.td_error.numpy()

    ones = np.ones(SAMPLES)
    gradient, mean, td_error = run(ones)
    for factor in (0, 3):
        scaled = run(factor * ones)
        np.testing.assert_allclose(scaled[0], factor * gradient, rtol=1e-4, atol=1e-7)
        assert scaled[1] == pytest.approx(factor * mean, rel=1e-5)
        np.testing.assert_array_equal(scaled[2], td_error)
    single = [run(row) for row in np.eye(SAMPLES)]  # a batch is the sum of its samples
    np.testing.assert_allclose(sum(each[0] for each in single), gradient, rtol=1e-4, atol=1e-6)
    assert sum(each[1] for each in single) == pytest.approx(mean, rel=1e-5)


# --- state, targets, schedules, acting --------------------------------------------------------------------------------


def test_init_copies_the_network_into_both() -> None:
    state = agent().init()
    np.testing.assert_array_equal(state.params, network().initial_params())
    np.testing.assert_array_equal(state.target_params, state.params)
    assert int(state.updates) == 0
    assert not np.any(state.optimizer)


def test_hard_copies_come_exactly_every_target_sync_updates() -> None:
    history = baseline()
    params = [agent().init().params, *(state.params for state, _ in history)]
    copied = [0, 0, 0, 4, 4, 4]  # the update whose parameters the target has after updates 1 to 6
    for (state, _), update in zip(history, copied, strict=True):
        np.testing.assert_array_equal(state.target_params, params[update])


def test_soft_moves_go_part_of_the_way() -> None:
    history = learn(agent(target_sync_updates=1, target_sync_rate=0.25))
    target = agent().init().target_params
    for state, _ in history:
        target = target + 0.25 * (state.params - target)
        np.testing.assert_allclose(state.target_params, target, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("settings", HEADS[1:], ids=str)
def test_act_is_greedy_for_its_own_parameters(settings: dict[str, Any]) -> None:
    dqn, obs = agent(**settings), batches()[0].obs
    params = dqn.init().params
    u, nothing = tf.zeros((SAMPLES, 2)), tf.zeros(0)
    q_values = expectation(dqn.config, forward(params.numpy().astype(np.float64), obs)[1])
    best = q_values.argmax(axis=1)
    assert len(set(best)) > 1
    np.testing.assert_allclose(dqn.q_values(params, tf.constant(obs)), q_values, rtol=1e-4, atol=1e-5)
    found, rated = dqn.act(params, tf.constant(obs), tf.constant(0.0), u, nothing)
    np.testing.assert_array_equal(found, best)
    np.testing.assert_allclose(rated, q_values, rtol=1e-4, atol=1e-5)
    found, _ = dqn.act(params, tf.constant(obs), tf.constant(1.0), u, nothing)
    np.testing.assert_array_equal(found, 0 * best)
    mask = np.arange(ACTIONS) != best[:, None]  # the best is illegal
    second = q_values.argsort(axis=1)[:, -2]
    found, _ = dqn.act(params, tf.constant(obs), tf.constant(0.0), u, nothing, tf.constant(mask))
    np.testing.assert_array_equal(found, second)
    found, _ = dqn.act(params, tf.constant(obs), tf.constant(1.0), u, nothing, tf.constant(mask))
    np.testing.assert_array_equal(found, mask.argmax(axis=1))
