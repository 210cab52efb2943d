"""Stacks of observations: what the network sees, what replay keeps, and agents that act on Gymnasium's own stacks."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import Any

import gymnasium as gym
import keras
import numpy as np
import pytest
import tensorflow as tf
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers import FrameStackObservation

import tensorq as tq
from rooms import CONFIG, host_loop, stored
from tensorq import preflight
from tensorq.agents.agent import make_agent
from tensorq.config import Config
from tensorq.core.types import Tensor
from tensorq.envs.host import make_host_environments, seeds_for
from tensorq.envs.spaces import stacked_space
from tensorq.errors import TensorqError
from tensorq.loops.compiled import CompiledLoop
from tensorq.networks.build import build_network
from tensorq.networks.encoders.auto import encoder_name
from tensorq.networks.encoders.cnn import CNNEncoder
from tensorq.networks.numpy_network import NumpyNetwork
from test_host_envs import FIRST_ACTION, Counting

# --- environments -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [None, *AutoresetMode], ids=lambda mode: mode.name if mode else "single")
def test_what_is_seen_is_what_gymnasium_stacks(mode: AutoresetMode | None) -> None:
    """Over ends, cuts and resets in the middle of an episode, in every autoreset mode."""
    make: Any = Counting if mode is None else lambda: SyncVectorEnv([Counting] * 3, autoreset_mode=mode)
    envs, peers = make_host_environments(make, 3, frame_stack=3), [FrameStackObservation(Counting(), 3) for _ in "123"]
    assert envs.observation_space == peers[0].observation_space
    seen = 0
    for seeds in ([7, 8, 9], [1, 2, 3]):
        envs.reset(seeds)
        expected = [peer.reset(seed=seed)[0] for peer, seed in zip(peers, seeds, strict=True)]
        for actions in np.random.default_rng(0).integers(0, 3, (20, 3)).astype(np.int32):
            obs = envs.obs.copy()
            step = envs.step(actions)
            for index in np.flatnonzero(step.valid):
                seen += 1
                np.testing.assert_array_equal(obs[index], expected[index])
                found = peers[index].step(int(actions[index]) + FIRST_ACTION)
                np.testing.assert_array_equal(step.next_obs[index], found[0])
                expected[index] = peers[index].reset()[0] if found[2] or found[3] else found[0]
    assert seen > 60
    envs.close()


@pytest.mark.parametrize("space", [spaces.Discrete(3), spaces.Dict(a=spaces.Discrete(3)), spaces.MultiBinary(3)])
def test_only_a_box_can_be_stacked(space: gym.Space, tmp_path: Path) -> None:
    class World(Counting):
        observation_space = space

    with pytest.raises(TensorqError, match="frame_stack: received 2 for observations of .*, expected 1: only"):
        tq.train(World, frame_stack=2, run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()


# --- images -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("shape", "first"), [((9, 8), False), ((9, 8, 2), False), ((2, 9, 8), True)])
def test_frames_are_channels_the_oldest_first(shape: tuple[int, ...], first: bool) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (5, 3, *shape), np.uint8)  # [N, K, ...]
    channels = frames if len(shape) == 3 else frames[..., None]
    image = np.concatenate([channels[:, place] for place in range(3)], axis=1 if first else -1)
    encoder = CNNEncoder(channels=(4,), kernel_sizes=(2,), strides=(1,), channels_first=first)

    def features(build: Any, obs: np.ndarray) -> np.ndarray:
        inputs, found = build(spaces.Box(0, 255, obs.shape[1:], np.uint8), 0)
        return keras.Model(inputs, found)(obs).numpy()

    np.testing.assert_array_equal(features(encoder.build_stack, frames), features(encoder.build, image))


def test_the_frame_decides_whether_there_is_an_image() -> None:
    """A stack of 8 rows of 8 pixels has the shape of an image, and a stack of images has not."""
    row, image = spaces.Box(0, 255, (8,), np.uint8), spaces.Box(0, 255, (8, 8, 3), np.uint8)
    assert encoder_name(Config(frame_stack=8), stacked_space(row, 8)) == "mlp"
    assert encoder_name(Config(frame_stack=8), stacked_space(image, 8)) == "cnn"


# --- both loops -------------------------------------------------------------------------------------------------------

# A ball begins at the left (0) or the right (2), is in the middle (1) a step later, and goes on to the other side. In
# the middle, the right guess where to (action 0: left, 1: right) earns 1 and ends the episode; before, actions do
# nothing. The time limit of 2 comes with the end. With stacks, oldest first, and gamma 0.8:
STACKS = np.array([[0, 0], [2, 2], [0, 1], [2, 1]])
KNOWN_Q = [[0.8, 0.8], [0.8, 0.8], [0, 1], [1, 0]]


class BallWorld:
    """The ball in TensorFlow. The state is (place, direction); the place is observed, one-hot."""

    max_episode_steps, reset_uniforms, step_uniforms, solved_return = 2, 1, 0, None
    observation_space, action_space = spaces.Box(0, 1, (3,)), spaces.Discrete(2)

    def reset(self, u: Tensor) -> Tensor:
        return tf.concat([tf.where(u < 0.5, 0.0, 2.0), tf.where(u < 0.5, 1.0, -1.0)], axis=1)

    def observe(self, state: Tensor) -> Tensor:
        return tf.one_hot(tf.cast(state[:, 0], tf.int32), 3)

    def step(self, state: Tensor, action: Tensor, u: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        place, direction = tf.unstack(state, axis=1)
        middle, right = place == 1, (action == 1) == (direction > 0)
        reward = tf.where(middle & right, 1.0, 0.0)
        return tf.stack([place + direction, direction], axis=1), reward, middle, tf.zeros_like(middle)


class BallEnv(gym.Env):
    """The same for Gymnasium."""

    observation_space, action_space = BallWorld.observation_space, BallWorld.action_space
    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode = render_mode

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict]:
        super().reset(seed=seed)
        self.place = int(self.np_random.integers(2)) * 2
        self.direction = 1 - self.place
        return np.eye(3, dtype=np.float32)[self.place], {}

    def step(self, action: int) -> tuple[Any, float, bool, bool, dict]:
        middle = self.place == 1
        reward = float(middle and (action == 1) == (self.direction > 0))
        self.place += self.direction
        return np.eye(3, dtype=np.float32)[self.place], reward, middle, False, {}

    def render(self) -> Any:
        return np.full((20, 20, 3), 80 * self.place, np.uint8)


class MaskedBallWorld(BallWorld):
    """A ball on its way to the right allows no guess to the right."""

    def action_mask(self, state: Tensor) -> Tensor:
        forbidden = (state[:, 0] == 1) & (state[:, 1] > 0)
        return tf.stack([tf.ones_like(forbidden), ~forbidden], axis=1)


class MaskedBallEnv(BallEnv):
    """The same for Gymnasium."""

    def reset(self, **keywords: Any) -> tuple[Any, dict]:
        return super().reset(**keywords)[0], {"action_mask": np.ones(2, np.int8)}

    def step(self, action: int) -> tuple[Any, float, bool, bool, dict]:
        forbidden = self.place != 1 and self.direction > 0
        return *super().step(action)[:4], {"action_mask": np.array([1, not forbidden], np.int8)}


PRIORITISED: dict[str, Any] = {"priority_exponent": 0.6, "normalize_observations": True}
PQN: dict[str, Any] = {
    "algorithm": "pqn", "replay_ratio": 1, "update_period_steps": 1, "learning_starts_steps": 1_000,
    "target_sync_updates": 100, "num_envs": 4, "rollout_length": 8, "batch_size": 16,
}  # fmt: skip


def make_loop(kind: str, folder: Path, frame_stack: int, masked: bool = False, **settings: Any) -> tuple[Any, Any]:
    """A loop that learns the ball with a linear network, and its agent."""
    config = dataclasses.replace(CONFIG, frame_stack=frame_stack, **settings)
    space = stacked_space(BallWorld.observation_space, frame_stack)
    agent = make_agent(config, build_network(space, 2, config))
    if kind == "compiled":
        world: Any = MaskedBallWorld() if masked else BallWorld()
        return CompiledLoop(config, agent, world, folder / "replay.bin"), agent
    numpy_q = None if config.num_envs > 1 else functools.partial(NumpyNetwork, space, 2, config)
    return host_loop(config, agent, MaskedBallEnv if masked else BallEnv, folder / "replay.bin", numpy_q), agent


@pytest.mark.parametrize("kind", ["compiled", "host"])
@pytest.mark.parametrize("settings", [{}, PRIORITISED, PQN], ids=["dqn", "prioritised", "pqn"])
def test_a_stack_tells_where_the_ball_goes(kind: str, settings: dict[str, Any], tmp_path: Path) -> None:
    loop, agent = make_loop(kind, tmp_path, 2, **settings)
    loop.advance(4_000, None, lambda: False)
    obs = tf.constant(np.eye(3, dtype=np.float32)[STACKS])
    q_values = agent.q_values(tf.constant(loop.kept()["agent.params"]), obs)
    np.testing.assert_allclose(q_values, KNOWN_Q, atol=0.1)
    assert loop.evaluate(lambda: False).mean == 1
    loop.close()


@pytest.mark.parametrize("kind", ["compiled", "host"])
@pytest.mark.parametrize("settings", [{}, PQN], ids=["dqn", "pqn"])
def test_masks_belong_to_the_newest_frame(kind: str, settings: dict[str, Any], tmp_path: Path) -> None:
    """On the way to the right nothing is left to earn, so the beginning there is worth 0; the other one stays 0.8."""
    loop, agent = make_loop(kind, tmp_path, 2, masked=True, **settings)
    loop.advance(4_000, None, lambda: False)
    obs = tf.constant(np.eye(3, dtype=np.float32)[STACKS])
    q_values = agent.q_values(tf.constant(loop.kept()["agent.params"]), obs).numpy()
    np.testing.assert_allclose(q_values[[0, 1, 3]], [[0, 0], [0.8, 0.8], [1, 0]], atol=0.1)
    assert loop.evaluate(lambda: False).mean < 1
    loop.close()


def test_a_single_frame_does_not_tell(tmp_path: Path) -> None:
    loop, agent = make_loop("compiled", tmp_path, 1)
    loop.advance(4_000, None, lambda: False)
    q_values = agent.q_values(tf.constant(loop.kept()["agent.params"]), tf.eye(3))
    np.testing.assert_allclose(q_values[1], [0.5, 0.5], atol=0.25)


@pytest.mark.parametrize("kind", ["compiled", "host"])
def test_replay_keeps_single_frames(kind: str, tmp_path: Path) -> None:
    loop, _ = make_loop(kind, tmp_path, 2, num_envs=2, learning_starts_steps=1_000)
    loop.advance(60, None, lambda: False)
    replay = loop.learning.replay if kind == "compiled" else loop.learner.replay
    assert replay.step_dtype["obs"].shape == (3,)
    batch = stored(loop)
    found = {tuple(row) for row in np.concatenate([batch.obs, batch.next_obs], axis=1).argmax(axis=-1).tolist()}
    # After the end nothing counts: there replay gives the last observation once more.
    assert found == {(0, 0, 0, 1), (2, 2, 2, 1), (0, 1, 1, 1), (2, 1, 1, 1)}
    loop.close()


@pytest.mark.parametrize("kind", ["compiled", "host"])
def test_without_stacks_nothing_more_is_saved(kind: str, tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    plain, stacked = (make_loop(kind, tmp_path / name, count)[0] for name, count in (("1", 1), ("", 3)))
    if kind == "compiled":
        assert stacked.save().keys() - plain.save().keys() == {"stack"}
        assert stacked.save()["stack"].shape == (1, 3, 3)
    else:
        assert stacked.save().keys() == plain.save().keys()


def test_the_memory_of_replay_does_not_grow_with_stacks() -> None:
    space = spaces.Box(0, 255, (84, 84), np.uint8)
    one, four = (
        {
            demand.settings: demand.bytes(Config(frame_stack=count))
            for demand in preflight.demands(space, 6, default_network=False, world_limit=None)
        }
        for count in (1, 4)
    )
    for settings, bytes_needed in one.items():
        if settings == ("replay_capacity",):
            assert four[settings] == bytes_needed
        elif "frame_stack" in settings and bytes_needed:
            assert four[settings] == pytest.approx(4 * bytes_needed, rel=0.01)


# --- whole runs -------------------------------------------------------------------------------------------------------


def linear(space: gym.Space, num_actions: int) -> keras.Model:
    assert space == spaces.Box(0, 1, (2, 3))
    return keras.Sequential([keras.Input((2, 3)), keras.layers.Flatten(), keras.layers.Dense(num_actions)])


@pytest.mark.parametrize("network", [None, linear])
def test_a_run_acts_on_the_stacks_of_gymnasium(network: Any, tmp_path: Path) -> None:
    settings = {
        name: value for name, value in CONFIG.to_dict().items()
        if value != getattr(Config, name, None) and name not in ("env", "env_args")
    }  # fmt: skip
    run = tq.train(BallEnv, frame_stack=2, network=network, run_dir=tmp_path / "run", **settings | {"steps": 2_000})
    agent = tq.load(run.path, network=network)
    seeds, total = seeds_for(0, 0, 6, evaluation=True), 0.0
    env = FrameStackObservation(BallEnv(), 2)
    for seed in seeds:
        obs, _ = env.reset(seed=seed)
        ended = False
        while not ended:
            obs, reward, ended, _, _ = env.step(agent.act(obs))
            total += float(reward)
    again = tq.open_run(run.path, make_env=functools.partial(BallEnv, "rgb_array"), network=network)
    assert again.evaluate(episodes=6).mean == total / 6 == 1
    stacks = np.eye(3, dtype=np.float32)[STACKS]
    q_values = agent.q_values(stacks)
    np.testing.assert_array_equal(agent.q_values(stacks[2]), q_values[2])
    np.testing.assert_allclose(q_values, KNOWN_Q, atol=0.3)
    with pytest.raises(TensorqError, match=r"observations of shape \(3,\), expected numbers of shape \(2, 3\)"):
        agent.act(stacks[0, 0])
    again.save(tmp_path / "agent.keras")
    np.testing.assert_allclose(
        keras.models.load_model(tmp_path / "agent.keras")(stacks), q_values, rtol=1e-5, atol=1e-6
    )
    assert again.record(tmp_path / "ball.gif").stat().st_size > 100
    with pytest.raises(TensorqError, match=r"init_from: .* was trained on observations Box\(.*, \(2, 3\), float32\)"):
        tq.train(BallEnv, network=network, init_from=run, run_dir=tmp_path / "other")
