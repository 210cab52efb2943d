"""PQN's targets and updates by hand, on a network that is a table."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import tensorflow as tf

from tensorq.agents.dqn import DQN
from tensorq.agents.pqn import PQN
from tensorq.config import Config
from tensorq.core import xla
from tensorq.core.types import AgentState, Batch, Metrics, Rollout
from tensorq.loops.rollout import UpdateSums, learn_rollout
from tensorq.networks.build import build_network

STATES, ACTIONS = 3, 2
Q = np.array([[1, 2], [4, 3], [10, 20]])  # [states, actions]
BOTH = 2  # batches of 3 in a rollout of 6 steps


def agent(**settings: Any) -> PQN:
    config = Config(algorithm="pqn", num_envs=2, rollout_length=3, batch_size=3, hidden_sizes=(), **settings)
    return PQN(config, build_network(gym.spaces.Discrete(STATES), ACTIONS, config))


def table(q: np.ndarray) -> tf.Tensor:
    """Parameters of these Q-values: the output layer keeps a row for each action, then biases."""
    return tf.constant(np.append(q.T, np.zeros(ACTIONS)), tf.float32)


def rollout(**columns: Any) -> Rollout:
    """Three steps of two environments from state 0; gamma = 0.5.

    The first environment goes to states 1 and 2, ends there, and begins again; a limit cuts the second in state 2.
    """
    given: dict[str, Any] = {
        "obs": [[0, 0], [1, 0], [0, 1]],
        "action": [[0, 0]] * 3,
        "reward": [[1, 2], [3, 4], [5, 6]],
        "discount": [[0.5, 0.5], [0, 0.5], [0.5, 0.5]],
        "next_obs": [[1, 0], [2, 2], [0, 1]],
        "ended": [[False, False], [True, True], [False, False]],
        "weight": np.ones((3, 2)),
        **columns,
    }
    types = {"obs": tf.int32, "action": tf.int32, "next_obs": tf.int32, "ended": tf.bool, "next_mask": tf.bool}
    return Rollout(**{name: tf.constant(value, types.get(name, tf.float32)) for name, value in given.items()})


def with_q_values(columns: Rollout) -> Rollout:
    """The rollout as the compiled loop has it, which keeps the Q-values by which it acted."""
    return columns._replace(q_values=tf.gather(tf.constant(Q, tf.float32), columns.obs))


@pytest.mark.parametrize("kept", [lambda columns: columns, with_q_values], ids=["", "with Q-values"])
@pytest.mark.parametrize(
    ("decay", "expected"),
    [
        # The best of states 0, 1, 2 are worth 2, 4, 20. First column: 1 + 0.5 * 4 = 3, 3, 5 + 0.5 * 2 = 6.
        # Second: 2 + 0.5 * 2 = 3, 4 + 0.5 * 20 = 14, 6 + 0.5 * 4 = 8.
        (0.0, [[3, 3], [3, 14], [6, 8]]),
        # First: 1 + 0.5 * (0.75 * 4 + 0.25 * 3) = 2.875. Second: 2 + 0.5 * (0.75 * 2 + 0.25 * 14) = 4.5.
        (0.25, [[2.875, 4.5], [3, 14], [6, 8]]),
    ],
)
def test_targets(decay: float, expected: Any, kept: Any) -> None:
    np.testing.assert_allclose(agent(trace_decay=decay).targets(table(Q), kept(rollout())), expected, rtol=1e-6)


def test_known_q_values_are_not_computed_again() -> None:
    # Given are 7 for all: 1 + 0.5 * 7 = 4.5 and 2 + 0.5 * 7 = 5.5. After a limit and after the last row the values are
    # computed: 14, 6 and 8, as above.
    known = rollout(q_values=np.full((3, 2, ACTIONS), 7))
    found = xla.compiled(agent(trace_decay=0.0).targets)(table(Q), known)
    np.testing.assert_allclose(found, [[4.5, 5.5], [3, 14], [6, 8]], rtol=1e-6)


def test_returns_end_before_an_action_that_was_not_greedy() -> None:
    # As above with lambda 0.25. But in state 0, where the second environment goes first, action 1 is greedy and 0 was
    # taken: 2 + 0.5 * 2 = 3. In state 1 of the first one the action that was taken, 0, is greedy: 2.875 as above.
    for columns in (rollout(), with_q_values(rollout())):
        found = agent(trace_decay=0.25, cut_traces=True).targets(table(Q), columns)
        np.testing.assert_allclose(found, [[2.875, 3], [3, 14], [6, 8]], rtol=1e-6)


def test_targets_do_not_believe_illegal_actions() -> None:
    # Where action 1 is illegal state 0 is worth 1 and state 2 is worth 10; where action 0 is, state 1 is worth 3:
    # 1 + 0.5 * 3 = 2.5, 3, 5 + 0.5 * 1 = 5.5;  2 + 0.5 * 1 = 2.5, 4 + 0.5 * 10 = 9, 6 + 0.5 * 3 = 7.5.
    first, second = [True, False], [False, True]
    masked = rollout(next_mask=[[second, first], [first, first], [first, second]])
    for columns in (masked, with_q_values(masked)):
        found = agent(trace_decay=0.0).targets(table(Q), columns)
        np.testing.assert_allclose(found, [[2.5, 2.5], [3, 9], [5.5, 7.5]], rtol=1e-6)


STEPS = np.array([0, 1, 2]), np.array([1, 0, 1])  # states and actions, whose values are 2, 4 and 20


def test_an_update_by_hand() -> None:
    # Errors 2.5 - 2 = 0.5, 4 - 4 = 0 and 30 - 20 = 10. Huber's: 0.125, 0, 9.5; their weighted mean
    # (2 * 0.125 + 1 * 0 + 1 * 9.5) / 3 = 3.25. Squares: (2 * 0.25 + 0 + 100) / 3 = 33.5.
    for loss, expected in (("huber", 3.25), ("mse", 33.5)):
        pqn = agent(loss=loss)
        first = pqn.init()._replace(params=table(Q))
        state, metrics = pqn.update(first, *STEPS, tf.constant([2.5, 4, 30]), tf.constant([2.0, 1, 1]))
        assert float(metrics.values["loss"]) == pytest.approx(expected)
        assert float(metrics.values["mean_q"]) == pytest.approx((2 + 4 + 20) / 3)
        np.testing.assert_allclose(metrics.td_error, [0.5, 0, 10], atol=1e-5)
        # Adam's first step is learning_rate = 0.001 towards the targets, whatever the error; state 1 has none.
        moved = np.array(state.params - first.params).reshape(-1)[: STATES * ACTIONS].reshape(ACTIONS, STATES)
        np.testing.assert_allclose(moved, [[0, 0, 0], [0.001, 0, 0.001]], atol=1e-6)
        assert int(state.updates) == 1
        assert state.target_params.shape == (0,)


def test_parameters_are_averaged() -> None:
    """By a quarter at each update; before the fourth, as in an arithmetic mean."""
    pqn, targets = agent(averaging_rate=0.25), tf.constant([2.5, 4, 30])
    state, average = pqn.init(), np.zeros(0)
    np.testing.assert_array_equal(state.target_params, state.params)
    for rate in (1, 1 / 2, 1 / 3, 1 / 4, 1 / 4):
        state, _ = pqn.update(state, *STEPS, targets, tf.ones(3))
        params = state.params.numpy()
        average = average + rate * (params - average) if len(average) else params
        np.testing.assert_allclose(pqn.kept_params(state), average, rtol=1e-6)
    assert (average != params).any()


def test_a_weight_of_zero_leaves_a_step_out() -> None:
    pqn, weight = agent(), tf.constant([1.0, 1, 0])
    first = pqn.init()._replace(params=table(Q))

    def after(target: float) -> np.ndarray:
        params: np.ndarray = pqn.update(first, *STEPS, tf.constant([2.5, 0, target]), weight)[0].params.numpy()
        return params

    np.testing.assert_array_equal(after(-1000), after(1000))


def test_updates_descend_as_those_of_dqn_do() -> None:
    """Which test_dqn.py has in NumPy: with targets for rewards and no next states, DQN learns the same."""
    settings: dict[str, Any] = {
        "max_gradient_norm": 0.2, "optimizer": "rmsprop", "learning_rate": 0.1, "learning_rate_final": 0.02,
        "learning_rate_anneal_updates": 3,
    }  # fmt: skip
    pqn = agent(**settings)
    dqn = DQN(Config(batch_size=3, hidden_sizes=(), double=False, **settings), pqn.network)
    state, other = pqn.init()._replace(params=table(Q)), dqn.init()._replace(params=table(Q))
    update = tf.function(pqn.update, autograph=False, jit_compile=True)
    obs, action = map(tf.constant, STEPS)
    for step in range(4):
        target, weight = tf.constant([2.5, 4, 30.0 - step]), tf.constant([2.0, 1, 1])
        state, metrics = update(state, obs, action, target, weight)
        batch = Batch(obs, action, target, tf.zeros(3), obs, weight)
        other, expected = dqn.update(other, batch, tf.zeros(0))
        np.testing.assert_allclose(state.params, other.params, rtol=1e-5)
        for found, wanted in zip(*map(tf.nest.flatten, (metrics, expected)), strict=True):
            np.testing.assert_allclose(found, wanted, rtol=1e-5)


class Recording(PQN):
    """Learns nothing, and writes the number of each step that it is given into its parameters."""

    def update(self, state: AgentState, obs: Any, action: Any, target: Any, weight: Any) -> Any:
        params = tf.concat([state.params[3:], tf.cast(obs, tf.float32)], axis=0)
        return state._replace(params=params, updates=state.updates + 1), Metrics(
            {"loss": tf.zeros(()), "mean_q": tf.zeros(())}, target
        )


def test_targets_are_those_of_the_beginning_in_every_epoch() -> None:
    class Moving(Recording):
        """Writes down targets in place of steps, and is another network after each update."""

        def update(self, state: AgentState, obs: Any, action: Any, target: Any, weight: Any) -> Any:
            return super().update(state, target, action, target, weight)

    config = Config(algorithm="pqn", num_envs=2, rollout_length=3, batch_size=3, hidden_sizes=(), rollout_epochs=2)
    pqn = Moving(config, build_network(gym.spaces.Discrete(6), 2, config))
    state, steps = pqn.init(), rollout(obs=[[0, 1], [2, 3], [4, 5]])
    expected = np.sort(np.ravel(pqn.targets(state.params, steps)))
    assert len(set(expected.tolist())) > 3
    state, _ = learn_rollout(config, pqn, tf.constant(1, tf.int64), state, steps, UpdateSums.none(), BOTH)
    for epoch in state.params.numpy()[-12:].reshape(2, 6):
        np.testing.assert_allclose(np.sort(epoch), expected, rtol=1e-6)


def test_epochs_have_every_step_once_each_in_an_order_of_its_own() -> None:
    """Two epochs of 6 steps, numbered 0 to 5, in batches of 3; by two seeds, and from another update on."""
    config = Config(algorithm="pqn", num_envs=2, rollout_length=3, batch_size=3, hidden_sizes=(), rollout_epochs=2)
    pqn = Recording(config, build_network(gym.spaces.Discrete(6), 2, config))
    numbered = rollout(obs=[[0, 1], [2, 3], [4, 5]])
    orders = []
    for seed, first in ((1, 0), (2, 0), (1, 4)):
        state = pqn.init()._replace(params=tf.zeros(14), updates=tf.constant(first, tf.int64))
        state, _ = learn_rollout(config, pqn, tf.constant(seed, tf.int64), state, numbered, UpdateSums.none(), BOTH)
        assert int(state.updates) == first + 4
        orders += state.params.numpy()[-12:].reshape(2, 6).tolist()
    assert all(sorted(order) == [0, 1, 2, 3, 4, 5] for order in orders)
    assert len({tuple(order) for order in [*orders, [0, 1, 2, 3, 4, 5]]}) == 7


def test_targets_of_images_row_by_row() -> None:
    """In XLA on a CPU, images that must be rated go through convolutions one row of environments after the other."""
    settings: dict[str, Any] = {"channels": (2,), "kernel_sizes": (3,), "strides": (1,), "hidden_sizes": (5,)}
    config = Config(algorithm="pqn", num_envs=2, rollout_length=3, batch_size=3, encoder="cnn", **settings)
    pqn = PQN(config, build_network(gym.spaces.Box(0, 255, (8, 8, 1), np.uint8), ACTIONS, config))
    images = tf.constant(np.random.default_rng(0).integers(0, 256, (3, 2, 8, 8, 1)), tf.uint8)
    params, steps = pqn.init().params, rollout()._replace(obs=images, next_obs=images)
    rate, rated = pqn.q_values, list[int]()
    pqn.q_values = lambda params, obs, noise=None: (rated.append(obs.shape[0]), rate(params, obs, noise))[1]  # type: ignore[method-assign]
    found = xla.compiled(pqn.targets)(params, steps)
    np.testing.assert_allclose(found, pqn.targets(params, steps), rtol=1e-5)
    assert len(np.unique(found)) == 6
    assert rated == [2, 6]  # in XLA by rows, else all at once
