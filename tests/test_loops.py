"""Both loops on a world small enough to know everything about: what they store, learn, count, save and report."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import tensorflow as tf
from gymnasium import spaces

from rooms import (
    CONFIG,
    GAMMA,
    KNOWN_Q,
    REWARD,
    TIME_LIMIT,
    Case,
    CountingDQN,
    RoomsWorld,
    assert_same,
    host_loop,
    stored,
)
from tensorq.agents.dqn import DQN
from tensorq.core import random
from tensorq.errors import TensorqError
from tensorq.loops.compiled import CompiledLoop
from tensorq.loops.host_learning import bytes_tensor
from tensorq.loops.loop import Interrupted, NotFinite
from tensorq.networks.network import Network
from tensorq.networks.q_network import build_q_network
from tensorq.replay.settings import ReplaySettings


@pytest.fixture(scope="module", params=["compiled", "compiled 4", "host", "host 4", "host vector of 4"])
def shared_case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Case]:
    case = Case(request.param, tmp_path_factory.mktemp("loop"))
    yield case
    case.loop.close()


@pytest.fixture
def case(shared_case: Case) -> Case:
    shared_case.loop.restore(shared_case.first)
    return shared_case


def test_q_values_become_those_known(case: Case) -> None:
    report = case.loop.advance(4_000, None, lambda: False)
    np.testing.assert_allclose(case.q_values, KNOWN_Q, atol=0.05)
    assert 0 < (report.metrics["loss"] or 0) < 1
    assert 2.4 < (report.metrics["mean_q"] or 0) < 5


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


def test_more_updates_than_one_call_makes_are_made_at_once(tmp_path: Path) -> None:
    case = Case("host", tmp_path, replay_ratio=2.0, update_period_steps=64)  # a call makes at most 64
    case.advance(10 + 64)
    assert case.loop.updates == 128
    case.loop.close()


def test_updates_are_counted_beyond_what_a_float_can_hold(tmp_path: Path) -> None:
    case = Case("host", tmp_path)
    case.set(agent__updates=3 * 2**24 + 5)
    assert int(case.loop.learner.agent.state().updates) == 3 * 2**24 + 5
    case.loop.close()


def test_environments_begin_apart_and_so_do_the_episodes_after_each_boundary(tmp_path: Path) -> None:
    """The rooms are drawn by the seeds, or by uniforms of the compiled loop's own."""
    assert len(set(Case("compiled 4", tmp_path).first["world"][:, 0].tolist())) == 2

    case, seeds = Case("host 4", tmp_path), []
    loop: Any = case.loop
    reset = loop._envs.reset
    loop._envs.reset = lambda given: (seeds.extend(given), reset(given))
    for stop in (40, 80):
        case.advance(stop)
        loop.boundary()
    assert len(set(seeds)) == 8
    loop.close()


@pytest.mark.parametrize("kind", ["compiled 4", "host 4"])
def test_staggered_episodes_are_cut_once_as_a_time_limit_does(kind: str, tmp_path: Path) -> None:
    """After 10 / 4, 20 / 4, 30 / 4 and 40 / 4 vector steps, rounded up. All others have four steps."""
    case = Case(kind, tmp_path, stagger_steps=10, epsilon_start=0.0)
    case.act_greedily_by(1)  # go on, and stay there

    def ends(first: int) -> list[list[int]]:
        episodes = case.advance(first + 6 * 4)
        saved = case.loop.save()
        episodes += case.advance(first + 12 * 4)
        case.loop.restore(saved)
        assert case.advance(first + 12 * 4) == [each for each in episodes if each.steps > first + 6 * 4]
        return [[(each.steps - first) // 4 for each in episodes if each.env_index == env] for env in range(4)]

    expected = [[3, 7, 11], [4, 5, 9], [4, 8, 12], [4, 8, 10]]
    assert ends(0) == expected
    assert {step.discount for step in case.stored()} == {np.float32(GAMMA)}
    if kind == "host 4":  # after a boundary all begin together again
        case.loop.boundary()
        assert ends(48) == expected
    case.loop.close()


def test_epsilon_anneals_in_environment_steps(case: Case) -> None:
    """From 1 to 0 in 2 000 steps. Action 1 is only taken by exploring: epsilon / 2 of the time."""
    case.act_greedily_by(0)
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


@pytest.mark.parametrize("kind", ["compiled 4", "host 4"])
def test_epsilon_spreads_over_the_environments(kind: str, tmp_path: Path) -> None:
    """From 0.1 / 10 to 0.1 * 10 in four: 0.01, 0.046, 0.215 and 1. Half of the random actions are action 1."""
    settings = {"epsilon_start": 0.1, "epsilon_final": 0.1, "epsilon_spread": 10}
    case = Case(kind, tmp_path, **settings)
    case.act_greedily_by(0)
    case.advance(4_000)
    explored = np.array([step.action for step in case.stored()]).reshape(-1, 4).sum(axis=0)
    # Of 1 000: 5, 23, 108 and 500, give or take 2, 5, 10 and 16.
    np.testing.assert_array_less(np.abs(explored - [5, 23, 108, 500]), [11, 25, 50, 80])
    case.loop.close()


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
    case.act_greedily_by(0)
    before = case.loop.save()
    returns = case.loop.evaluate(lambda: False).returns
    # Staying in room 0 earns 1 four times, ending it from room 1 earns 3.
    assert sorted(set(returns.tolist())) == [3, 4]
    assert returns.shape == (12,)
    np.testing.assert_array_equal(case.loop.evaluate(lambda: False).returns, returns)
    assert_same(case.loop.save(), before)
    case.advance(100)
    assert case.loop.evaluate(lambda: False).returns.tolist() != returns.tolist()  # other first rooms


@pytest.mark.parametrize("kind", ["compiled", "host"])
def test_evaluation_ends_at_a_limit_of_its_own(kind: str, tmp_path: Path) -> None:
    case = Case(kind, tmp_path, evaluation_max_episode_steps=2)
    case.act_greedily_by(0)
    assert sorted(set(case.loop.evaluate(lambda: False).returns.tolist())) == [
        2,
        3,
    ]  # staying twice, where four times were possible
    case.loop.close()


def test_everything_is_traced_once(case: Case) -> None:
    case.advance(400)  # by now every function was needed
    case.loop.evaluate(lambda: False)
    traces = case.agent.q_traces
    for stop in (401, 410, 500, 501, 1_500):
        case.advance(stop)
        case.loop.evaluate(lambda: False)
    assert case.agent.q_traces == traces
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


def test_an_interrupted_evaluation_changes_nothing(case: Case) -> None:
    expected = case.loop.evaluate(lambda: False)
    saved = case.loop.save()
    with pytest.raises(Interrupted):
        case.loop.evaluate(lambda: True)
    assert_same(case.loop.save(), saved)
    assert case.loop.evaluate(lambda: False).returns.tolist() == expected.returns.tolist()


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
    assert report.metrics == expected.metrics
    found = case.loop.save()
    del final["replay.blocks"], found["replay.blocks"]  # one more where one more was saved
    assert_same(found, final)


@pytest.mark.parametrize("shared_case", ["host", "host 4", "host vector of 4"], indirect=True)
def test_an_environment_that_fails_interrupts_between_two_steps(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = case.advance(300)
    final = case.loop.save()
    case.loop.restore(case.first)
    envs, failed = case.loop._envs, TensorqError("simulator lost")  # type: ignore[union-attr]
    step, calls = envs.step, iter(range(60))

    def failing(actions: np.ndarray) -> Any:
        if next(calls, None) is None:
            raise failed
        return step(actions)

    with monkeypatch.context() as patched, pytest.raises(Interrupted) as stopped:
        patched.setattr(envs, "step", failing)
        case.advance(300)
    assert stopped.value.__cause__ is failed
    assert 0 < case.loop.steps < 300
    saved = case.loop.save()
    case.advance(400)  # astray
    case.loop.restore(saved)
    assert [*stopped.value.episodes, *case.advance(300)] == expected
    found = case.loop.save()
    del final["replay.blocks"], found["replay.blocks"]  # one more where one more was saved
    assert_same(found, final)


def test_restoring_goes_on_to_the_bit(case: Case) -> None:
    case.advance(600)
    case.loop.boundary()
    saved = case.loop.save()
    episodes = case.advance(1_000)
    final = case.loop.save()
    case.advance(1_100)  # astray
    case.loop.evaluate(lambda: False)
    case.loop.restore(saved)
    assert_same(case.loop.save(), saved)
    assert (case.loop.steps, case.loop.updates) == (int(saved["steps"]), int(saved["agent.updates"]))
    assert case.advance(1_000) == episodes
    assert_same(case.loop.save(), final)


OVERLAPPED: dict[str, dict[str, Any]] = {
    "dqn": {"replay_ratio": 0.25},
    "pqn": {
        "algorithm": "pqn",
        "replay_ratio": 1,
        "update_period_steps": 1,
        "learning_starts_steps": 1_000,
        "target_sync_updates": 100,
        "rollout_length": 4,
        "batch_size": 16,
    },  # fmt: skip
}


@pytest.mark.parametrize(
    ("algorithm", "kind"), [("dqn", "host"), ("dqn", "host 4"), ("dqn", "host vector of 4"), ("pqn", "host 4")]
)
def test_overlapped_learning_is_one_phase_behind(tmp_path: Path, algorithm: str, kind: str) -> None:
    """Where every action is random. A phase is 4 steps of replay, or 4 vector steps of a rollout."""
    settings = OVERLAPPED[algorithm] | {"epsilon_start": 1.0, "epsilon_final": 1.0}
    plain, overlapped = (
        Case(kind, tmp_path / name, **settings, overlap_learning=name == "yes") for name in ("no", "yes")
    )
    before: Any = None
    for stop in range(1, 120):
        updates = plain.loop.updates
        now = plain.loop.kept()["agent.params"]
        assert plain.advance(stop) == overlapped.advance(stop)
        if plain.loop.updates > updates:  # a phase: what the one before has found is acted by now
            before, expected = updates, now
        if before is not None:
            assert overlapped.loop.updates == before
            np.testing.assert_array_equal(overlapped.loop.kept()["agent.params"], expected)
            obs = np.array([3, 4] * 2, np.int32)[: overlapped.num_envs]
            q_values = overlapped.agent.q_values(tf.constant(expected), tf.constant(obs)).numpy()
            found = overlapped.loop.learner.q_values(obs)  # type: ignore[union-attr]
            np.testing.assert_allclose(found, q_values, rtol=1e-5, atol=1e-6)
    assert plain.loop.updates > 10
    for case in (plain, overlapped):
        case.loop.close()


@pytest.mark.parametrize("algorithm", OVERLAPPED)
def test_overlapped_learning_goes_on_to_the_bit_from_any_step(tmp_path: Path, algorithm: str) -> None:
    case = Case("host 4", tmp_path, **OVERLAPPED[algorithm], overlap_learning=True)
    saved = {}
    for stop in range(400, 440, 4):
        case.advance(stop)
        saved[stop] = case.loop.save()
    for stop in range(400, 436, 4):
        case.loop.restore(saved[stop])
        assert_same(case.loop.save(), saved[stop])
        case.advance(stop + 4)
        assert_same(case.loop.save(), saved[stop + 4])
    case.loop.close()


def test_overlapped_learning_is_beside_the_environments(tmp_path: Path) -> None:
    """Here a call ends only after an environment has stepped, which it could not if the step waited for it."""
    case = Case("host", tmp_path, replay_ratio=0.25, overlap_learning=True)
    loop: Any = case.loop
    call, step, stepped = loop.learner._call, loop._envs.step, threading.Event()

    def late(batches: Any) -> Any:
        assert stepped.wait(60)
        return call(batches)

    def noted(actions: np.ndarray) -> Any:
        stepped.set()
        return step(actions)

    loop.learner._call, loop._envs.step = late, noted
    for phase in range(4):
        case.advance(14 + 4 * phase)
        stepped.clear()
    assert loop.updates == 3
    loop.close()


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
    agent = CountingDQN(config, Network(build_q_network(space, 2, config)))
    loop = host_loop(config, agent, lambda: AnyBox(dtype), tmp_path / "replay.bin")
    loop.advance(6, None, lambda: False)
    batch = stored(loop)
    columns = loop.learner.replay.new(0, 0).steps
    for name in ("obs", "action", "reward"):
        np.testing.assert_array_equal(getattr(batch, name), columns[name], strict=True)
    np.testing.assert_array_equal(batch.next_obs[:-1], batch.obs[1:], strict=True)
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


PARTS: dict[str, Any] = {
    "n_step": 3, "priority_exponent": 0.7, "importance_anneal_updates": 9, "noisy": True, "replay_capacity": 60,
}  # fmt: skip


@pytest.mark.parametrize("settings", [{}, PARTS], ids=["plain", "all"])
def test_the_program_learns_as_its_parts_do(tmp_path: Path, settings: dict[str, Any]) -> None:
    """Twelve updates, two at each of the steps 14, 18 ... 34, on the transitions stored by then."""
    case = Case("compiled", tmp_path, **settings)
    config, agent = case.config, DQN(case.config, case.agent.network)
    replay = case.loop.learning.replay  # type: ignore[union-attr]
    agent_state, tree = agent.init(), replay.init().tree
    for update in range(12):
        if update % 2 == 0:
            case.loop.restore(case.first)
            case.advance(14 + 2 * update)
            memory = case.loop.memory  # type: ignore[union-attr]
            if settings:  # what came since the last updates is as likely as the likeliest
                new = tf.range(0 if update == 0 else 10 + 2 * update, 14 + 2 * update)
                highest = replay._tree.maximum(tree) if update else 1.0
                tree = replay._tree.set(tree, new, tf.fill(len(new), highest))
        words = [
            random.random_bits(config.seed, stream, update, width)
            for stream, width in ((random.REPLAY, config.batch_size), (random.LEARNING, agent.update_uniforms))
        ]
        exponent = tf.constant(config.part(ReplaySettings).importance_exponent_at(update), tf.float64)
        batch, places = replay.sample(memory._replace(tree=tree), words[0], exponent)
        agent_state, metrics = agent.update(agent_state, batch, random.to_uniforms(words[1]))
        tree = replay.prioritise(tree, places, metrics.td_error)
    np.testing.assert_allclose(case.loop.kept()["agent.params"], agent_state.params, rtol=1e-5, atol=1e-5)
    if settings:
        priorities = case.loop.save()["replay.tree.0"]
        np.testing.assert_allclose(priorities, tree.levels[0], rtol=1e-3, atol=1e-5)
        assert len(np.unique(priorities.ravel()[:34])) > 8


@pytest.mark.parametrize("settings", [{}, PARTS], ids=["plain", "all"])
def test_updates_together_are_those_one_by_one(tmp_path: Path, settings: dict[str, Any]) -> None:
    """The host loop makes the updates of a period in one call, on batches drawn one after the other."""
    case = Case("host", tmp_path, replay_ratio=1.0, update_period_steps=4, **settings)
    loop: Any = case.loop
    replay = loop.learner.replay
    sample, prioritise, drawn, rows, found = replay.sample, replay.prioritise, [], [], []

    def recorded(bits: np.ndarray, exponent: float) -> Any:
        assert exponent == case.config.part(ReplaySettings).importance_exponent_at(loop.updates)
        drawn.append(bits)
        rows.append(sample(bits, exponent))
        return rows[-1]

    def also_recorded(places: np.ndarray, td_error: np.ndarray) -> None:
        np.testing.assert_array_equal(places, rows[-1][1])
        found.append(td_error)
        prioritise(places, td_error)
        kept = dict(zip(places.ravel().tolist(), td_error.ravel().tolist(), strict=True))  # the last one of a place
        leaves = replay.save()["replay.priorities"][list(kept)]
        np.testing.assert_allclose(leaves, (np.abs(list(kept.values())) + 1e-6) ** case.config.priority_exponent)

    replay.sample, replay.prioritise = recorded, also_recorded
    case.advance(34)
    assert [bits.shape for bits in drawn] == [(4, 32)] * 6
    assert len(np.unique(drawn)) == 6 * 4 * 32
    agent = DQN(case.config, case.agent.network)
    state, td_errors = agent.init(), []
    for update, batch in enumerate(np.concatenate([batches for batches, _ in rows])):
        bits = random.random_bits(case.config.seed, random.LEARNING, update, agent.update_uniforms)
        unpacked = loop.learner.replay.unpack(tf.constant(batch))
        weights = batch[-32 * 4 :].view(np.float32) if settings else np.ones(32, np.float32)
        np.testing.assert_array_equal(unpacked.weight, weights)
        assert len(np.unique(weights)) > 1 or not settings or update < 4  # before, all priorities are the first one
        state, metrics = agent.update(state, unpacked, random.to_uniforms(bits))
        td_errors.append(metrics.td_error)
    np.testing.assert_allclose(loop.kept()["agent.params"], state.params, rtol=1e-5, atol=1e-5)
    if settings:
        np.testing.assert_allclose(np.concatenate(found), td_errors, rtol=1e-3, atol=1e-4)
    assert len(found) == (6 if settings else 0)
    loop.close()


class Impatient(RoomsWorld):
    """Cuts every episode after one step, long before its time limit."""

    max_episode_steps = 1_000

    def step(self, state: tf.Tensor, action: tf.Tensor, u: tf.Tensor) -> tuple[Any, ...]:
        next_state, reward, terminated, truncated = super().step(state, action, u)
        return next_state, reward, terminated, ~truncated


def test_the_compiled_replay_grows_for_episodes_that_a_world_cuts_itself(tmp_path: Path) -> None:
    """Room for three ends of each of 4 environments, where all of 40 transitions have one; another process goes on."""
    config = dataclasses.replace(CONFIG, num_envs=4, replay_capacity=40)

    def new() -> CompiledLoop:
        world = Impatient()
        agent = DQN(config, Network(build_q_network(world.observation_space, 2, config)))
        return CompiledLoop(config, agent, world, tmp_path / "replay.bin")

    loop = new()
    assert loop.memory.cut_numbers.shape[0] == 6
    loop.advance(100, None, lambda: False)
    assert loop.memory.cut_numbers.shape[0] == 12
    batch = stored(loop)
    assert len(batch.action) == 40
    room, next_room = batch.obs[:, 1], batch.next_obs[:, 1]
    left = (room == 0) & (batch.action == 1)
    counts = batch.discount > 0
    np.testing.assert_array_equal(next_room[counts], (room + left)[counts])
    saved = loop.save()
    loop.advance(200, None, lambda: False)
    expected = loop.save()
    loop = new()
    loop.restore(saved)
    loop.advance(200, None, lambda: False)
    assert_same(loop.save(), expected)


@pytest.mark.parametrize("size", [1, 63, 1_000])
def test_bytes_for_tensorflow_are_aligned_and_its_own(size: int) -> None:
    """TensorFlow's operations end the process at memory that is not aligned."""
    array = np.arange(size).astype(np.uint8).reshape(1, size)
    tensor = bytes_tensor(array)
    assert np.asarray(memoryview(tensor)).ctypes.data % 64 == 0
    expected = array.copy()
    array[:] = 7
    np.testing.assert_array_equal(tensor, expected)
