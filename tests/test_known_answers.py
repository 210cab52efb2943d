"""Small worlds whose values are known: what DQN learns of them, by its Q-values, for every head.

A batch holds every transition of its world, and all updates run in one graph: one of them by XLA, which takes three
times as long to compile as the others take to run.
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import tensorflow as tf

from tensorq.agents.dqn import DQN
from tensorq.config import Config
from tensorq.core import random
from tensorq.core.types import AgentState, Batch, Transition
from tensorq.networks.build import build_network
from tensorq.replay.device import DeviceReplay
from tensorq.replay.host import HostReplay

HEADS = ("expected", "categorical", "quantile", "implicit_quantile", "hl_gauss")
UPDATES = 600
BASE: dict[str, Any] = {
    "hidden_sizes": (), "target_sync_updates": 20, "num_atoms": 16, "value_min": -1, "value_max": 2,
    "learning_rate": 0.05, "learning_rate_final": 0.001, "learning_rate_anneal_updates": UPDATES,
}  # fmt: skip
Rows = list[tuple[int, int, float, float, int]]  # state, action, reward, discount, next state


def learn(
    rows: Rows, num_actions: int, mask: Any = None, next_mask: Any = None, xla: bool = False, **settings: Any
) -> tuple[DQN, AgentState]:
    """The agent after UPDATES updates, each on all the rows."""
    state, action, reward, discount, next_state = (np.array(column) for column in zip(*rows, strict=True))
    config = Config(**BASE | {"batch_size": len(rows)} | settings)
    dqn = DQN(config, build_network(gym.spaces.Discrete(int(state.max()) + 1), num_actions, config))
    batch = Batch(
        tf.constant(state, tf.int32),
        tf.constant(action, tf.int32),
        tf.constant(reward, tf.float32),
        tf.constant(discount, tf.float32),
        tf.constant(next_state, tf.int32),
        tf.ones(len(rows)),
        None if mask is None else tf.constant(mask),
        None if next_mask is None else tf.constant(next_mask),
    )

    @tf.function(autograph=False, jit_compile=xla)
    def train(first: AgentState) -> AgentState:
        def update(agent: AgentState) -> tuple[AgentState]:
            bits = random.random_bits(0, random.LEARNING, agent.updates, dqn.update_uniforms)
            return (dqn.update(agent, batch, random.to_uniforms(bits))[0],)

        return tf.while_loop(lambda agent: agent.updates < UPDATES, update, (first,))[0]

    return dqn, train(dqn.init())


def q_values(dqn: DQN, state: AgentState) -> np.ndarray:
    """[2, actions], of the two states."""
    return dqn.q_values(state.params, tf.range(2)).numpy()


# --- a chain of two states --------------------------------------------------------------------------------------------

# Action 0 stays at, or returns to, state 0, which pays 0.2 for staying; action 1 goes on: from state 0 to state 1, and
# from there to the end, which pays 1. gamma = 0.5.
GAMMA = 0.5
CHAIN: Rows = [(0, 0, 0.2, GAMMA, 0), (0, 1, 0, GAMMA, 1), (1, 0, 0, GAMMA, 0), (1, 1, 1, 0, 1)]
# Q(1, 1) = 1, Q(0, 1) = 0.5 * 1 = 0.5 = V(0), Q(0, 0) = 0.2 + 0.5 * 0.5 = 0.45, Q(1, 0) = 0.5 * 0.5 = 0.25
CHAIN_Q = [[0.45, 0.5], [0.25, 1]]
# Three steps each, as a replay would give them, by someone who takes action 0 after the first. What they pay counts:
# (0, 0) 0.2 * (1 + 0.5 + 0.25) = 0.35, (0, 1) 0.25 * 0.2 = 0.05, (1, 0) 0.5 * 0.2 + 0.25 * 0.2 = 0.15, then state 0 at
# 0.5^3. Staying is best: V(0) = 0.35 / (1 - 0.125) = 0.4, which adds 0.05 to each. (1, 1) ends after one step.
WINDOWS: Rows = [(0, 0, 0.35, 0.125, 0), (0, 1, 0.05, 0.125, 0), (1, 0, 0.15, 0.125, 0), (1, 1, 1, 0, 1)]
WINDOWS_Q = [[0.4, 0.1], [0.2, 1]]
# A scale of 0.5 doubles gaps between actions, and so makes the soft policy all but greedy; 0.6 clips state 1's.
SCALE, TEMPERATURE, LOWEST = 0.5, 0.02, -0.6
MUNCHAUSEN: dict[str, Any] = {
    "munchausen": True, "munchausen_scale": SCALE, "munchausen_temperature": TEMPERATURE, "munchausen_clip": LOWEST,
}  # fmt: skip


def munchausen_q(rows: Rows, num_actions: int, mask: Any = None, next_mask: Any = None) -> np.ndarray:
    """Soft values with the log-policy added to rewards, by iterating Vieillard et al. 2020, equation 1."""
    everything = np.ones((len(rows), num_actions), bool)
    masks, next_masks = (everything if given is None else given for given in (mask, next_mask))
    q = np.zeros((2, num_actions))

    def soft_value(state: int, legal: np.ndarray) -> float:
        best = q[state, legal].max()
        return best + TEMPERATURE * np.log(np.exp((q[state, legal] - best) / TEMPERATURE).sum())

    for _ in range(500):
        for row, (state, action, reward, discount, next_state) in enumerate(rows):
            log_policy = (q[state, action] - soft_value(state, masks[row])) / TEMPERATURE
            bonus = SCALE * np.clip(TEMPERATURE * log_policy, LOWEST, 0)
            q[state, action] = reward + bonus + discount * soft_value(next_state, next_masks[row])
    return q


def test_the_log_policy_changes_what_is_known_of_the_chain() -> None:
    # Soft policies are all but greedy: Q = q + 0.5 * (Q - V), so Q(0, 0) = 2 * (0.45 - 0.25) = 0.4, less a little.
    # Q(1, 0) = 0.25 + 0.5 * -0.6 = -0.05, clipped.
    np.testing.assert_allclose(munchausen_q(CHAIN, 2), [[0.4, 0.5], [-0.05, 1]], atol=0.01)


METHODS: dict[str, tuple[dict[str, Any], Rows, Any]] = {
    "plain": ({}, CHAIN, CHAIN_Q),
    "double": ({"double": True}, CHAIN, CHAIN_Q),
    "dueling": ({"dueling": True}, CHAIN, CHAIN_Q),
    "noisy": ({"noisy": True}, CHAIN, CHAIN_Q),
    "munchausen": (MUNCHAUSEN, CHAIN, munchausen_q(CHAIN, 2)),
    "given windows": ({}, WINDOWS, WINDOWS_Q),
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("head", HEADS)
def test_the_chain(head: str, method: str) -> None:
    settings, rows, expected = METHODS[method]
    found = q_values(*learn(rows, 2, head=head, xla=(head, method) == ("implicit_quantile", "noisy"), **settings))
    np.testing.assert_allclose(found, expected, atol=0.02)


@pytest.mark.parametrize("settings", [{"optimizer": "rmsprop", "optimizer_epsilon": 1e-3}, {"loss": "mse"}], ids=str)
def test_the_chain_with_other_ways_to_descend(settings: dict[str, Any]) -> None:
    np.testing.assert_allclose(q_values(*learn(CHAIN, 2, **settings)), CHAIN_Q, atol=0.02)


# --- rewards by chance ------------------------------------------------------------------------------------------------


def lottery(*rewards: float) -> Rows:
    """State 0 leads to state 1 for nothing; there, each of the rewards is as probable as the others, and ends it."""
    return [*[(0, 0, 0.0, GAMMA, 1)] * len(rewards), *((1, 0, reward, 0, 1) for reward in rewards)]


def outputs_at(dqn: DQN, state: AgentState, fractions: Any = None) -> tuple[np.ndarray, np.ndarray]:
    """Points and probabilities [2, M] of the only action's return in both states."""
    at = None if fractions is None else tf.constant([fractions], tf.float32)
    points, probabilities = dqn.head.distribution(dqn.network.outputs(state.params, tf.range(2), None, at))
    return points.numpy()[:, 0], probabilities.numpy()[:, 0]


@pytest.mark.parametrize("dueling", [False, True])
def test_atoms_learn_the_distribution_of_returns(dueling: bool) -> None:
    # State 1 pays 0 or 8, state 0 half of that. Atoms at 0, 4, 8.
    settings = {"num_atoms": 3, "value_min": 0, "value_max": 8, "dueling": dueling}
    dqn, state = learn(lottery(0, 8, 8, 8), 1, head="categorical", **settings)
    points, probabilities = outputs_at(dqn, state)
    np.testing.assert_array_equal(points, [[0, 4, 8], [0, 4, 8]])
    np.testing.assert_allclose(probabilities, [[0.25, 0.75, 0], [0.25, 0, 0.75]], atol=0.01)
    np.testing.assert_allclose(q_values(dqn, state), [[3], [6]], atol=0.05)


# Twenty rewards from 1 to 39. The quantile at 0.1 lies between the second and the third, at 4, and so on.
EVEN = lottery(*range(1, 40, 2))
AT, QUANTILES = (0.1, 0.3, 0.5, 0.7, 0.9), np.array([4, 12, 20, 28, 36])


@pytest.mark.parametrize("dueling", [False, True])
def test_quantiles_learn_the_distribution_of_returns(dueling: bool) -> None:
    settings = {"num_atoms": 5, "learning_rate": 1.0, "learning_rate_final": 0.01, "dueling": dueling}
    dqn, state = learn(EVEN, 1, head="quantile", **settings)
    points, probabilities = outputs_at(dqn, state)
    np.testing.assert_allclose(points, [QUANTILES / 2, QUANTILES], atol=1)  # Huber's loss is not |d| within 1
    np.testing.assert_allclose(probabilities, np.full((2, 5), 0.2))
    np.testing.assert_allclose(q_values(dqn, state), [[10], [20]], atol=0.3)


@pytest.mark.parametrize("dueling", [False, True])
def test_implicit_quantiles_learn_the_distribution_of_returns(dueling: bool) -> None:
    settings = {"num_atoms": 32, "hidden_sizes": (32,), "dueling": dueling}
    dqn, state = learn(EVEN, 1, head="implicit_quantile", **settings)
    points, _ = outputs_at(dqn, state, AT)
    np.testing.assert_allclose(points, [QUANTILES / 2, QUANTILES], atol=1.5)
    np.testing.assert_allclose(q_values(dqn, state), [[10], [20]], atol=0.5)


@pytest.mark.parametrize(
    "settings",
    [{"loss": "mse", "learning_rate": 0.5}, {"head": "hl_gauss", "value_min": -10, "value_max": 50, "num_atoms": 21}],
    ids=str,
)
def test_the_mean_of_a_lottery(settings: dict[str, Any]) -> None:
    # The mean of 0, 0, 0, 40 is 10, where the median is 0.
    found = q_values(*learn(lottery(0, 0, 0, 40), 1, **settings))
    np.testing.assert_allclose(found, [[5], [10]], atol=0.1)


# --- legal actions ----------------------------------------------------------------------------------------------------

# In state 1 action 2 pays most, and is not legal for who comes from state 0, by action 0.
MASKED: Rows = [
    (0, 0, 0, GAMMA, 1), (0, 1, 0.6, 0, 1), (0, 2, -0.5, 0, 1), (1, 0, 0.4, 0, 1), (1, 1, 0.8, 0, 1), (1, 2, 2, 0, 1),
]  # fmt: skip
MASK = np.array([[1, 1, 1]] * 3 + [[1, 1, 0]] * 2 + [[1, 1, 1]]) == 1
NEXT_MASK = np.array([[1, 1, 0]] + [[0, 0, 0]] * 5) == 1
# Q(0, 0) = 0.5 * 0.8, where the illegal action would make it 0.5 * 2
MASKED_Q = [[0.4, 0.6, -0.5], [0.4, 0.8, 2]]


@pytest.mark.parametrize("munchausen", [False, True])
@pytest.mark.parametrize("head", HEADS)
def test_illegal_actions_count_for_nothing(head: str, munchausen: bool) -> None:
    expected = munchausen_q(MASKED, 3, MASK, NEXT_MASK | ~NEXT_MASK.any(axis=1)[:, None]) if munchausen else MASKED_Q
    settings: dict[str, Any] = {"value_min": -2, "value_max": 3, "num_atoms": 26, **(MUNCHAUSEN if munchausen else {})}
    dqn, state = learn(MASKED, 3, MASK, NEXT_MASK, head=head, **settings)
    np.testing.assert_allclose(q_values(dqn, state), expected, atol=0.02)

    def act(epsilon: float, choice: float, mask: Any) -> int:
        given = tf.constant([1]), tf.constant(epsilon), tf.constant([[0, choice]], tf.float32), tf.zeros(0), mask
        return int(dqn.act(state.params, *given)[0][0])

    mask = tf.constant([[True, True, False]])
    assert act(0.0, 0, None) == 2
    assert act(0.0, 0, mask) == 1
    assert [act(1.0, choice, mask) for choice in (0, 0.4, 0.6, 0.99)] == [0, 0, 1, 1]


# --- what never ends --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings", [*({"head": head} for head in HEADS), {"target_sync_updates": 1, "target_sync_rate": 0.1}], ids=str
)
def test_a_reward_for_ever(settings: dict[str, Any]) -> None:
    # One state, which pays 1 again and again: 1 / (1 - 0.75) = 4.
    dqn, state = learn([(0, 0, 1, 0.75, 0)], 1, value_max=6, num_atoms=22, **{"value_min": -1, **settings})
    found = float(dqn.q_values(state.params, tf.constant([0]))[0, 0])
    assert found == pytest.approx(4, abs=0.05)


# --- time limits ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_step", [1, 3])
@pytest.mark.parametrize("kind", ["device", "host"])
@pytest.mark.parametrize("head", HEADS)
def test_a_time_limit_ends_nothing_with_stacks(head: str, kind: str, n_step: int) -> None:
    """One state, which pays 1 a step, and episodes that are cut after 6 steps: Q = 1 / (1 - 0.5) = 2.

    In stacks of 4 of one observation each. Three steps before the value at the end: 1 + 0.5 + 0.25 + 0.125 * 2 = 2.
    """
    config = Config(
        **BASE | {"value_min": -1, "value_max": 5, "num_atoms": 25}, head=head, n_step=n_step, gamma=0.5,
        batch_size=64, replay_capacity=200, num_envs=2,
    )  # fmt: skip
    dqn = DQN(config, build_network(gym.spaces.Box(0, 1, (4, 1)), 1, config))
    device, host = (
        DeviceReplay(config, np.float32, (1,), frame_stack=4, cut_after_steps=6),
        HostReplay(config, 2, np.dtype(np.float32), (1,), frame_stack=4),
    )
    ones, memory = np.ones(2, np.float32), device.init()
    for index in range(101):
        obs, action, age = ones[:, None], np.zeros(2, np.int32), np.full(2, index % 6, np.int32)
        step = Transition(obs, action, ones, 0.5 * ones, obs, age == 5, age)
        host.add(step)
        memory = device.add(memory, Transition(*(None if each is None else tf.constant(each) for each in step)))
    words = np.array([-(-index * 2**32 // 64) for index in range(64)], np.uint32)
    if kind == "device":
        batch = device.sample(memory, tf.constant(words), tf.constant(1.0, tf.float64))[0]
    else:
        batch = host.unpack(tf.constant(host.sample(words[None], 1.0)[0][0]))
    assert batch.obs.shape == (64, 4, 1) and not np.any(batch.discount == 0)

    @tf.function(autograph=False)
    def train(first: AgentState) -> AgentState:
        def update(agent: AgentState) -> tuple[AgentState]:
            bits = random.random_bits(0, random.LEARNING, agent.updates, dqn.update_uniforms)
            return (dqn.update(agent, batch, random.to_uniforms(bits))[0],)

        return tf.while_loop(lambda agent: agent.updates < UPDATES, update, (first,))[0]

    found = dqn.q_values(train(dqn.init()).params, tf.ones((1, 4, 1))).numpy()
    np.testing.assert_allclose(found, [[2.0]], atol=0.05)
