"""The other compiled worlds are Gymnasium's: played side by side from equal states, and again where an episode ends."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import tensorflow as tf
from gymnasium.utils.env_checker import check_env

from tensorq.envs.gymnasium_ids import gymnasium_maker
from tensorq.envs.world import ORIGINALS, WORLDS, make_world

NUM_ENVS, VECTOR_STEPS = 10, 1_000


@pytest.fixture(params=["Acrobot-v1", "MountainCar-v0"])
def env_id(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def push(env_id: str, obs: np.ndarray) -> np.ndarray:
    """Actions that bring energy in, so that episodes end: with the car's velocity, against the second link's."""
    return np.where(obs[:, 1] > 0, 2, 0) if env_id == "MountainCar-v0" else np.where(obs[:, 4] > 0, 0, 2)


def test_ten_thousand_steps_and_their_resets(env_id: str) -> None:
    world, generator = make_world(env_id), np.random.default_rng(5)
    step = tf.function(world.step, jit_compile=True)
    envs = [gym.make(env_id) for _ in range(NUM_ENVS)]
    for index, env in enumerate(envs):
        env.reset(seed=index)
    state = world.reset(tf.constant(generator.random((NUM_ENVS, world.reset_uniforms)), tf.float32)).numpy()
    for index, env in enumerate(envs):
        env.unwrapped.state = state[index].copy()
    ends = np.zeros(2, int)
    for _ in range(VECTOR_STEPS):
        obs = world.observe(tf.constant(state)).numpy()
        random = generator.integers(0, 3, NUM_ENVS)
        actions = np.where(generator.random(NUM_ENVS) < 0.3, random, push(env_id, obs))
        next_state, reward, terminated, _ = step(
            tf.constant(state), tf.constant(actions, tf.int32), tf.zeros((NUM_ENVS, 0))
        )
        next_obs = world.observe(next_state).numpy()
        state = next_state.numpy()
        for index, env in enumerate(envs):
            expected, expected_reward, expected_end, limit, _ = env.step(int(actions[index]))
            np.testing.assert_allclose(next_obs[index], expected, rtol=0, atol=1e-5)
            assert (float(reward[index]), bool(terminated[index])) == (expected_reward, expected_end)
            ends += (expected_end, limit)
            if expected_end or limit:
                env.reset()
                u = tf.constant(generator.random((1, world.reset_uniforms)), tf.float32)
                state[index] = world.reset(u)[0]
                env.unwrapped.state = state[index].copy()
    assert ends[0] > 5


def test_first_states_are_spread_as_gymnasiums(env_id: str) -> None:
    world, env = make_world(env_id), gym.make(env_id)
    u = np.linspace(0, 1, 2_001, endpoint=False, dtype=np.float32)
    found = world.observe(world.reset(tf.constant(np.stack([u] * world.reset_uniforms, axis=1)))).numpy()
    theirs = np.stack([env.reset(seed=seed)[0] for seed in range(2_000)])
    np.testing.assert_allclose(found.min(axis=0), theirs.min(axis=0), atol=2e-3)
    np.testing.assert_allclose(found.max(axis=0), theirs.max(axis=0), atol=2e-3)
    np.testing.assert_allclose(found.mean(axis=0), theirs.mean(axis=0), atol=1e-2)


@pytest.mark.parametrize("env_id", list(ORIGINALS))
def test_they_describe_themselves_as_gymnasium_does(env_id: str) -> None:
    world: Any = make_world(env_id)
    env = gymnasium_maker(env_id)()
    assert world.observation_space == env.observation_space
    assert world.action_space == env.action_space
    assert world.max_episode_steps == env.spec.max_episode_steps


@pytest.mark.parametrize("env_id", sorted(set(WORLDS) - set(ORIGINALS)))
def test_ours_are_environments_of_gymnasium(env_id: str) -> None:
    env = gymnasium_maker(env_id)()
    check_env(env.unwrapped, skip_render_check=True)
    if "MinAtar" in env_id:  # -v0 has all six actions, as what is published
        assert env.action_space.n == 6 or env_id.endswith("-v1")
