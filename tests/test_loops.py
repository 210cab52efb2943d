"""Both loops on a world small enough to know everything about: what they store, learn, count, save and report."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import pytest
import tensorflow as tf
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from tensorq.agents.dqn import DQN
from tensorq.config import Config
from tensorq.core import random
from tensorq.core.types import AgentState, Batch, Metrics, Tensor
from tensorq.loops.compiled import CompiledLoop
from tensorq.loops.host import HostLoop
from tensorq.loops.loop import Episode, Interrupted, NotFinite
from tensorq.networks.mlp import build_mlp
from tensorq.networks.network import Network
from tensorq.networks.numpy_mlp import NumpyMLP, layers_from_flat
from tensorq.replay.device import DeviceReplay, DeviceReplayState
from tensorq.replay.host import row_dtype

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

    id, max_episode_steps, solved_return, reset_uniforms, step_uniforms = "Rooms", TIME_LIMIT, None, 1, 0
    observation_space, action_space = spaces.Box(0, 1, (2,)), spaces.Discrete(2)

    def __init__(self) -> None:
        self.traces = 0

    def reset(self, u: Tensor) -> Tensor:
        return tf.concat([tf.cast(u < 0.5, tf.float32), tf.cast(u >= 0.5, tf.float32)], axis=1)

    def observe(self, state: Tensor) -> Tensor:
        return state

    def step(self, state: Tensor, action: Tensor, u: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        self.traces += 1
        second, stay = state[:, 1] > 0.5, action == 0
        reward = tf.where(stay, tf.where(second, 3.0, 1.0), 0.0)
        next_second = tf.cast(second | ~stay, tf.float32)[:, None]
        return tf.concat([1 - next_second, next_second], axis=1), reward, second & stay


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


class CountingDQN(DQN):
    """Counts how often Python runs its update, which a compiled function does only while it is traced."""

    traces = 0

    def update(self, state: AgentState, batch: Batch) -> tuple[AgentState, Metrics]:
        self.traces += 1
        return super().update(state, batch)


class Step(NamedTuple):
    """A stored transition."""

    room: int
    action: int
    reward: float
    discount: float
    next_room: int


class Case:
    """A loop, at its beginning when a test gets it, and how to look into it."""

    def __init__(self, kind: str, folder: Path, **settings: Any) -> None:
        self.kind = kind
        self.num_envs = 4 if "4" in kind else 1
        self.vector = "vector" in kind
        self.config = dataclasses.replace(CONFIG, num_envs=self.num_envs, **settings)
        self.replay_path = folder / "replay.bin"
        self.world = RoomsWorld()
        self.q_traces = 0
        self.loop = self.make()
        self.first = self.loop.save()

    def make(self) -> CompiledLoop | HostLoop:
        """The loop as a new process makes it."""
        space = self.world.observation_space if self.kind.startswith("compiled") else RoomsEnv.observation_space
        network = Network(build_mlp(space, 2, (), seed=1))
        self.agent, self.q_values = CountingDQN(self.config, network), network.q_values
        network.q_values = self._count_q_values  # type: ignore[method-assign]
        if self.kind.startswith("compiled"):
            return CompiledLoop(self.config, self.agent, self.world)
        numpy_q = None if self.num_envs == 4 else lambda params: NumpyMLP(space, layers_from_flat(params, [2, 2]))
        mode = AutoresetMode.NEXT_STEP
        make = (lambda: SyncVectorEnv([RoomsEnv] * 4, autoreset_mode=mode)) if self.vector else RoomsEnv
        return HostLoop(self.config, self.agent, make, self.replay_path, numpy_q)

    def _count_q_values(self, params: Tensor, obs: Tensor) -> Tensor:
        self.q_traces += 1
        return self.q_values(params, obs)

    def advance(self, stop_steps: int) -> list[Episode]:
        return self.loop.advance(stop_steps, None, lambda: False).episodes

    def set(self, **values: Any) -> None:
        """Begin with other values of what is saved; dots are written as two underscores."""
        names = {name: name.replace("__", ".") for name in values}
        arrays = {names[name]: np.asarray(value, self.first[names[name]].dtype) for name, value in values.items()}
        self.loop.restore({**self.first, **arrays})

    def act_greedily_by_action_0(self) -> None:
        """Parameters of Q = (1, 0) in both rooms, and so many updates done that no more are owed."""
        params = np.zeros_like(self.first["agent.params"])
        params[-2] = 1
        self.set(agent__params=params, agent__updates=10**9)

    def stored(self) -> list[Step]:
        """The transitions in the replay, in order."""
        if isinstance(self.loop, CompiledLoop):
            saved = self.loop.save()
            rows = saved["replay.rows"][: int(saved["replay.written"])]
            columns = [rows[:, 1], rows[:, 4], rows[:, 5], rows[:, 6], rows[:, 3]]
        else:
            rows = np.fromfile(self.replay_path, row_dtype(np.dtype(np.int32), ()))[: self.loop.replay.written]
            names = ("obs", "action", "reward", "discount", "next_obs")
            columns = [rows[name] - (3 if "obs" in name else 0) for name in names]
        return [Step(*map(float, row)) for row in zip(*columns, strict=True)]  # type: ignore[arg-type]

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


@pytest.fixture(scope="module", params=["compiled", "compiled 4", "host", "host 4", "host vector of 4"])
def shared_case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Case]:
    case = Case(request.param, tmp_path_factory.mktemp("loop"))
    yield case
    case.loop.close()


@pytest.fixture
def case(shared_case: Case) -> Case:
    shared_case.loop.restore(shared_case.first)
    return shared_case


def assert_same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> None:
    assert one.keys() == other.keys()
    for name, array in one.items():
        np.testing.assert_array_equal(array, other[name], err_msg=name)


def test_q_values_become_those_known(case: Case) -> None:
    report = case.loop.advance(4_000, None, lambda: False)
    space = case.loop.agent.network.model.inputs[0]
    rooms = tf.eye(2) if space.shape[1:] else tf.constant([3, 4])
    np.testing.assert_allclose(case.q_values(tf.constant(case.loop.params()), rooms), KNOWN_Q, atol=0.05)
    assert report.loss is not None and 0 < report.loss < 1
    assert report.mean_q is not None and 2.4 < report.mean_q < 5


def test_what_is_stored_is_what_happened(case: Case) -> None:
    episodes = case.advance(400)
    stored = case.stored()
    assert len(stored) == case.loop.steps
    for room, action, reward, discount, next_room in stored:
        assert reward == REWARD[int(room), int(action)]
        assert discount == (0 if (room, action) == (1, 0) else np.float32(GAMMA))  # whether or not it was cut as well
        assert next_room == (room or action)
    assert {(step.room, step.action) for step in stored} == {(0, 0), (0, 1), (1, 0), (1, 1)}
    assert len({episode.length for episode in episodes}) == TIME_LIMIT


def test_episodes_are_counted_with_their_lengths_and_returns(case: Case) -> None:
    episodes = case.advance(150) + case.advance(151) + case.advance(600)
    assert len(episodes) > 150
    assert episodes == case.episodes()


def test_updates_are_made_exactly_when_owed(case: Case) -> None:
    # 0.5 updates a step, counted in fours after the tenth: 12 - 10 is no four yet, 16 - 10 is one and earns two.
    if case.vector:  # its steps do not grow by four where an environment only resets
        for stop in range(4, 100, 4):
            case.advance(stop)
            assert case.loop.updates == 2 * (max(0, case.loop.steps - 10) // 4)
        return
    for steps, updates in ((8, 0), (12, 0), (16, 2), (20, 4), (100, 44), (400, 194)):
        case.advance(steps)
        assert (case.loop.steps, case.loop.updates) == (steps, updates)


def test_epsilon_anneals_in_environment_steps(case: Case) -> None:
    """From 1 to 0 in 2 000 steps. Action 1 is only taken by exploring: epsilon / 2 of the time."""
    case.act_greedily_by_action_0()
    case.advance(2_600)
    assert case.loop.updates == 10**9
    explored = np.array([step.action for step in case.stored()])
    assert 190 < explored[:500].sum() < 248  # 0.875 / 2 of 500 are 219, give or take 11
    assert 15 < explored[1500:2000].sum() < 48  # 0.125 / 2 of 500 are 31, give or take 5
    assert explored[2000 + case.num_envs :].sum() == 0
    if case.num_envs == 4 and not case.vector:  # whose rows are not all there
        # With a coin for each, all four take action 0 in (1 - e / 2)^4 of 500 vector steps, on average over e 0.3875:
        # 194, give or take 11. With one coin for all it would be 1 - e + e / 16: 0.53, or 266.
        assert 160 < (explored[:2000].reshape(-1, 4) == 0).all(axis=1).sum() < 228


def test_runs_differ_by_their_seed(case: Case, tmp_path: Path) -> None:
    case.advance(100)
    stored = case.stored()
    if isinstance(case.loop, CompiledLoop):
        case.set(seed=1)  # one program serves every seed
    else:
        case = Case(case.kind, tmp_path, seed=1)
    case.advance(100)
    assert [step.action for step in case.stored()] != [step.action for step in stored]


def test_evaluation_is_greedy_repeatable_and_changes_nothing(case: Case) -> None:
    case.act_greedily_by_action_0()
    before = case.loop.save()
    returns = case.loop.evaluate()
    # Staying in room 0 earns 1 four times, ending it from room 1 earns 3.
    assert sorted(set(returns.tolist())) == [3, 4]
    assert returns.shape == (12,)
    np.testing.assert_array_equal(case.loop.evaluate(), returns)
    assert_same(case.loop.save(), before)
    case.advance(100)
    assert case.loop.evaluate().tolist() != returns.tolist()  # other first rooms


def test_everything_is_traced_once(case: Case) -> None:
    case.advance(400)  # by now every function was needed
    case.loop.evaluate()
    traces = case.q_traces
    for stop in (401, 410, 500, 501, 1_500):
        case.advance(stop)
        case.loop.evaluate()
    assert case.q_traces == traces
    assert case.agent.traces == 1
    assert case.world.traces in (0, 2)  # to advance and to evaluate


def test_stops_at_the_episodes_asked_for(case: Case) -> None:
    for asked in (3, 1, 5):
        start = case.loop.steps
        report = case.loop.advance(4_000, asked, lambda: False)
        assert len(report.episodes) >= asked
        assert len([episode for episode in report.episodes if episode.steps < case.loop.steps]) < asked
        assert start < case.loop.steps < start + 40


def test_an_interruption_loses_nothing(case: Case) -> None:
    expected = case.advance(300)
    final = case.loop.save()
    case.loop.restore(case.first)
    with pytest.raises(Interrupted):
        case.loop.advance(300, None, lambda: True)
    assert case.loop.steps == 0
    assert case.advance(300) == expected
    assert_same(case.loop.save(), final)


@pytest.mark.parametrize("shared_case", ["compiled", "compiled 4"], indirect=True)
def test_an_interruption_before_the_stop_is_not_in_the_next_report(case: Case) -> None:
    """1 500 steps are three calls of the program, of which a signal lets two pass; another process makes the third."""
    expected = case.loop.advance(1_500, None, lambda: False)
    final = case.loop.save()
    case.loop.restore(case.first)
    looks = iter([False, False, True])
    with pytest.raises(Interrupted) as stopped:
        case.loop.advance(1_500, None, lambda: next(looks))
    assert case.loop.steps == 1_000
    saved = case.loop.save()
    case.advance(2_000)  # astray
    case.loop.restore(saved)
    report = case.loop.advance(1_500, None, lambda: False)
    assert [*stopped.value.episodes, *report.episodes] == expected.episodes
    assert (report.loss, report.mean_q) == (expected.loss, expected.mean_q)
    assert_same(case.loop.save(), final)


def test_restoring_goes_on_to_the_bit(case: Case) -> None:
    case.advance(600)
    case.loop.boundary()
    saved = case.loop.save()
    episodes = case.advance(1_000)
    final = case.loop.save()
    case.advance(1_100)  # astray
    case.loop.evaluate()
    case.loop.restore(saved)
    assert_same(case.loop.save(), saved)
    assert (case.loop.steps, case.loop.updates) == (int(saved["steps"]), int(saved["agent.updates"]))
    assert case.advance(1_000) == episodes
    assert_same(case.loop.save(), final)


@pytest.mark.parametrize("kind", ["host", "host vector of 4"])
def test_another_process_goes_on_from_the_last_checkpoint_but_one(tmp_path: Path, kind: str) -> None:
    """With a replay that is overwritten many times: what the file keeps beyond it is enough."""
    case = Case(kind, tmp_path, replay_capacity=40, checkpoint_period_steps=100)
    saved, episodes = [], []
    for stop in range(100, 1_100, 100):
        episodes = case.advance(stop)
        case.loop.boundary()
        saved.append(case.loop.save())
    case.loop.close()
    again = case.make()
    again.restore(saved[-3])  # as the newest were damaged
    again.advance(900, None, lambda: False)
    again.boundary()
    assert_same(again.save(), saved[-2])
    assert again.advance(1_000, None, lambda: False).episodes == episodes
    again.boundary()
    assert_same(again.save(), saved[-1])
    again.close()


class AnyBox(gym.Env):
    """Noise of some dtype."""

    action_space = spaces.Discrete(2)

    def __init__(self, dtype: str) -> None:
        self.observation_space = spaces.Box(0, 1 if dtype == "bool" else 100, (2, 3), np.dtype(dtype).type, seed=0)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        return self.observation_space.sample(), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict]:
        return self.observation_space.sample(), 0.5, False, False, {}


@pytest.mark.parametrize("dtype", ["uint8", "bool", "int16", "int64", "float64"])
def test_observations_of_any_dtype_come_back_from_the_replay(tmp_path: Path, dtype: str) -> None:
    config = dataclasses.replace(CONFIG, batch_size=4, learning_starts_steps=6, update_period_steps=1, replay_ratio=1.0)
    space = AnyBox(dtype).observation_space
    agent = CountingDQN(config, Network(build_mlp(space, 2, (), seed=1)))
    loop = HostLoop(config, agent, lambda: AnyBox(dtype), tmp_path / "replay.bin", None)
    loop.advance(6, None, lambda: False)
    rows = loop.replay.sample(np.arange(4, dtype=np.uint32) * 2**30)
    batch = loop._unpack(tf.constant(rows))
    stored = rows.view(loop._row_dtype)[:, 0]
    for name in ("obs", "action", "reward", "discount", "next_obs"):
        np.testing.assert_array_equal(getattr(batch, name), stored[name], strict=True)
    assert len(np.unique(batch.obs)) > 1
    loop.advance(7, None, lambda: False)
    assert loop.updates == 1
    loop.close()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_loss_that_is_not_finite_names_its_update(case: Case, value: float) -> None:
    case.advance(50)
    case.loop.boundary()
    saved = case.loop.save()
    assert saved["agent.updates"] == 20
    case.loop.restore({**saved, "agent.params": saved["agent.params"] + np.float32(value)})
    with pytest.raises(NotFinite, match=r"the loss is not finite at update 21 \(about step \d+\)\. Likely causes: "):
        case.advance(100)


@pytest.mark.parametrize("shared_case", ["compiled"], indirect=True)
def test_the_program_learns_as_its_parts_do(case: Case) -> None:
    """Twelve updates, two at each of the steps 14, 18 ... 34, on the transitions stored by then."""
    case.advance(34)
    rows, params = case.loop.save()["replay.rows"], case.loop.params()
    agent, replay = DQN(case.config, case.agent.network), DeviceReplay(case.config.replay_capacity, (2,))
    state = agent.init()
    for update in range(12):
        written = 14 + update // 2 * 4
        bits = random.random_bits(case.config.seed, random.REPLAY, update, case.config.batch_size)
        batch = replay.sample(DeviceReplayState(tf.constant(rows), tf.constant(written, tf.int64)), bits)
        state, _ = agent.update(state, batch)
    np.testing.assert_allclose(params, state.params, rtol=1e-5, atol=1e-6)


def test_updates_together_are_those_one_by_one(tmp_path: Path) -> None:
    """The host loop makes the updates of a period in one call, on batches drawn one after the other."""
    case = Case("host", tmp_path, replay_ratio=1.0, update_period_steps=4)
    loop: Any = case.loop
    sample, drawn, rows = loop.replay.sample, [], []

    def recorded(bits: np.ndarray) -> np.ndarray:
        drawn.append(bits)
        rows.append(sample(bits))
        return rows[-1]

    loop.replay.sample = recorded
    case.advance(34)
    assert [bits.shape for bits in drawn] == [(4, 32)] * 6
    assert len(np.unique(drawn)) == 6 * 4 * 32
    agent = DQN(case.config, case.agent.network)
    state = agent.init()
    for batch in np.concatenate(rows):
        state, _ = agent.update(state, loop._unpack(tf.constant(batch)))
    np.testing.assert_allclose(loop.params(), state.params, rtol=1e-5, atol=1e-6)
    loop.close()
