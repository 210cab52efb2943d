"""Q-learning with a table: the update by hand, worlds with known Q-values, exact resume, no TensorFlow, the picture."""

from __future__ import annotations

import dataclasses
import functools
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import tensorq as tq
from tensorq import trainer
from tensorq.agents.qtable import QTable, epsilon_greedy, td_error
from tensorq.config import Config
from tensorq.errors import TensorqError
from tensorq.evaluation.load import evaluate_run
from tensorq.events import Event, Progress
from tensorq.loops.host import HostLoop
from tensorq.loops.loop import Interrupted, NotFinite
from tensorq.loops.table import TableLearner
from tensorq.presets import resolve
from tensorq.runs.checkpoint import load as load_checkpoint
from tensorq.runs.saved import SavedRun
from tensorq.show.table_map import TableMap, find_world, read_table_map

SMALL: dict[str, Any] = {"algorithm": "qtable", "steps": 2_000, "epsilon_final": 1.0, "evaluation_episodes": 2}


class Rooms(gym.Env):
    """Rooms 5 and 6. Action 3 of room 5 stays and earns 1, action 4 goes to room 6; there 3 goes back, 4 ends with 10.

    With a discount of 0.5: Q(6, 4) = 10, Q(5, 4) = 0.5 * 10 = 5, Q(5, 3) = 1 + 0.5 * 5 = 3.5, Q(6, 3) = 0.5 * 5 = 2.5.
    """

    observation_space = gym.spaces.Discrete(2, start=5)
    action_space = gym.spaces.Discrete(2, start=3)
    room = 5

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[int, dict[str, Any]]:
        super().reset(seed=seed)
        self.room = 5
        return self.room, {}

    def step(self, action: Any) -> tuple[int, float, bool, bool, dict[str, Any]]:
        assert action in (3, 4)
        if self.room == 6 and action == 4:
            return 5, 10.0, True, False, {}
        reward = float(self.room == 5 and action == 3)
        self.room = 6 if self.room == 5 and action == 4 else 5
        return self.room, reward, False, False, {}


class OneState(gym.Env):
    """One state and `reward` for ever; action 1 is illegal."""

    observation_space = gym.spaces.Discrete(1)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, reward: float = 1.0) -> None:
        self.reward = reward

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[int, dict[str, Any]]:
        super().reset(seed=seed)
        return 0, {"action_mask": np.array([1, 0], np.int8)}

    def step(self, action: Any) -> tuple[int, float, bool, bool, dict[str, Any]]:
        assert action == 0
        return 0, self.reward, False, False, {"action_mask": np.array([1, 0], np.int8)}


def limited(steps: int = 3, reward: float = 1.0) -> gym.Env:
    return gym.wrappers.TimeLimit(OneState(reward), steps)


def table_loop(config: Config, make: Callable[[], Any]) -> HostLoop:
    return HostLoop(config, make, functools.partial(TableLearner, config))


def learned(make: Callable[[], Any], **settings: Any) -> HostLoop:
    config = Config(**SMALL | settings)
    loop = table_loop(config, make)
    try:
        loop.advance(config.steps, None, lambda: False)
    except Interrupted as interrupted:
        raise interrupted.__cause__ or interrupted from None
    loop.close()
    return loop


def test_the_update_by_hand() -> None:
    # target 2 + 0.9 * max(3, 5) = 6.5, and 6.5 - 1 = 5.5
    assert td_error(1.0, 2.0, 0.9, [3.0, 5.0]) == pytest.approx(5.5, abs=1e-15)
    # only the first action is legal next: 2 + 0.9 * 3 - 1 = 3.7
    assert td_error(1.0, 2.0, 0.9, [3.0, 5.0], [True, False]) == pytest.approx(3.7, abs=1e-15)
    # where the step ended the task, or nothing is legal any more, the reward is all: 2 - 1
    assert td_error(1.0, 2.0, 0.0, [3.0, 5.0]) == 1.0
    assert td_error(1.0, 2.0, 0.9, [3.0, 5.0], [False, False]) == 1.0


def test_the_loop_moves_one_value_by_learning_rate_times_the_error() -> None:
    loop = table_loop(Config(**SMALL, gamma=0.5, learning_rate=0.25, initial_value=4.0), limited)
    # The target is 1 + 0.5 * 4 = 3, the error 3 - 4 = -1, the new value 4 - 0.25. Then 1 + 0.5 * 3.75 - 3.75 = -0.875.
    first = loop.advance(1, None, lambda: False)
    assert loop.kept()["agent.params"].tolist() == [3.75, 4.0]
    assert first.metrics == {"loss": 1.0, "mean_q": 4.0}
    second = loop.advance(2, None, lambda: False)
    assert loop.kept()["agent.params"].tolist() == [3.75 - 0.25 * 0.875, 4.0]
    assert (second.metrics, loop.updates) == ({"loss": 0.875**2, "mean_q": 3.75}, 2)


def test_the_learning_rate_follows_its_schedule() -> None:
    loop = table_loop(
        Config(**SMALL, learning_rate=1.0, learning_rate_final=0.0, learning_rate_anneal_updates=2), limited
    )
    values = []
    for steps in (1, 2, 3):  # rates 1, 0.5, 0; gamma 0.99: 1, then 1 + 0.5 * (1 + 0.99 - 1), then nothing
        loop.advance(steps, None, lambda: False)
        values.append(loop.kept()["agent.params"][0])
    assert values == pytest.approx([1.0, 1.495, 1.495], abs=1e-15)


@pytest.mark.parametrize("num_envs", [1, 3])
def test_the_rooms_have_their_known_values(num_envs: int) -> None:
    loop = learned(Rooms, gamma=0.5, learning_rate=1.0, num_envs=num_envs)
    assert loop.kept()["agent.params"].tolist() == [3.5, 5.0, 2.5, 10.0]
    assert loop.steps == loop.updates


def test_a_vector_environment_learns_from_real_steps_alone() -> None:
    # By default the step after an episode's end only resets: learning from it would make Q(6, 4) less than 10.
    loop = learned(lambda: gym.vector.SyncVectorEnv([Rooms, Rooms]), gamma=0.5, learning_rate=1.0, num_envs=2)
    assert loop.kept()["agent.params"].tolist() == [3.5, 5.0, 2.5, 10.0]


def test_a_time_limit_is_no_end() -> None:
    loop = learned(limited, gamma=0.9, learning_rate=1.0)
    assert loop.kept()["agent.params"][0] == pytest.approx(1 / (1 - 0.9), rel=1e-12)  # r / (1 - gamma)


def test_an_illegal_action_is_neither_taken_nor_looked_at() -> None:
    for epsilon in (0.0, 1.0):  # OneState refuses action 1
        loop = learned(limited, epsilon_start=epsilon, epsilon_final=epsilon, gamma=0.5, learning_rate=1.0,
                       initial_value=100.0)  # fmt: skip
        assert loop.kept()["agent.params"] == pytest.approx([2.0, 100.0])  # 1 / (1 - 0.5), and not 1 + 0.5 * 100


def test_epsilon_greedy() -> None:
    values = [1.0, 3.0, 3.0, 2.0]
    assert [epsilon_greedy(values, 0.5, 0.49, choice) for choice in (0.0, 0.3, 0.5, 0.99)] == [0, 1, 2, 3]
    assert [epsilon_greedy(values, 0.5, 0.5, choice) for choice in (0.0, 0.49, 0.5, 0.99)] == [1, 1, 2, 2]  # the ties
    mask = [True, False, False, True]
    assert [epsilon_greedy(values, 0.5, 0.49, choice, mask) for choice in (0.0, 0.49, 0.5, 0.99)] == [0, 0, 3, 3]
    assert epsilon_greedy(values, 0.5, 0.5, 0.0, mask) == 3
    assert epsilon_greedy(values, 0.0, 0.5, 0.0, [False] * 4) == 1  # which only a reset follows


def test_epsilon_anneals_in_environment_steps_and_each_boundary_begins_anew() -> None:
    """From 1 to 0 in 400 steps, which are 100 of each of four environments; action 1 is worse, so it is explored."""
    loop = table_loop(Config(**SMALL | {"epsilon_final": 0.0}, epsilon_anneal_steps=400, num_envs=4), Rooms)
    loop.learner._table[:] = [1.0, 0.0]  # type: ignore[attr-defined]
    seeds: list[int] = []
    reset = loop._envs.reset
    loop._envs.reset = lambda given: (seeds.extend(given), reset(given))  # type: ignore[func-returns-value, method-assign]
    explored = {}
    for steps in (0, 399, 400):
        loop.steps, actions = steps, []
        for loop.collector._vector_steps in range(steps // 4, steps // 4 + 50):
            actions += loop.collector.collect(loop.learner.act, steps)[0].action.tolist()
        explored[steps] = sum(actions)
        loop.boundary()
    assert 80 < explored[0] < 120 and explored[399] <= 3 and explored[400] == 0  # of 200, half of those at random
    assert len(set(seeds)) == 3 * 4
    loop.close()


def test_epsilon_spreads_over_the_environments() -> None:
    """From 0.1 / 10 to 0.1 * 10: the last of four takes every action at random, half of them action 1."""
    spread = {"epsilon_start": 0.1, "epsilon_final": 0.1, "epsilon_spread": 10.0}
    loop = table_loop(Config(**SMALL | spread, num_envs=4), Rooms)
    loop.learner._table[:] = [1.0, 0.0]  # type: ignore[attr-defined]
    actions = [loop.collector.collect(loop.learner.act, 0)[0].action for _ in range(200)]
    first, *_, last = np.sum(actions, axis=0)
    assert first < 8 and 70 < last < 130
    loop.close()


def test_each_environment_has_its_own_coin_and_each_seed_its_own_run() -> None:
    loop = table_loop(Config(**SMALL, num_envs=8), Rooms)
    assert len(set(loop.collector.collect(loop.learner.act, 0)[0].action.tolist())) == 2
    runs = [
        learned(Rooms, seed=seed, steps=50, learning_rate=0.1).kept()["agent.params"].tolist() for seed in (1, 1, 2)
    ]
    assert runs[0] == runs[1] != runs[2]


@pytest.mark.parametrize(
    ("settings", "make", "message"),
    [
        ({"double": True}, None, "double: received True, expected False with algorithm qtable: it is a setting of dqn"),
        ({"loop": "compiled"}, None, "loop: received compiled, expected host or auto"),
        ({"learning_rate": 1.5}, None, "learning_rate: expected at most 1 for a table"),
        ({"algorithm": "dqn", "initial_value": 1.0}, None, "initial_value: .* it is a setting of qtable"),
        ({}, lambda: gym.make("CartPole-v1"), "observation space Box: a table of Q-values needs Discrete"),
    ],
)  # fmt: skip
def test_what_a_table_has_no_use_for_is_refused(
    tmp_path: Path, settings: dict[str, Any], make: Any, message: str
) -> None:
    with pytest.raises(TensorqError, match=message):
        trainer.train(Config(**SMALL | settings), make=make or Rooms, run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_network_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TensorqError, match="network: a table of Q-values has no network"):
        trainer.train(Config(**SMALL), make=Rooms, network=lambda space, count: None, run_dir=tmp_path / "run")


def test_values_that_are_not_finite_end_the_run() -> None:
    with pytest.raises(NotFinite, match="not finite at update"):
        learned(lambda: limited(reward=1.7e308))  # and what follows it is more than float64 holds
    with pytest.raises(TensorqError, match="gave the reward inf, expected a finite number"):
        learned(lambda: limited(reward=np.inf))


@pytest.mark.parametrize("wrong", ["step", "reset", "a later reset"])
@pytest.mark.parametrize("vector", [False, True])
def test_an_observation_outside_its_space_is_named(wrong: str, vector: bool) -> None:
    class Wrong(Rooms):
        resets = 0

        def reset(self, **keywords: Any) -> tuple[int, dict[str, Any]]:
            Wrong.resets += 1
            room, info = super().reset(**keywords)
            return (9 if wrong == "reset" or wrong == "a later reset" and Wrong.resets > 4 else room), info

        def step(self, action: Any) -> tuple[int, float, bool, bool, dict[str, Any]]:
            room, *rest = super().step(action)
            return (9 if wrong == "step" else room), *rest  # type: ignore[return-value]

    def make() -> Any:
        one = functools.partial(gym.wrappers.TimeLimit, max_episode_steps=3)
        return gym.vector.SyncVectorEnv([lambda: one(Wrong())] * 2) if vector else one(Wrong())

    with pytest.raises(
        TensorqError, match=r"gave the observation .*9.*, which .* Discrete\(.*start=5\) does not contain"
    ):
        learned(make)


class Killed(BaseException):
    """What ends a process at an instant that nobody chose."""


def test_a_resumed_run_is_the_same_to_the_bit(tmp_path: Path) -> None:
    config = resolve(
        "FrozenLake-v1", "qtable", seed=3, num_envs=2, steps=3_000, checkpoint_period_steps=1_000, log_period_steps=150,
        evaluation_period_steps=500, evaluation_episodes=3,
    )  # fmt: skip

    def kill(event: Event) -> None:
        if isinstance(event, Progress) and event.steps >= 1_700:
            raise Killed

    trainer.train(config, run_dir=tmp_path / "whole")
    with pytest.raises(Killed):
        trainer.train(config, run_dir=tmp_path / "killed", observers=[kill])
    trainer.resume(SavedRun(tmp_path / "killed"))

    def contents(run: Path) -> dict[str, bytes]:
        found = {name: (run / name).read_bytes() for name in ("metrics.csv", "episodes.csv")}
        for path in (run / "checkpoints").iterdir():
            found |= {f"{path.name} {name}": array.tobytes() for name, array in load_checkpoint(path)[0].items()}
        return found

    whole, killed = contents(tmp_path / "whole"), contents(tmp_path / "killed")
    assert whole == killed
    assert any("best" in name for name in whole) and any("step_" in name for name in whole)


def test_a_run_is_loaded_and_evaluated(tmp_path: Path) -> None:
    config = Config(**SMALL, gamma=0.5, learning_rate=1.0)
    run = trainer.train(config, make=lambda: gym.wrappers.TimeLimit(Rooms(), 20), run_dir=tmp_path / "run")
    agent = tq.load(run, "last")
    assert agent.q_values(6).tolist() == [2.5, 10.0]
    assert agent.q_values([5, 6]).tolist() == [[3.5, 5.0], [2.5, 10.0]]
    assert agent.act([5, 6]).tolist() == [4, 4]
    assert agent.act(5, mask=[True, False]) == 3
    assert agent.act([5, 6], mask=[True, False]).tolist() == [3, 3]
    assert agent.act([5, 6], mask=np.array([[1, 0], [0, 1]])).tolist() == [3, 4]
    assert agent.act(6.0) == 4
    assert evaluate_run(SavedRun(run, make_env=Rooms), 3).returns.tolist() == [10.0] * 3
    with pytest.raises(TensorqError, match=r"received the states \[7\], expected them from 5 to 6"):
        agent.q_values(7)
    with pytest.raises(TensorqError, match="3 Q-values are stored, but the environment has 2 states with 2 actions"):
        QTable(np.zeros(3), Rooms.observation_space, 2)


def test_tensorflow_is_never_imported(tmp_path: Path) -> None:
    program = (
        "import sys, tensorq as tq\n"
        f"run = tq.train('FrozenLake-v1', preset='qtable', steps=1000, run_dir={str(tmp_path / 'run')!r})\n"
        "run = tq.resume(run.path, steps=1200, progress='quiet')\n"
        "assert run.evaluate(episodes=2).returns.shape == (2,)\n"
        "assert run.agent().q_values(0).shape == (4,)\n"
        "assert run.plot().exists() and (run.path / 'video.gif').exists()\n"
        "heavy = {'tensorflow', 'keras'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr


# --- the picture ----------------------------------------------------------------------------------------------------


def on_map(table: np.ndarray, name: str = "FrozenLake-v1") -> TableMap:
    """The picture of a table that began with zeros."""
    learned = np.where(table.any(axis=1, keepdims=True), table, np.nan)
    return TableMap(learned, 0.0, find_world(gym.make(name).unwrapped), "")


def drawn(picture: TableMap) -> tuple[Any, str]:
    """The first axes of a picture, and its caption."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, picture.height_inches)).subfigures(1, 1)
    picture.draw(figure)  # type: ignore[arg-type]
    return figure.axes[0], figure.texts[-1].get_text()  # type: ignore[union-attr]


def pixels(picture: TableMap) -> tuple[np.ndarray, Any]:
    """What is drawn, and the axes of the first map."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, picture.height_inches), dpi=50)
    canvas = FigureCanvasAgg(figure)
    part = figure.subfigures(1, 1)
    picture.draw(part)  # type: ignore[arg-type]
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[::-1, :, :3].astype(int), part.axes[0]  # type: ignore[union-attr]


def test_the_picture_differs_where_the_policy_differs() -> None:
    table = np.zeros((16, 4))
    table[:, 1], table[10, 2] = 1.0, 0.5
    other = table.copy()
    other[6] = [1.0, 0.0, 0.0, 0.0]  # the same value by another action, in row 1 and column 2 of the map
    (first, axes), (second, _) = pixels(on_map(table)), pixels(on_map(other))
    rows, columns = np.nonzero((first != second).any(axis=2))
    assert rows.size > 20
    left, bottom = axes.transData.transform((1.5, 1.5))
    right, top = axes.transData.transform((2.5, 0.5))
    assert right - left == pytest.approx(top - bottom) == pytest.approx(0.95 * 50, abs=1)
    assert bottom <= rows.min() <= rows.max() <= top and left <= columns.min() <= columns.max() <= right


def test_ties_are_all_drawn_and_what_was_not_learned_is_not() -> None:
    table = np.zeros((16, 4))
    table[0], table[1] = [1.0, 2.0, 2.0 - 1e-9, 0.0], [0.0, 0.0, 3.0, 0.0]
    greedy = on_map(table).greedy()
    assert greedy[:2].tolist() == [[False, True, True, False], [False, False, True, False]]
    assert not greedy[2:].any()


def test_maps() -> None:
    lake = find_world(gym.make("FrozenLake-v1").unwrapped)
    assert lake is not None and lake.states[0, 1].tolist() == [4, 5, 6, 7]
    assert lake.names.tolist()[1:] == [["", "hole", "", "hole"], ["", "", "", "hole"], ["hole", "", "", "goal"]]
    cliff = find_world(gym.make("CliffWalking-v1").unwrapped)
    assert cliff is not None and cliff.states.shape == (1, 4, 12)
    assert cliff.names[-1].tolist() == ["start", *["cliff"] * 10, "goal"] and not cliff.names[:-1].any()
    taxi = find_world(gym.make("Taxi-v4").unwrapped)
    assert taxi is not None and len(taxi.states) == len(taxi.targets) == 16 and len(taxi.walls) == 6
    assert len(np.unique(taxi.states)) == 400  # 100 have the passenger where he wants to be
    # An arrow must point where the action goes, on every map.
    for name, world, row in (("FrozenLake-v1", lake, 1), ("CliffWalking-v1", cliff, 1), ("Taxi-v4", taxi, 2)):
        model: Any = gym.make(name, **({"is_slippery": False} if "Lake" in name else {})).unwrapped
        for states in world.states:
            for action, step in enumerate(world.steps):
                following = model.P[int(states[row, 2])][action][0][1]
                goes = np.argwhere(states == following)[0] - (row, 2)
                assert tuple(goes[::-1]) == step, (name, action)
    assert find_world(Rooms()) is None


def test_each_map_of_the_taxi_is_named_after_its_states() -> None:
    env: Any = gym.make("Taxi-v4").unwrapped
    world = find_world(env)
    assert world is not None
    for states, title, target in zip(world.states, world.titles, world.targets, strict=True):
        row, column, passenger, wanted = env.decode(int(states[1, 3]))
        start = "in the taxi," if passenger == 4 else f"from {'RGYB'[passenger]}"
        assert (row, column, title, target) == (1, 3, f"{start} to {'RGYB'[wanted]}", env.locs[wanted])
        assert world.names[target] == "RGYB"[wanted]


def test_a_picture_numbers_states_and_actions_as_their_spaces_do_and_says_that_nothing_was_learned(
    tmp_path: Path,
) -> None:
    run = trainer.train(Config(**SMALL), make=Rooms, run_dir=tmp_path / "run")
    picture = read_table_map(SavedRun(run, make_env=Rooms))
    assert picture is not None
    axes, caption = drawn(picture)
    states, actions = Rooms.observation_space, Rooms.action_space
    assert axes.get_xlim() == (states.start - 0.5, states.start + states.n - 0.5) and states.start > 0
    assert axes.get_ylim() == (actions.start + actions.n - 0.5, actions.start - 0.5) and actions.start > 0
    assert "nothing" not in caption
    untrained = dataclasses.replace(picture, table=np.full((4, 2), np.nan), initial_value=0.5)
    for world in (None, find_world(gym.make("FrozenLake-v1", desc=["SF", "FG"]).unwrapped)):
        _, caption = drawn(dataclasses.replace(untrained, world=world))
        assert caption == "nothing has been learned yet: all Q-values are still 0.5, as at the start"


def test_cells_in_which_an_episode_ends_have_no_actions(tmp_path: Path) -> None:
    """The second run begins with values of the first, so those of holes and goal are not its own initial values."""
    settings: dict[str, Any] = {"preset": "qtable", "steps": 300, "progress": "quiet"}
    first = tq.train("FrozenLake-v1", initial_value=1.0, run_dir=tmp_path / "a", **settings)
    run = tq.train("FrozenLake-v1", initial_value=0.0, init_from=first, run_dir=tmp_path / "b", **settings)
    picture = read_table_map(run.saved)
    assert picture is not None
    assert np.flatnonzero(np.isnan(picture.table).all(axis=1)).tolist() == [5, 7, 11, 12, 15]
    assert "grey" not in drawn(picture)[1]


class Single(gym.Wrapper):
    """A lake that counts how often it is made."""

    made = 0

    def __init__(self, **keywords: Any) -> None:
        super().__init__(gym.make("FrozenLake-v1", **keywords))
        Single.made += 1


def test_of_a_single_environment_no_second_one_is_made_for_the_map(tmp_path: Path) -> None:
    gym.register("Single-v0", Single)
    run = tq.train("test_qtable:Single-v0", preset="qtable", single_environment=True, steps=300, progress="quiet",
                   run_dir=tmp_path / "run")  # fmt: skip
    assert Single.made == 1 and (run.path / "curve.png").exists()
    run.plot()
    assert Single.made == 1


def test_signs_lie_beside_the_arrows_that_they_tie_with() -> None:
    table = np.zeros((500, 6))
    picture = on_map(table, "Taxi-v4")
    assert picture.world is not None
    first, second, third = picture.world.states[0, 0, :3]
    table[first, 4], table[second, [0, 4]], table[third, [0, 5]] = 1.0, 1.0, 1.0
    axes, _ = drawn(on_map(table, "Taxi-v4"))
    places = {(text.get_text(), *text.get_position()) for text in axes.texts}
    assert {("●", 0, 0), ("●", 1.3, 0.3), ("■", 2.3, 0.3)} <= places


class Long(Rooms):
    observation_space = gym.spaces.Discrete(300, start=5)


def test_the_curve_has_the_table_below_it(tmp_path: Path) -> None:
    from PIL import Image

    sizes = {}
    for make in (lambda: gym.make("FrozenLake-v1", is_slippery=False), Rooms, Long):
        run = trainer.train(Config(**SMALL), make=make, run_dir=tmp_path / str(len(sizes)))
        picture = read_table_map(SavedRun(run, make_env=make))
        sizes[len(sizes)] = (picture is not None and picture.world is not None, picture is not None)
        height = 4.6 + (picture.height_inches if picture else 0)
        with Image.open(run / "curve.png") as drawn:
            assert drawn.size == (1200, pytest.approx(height * 150, abs=1))
    assert list(sizes.values()) == [(True, True), (False, True), (False, False)]
    assert TableMap(np.zeros((2, 5000)), 0.0, None, "").height_inches < 20  # matplotlib refuses 65 536 pixels
