"""The agent's switches in both loops, on the two rooms: what they learn, store and do there is known."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import tensorflow as tf
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from rooms import (
    CONFIG,
    GAMMA,
    KNOWN_Q,
    REWARD,
    TIME_LIMIT,
    Case,
    MaskedRooms,
    MaskedRoomsWorld,
    RoomsWorld,
    Step,
    assert_same,
    host_loop,
    stored,
)
from tensorq.agents.dqn import DQN
from tensorq.agents.pqn import PQN
from tensorq.agents.settings import Algorithm
from tensorq.core import random
from tensorq.core.host_random import NOISE, random_bits, to_noise
from tensorq.core.types import Tensor
from tensorq.envs.cartpole import CartPole
from tensorq.evaluation import compiled as evaluation
from tensorq.evaluation.compiled import CompiledEpisodes
from tensorq.loops.compiled import CompiledLoop
from tensorq.loops.host import HostLoop
from tensorq.networks.network import Network
from tensorq.networks.numpy_network import NumpyNetwork
from tensorq.networks.q_network import build_q_network

PRIORITIES = {"priority_exponent": 0.6, "importance_anneal_updates": 1_000, "replay_capacity": 500}
# A head of one output an action, one of many, and one whose fractions are drawn; test_known_answers.py has every head.
HEADS: dict[str, dict[str, Any]] = {
    "expected": {},
    "implicit_quantile": {"head": "implicit_quantile", "num_atoms": 8, "hidden_sizes": (16,)},
    "categorical": {"head": "categorical", "num_atoms": 33, "value_min": 0, "value_max": 8},
}
SWITCHES: dict[str, dict[str, Any]] = {
    "noisy": {"noisy": True},
    **{f"priorities, {head}": HEADS[head] | PRIORITIES for head in ("expected", "implicit_quantile")},
}


@pytest.mark.parametrize("kind", ["compiled", "host"])
@pytest.mark.parametrize("switch", SWITCHES)
def test_q_values_become_those_known(kind: str, switch: str, tmp_path: Path) -> None:
    case = Case(kind, tmp_path, **SWITCHES[switch])
    case.advance(2_000)
    case.loop.evaluate(lambda: False)
    traces = case.agent.q_traces
    case.advance(4_000)
    case.loop.evaluate(lambda: False)
    np.testing.assert_allclose(case.q_values, KNOWN_Q, atol=0.15)
    assert case.agent.q_traces - traces == 1  # by the line above
    assert case.agent.traces == 1
    assert case.world.traces in (0, 2)
    case.loop.close()


@pytest.mark.parametrize("kind", ["compiled", "host"])
def test_three_steps_learn_what_their_windows_say(kind: str, tmp_path: Path) -> None:
    """They follow how the agent behaved, so the answer is that of all stored windows, found here by value iteration."""
    case = Case(kind, tmp_path, n_step=3, loss="mse", learning_rate_final=0.0005)
    case.advance(4_000)
    rows = np.array(case.stored())
    room, action, next_room = rows[:, 0].astype(int), rows[:, 1].astype(int), rows[:, 4].astype(int)
    expected = np.zeros((2, 2))
    for _ in range(60):
        target = rows[:, 2] + rows[:, 3] * expected.max(axis=1)[next_room]
        expected = np.array([[target[(room == r) & (action == a)].mean() for a in range(2)] for r in range(2)])
    np.testing.assert_allclose(case.q_values, expected, atol=0.1)
    assert np.abs(expected - KNOWN_Q).max() > 0.4
    case.loop.close()


EVERYTHING: dict[str, Any] = PRIORITIES | {
    "double": True, "dueling": True, "noisy": True, "munchausen": True, "layer_norm": True, "n_step": 3,
    "optimizer": "rmsprop", "target_sync_rate": 0.5, "target_sync_updates": 2, "hidden_sizes": (8,),
}  # fmt: skip


@pytest.mark.parametrize(("head", "kind"), [("implicit_quantile", "compiled"), ("categorical", "host")])
def test_everything_at_once_runs_in_a_loop_and_its_schedules_do_not_know_the_end(
    head: str, kind: str, tmp_path: Path
) -> None:
    """So a run of 400 steps that is given more goes on as if it had been one of 4 000 all along."""
    found = []
    for steps in (400, 4_000):
        folder = tmp_path / str(steps)
        folder.mkdir()
        case = Case(kind, folder, steps=steps, log_period_steps=100, **HEADS[head] | EVERYTHING)
        report = case.loop.advance(400, None, lambda: False)
        case.loop.boundary()
        assert case.loop.updates == case.config.part(Algorithm).updates_owed(400, case.config.num_envs)
        assert np.isfinite(report.metrics["loss"] or np.nan)
        found.append(case.loop.save())
        case.loop.close()
    assert_same(*found)


def is_end(step: Step) -> bool:
    return (step.room, step.action) == (1, 0)


def split(steps: list[Step], cut: int | None) -> list[list[Step]]:
    """The episodes of one environment, one of which is cut after step `cut`."""
    episodes: list[list[Step]] = [[]]
    for place, step in enumerate(steps):
        episodes[-1].append(step)
        if is_end(step) or len(episodes[-1]) == TIME_LIMIT or place == cut:
            episodes.append([])
    return episodes


@pytest.mark.parametrize("kind", ["compiled 4", "host", "host 4"])
def test_what_is_stored_are_windows_of_three_steps(kind: str, tmp_path: Path) -> None:
    """Also where a checkpoint of the host loop cuts all episodes: after 52 vector steps."""
    case = Case(kind, tmp_path, n_step=3, epsilon_anneal_steps=10**6)
    case.advance(52 * case.num_envs)
    case.loop.boundary()
    case.advance(120 * case.num_envs)
    found = case.stored()
    assert len(found) == 120 * case.num_envs
    lengths = set()
    for env in range(case.num_envs):
        for episode in split(found[env :: case.num_envs], cut=None if kind == "compiled 4" else 51):
            for place, row in enumerate(episode):
                window = episode[place : place + 3]
                reward = sum(GAMMA**back * REWARD[int(s.room), int(s.action)] for back, s in enumerate(window))
                terminated = is_end(window[-1])
                discount = 0 if terminated else GAMMA ** len(window)
                expected = Step(row.room, row.action, reward, discount, window[-1].room or window[-1].action)
                np.testing.assert_allclose(row, expected, rtol=1e-6)
                lengths.add((len(window), terminated))
    assert lengths == {(count, terminated) for count in (1, 2, 3) for terminated in (False, True)}
    case.loop.close()


@pytest.mark.parametrize("kind", ["compiled 4", "host", "host 4"])
def test_noise_chooses_actions_in_training_and_not_in_evaluation(kind: str, tmp_path: Path) -> None:
    """With biases (1, 0) and only the kernel noisy, action a has the value bias_a + 8 f_out_a f_in_room in training."""
    case = Case(kind, tmp_path, noisy=True, epsilon_start=0.0)
    kernel, bias, kernel_deviation, bias_deviation = np.zeros(4), [1, 0], np.full(4, 8), np.zeros(2)
    case.set(agent__params=np.concatenate([kernel, bias, kernel_deviation, bias_deviation]), agent__updates=10**9)
    case.advance(200)
    for index, row in enumerate(case.stored()):
        vector_step, env = divmod(index, case.num_envs)
        counter = vector_step * (case.num_envs if kind == "compiled 4" else 1)
        noise = to_noise(random_bits(case.config.seed, NOISE, np.array([counter]), 8)[0])
        values = bias + 8 * noise[2:] * noise[int(row.room)]
        assert row.action == values.argmax(), (vector_step, env)
    assert 50 < sum(row.action for row in case.stored()) < 150
    assert sorted(set(case.loop.evaluate(lambda: False).returns.tolist())) == [
        3,
        4,
    ]  # by action 0, as Q = (1, 0) has it
    case.loop.close()


# Half of the actions are random. Returns end before these, so that what is learned is known.
ROLLOUTS: dict[str, Any] = {
    "algorithm": "pqn", "replay_ratio": 1, "update_period_steps": 1, "learning_starts_steps": 1_000,
    "target_sync_updates": 100, "rollout_length": 32, "batch_size": 16, "trace_decay": 0.65, "cut_traces": True,
    "loss": "mse", "steps": 8_000, "learning_rate_final": 0.001, "learning_rate_anneal_updates": 900,
    "epsilon_final": 0.5,
}  # fmt: skip


@pytest.mark.parametrize(
    "kind", ["compiled 4", "host 4", *(f"host vector of 4, {mode.name}" for mode in AutoresetMode)]
)
def test_a_rollout_is_what_happened_and_teaches_the_q_values_known(kind: str, tmp_path: Path) -> None:
    """Its windows end with the episodes, and where a checkpoint of the host loop cuts all of them."""
    case = Case(kind, tmp_path, **ROLLOUTS)
    case.advance(40)
    case.loop.boundary()
    _, ended, _ = case.rollout()
    before = len(ended)
    assert ended[-1].all() == (kind != "compiled 4")
    case.advance(80)
    steps, ended, weight = case.rollout()
    assert weight.sum() == case.loop.steps
    assert ended[weight == 0].all()
    assert (weight == 0).any() == ("NEXT_STEP" in kind)
    for env in range(4):
        valid = weight[:, env] > 0
        cut = None if kind == "compiled 4" else int(valid[:before].sum()) - 1
        episodes = split(steps[env], cut)
        for row in steps[env]:
            discount = 0 if is_end(row) else GAMMA
            expected = Step(
                row.room, row.action, REWARD[int(row.room), int(row.action)], discount, row.room or row.action
            )
            np.testing.assert_allclose(row, expected, rtol=1e-6)
        for episode in episodes:
            assert [step.room for step in episode[1:]] == [step.next_room for step in episode[:-1]]
        last = np.cumsum([len(episode) for episode in episodes[:-1]]) - 1
        np.testing.assert_array_equal(np.flatnonzero(ended[valid, env]), last)
    case.set()
    case.advance(8_000)
    case.loop.evaluate(lambda: False)
    np.testing.assert_allclose(case.q_values, KNOWN_Q, atol=1e-3)
    # Where rows that only reset fill a rollout, it ends before as many steps: some of a round's updates come too early.
    config, updates_owed = case.config, case.config.part(Algorithm).updates_owed
    owed = updates_owed(case.loop.steps, config.num_envs)
    a_round = updates_owed(4 * config.rollout_length, config.num_envs)
    assert owed <= case.loop.updates < owed + (a_round if "NEXT_STEP" in kind else 1)
    assert case.agent.traces == 1
    case.loop.close()


@pytest.mark.parametrize("kind", ["compiled 4", "host 4", "host"])
def test_averaged_parameters_are_played_by_and_kept_but_not_acted_by(kind: str, tmp_path: Path) -> None:
    """The learned ones take action 0, which ends the second room; the averages action 1, which earns nothing."""
    case = Case(kind, tmp_path, **ROLLOUTS | {"epsilon_start": 0.0, "epsilon_final": 0.0, "averaging_rate": 0.5})
    learned, average = np.zeros((2, *case.first["agent.params"].shape), np.float32)
    learned[-2] = average[-1] = 1
    case.set(agent__params=learned, agent__target_params=average)
    np.testing.assert_array_equal(case.loop.kept()["agent.params"], average)
    assert set(case.loop.evaluate(lambda: False).returns.tolist()) == {0}
    case.advance(4 * case.num_envs)
    assert {step.action for steps in case.rollout()[0] for step in steps} == {0}
    case.advance(32 * case.num_envs)
    saved, kept = case.loop.save(), case.loop.kept()["agent.params"]
    np.testing.assert_array_equal(kept, saved["agent.target_params"])
    assert (kept != saved["agent.params"]).any()
    case.loop.close()


def begin_with_illegal_actions_best(loop: HostLoop | CompiledLoop) -> None:
    """They have a value of 50, all others 0."""
    kernel = np.zeros((3, 2))
    kernel[2, 0] = kernel[0, 1] = 50  # [actions, rooms]
    saved, params = loop.save(), np.append(kernel, [0, 0, 0]).astype(np.float32)
    targets = params[: len(saved["agent.target_params"])]  # PQN has none
    loop.restore({**saved, "agent.params": params, "agent.target_params": targets})


def assert_random_among_legal(rooms: np.ndarray, actions: np.ndarray) -> None:
    """Nearly all of them are still random: each of the two legal ones about half of the time."""
    for room, legal in enumerate(MaskedRooms.LEGAL):
        taken = np.bincount(actions[rooms == room], minlength=3)
        assert (np.abs(taken[legal == 1] - taken.sum() / 2) < 5 * np.sqrt(taken.sum()) / 2).all()
        assert taken[legal == 0] == 0


def assert_legal_actions_known(q_values: np.ndarray) -> None:
    """Q-values [rooms, actions]; those of illegal actions are what they began as, more or less."""
    np.testing.assert_allclose(q_values[0, :2], KNOWN_Q[0], atol=0.1)
    np.testing.assert_allclose(q_values[1, 1:], KNOWN_Q[1][::-1], atol=0.1)
    assert min(q_values[0, 2], q_values[1, 0]) > 20


@pytest.mark.parametrize("mode", [None, *AutoresetMode], ids=lambda mode: mode.name if mode else "single")
def test_illegal_actions_are_neither_taken_nor_believed(mode: AutoresetMode | None, tmp_path: Path) -> None:
    """They begin with a value of 50, by far the best; random ones, greedy ones and evaluation's are all refused."""
    count = 1 if mode is None else 3
    config = dataclasses.replace(CONFIG, num_envs=count)
    agent = DQN(config, Network(build_q_network(MaskedRooms.observation_space, 3, config)))
    numpy_q = functools.partial(NumpyNetwork, MaskedRooms.observation_space, 3, config) if mode is None else None
    make = MaskedRooms if mode is None else lambda: SyncVectorEnv([MaskedRooms] * 3, autoreset_mode=mode)
    loop = host_loop(config, agent, make, tmp_path / "replay.bin", numpy_q)
    begin_with_illegal_actions_best(loop)
    loop.evaluate(lambda: False)
    loop.advance(1_000, None, lambda: False)
    batch = stored(loop)
    np.testing.assert_array_equal(batch.mask, MaskedRooms.LEGAL[batch.obs])
    np.testing.assert_array_equal(batch.next_mask, MaskedRooms.LEGAL[batch.next_obs])
    assert_random_among_legal(batch.obs[:300], batch.action[:300])
    loop.advance(4_000, None, lambda: False)
    assert_legal_actions_known(agent.q_values(loop.kept()["agent.params"], np.arange(2)).numpy())
    assert sorted(set(loop.evaluate(lambda: False).returns.tolist())) == [3, 4]
    loop.close()


def test_pqn_takes_and_believes_no_illegal_actions_of_an_environment(tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, num_envs=4, **ROLLOUTS)
    agent = PQN(config, Network(build_q_network(MaskedRooms.observation_space, 3, config)))
    make = functools.partial(SyncVectorEnv, [MaskedRooms] * 4, autoreset_mode=AutoresetMode.NEXT_STEP)
    loop = host_loop(config, agent, make, tmp_path / "replay.bin")
    begin_with_illegal_actions_best(loop)
    loop.advance(config.steps, None, lambda: False)
    assert_legal_actions_known(agent.q_values(loop.kept()["agent.params"], np.arange(2)).numpy())
    loop.close()


@pytest.mark.parametrize("algorithm", ["dqn", "pqn"])
def test_illegal_actions_of_a_world_are_neither_taken_nor_believed(algorithm: str, tmp_path: Path) -> None:
    world, pqn = MaskedRoomsWorld(), algorithm == "pqn"
    config = dataclasses.replace(CONFIG, num_envs=4 if pqn else 1, **(ROLLOUTS if pqn else {}))
    network = Network(build_q_network(world.observation_space, 3, config))
    agent: DQN | PQN = PQN(config, network) if pqn else DQN(config, network)
    loop = CompiledLoop(config, agent, world, tmp_path / "replay.bin")
    begin_with_illegal_actions_best(loop)
    # The first of the legal ones, which have the value 0: that is to stay, for 1 a step or for nothing.
    assert sorted(set(loop.evaluate(lambda: False).returns.tolist())) == [0, TIME_LIMIT]
    episodes = loop.advance(config.steps, None, lambda: False).episodes
    assert min(episode.total_return for episode in episodes) >= 0
    if not pqn:
        batch = stored(loop)
        room, next_room = batch.obs[:, 1].astype(int), batch.next_obs[:, 1].astype(int)
        np.testing.assert_array_equal(batch.mask, MaskedRooms.LEGAL[room])
        np.testing.assert_array_equal(batch.next_mask, MaskedRooms.LEGAL[next_room])
        assert_random_among_legal(room[:300], batch.action[:300])
    assert_legal_actions_known(agent.q_values(loop.kept()["agent.params"], tf.eye(2)).numpy())
    assert sorted(set(loop.evaluate(lambda: False).returns.tolist())) == [3, 4]


class DeadEnd(gym.Env):
    """Pays 1 for the step into room 1, in which nothing is legal; a time limit, and no termination, ends it there."""

    observation_space, action_space = MaskedRooms.observation_space, spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[int, dict]:
        super().reset(seed=seed)
        return 0, {"action_mask": np.ones(2, np.int8)}

    def step(self, action: int) -> tuple[int, float, bool, bool, dict]:
        return 1, 1.0, False, True, {"action_mask": np.zeros(2, np.int8)}


class DeadEndWorld(RoomsWorld):
    """The same in TensorFlow."""

    max_episode_steps = 1

    def reset(self, u: Tensor) -> Tensor:
        return tf.repeat([[1.0, 0.0]], u.shape[0], axis=0)

    def action_mask(self, state: Tensor) -> Tensor:
        return tf.repeat(state[:, :1] > 0.5, 2, axis=1)

    def step(self, state: Tensor, action: Tensor, u: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        over = state[:, 0] < 0
        return 1 - state, tf.ones_like(state[:, 0]), over, tf.zeros_like(over)


@pytest.mark.parametrize("kind", ["compiled", "host"])
@pytest.mark.parametrize("algorithm", ["dqn", "pqn"])
def test_nothing_follows_where_nothing_is_legal(algorithm: str, kind: str, tmp_path: Path) -> None:
    """So Q = 1, and not 1 + 0.8 V of whatever the network says of room 1."""
    config = dataclasses.replace(CONFIG, num_envs=4, **(ROLLOUTS if algorithm == "pqn" else {}))
    space = DeadEnd.observation_space if kind == "host" else DeadEndWorld.observation_space
    network = Network(build_q_network(space, 2, config))
    agent: DQN | PQN = PQN(config, network) if algorithm == "pqn" else DQN(config, network)
    loop: CompiledLoop | HostLoop
    if kind == "host":
        loop = host_loop(config, agent, DeadEnd, tmp_path / "replay.bin")
    else:
        loop = CompiledLoop(config, agent, DeadEndWorld(), tmp_path / "replay.bin")
    loop.advance(2_000, None, lambda: False)
    found = agent.q_values(loop.kept()["agent.params"], tf.eye(2) if kind == "compiled" else tf.range(2))
    np.testing.assert_allclose(found[0], [1, 1], atol=0.05)
    loop.close()


class Noting(RoomsWorld):
    """Keeps the numbers that it is given, of which a reset takes four and a step one."""

    reset_uniforms, step_uniforms = 4, 1

    def __init__(self) -> None:
        super().__init__()
        self.given: list[float] = []

    def reset(self, u: Tensor) -> Tensor:
        self.given += np.ravel(u).tolist() if tf.executing_eagerly() else []
        return super().reset(u[:, :1])

    def step(self, state: Tensor, action: Tensor, u: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        self.given += np.ravel(u).tolist() if tf.executing_eagerly() else []
        return super().step(state, action, u)


def test_no_two_evaluations_share_their_chances() -> None:
    """At counters whose rows of numbers would overlap, if rows were as wide as what is asked of them: 4 c and 1 c."""
    world = Noting()
    config = dataclasses.replace(CONFIG, evaluation_episodes=8)
    agent = DQN(config, Network(build_q_network(world.observation_space, 2, config)))
    seed, params = tf.constant(0, tf.int64), agent.init().params
    episodes = CompiledEpisodes(config, agent, world, params, 8, random.EVALUATION)
    world.given.clear()
    for counter in (100, 400):
        episodes.program(episodes.unplayed, seed, params, tf.constant(counter, tf.int64))
    assert len(world.given) >= 2 * 8 * 5
    assert len(set(world.given)) == len(world.given)


def test_short_calls_play_the_same_episodes_and_let_a_signal_through(monkeypatch: pytest.MonkeyPatch) -> None:
    world, calls = CartPole(), 0
    agent = DQN(CONFIG, Network(build_q_network(world.observation_space, 2, CONFIG)))
    params = agent.init().params
    whole = CompiledEpisodes(CONFIG, agent, world, params, 8, random.EVALUATION).play(3, params, 5)

    def count() -> None:
        nonlocal calls
        calls += 1

    monkeypatch.setattr(evaluation, "MAX_STEPS_PER_CALL", 20)  # 20 / 8, so 3 steps in each environment
    short = CompiledEpisodes(CONFIG, agent, world, params, 8, random.EVALUATION)
    for found, expected in zip(short.play(3, params, 5, count), whole, strict=True):
        assert found.tolist() == expected.tolist()
    assert calls == -(-whole[1].max() // 3) > 2
