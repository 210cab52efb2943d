"""A world small enough to know everything about, for the tests of both loops."""

from __future__ import annotations

import copy
import dataclasses
import functools
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import tensorflow as tf
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from tensorq.agents.dqn import DQN
from tensorq.agents.pqn import PQN
from tensorq.config import Config
from tensorq.core.types import AgentState, Batch, Metrics, Rollout, Tensor
from tensorq.loops.compiled import CompiledLoop
from tensorq.loops.host import HostLoop
from tensorq.loops.host_learning import make_learner
from tensorq.loops.loop import Episode
from tensorq.networks.network import Network
from tensorq.networks.numpy_network import NumpyNetwork
from tensorq.networks.q_network import build_q_network

# Two rooms, 0 and 1. In room 0, action 0 stays for a reward of 1 and action 1 goes to room 1 for nothing. In room 1,
# action 0 ends the episode with a reward of 3 and action 1 stays for nothing. A time limit cuts episodes after 4 steps.
REWARD = np.array([[1, 0], [3, 0]])
TIME_LIMIT, GAMMA = 4, 0.8
# Q(0, stay) = 1 / (1 - 0.8) = 5, for a time limit ends nothing.  Q(1, end) = 3.  Q(1, stay) = Q(0, go) = 0.8 * 3 = 2.4.
KNOWN_Q = [[5, 2.4], [3, 2.4]]
CONFIG = Config(
    env="Rooms", gamma=GAMMA, hidden_sizes=(), steps=4_000, replay_capacity=5_000, batch_size=32, replay_ratio=0.5,
    update_period_steps=4, learning_starts_steps=10, target_sync_updates=10, learning_rate=0.05,
    learning_rate_final=0.002, learning_rate_anneal_updates=1_500, epsilon_final=0, epsilon_anneal_steps=2_000,
    evaluation_episodes=12, log_period_steps=500, checkpoint_period_steps=2_000,
)  # fmt: skip


class RoomsWorld:
    """The rooms in TensorFlow; observes the room one-hot."""

    max_episode_steps, reset_uniforms, step_uniforms = TIME_LIMIT, 1, 0
    observation_space, action_space = spaces.Box(0, 1, (2,)), spaces.Discrete(2)

    def __init__(self) -> None:
        self.traces = 0

    def reset(self, u: Tensor) -> Tensor:
        return tf.concat([tf.cast(u < 0.5, tf.float32), tf.cast(u >= 0.5, tf.float32)], axis=1)

    def observe(self, state: Tensor) -> Tensor:
        return state

    def step(self, state: Tensor, action: Tensor, u: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        self.traces += 1
        second, stay = state[:, 1] > 0.5, action == 0
        reward = tf.where(stay, tf.where(second, 3.0, 1.0), 0.0)
        next_second = tf.cast(second | ~stay, tf.float32)[:, None]
        return tf.concat([1 - next_second, next_second], axis=1), reward, second & stay, tf.zeros_like(stay)


class RoomsEnv(gym.Env):
    """The rooms for Gymnasium, with observations from 3 and actions from 1."""

    observation_space, action_space = spaces.Discrete(2, start=3), spaces.Discrete(2, start=1)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[int, dict]:
        super().reset(seed=seed)
        self.room, self.age = int(self.np_random.integers(2)), 0
        return 3 + self.room, {}

    def step(self, action: int) -> tuple[int, float, bool, bool, dict]:
        reward, terminated = float(REWARD[self.room, action - 1]), self.room == 1 and action == 1
        self.room, self.age = int(self.room == 1 or action == 2), self.age + 1
        return 3 + self.room, reward, terminated, self.age == TIME_LIMIT, {}


class MaskedRooms(gym.Env):
    """The two rooms with three actions: stay, go on, nothing in the first; nothing, stay, end in the second.

    Nothing is an illegal action, which the room refuses. Observations from 0, actions from 1.
    """

    observation_space, action_space = spaces.Discrete(2), spaces.Discrete(3, start=1)
    LEGAL = np.array([[1, 1, 0], [0, 1, 1]], np.int8)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[int, dict]:
        super().reset(seed=seed)
        self.room, self.age = int(self.np_random.integers(2)), 0
        return self.room, {"action_mask": self.LEGAL[self.room]}

    def step(self, action: int) -> tuple[int, float, bool, bool, dict]:
        chosen = action - 1
        assert self.LEGAL[self.room, chosen], f"action {chosen} in room {self.room}"
        reward = [[1.0, 0.0], [0.0, 0.0, 3.0]][self.room][chosen]
        terminated = self.room == 1 and chosen == 2
        self.room, self.age = int(self.room == 1 or chosen == 1), self.age + 1
        return self.room, reward, terminated, self.age == TIME_LIMIT, {"action_mask": self.LEGAL[self.room]}


class MaskedRoomsWorld(RoomsWorld):
    """The same in TensorFlow. It cannot refuse: an illegal action costs 100."""

    action_space = spaces.Discrete(3)

    def action_mask(self, state: Tensor) -> Tensor:
        return tf.gather(tf.constant(MaskedRooms.LEGAL > 0), tf.cast(state[:, 1], tf.int32))

    def step(self, state: Tensor, action: Tensor, u: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        # Of the two rooms' actions, 1 is to go on and to stay, 0 is to stay and to end.
        next_state, reward, terminated, _ = super().step(state, tf.cast(action == 1, tf.int32), u)
        legal = tf.gather(self.action_mask(state), action, axis=1, batch_dims=1)
        return next_state, tf.where(legal, reward, -100.0), terminated & legal, tf.zeros_like(legal)


class Counting:
    """Counts how often Python runs an agent's functions, which compiled ones do only while they are traced."""

    traces = q_traces = 0

    def update(self, *given: Any) -> tuple[AgentState, Metrics]:
        self.traces += 1
        return super().update(*given)  # type: ignore[misc]

    def q_values(self, *given: Any) -> Tensor:
        self.q_traces += 1
        return super().q_values(*given)  # type: ignore[misc]


class CountingDQN(Counting, DQN):
    """The agent of most cases."""


class CountingPQN(Counting, PQN):
    """The agent of `algorithm="pqn"`."""


class Step(NamedTuple):
    """A stored transition."""

    room: int
    action: int
    reward: float
    discount: float
    next_room: int


def host_loop(config: Config, agent: Any, make: Any, replay_path: Path, numpy_q: Any = None) -> HostLoop:
    """A host loop that learns this agent."""
    return HostLoop(config, make, lambda envs: make_learner(config, agent, numpy_q, replay_path, envs))


def stored(loop: Any) -> Batch:
    """Every transition in a loop's replay, in the order of their places, as NumPy arrays."""
    replay: Any = copy.copy(loop.learning.replay if isinstance(loop, CompiledLoop) else loop.learner.replay)
    replay._tree = None  # then words are indices
    written = int(loop.memory.written) if isinstance(loop, CompiledLoop) else replay.written
    size = min(written, replay.capacity)
    words = np.array([-(-index * 2**32 // size) for index in range(size)], np.uint32)
    if isinstance(loop, CompiledLoop):
        batch = replay.sample(loop.memory, tf.constant(words), tf.constant(1.0, tf.float64))[0]
    else:
        batch = replay.unpack(tf.constant(replay.sample(words[None], 1.0)[0][0]))
    return Batch(*(None if column is None else column.numpy() for column in batch))


class Case:
    """A loop, at its beginning when a test gets it, and how to look into it."""

    def __init__(self, kind: str, folder: Path, **settings: Any) -> None:
        self.kind = kind
        self.num_envs = 4 if "4" in kind else 1
        self.vector = "vector" in kind
        self.config = dataclasses.replace(CONFIG, num_envs=self.num_envs, **settings)
        self.replay_path = folder / "replay.bin"
        self.world = RoomsWorld()
        self.loop = self.make()
        self.first = self.loop.save()

    def make(self) -> CompiledLoop | HostLoop:
        """The loop as a new process makes it."""
        compiled = self.kind.startswith("compiled")
        space = self.world.observation_space if compiled else RoomsEnv.observation_space
        agent = CountingPQN if self.config.algorithm == "pqn" else CountingDQN
        self.agent: CountingDQN | CountingPQN = agent(self.config, Network(build_q_network(space, 2, self.config)))
        if compiled:
            return CompiledLoop(self.config, self.agent, self.world, self.replay_path)
        numpy_q = None if self.num_envs == 4 else functools.partial(NumpyNetwork, space, 2, self.config)
        # "host vector of 4", and another mode than the first if it is named.
        mode = next((mode for mode in AutoresetMode if mode.name in self.kind), AutoresetMode.NEXT_STEP)
        make = (lambda: SyncVectorEnv([RoomsEnv] * 4, autoreset_mode=mode)) if self.vector else RoomsEnv
        return host_loop(self.config, self.agent, make, self.replay_path, numpy_q)

    @property
    def q_values(self) -> np.ndarray:
        """[rooms, actions], without noise."""
        rooms = tf.eye(2) if self.kind.startswith("compiled") else tf.constant([3, 4])
        return self.agent.q_values(tf.constant(self.loop.kept()["agent.params"]), rooms).numpy()

    def advance(self, stop_steps: int) -> list[Episode]:
        return self.loop.advance(stop_steps, None, lambda: False).episodes

    def set(self, **values: Any) -> None:
        """Begin with other values of what is saved; dots are written as two underscores."""
        names = {name: name.replace("__", ".") for name in values}
        arrays = {names[name]: np.asarray(value, self.first[names[name]].dtype) for name, value in values.items()}
        self.loop.restore({**self.first, **arrays})

    def act_greedily_by(self, action: int) -> None:
        """Parameters of Q = 1 for this action in both rooms, else 0, and so many updates done that no more are owed."""
        params = np.zeros_like(self.first["agent.params"])
        params[action - 2] = 1
        self.set(agent__params=params, agent__updates=10**9)

    def stored(self) -> list[Step]:
        """The transitions in the replay, in order."""
        batch = stored(self.loop)
        obs, next_obs = (
            each[:, 1] if isinstance(self.loop, CompiledLoop) else each - 3 for each in (batch.obs, batch.next_obs)
        )
        columns = obs, batch.action, batch.reward, batch.discount, next_obs
        return [Step(*map(float, row)) for row in zip(*columns, strict=True)]  # type: ignore[arg-type]

    def rollout(self) -> tuple[list[list[Step]], np.ndarray, np.ndarray]:
        """PQN's rollout as far as it has come: the valid steps of each environment; `ended` and `weight` [T, N]."""
        saved = self.loop.save()
        if isinstance(self.loop, CompiledLoop):
            names = Rollout._fields[:6]
            columns = [saved[f"memory.columns.{name}"][: int(saved["memory.written"])] for name in names]
            columns.append(np.ones_like(columns[2]))  # there all steps are valid
            obs, next_obs = columns[0][..., 1], columns[4][..., 1]
        else:
            columns = [saved[f"rollout.{name}"] for name in Rollout._fields[:7]]
            obs, next_obs = columns[0] - 3, columns[4] - 3
        _, action, reward, discount, _, ended, weight = columns
        table = np.stack([obs, action, reward, discount, next_obs], axis=2)
        steps = [[Step(*row) for row in table[weight[:, env] > 0, env].tolist()] for env in range(self.num_envs)]
        return steps, ended, weight

    def episodes(self) -> list[Episode]:
        """The episodes that the stored transitions amount to; checks that each begins where the one before led."""
        count = self.num_envs
        steps, rows, found = 0, iter(self.stored()), []
        room: list[float | None] = [None] * count
        age, total, resetting = [0] * count, [0.0] * count, [False] * count
        while True:
            ended = []
            for index in range(count):
                if resetting[index]:  # a vector environment's step in which this one only reset
                    resetting[index] = False
                    continue
                if (row := next(rows, None)) is None:
                    return found
                assert room[index] in (None, row.room)
                steps, room[index] = steps + 1, row.next_room
                age[index], total[index] = age[index] + 1, total[index] + row.reward
                if row.discount == 0 or age[index] == TIME_LIMIT:
                    ended.append((index, age[index], total[index]))
                    room[index], age[index], total[index], resetting[index] = None, 0, 0.0, self.vector
            found += [Episode(steps, *end) for end in ended]


def assert_same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> None:
    assert one.keys() == other.keys()
    for name, array in one.items():
        np.testing.assert_array_equal(array, other[name], err_msg=name)
