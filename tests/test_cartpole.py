"""The compiled CartPole is Gymnasium's: played by the compiled loop, its stored transitions are replayed there."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import gymnasium as gym
import keras
import numpy as np
import tensorflow as tf

from rooms import stored
from tensorq.agents.dqn import DQN
from tensorq.config import Config
from tensorq.core import random
from tensorq.envs.cartpole import CartPole
from tensorq.loops.compiled import CompiledLoop
from tensorq.networks.network import Network


def play(tmp_path: Path, num_envs: int, steps: int, epsilon: float) -> tuple[CompiledLoop, list[Any], np.ndarray]:
    """Steps in the compiled loop by a hand-made policy; returns it, its episodes and rows [vector steps, N, 11]."""
    config = Config(
        seed=11, num_envs=num_envs, steps=steps, learning_starts_steps=steps - 1, learning_rate=1e-12,
        replay_capacity=steps, epsilon_start=epsilon, epsilon_final=epsilon, gamma=0.5, evaluation_episodes=4,
    )  # fmt: skip
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    loop = CompiledLoop(config, DQN(config, Network(model)), CartPole(), tmp_path / "replay.bin")
    # Pushes right where this is above zero, which balances the pole: 0.1 x + 0.3 v + 2 theta + 0.6 omega
    balance = np.array([0.1, 0.3, 2.0, 0.6])
    params = np.concatenate([np.stack([-balance, balance], axis=1).ravel(), [0, 0]]).astype(np.float32)
    loop.restore({**loop.save(), "agent.params": params})
    report = loop.advance(steps, None, lambda: False)
    batch = stored(loop)
    numbers = [column[:, None] for column in (batch.action, batch.discount, batch.reward)]
    rows = np.concatenate([batch.obs, numbers[0], batch.next_obs, *numbers[1:]], axis=1)
    return loop, report.episodes, rows.reshape(-1, num_envs, 11)


class Uniforms:
    """Stands in for Gymnasium's generator, and gives the uniforms that the compiled loop drew."""

    def __init__(self, u: np.ndarray) -> None:
        self.u = u

    def uniform(self, low: float, high: float, size: Any) -> np.ndarray:
        return low + (high - low) * self.u


def reset_uniforms(num_envs: int, vector_step: int) -> np.ndarray:
    """[N, 4] uniforms with which the loop resets after a vector step; -1 is the first reset."""
    if vector_step < 0:
        bits = random.random_bits(11, random.INITIAL, 0, num_envs * 4)
    else:
        bits = random.random_bits(11, random.ACTING, vector_step * num_envs, num_envs * 6)
    return random.to_uniforms(bits).numpy().reshape(num_envs, -1)[:, -4:]


def test_ten_thousand_random_steps_and_their_resets(tmp_path: Path) -> None:
    num_envs = 4
    _, episodes, rows = play(tmp_path, num_envs, 10_000, epsilon=1.0)
    expected, ended = np.zeros_like(rows), []
    for index in range(num_envs):
        env = gym.make("CartPole-v1")
        env.reset(seed=0)
        total, obs = 0.0, None
        for vector_step, action in enumerate(rows[:, index, 4].astype(int)):
            if obs is None:
                u = reset_uniforms(num_envs, vector_step - 1)[index].astype(np.float64)
                env.unwrapped.np_random = Uniforms(u)
                obs = env.reset()[0]
            next_obs, reward, terminated, truncated, _ = env.step(action)
            discount = 0.0 if terminated else 0.5
            expected[vector_step, index] = [*obs, action, *(obs if terminated else next_obs), discount, reward]
            total, obs = total + float(reward), next_obs
            if terminated or truncated:
                ended.append(((vector_step + 1) * num_envs, index, int(total), total))
                total, obs = 0.0, None
        env.close()
    np.testing.assert_allclose(rows, expected, rtol=0, atol=1e-5)
    assert len(ended) > 400
    assert episodes == sorted(ended)


def test_long_episodes_and_their_limit(tmp_path: Path) -> None:
    """From equal states one step is equal, and the limit of 500 steps cuts episodes without ending them.

    Whole ones cannot be compared: under a balanced pole a rounding error doubles every nine steps.
    """
    loop, episodes, rows = play(tmp_path, 1, 2_000, epsilon=0.0)
    assert [(episode.length, episode.total_return) for episode in episodes] == [(500, 500.0)] * 4
    np.testing.assert_array_equal(loop.evaluate(lambda: False).returns, [500.0] * 4)
    env = gym.make("CartPole-v1")
    for start in range(0, 2_000, 500):
        env.reset(seed=start)
        first = 0.1 * reset_uniforms(1, start - 1)[0] - 0.05
        np.testing.assert_allclose(rows[start, 0, :4], first, rtol=0, atol=1e-6)
        for age, row in enumerate(rows[start : start + 500, 0], 1):
            env.unwrapped.state = row[:4].astype(np.float64)
            obs, reward, terminated, truncated, _ = env.step(int(row[4]))
            np.testing.assert_allclose(row[5:9], obs, rtol=0, atol=1e-6)
            assert (row[10], row[9]) == (reward, 0.5)
            assert (terminated, truncated) == (False, age == 500)
    env.close()


def test_it_ends_where_gymnasium_ends() -> None:
    env = gym.make("CartPole-v1")
    env.reset(seed=0)
    places, angles, speeds = (-2.3998, 0, 2.3998), (-0.2094, 0, 0.2094), (-0.1, 0, 0.1)  # limits: 2.4 m and 0.20944
    wanted = np.array(list(itertools.product(places, speeds, angles, speeds)), np.float32)
    world = CartPole()
    first = world.reset(tf.constant((wanted + 0.05) / 0.1))
    states = world.observe(first).numpy().astype(np.float64)
    for action in (0, 1):
        next_states, reward, terminated, _ = world.step(first, tf.fill(len(states), action), tf.zeros((len(states), 0)))
        next_states = world.observe(next_states)
        for index, state in enumerate(states):
            env.unwrapped.state, env.unwrapped.steps_beyond_terminated = state, None
            obs, expected_reward, expected, _, _ = env.unwrapped.step(action)
            np.testing.assert_allclose(next_states[index], obs, rtol=0, atol=1e-6)
            assert (bool(terminated[index]), float(reward[index])) == (expected, expected_reward)
        assert 0 < np.sum(terminated) < len(states)
    env.close()
