"""Heads by hand; and DQN with the default network's switches (noisy, dueling, layer_norm) and every head, in NumPy."""

from __future__ import annotations

import functools
import math
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import tensorflow as tf

from dqn_in_numpy import expectation, loss_and_slope, target_of
from tensorq.agents.dqn import DQN
from tensorq.config import Config
from tensorq.core.types import AgentState, Batch, OptimizerState
from tensorq.heads.head import Head, mean, midpoints
from tensorq.networks.build import build_network

INPUTS, HIDDEN, ACTIONS, SAMPLES, FRACTIONS = 2, 4, 3, 5, 3
SPACE = gym.spaces.Box(-np.inf, np.inf, (INPUTS,), np.float32)
LOG_3 = float(np.log(3))


def floats(*values: Any) -> tf.Tensor:
    return tf.constant(values, tf.float32)


def close(found: Any, expected: Any, rtol: float = 1e-5) -> None:
    np.testing.assert_allclose(np.asarray(found), np.asarray(expected), rtol=rtol, atol=1e-6, strict=False)


# --- by hand ----------------------------------------------------------------------------------------------------------

# One state, two actions, two outputs each: softmax (1/4, 3/4) and (1/2, 1/2).
OUTPUTS = ((0, LOG_3), (5, 5))
RANGE: dict[str, Any] = {"num_atoms": 2, "value_min": 0, "value_max": 8}


def test_expected() -> None:
    head, outputs = Config().part(Head), floats(((2,), (-1,)))
    close(head.distribution(outputs), [[[[2], [-1]]], [[[1], [1]]]])
    close(head.q_values(outputs), [[2, -1]])
    # A target of 1 and 5, of probability 1/4 and 3/4: its mean 4. 4 - 2 = 2, Huber's 1.5; squared 4.
    close(head.losses(floats((2,)), None, floats((1, 5)), floats((0.25, 0.75))), [1.5])
    close(Config(loss="mse").part(Head).losses(floats((2,)), None, floats((1, 5)), floats((0.25, 0.75))), [4])


def test_categorical() -> None:
    # Atoms 0 and 8 (0 is a value, not a missing one):  3/4 * 8 = 6;  1/2 * 8 = 4.
    head = Config(head="categorical", **RANGE).part(Head)
    points, probabilities = head.distribution(floats(OUTPUTS))
    close(points, [[[0, 8], [0, 8]]])
    close(probabilities, [[[0.25, 0.75], [0.5, 0.5]]])
    close(head.q_values(floats(OUTPUTS)), [[6, 4]])
    # A target of 2 and 8, half each, is 3/4 / 2 = 3/8 on 0 and 5/8 on 8: -3/8 log(1/4) - 5/8 log(3/4) = 0.6996616
    close(head.losses(floats(OUTPUTS[0]), None, floats((2, 8)), floats((0.5, 0.5))), [0.6996616])


def test_hl_gauss() -> None:
    # The same mean, but a distribution of one point.
    head = Config(head="hl_gauss", hl_gauss_deviation=0.5, hl_gauss_spare_bins=0, **RANGE).part(Head)
    close(head.distribution(floats(OUTPUTS)), [[[[6], [4]]], [[[1], [1]]]])
    close(head.q_values(floats(OUTPUTS)), [[6, 4]])
    # A target of 2 and 8, half each, has mean 5. Bins 8 wide around 0 and 8 have edges -4, 4, 12; deviation 4:
    # -2.25, -0.25, 1.75 off, where the normal distribution is 0.0122245, 0.4012937, 0.9599408.
    # Shares 0.3890692 / 0.9477163 = 0.4105334 and 0.5894666: -0.4105334 log(1/4) - 0.5894666 log(3/4) = 0.7386999
    close(head.losses(floats(OUTPUTS[0]), None, floats((2, 8)), floats((0.5, 0.5))), [0.7386999])


@pytest.mark.parametrize(("spare_bins", "bias"), [(0, 0.368790), (1, 0.047000), (3, 0.000006)])
def test_the_ends_of_hl_gauss_need_spare_bins(spare_bins: int, bias: float) -> None:
    # Bins 1 wide, of which s lie below 0: a normal distribution of deviation 3/4 around 0 is cut at -s - 1/2, and its
    # mean moves inwards by about the density there over the mass, 0.75 * phi((s + 1/2) / 0.75): s = 0 gives 0.3194 /
    # 0.7475 = 0.43, less what rounding to centres takes, 0.37; s = 3 gives 0.75 * 7.5e-6 = 5.6e-6.
    count = 11 + 2 * spare_bins
    settings: dict[str, Any] = {"value_min": 0, "value_max": 10, "hl_gauss_spare_bins": spare_bins}
    head = Config(head="hl_gauss", num_atoms=count, **settings).part(Head)
    # A cross-entropy is least where the softmax is the target. -7 and 99 are clipped to 0 and 10.
    for value, learned in ((0, bias), (5, 5), (10, 10 - bias), (-7, bias), (99, 10 - bias)):
        logits = tf.Variable(tf.zeros((1, count)))
        with tf.GradientTape() as tape:
            loss = head.losses(logits, None, floats((value,)), floats((1,)))
        target = 1 / count - tape.gradient(loss, logits)
        found = head.q_values(tf.math.log(target + 1e-30)[:, None, :])
        np.testing.assert_allclose(found, [[learned]], atol=2e-5)


def test_quantile() -> None:
    head, outputs = Config(head="quantile", num_atoms=2).part(Head), floats(((1, 4), (-3, 1)))
    close(head.distribution(outputs), [[[[1, 4], [-3, 1]]], [[[0.5, 0.5], [0.5, 0.5]]]])
    close(head.q_values(outputs), [[2.5, -1]])
    # Fractions 1/4, 3/4. A target of 3: 2 above quantile 1, Huber's 1.5; 1 below quantile 4, Huber's 0.5.
    # 0.25 * 1.5 + |0.75 - 1| * 0.5 = 0.5.  At fractions 0.9, 0.1: 0.9 * 1.5 + 0.9 * 0.5 = 1.8
    taken, target = floats((1, 4)), (floats((3,)), floats((1,)))
    close(head.losses(taken, None, *target), [0.5])
    close(Config(head="implicit_quantile").part(Head).losses(taken, floats((0.9, 0.1)), *target), [1.8])


def test_mean_and_midpoints() -> None:
    close(mean(floats((1, 5)), floats((0.25, 0.75))), [4])
    close(midpoints(4), [0.125, 0.375, 0.625, 0.875])


# --- the default network in NumPy -------------------------------------------------------------------------------------

BASE: dict[str, Any] = {
    "hidden_sizes": (HIDDEN,),
    "batch_size": SAMPLES,
    "value_min": -3,
    "value_max": 4,
    "hl_gauss_spare_bins": 0,
}
HEADS = ("expected", "categorical", "quantile", "implicit_quantile", "hl_gauss")


@functools.cache
def agent(**settings: Any) -> tuple[Config, DQN]:
    config = Config(**BASE | {"num_atoms": FRACTIONS} | settings)
    return config, DQN(config, build_network(SPACE, ACTIONS, config))


def forward(
    config: Config, params: np.ndarray, obs: np.ndarray, noise: np.ndarray, fractions: np.ndarray | None
) -> np.ndarray:
    """Outputs [N, A, M] of the noisy network of one hidden layer.

    Weights come in Keras' order; noise as that of inputs and units of the hidden layer, then of the outputs'.
    """
    left, noise_left = np.asarray(params, float), np.asarray(noise, float)

    def take(*shape: int) -> np.ndarray:
        nonlocal left
        part, left = np.split(left, [math.prod(shape)])
        return part.reshape(shape)

    def noisy_dense(x: np.ndarray, units: int) -> np.ndarray:
        nonlocal noise_left
        kernel, bias = take(units, x.shape[-1]), take(units)
        noise_in, noise_out, noise_left = np.split(noise_left, [x.shape[-1], x.shape[-1] + units])
        kernel = kernel + take(units, x.shape[-1]) * np.outer(noise_out, noise_in)
        return x @ kernel.T + bias + take(units) * noise_out

    x = noisy_dense(obs, HIDDEN)
    if config.layer_norm:
        x = (x - x.mean(axis=1, keepdims=True)) / np.sqrt(x.var(axis=1, keepdims=True) + 1e-5) * take(HIDDEN)
        x = x + take(HIDDEN)
    x = np.maximum(x, 0)
    streams = ACTIONS + config.dueling
    if fractions is not None:
        cosines = np.cos(np.pi * np.arange(64) * fractions[:, :, None])
        x = x[:, None, :] * np.maximum(cosines @ take(64, HIDDEN) + take(HIDDEN), 0)
        x = np.moveaxis(noisy_dense(x, streams), 1, 2)
    else:
        x = noisy_dense(x, streams * config.part(Head).outputs_per_action).reshape(len(obs), streams, -1)
    if config.dueling:
        x = x[:, :1] + x[:, 1:] - x[:, 1:].mean(axis=1, keepdims=True)
    assert left.size == 0
    return x


def noise_from(u: np.ndarray) -> np.ndarray:
    """Box and Muller's normals, then sign(x) sqrt(|x|)."""
    radius, angle = np.split(u.astype(float), 2)
    normal = np.sqrt(-2 * np.log(1 - radius)) * np.cos(2 * np.pi * angle)
    return np.sign(normal) * np.sqrt(np.abs(normal))


def batch_and_state(dqn: DQN) -> tuple[Batch, AgentState]:
    """Arrays: transitions with masks, and networks that differ from each other."""
    generator = np.random.default_rng(8)
    obs, next_obs = generator.normal(size=(2, SAMPLES, INPUTS)).astype(np.float32)
    action = generator.integers(0, ACTIONS, SAMPLES).astype(np.int32)
    reward = generator.normal(size=SAMPLES).astype(np.float32)
    discount = np.float32([0.9, 0.81, 0, 0.9, 0.9])
    weight = generator.random(SAMPLES).astype(np.float32)
    mask, next_mask = generator.random((2, SAMPLES, ACTIONS)) < 0.4
    mask[np.arange(SAMPLES), action] = next_mask[:, 0] = True
    initial = dqn.network.initial_params()
    params, target_params = (initial + generator.normal(size=(2, len(initial))) / 2).astype(np.float32)
    zeros = np.zeros_like(params)
    state = AgentState(params, target_params, OptimizerState(zeros, zeros), np.int64(0))
    return Batch(obs, action, reward, discount, next_obs, weight, mask, next_mask), state


METHODS: dict[str, dict[str, Any]] = {
    "eager": {"noisy": True},
    "graph": {"noisy": True, "double": True, "dueling": True},
    "xla": {
        "noisy": True, "double": True, "munchausen": True, "munchausen_temperature": 0.5, "dueling": True,
        "layer_norm": True,
    },
}  # fmt: skip


@pytest.mark.parametrize("mode", METHODS)
@pytest.mark.parametrize("head", HEADS)
def test_an_update_is_that_of_an_independent_version(head: str, mode: str) -> None:
    config, dqn = agent(head=head, **METHODS[mode])
    batch, state = batch_and_state(dqn)
    implicit = head == "implicit_quantile"
    noise_width = 2 * ((INPUTS + HIDDEN) + (HIDDEN + (ACTIONS + config.dueling) * config.part(Head).outputs_per_action))
    fractions_width = SAMPLES * FRACTIONS if implicit else 0
    assert dqn.act_uniforms == noise_width
    assert dqn.update_uniforms == 2 * noise_width + 2 * fractions_width
    u = np.random.default_rng(1).random(dqn.update_uniforms).astype(np.float32)

    online_u, target_u, *fractions_u = np.split(u, np.cumsum([noise_width, noise_width, fractions_width]))
    online_noise, target_noise = noise_from(online_u), noise_from(target_u)
    fractions, target_fractions, acting = None, None, None
    if implicit:
        fractions, target_fractions = (part.reshape(SAMPLES, FRACTIONS) for part in fractions_u)
        acting = np.tile((np.arange(32) + 0.5) / 32, (SAMPLES, 1))

    def q_values(params: np.ndarray, obs: np.ndarray, noise: np.ndarray) -> np.ndarray:
        return expectation(config, forward(config, params, obs, noise, acting))

    chooser = (state.params, online_noise) if config.double else (state.target_params, target_noise)
    points, probabilities = target_of(
        config,
        batch,
        q_values(state.target_params, batch.obs, target_noise),
        q_values(chooser[0], batch.next_obs, chooser[1]),
        forward(config, state.target_params, batch.next_obs, target_noise, target_fractions),
    )

    def loss(params: np.ndarray) -> tuple[float, np.ndarray]:
        outputs = forward(config, params, batch.obs, online_noise, fractions)
        taken = outputs[np.arange(SAMPLES), batch.action]
        each, _ = loss_and_slope(config, taken, points, probabilities, fractions)
        return float(np.mean(batch.weight * each)), expectation(config, taken)

    expected, q_taken = loss(state.params)
    tensors = tf.nest.map_structure(tf.constant, (state, batch, u))
    compiled = tf.function(dqn.update, autograph=False, jit_compile=mode == "xla")
    found, metrics = (dqn.update if mode == "eager" else compiled)(*tensors)
    close(metrics.values["loss"], expected, 1e-4)
    close(metrics.values["mean_q"], q_taken.mean(), 1e-4)
    np.testing.assert_allclose(metrics.td_error, (points * probabilities).sum(axis=1) - q_taken, rtol=1e-4, atol=1e-5)

    # Adam's first moment is a tenth of the gradient: the loss must change along it, and along nothing else.
    gradient = 10 * found.optimizer.first_moment.numpy().astype(float)
    generator, params, step = np.random.default_rng(2), state.params.astype(float), 1e-6
    for direction in (gradient / np.linalg.norm(gradient), *(generator.normal(size=(20, len(params))))):
        slope = (loss(params + step * direction)[0] - loss(params - step * direction)[0]) / (2 * step)
        assert slope == pytest.approx(gradient @ direction, rel=1e-3, abs=1e-3)


@pytest.mark.parametrize("head", HEADS)
def test_acting_is_greedy_in_the_network_with_this_noise(head: str) -> None:
    config, dqn = agent(head=head, noisy=True, dueling=True)
    batch, state = batch_and_state(dqn)
    params, obs = tf.constant(state.params), tf.constant(batch.obs)
    acting = np.tile((np.arange(32) + 0.5) / 32, (SAMPLES, 1)) if head == "implicit_quantile" else None
    chosen = set()
    for noise_u in np.random.default_rng(4).random((5, dqn.act_uniforms)).astype(np.float32):
        q = expectation(config, forward(config, state.params, batch.obs, noise_from(noise_u), acting))
        found, q_values = dqn.act(params, obs, tf.constant(0.0), tf.zeros((SAMPLES, 2)), tf.constant(noise_u))
        close(q_values, q, 1e-4)
        np.testing.assert_array_equal(found, q.argmax(axis=1))
        chosen.add(tuple(found.numpy()))
    assert len(chosen) > 1  # noise explores
    zeros = np.zeros(dqn.network.num_noise)
    quiet = expectation(config, forward(config, state.params, batch.obs, zeros, acting))
    close(dqn.q_values(params, obs), quiet, 1e-4)  # and is absent where none is given


# --- one switch at a time ---------------------------------------------------------------------------------------------


def td_error_of_a_state_that_leads_to_itself(u: np.ndarray, **settings: Any) -> np.ndarray:
    """With one network as online and target, one action, no reward and discount 1: zero but for what u disturbs."""
    config = Config(**BASE | {"num_atoms": FRACTIONS, "batch_size": 1} | settings)
    dqn = DQN(config, build_network(SPACE, 1, config))
    obs, one = floats((0.3, -0.7)), floats(1)
    _, metrics = dqn.update(dqn.init(), Batch(obs, tf.constant([0]), 0 * one, one, obs, one), tf.constant(u))
    return metrics.td_error.numpy()


def test_online_and_target_network_have_noise_of_their_own() -> None:
    width = 2 * (INPUTS + HIDDEN + HIDDEN + 1)
    one, other = np.random.default_rng(0).random((2, width)).astype(np.float32)
    same, different, swapped = (
        td_error_of_a_state_that_leads_to_itself(np.concatenate(pair), noisy=True)
        for pair in ((one, one), (one, other), (other, one))
    )
    close(same, [0])
    assert abs(different[0]) > 0.05
    close(swapped, -different)
    close(td_error_of_a_state_that_leads_to_itself(np.zeros(0, np.float32)), [0])


def test_online_and_target_network_have_fractions_of_their_own() -> None:
    low, high = np.float32([0.01, 0.02, 0.03]), np.float32([0.97, 0.98, 0.99])
    same, different, swapped = (
        td_error_of_a_state_that_leads_to_itself(np.concatenate(pair), head="implicit_quantile")
        for pair in ((low, low), (low, high), (high, low))
    )
    close(same, [0])
    assert abs(different[0]) > 0.01
    close(swapped, -different)


def test_noisy_deviations_are_learned() -> None:
    _, dqn = agent(noisy=True)
    batch, state = batch_and_state(dqn)
    u = np.random.default_rng(1).random(dqn.update_uniforms).astype(np.float32)
    found, _ = dqn.update(*tf.nest.map_structure(tf.constant, (state, batch, u)))
    weights = dqn.network.model.trainable_variables
    gradients = dqn.network.unflatten(found.optimizer.first_moment)
    learned = [weight.name for weight, gradient in zip(weights, gradients, strict=True) if np.any(gradient)]
    assert learned == 2 * ["kernel", "bias", "kernel_deviation", "bias_deviation"]


def test_double_takes_the_online_networks_choice_and_the_targets_rating() -> None:
    # Linear in a one-hot observation, one state. Online Q: 1, 2; target Q: 30, 10. Reward 0, discount 0.5.
    # Single: 0.5 * 30 = 15.  Double: 0.5 * 10 = 5.  TD errors of action 0: 15 - 1 and 5 - 1.
    for double, expected in ((False, 14), (True, 4)):
        config = Config(double=double, hidden_sizes=(), batch_size=1)
        dqn = DQN(config, build_network(gym.spaces.Discrete(1), 2, config))
        state = dqn.init()._replace(params=floats(1, 2, 0, 0), target_params=floats(30, 10, 0, 0))
        obs = tf.constant([0])
        batch = Batch(obs, obs, floats(0), floats(0.5), obs, floats(1))
        close(dqn.update(state, batch, tf.zeros(0))[1].td_error, [expected])


@pytest.mark.parametrize("settings", [{"munchausen": True, "munchausen_temperature": 0.03}, {}], ids=str)
def test_a_state_with_one_legal_action_has_no_munchausen_bonus(settings: dict[str, Any]) -> None:
    # Q: 7, 1, where action 0 is illegal now and next: log pi(1) = 0, its soft value 1. Reward 2, discount 0.5:
    # 2 + 0 + 0.5 * 1 = 2.5, TD error 1.5.
    config = Config(hidden_sizes=(), batch_size=1, **settings)
    dqn = DQN(config, build_network(gym.spaces.Discrete(1), 2, config))
    params, obs, mask = floats(7, 1, 0, 0), tf.constant([0]), tf.constant([[False, True]])
    state = dqn.init()._replace(params=params, target_params=params)
    batch = Batch(obs, tf.constant([1]), floats(2), floats(0.5), obs, floats(1), mask, mask)
    close(dqn.update(state, batch, tf.zeros(0))[1].td_error, [1.5])


@pytest.mark.parametrize("head", HEADS)
def test_everything_at_once_is_finite_and_moves(head: str) -> None:
    """All of Rainbow and more, whose windows and weights are in the batch, as are masks and a state without actions."""
    _, dqn = agent(
        head=head, double=True, dueling=True, noisy=True, munchausen=True, layer_norm=True, n_step=3,
        priority_exponent=0.6, optimizer="rmsprop", max_gradient_norm=1.0, target_sync_rate=0.5, target_sync_updates=1,
    )  # fmt: skip
    batch, state = batch_and_state(dqn)
    assert batch.discount[2] == 0
    batch.next_mask[2] = False
    u = np.random.default_rng(1).random(dqn.update_uniforms).astype(np.float32)
    found, metrics = dqn.update(*tf.nest.map_structure(tf.constant, (state, batch, u)))
    for part in tf.nest.flatten((found, metrics)):
        assert np.isfinite(part).all()
    assert metrics.td_error.shape == (SAMPLES,)
    assert np.abs(metrics.td_error).max() < 50  # no illegal action's value
    assert np.abs(found.params - state.params).max() > 1e-4
    close(found.target_params, (found.params + state.target_params) / 2)
