"""The Python interface: what it refuses, in one line and before anything is created."""

from __future__ import annotations

import copy
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import gymnasium as gym
import keras
import numpy as np
import pytest

import tensorq as tq
from tensorq.agents.trained import TrainedAgent
from tensorq.errors import TensorqError
from tensorq.evaluation.play import Episodes
from tensorq.networks.numpy_network import num_params
from tensorq.runs import checkpoint
from test_load import CONFIG, SPACES, make_run
from test_show import make_run as make_shown_run


class Plain(gym.Env):
    """Made by its class, known to no registry."""


MISTAKES: list[tuple[dict[str, Any], str]] = [
    (
        {"env": gym.make("CartPole-v1")},
        r"made already \(CartPole-v1\), .*as lambda: gymnasium.make\('CartPole-v1'\)",
    ),
    ({"env": gym.make_vec("CartPole-v1", num_envs=2)}, r"such as lambda: gymnasium.make_vec\('CartPole-v1'\)"),
    ({"env": Plain()}, r"made already \(Plain\), expected its id or a function .* such as lambda: Plain\(...\)"),
    ({"env": 3}, "env: received 3, expected an id such as 'CartPole-v1', or a function"),
    ({"preset": 3}, "preset: received 3, expected a name such as 'dqn'"),
    ({"network": "mlp"}, r"network: received 'mlp', expected a function build_model\(observation_space, num_actions\)"),
    ({"network": keras.Sequential()}, "network: received a model that is built already, expected a function"),
    ({"observers": [3]}, r"observers: received \[3\], expected a list of functions"),
    ({"observers": print}, "observers: received <built-in function print>, expected a list"),
    ({"run_dir": 3}, "run_dir: received 3, expected a path, such as 'runs/mine'"),
    ({"run_dir": ""}, "run_dir: received '', expected a path"),
    ({"quiet": True}, r"unknown setting 'quiet': did you mean progress\?"),
    ({"run_directory": "a"}, "unknown setting 'run_directory': did you mean run_dir"),
]


@pytest.mark.parametrize(("given", "message"), MISTAKES, ids=[message[:40] for _, message in MISTAKES])
def test_mistakes_leave_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: dict[str, Any], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(tq.TensorqError, match=message) as caught:
        tq.train(**{"env": "CartPole-v1", "progress": "quiet", **given})
    assert "\n" not in str(caught.value) and not [*tmp_path.iterdir()]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    make_run(tmp_path / "run", np.zeros(num_params(*SPACES, CONFIG), np.float32))
    return tmp_path / "run"


def test_a_run_says_what_it_expects(path: Path) -> None:
    run = tq.open_run(path)
    for use in (tq.load, tq.open_run, tq.resume):
        with pytest.raises(tq.TensorqError, match="path: received None, expected a path, such as 'runs/Cart"):
            use(None)  # type: ignore[operator]
    for episodes in ("x", 2.5, 0, True):
        with pytest.raises(tq.TensorqError, match=f"episodes: received {episodes!r}, expected a whole number"):
            run.evaluate(episodes=episodes)  # type: ignore[arg-type]
    for seed in ("1", 1.5, -1, True):
        with pytest.raises(tq.TensorqError, match=f"seed: received {seed!r}, expected a whole number"):
            run.record(seed=seed)  # type: ignore[arg-type]
    for draw in (run.record, run.plot):
        with pytest.raises(tq.TensorqError, match="output: received 5, expected a path"):
            draw(5)  # type: ignore[operator]
    for use in (tq.open_run, tq.resume):
        with pytest.raises(tq.TensorqError, match="make_env: received 5, expected the function"):
            use(path, make_env=5)  # type: ignore[operator]
        with pytest.raises(tq.TensorqError, match="make_env: received '', expected the function"):
            use(path, make_env="")  # type: ignore[operator]
    with pytest.raises(tq.TensorqError, match=r"received the class TensorBoard, expected an object: TensorBoard\(\)"):
        tq.train("CartPole-v1", observers=[tq.TensorBoard], progress="quiet")  # type: ignore[list-item]
    for seconds in ("x", -1, float("nan")):
        with pytest.raises(tq.TensorqError, match="seconds_before: received .*, expected a number of at least 0"):
            tq.train("CartPole-v1", seconds_before=seconds, progress="quiet")


def test_arguments_of_an_environment_are_kept_with_the_run(tmp_path: Path) -> None:
    """Ice that does not slip, on the small lake's map upside down: the goal is next to the start."""
    arguments = {"is_slippery": False, "desc": np.array(["SFF", "FHF", "GFF"])}
    run = tq.train("FrozenLake-v1", preset="qtable", env_args=arguments, steps=2_000, run_dir=tmp_path / "run",
                   progress="quiet")  # fmt: skip
    config = json.loads((run.path / "config.json").read_text())["config"]
    assert config["env_args"] == {"is_slippery": False, "desc": ["SFF", "FHF", "GFF"]}
    assert config["initial_value"] == 1  # the preset's section for FrozenLake-v1
    assert run.result["solved_return"] is None  # FrozenLake-v1's 0.7 is of the lake as it came
    assert tq.open_run(run.path).evaluate(3).returns.tolist() == [1, 1, 1]
    assert tq.open_run(run.path).evaluate(3).lengths.tolist() == [2, 2, 2]
    tq.resume(run.path, steps=2_100, progress="quiet")
    assert run.config.steps == 2_100 and "2,100 steps" in repr(run)  # as the files are now, not as they were
    assert run.record(tmp_path / "a.gif").exists()
    hash(run.config)
    small = tq.open_run(run.path, make_env=lambda: gym.make("FrozenLake-v1", render_mode="rgb_array"))
    with pytest.raises(tq.TensorqError, match="trained on an environment with observation_space"):
        small.record(tmp_path / "b.gif")
    for wrong, message in (
        ({"desc": {1, 2}}, r"env_args: received \{1, 2\} for desc, expected a finite number, text"),
        ({"desc": float("nan")}, "env_args: received nan for desc"),
        ("desc", "env_args: received 'desc', expected values by name"),
        ({"maps": "4x4"}, "FrozenLake-v1 takes no 'maps'"),
    ):
        with pytest.raises(tq.TensorqError, match=message):
            tq.train("FrozenLake-v1", preset="qtable", env_args=wrong, run_dir=tmp_path / "no")
    with pytest.raises(tq.TensorqError, match="env_args: received some, but a function"):
        tq.train(lambda: gym.make("FrozenLake-v1"), preset="qtable", env_args=arguments, run_dir=tmp_path / "no")
    assert not (tmp_path / "no").exists()


def test_an_environment_with_parts_in_another_order_is_refused(tmp_path: Path) -> None:
    class Ordered(gym.Env):
        action_space = gym.spaces.Discrete(2)

        def __init__(self, *names: str) -> None:
            parts = {"left": gym.spaces.Box(-1, 1, (2,)), "right": gym.spaces.Box(-1, 1, (2,))}
            self.observation_space = gym.spaces.Dict([(name, parts[name]) for name in names])

        def reset(self, *, seed: Any = None, options: Any = None) -> Any:
            return {name: np.zeros(2, np.float32) for name in self.observation_space.spaces}, {}

        def step(self, action: Any) -> Any:
            return self.reset()[0], 1.0, True, False, {}

    here, there = (lambda: Ordered("left", "right")), (lambda: Ordered("right", "left"))
    run = tq.train(here, steps=200, learning_starts_steps=100, hidden_sizes=(2,), evaluation_episodes=1,
                   run_dir=tmp_path / "run", progress="quiet")  # fmt: skip
    assert run.evaluate(2).mean == 1
    # A run that is at hand is as good as its folder, and brings its functions along.
    assert tq.open_run(run).evaluate(2).mean == tq.resume(run, steps=300, progress="quiet").evaluate(2).mean == 1
    assert tq.load(run).act({"left": np.zeros(2), "right": np.zeros(2)}) in (0, 1)
    for use in (lambda: tq.open_run(run.path, make_env=there).evaluate(2), lambda: tq.resume(
        run.path, make_env=there, steps=400, progress="quiet"
    )):  # fmt: skip
        with pytest.raises(
            tq.TensorqError, match="trained on an environment with observation_space Dict.'left'.*and t"
        ):
            use()


def test_a_run_has_its_settings_and_tables(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tq.open_run(path)
    assert run.config == CONFIG and eval(repr(CONFIG), {"Config": tq.Config}) == CONFIG
    assert repr(CONFIG) == "Config(env='CartPole-v1', seed=7)"
    with pytest.raises(tq.TensorqError, match="cannot read the table .*metrics.csv"):
        _ = run.metrics
    metrics = tq.open_run(make_shown_run(tmp_path / "shown")).metrics
    np.testing.assert_array_equal(metrics.steps, [1000, 2000, 3000, 4000])
    np.testing.assert_array_equal(metrics["evaluation_return"], [100, np.nan, np.nan, 400])
    assert "steps" in metrics and "steps" in dir(metrics)
    assert repr(metrics).startswith("<Table of 4 rows: steps, updates, ")
    assert copy.deepcopy(metrics)["steps"].tolist() == metrics.steps.tolist()
    with pytest.raises(AttributeError, match="there is no column 'stepz': did you mean steps?"):
        _ = metrics.stepz
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(tq.TensorqError, match=r"to_pandas\(\) needs pandas: .*pip install.* pandas"):
        metrics.to_pandas()
    monkeypatch.setitem(sys.modules, "pandas", SimpleNamespace(DataFrame=list))
    assert metrics.to_pandas() == list(metrics)


def test_what_is_returned_says_what_it_is(path: Path) -> None:
    run = tq.open_run(path)
    assert repr(run) == f"<Run '{path}': stopped, 0 of 50,000 steps, no greedy evaluation>"
    assert repr(run.agent()) == "<TrainedAgent: observations float32 of shape (4,), actions Discrete(2)>"
    episodes = Episodes(np.array([9.5, 20.0]), np.array([9, 20]), unfinished=1)
    assert repr(episodes) == "<Episodes: mean return 14.75 over 2, 1 of them cut at the step limit, worst 9.5, best 20>"


def test_record_writes_into_the_run(path: Path) -> None:
    assert tq.open_run(path).record(seed=np.int64(3)) == path / "video.gif"
    assert (path / "video.gif").exists()


def test_an_agent_says_what_it_cannot_act_on(path: Path) -> None:
    agent: TrainedAgent = tq.load(path)
    env = gym.make("CartPole-v1")
    for obs, message in (
        (env.reset(), r"a tuple of an observation and a dict, as reset\(\) returns it: give only obs\[0\]"),
        (
            np.zeros((0, 4)),
            r"shape \(0, 4\), expected .* \(4,\) for one observation, or \(N, 4\) for a batch",
        ),
        (np.zeros(3), r"shape \(3,\), expected numbers of shape \(4,\)"),
        ("left", r"received 'left', expected numbers of shape \(4,\)"),
        (None, r"received observations of shape \(\), expected"),
    ):
        with pytest.raises(tq.TensorqError, match=message):
            agent.act(obs)
    env.close()


class Far(gym.Env[Any, Any]):
    """Three numbers of different sizes, far from 0; remembers what it showed, but for an episode's last."""

    observation_space = gym.spaces.Box(-np.inf, np.inf, (3,), np.float32)
    action_space = gym.spaces.Discrete(2)
    made: ClassVar[list[Far]] = []

    def __init__(self) -> None:
        self.shown: list[np.ndarray] = []
        self.steps = 0
        Far.made.append(self)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        if self.shown and not self.steps:  # nobody acted on the last
            self.shown.pop()
        self.steps = 0
        return self._show(), {}

    def step(self, action: Any) -> Any:
        self.steps += 1
        return self._show(self.steps == 10), float(action), self.steps == 10, False, {}

    def _show(self, last: bool = False) -> np.ndarray:
        obs = (self.np_random.normal(size=3) * (1, 10, 100) + (5, 0, -300)).astype(np.float32)
        if not last:
            self.shown.append(obs)
        return obs


def linear(space: gym.Space, num_actions: int = 4) -> keras.Model:
    return keras.Sequential([keras.Input(space.shape), keras.layers.Dense(num_actions)])


@pytest.mark.parametrize(
    "given", [{}, {"network": linear}, {"features": linear}], ids=["default", "network", "features"]
)
def test_normalised_observations_are_so_wherever_the_agent_goes(tmp_path: Path, given: dict[str, Any]) -> None:
    settings = dict(steps=150, learning_starts_steps=100, hidden_sizes=(4,), progress="quiet", **given)
    Far.made.clear()
    run = tq.train(Far, run_dir=tmp_path / "run", normalize_observations=True, evaluation_period_steps=0, **settings)
    seen = np.float64(next(env.shown for env in Far.made if len(env.shown) >= 150)[:150])
    kept, _ = checkpoint.load(run.path / "checkpoints" / "best.safetensors")
    np.testing.assert_allclose(kept["agent.statistics.mean"], seen.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(kept["agent.params"][-6:-3], seen.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(kept["agent.params"][-3:], 1 / seen.std(axis=0), rtol=1e-5)
    obs = seen[:5].astype(np.float32)
    found = tq.load(run.path, **given).q_values(obs)
    np.testing.assert_allclose(found, run.keras_model()(obs), rtol=1e-4, atol=1e-5)
    assert np.abs(found).max() < 10  # of numbers near 300 they would not be, with weights hardly trained
    if not given:
        another = tq.train(Far, run_dir=tmp_path / "another", init_from=run, normalize_observations=True, **settings)
        taken, _ = checkpoint.load(another.path / "checkpoints" / "step_000000150.safetensors")
        assert taken["agent.statistics.count"] == pytest.approx(300)


def test_the_last_agent_of_a_run_that_averages_is_its_average(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"num_envs": 4, "rollout_length": 8, "batch_size": 8, "steps": 320, "progress": "quiet"}
    run = tq.train("CartPole-v1", preset="pqn", averaging_rate=0.01, run_dir=tmp_path / "run", **settings)
    state, _ = checkpoint.load(run.path / "checkpoints" / "step_000000320.safetensors")
    best, _ = checkpoint.load(run.path / "checkpoints" / "best.safetensors")  # of the only evaluation, at the end
    np.testing.assert_array_equal(best["agent.params"], state["agent.target_params"])
    obs = np.array([[0.1, -0.2, 0.3, 0.4]], np.float32)
    last, kept = (tq.load(run.path, which=which).q_values(obs) for which in ("last", "best"))
    np.testing.assert_array_equal(last, kept)
    assert (state["agent.params"] != state["agent.target_params"]).any()


def test_averaged_agents_normalise_by_the_newest_statistics(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"rollout_length": 8, "batch_size": 8, "num_envs": 1, "steps": 80, "progress": "quiet"}
    run = tq.train(Far, preset="pqn", averaging_rate=0.01, normalize_observations=True, run_dir=tmp_path, **settings)
    state, _ = checkpoint.load(run.path / "checkpoints" / "step_000000080.safetensors")
    np.testing.assert_array_equal(state["agent.params"][-6:], state["agent.target_params"][-6:])
    assert (state["agent.params"][:-6] != state["agent.target_params"][:-6]).any()


def test_an_overlapped_run_learns_from_the_parameters_that_it_is_given(tmp_path: Path) -> None:
    """One update is still running at its end: Adam's first step moves no parameter by more than learning_rate."""
    settings: dict[str, Any] = {"loop": "host", "learning_starts_steps": 100, "progress": "quiet"}
    first = tq.train("CartPole-v1", steps=150, run_dir=tmp_path / "first", **settings)
    given, _ = checkpoint.load(first.path / "checkpoints" / "best.safetensors")
    run = tq.train(
        "CartPole-v1", steps=101, run_dir=tmp_path / "run", init_from=first, overlap_learning=True,
        learning_rate=0.001, num_envs=1, update_period_steps=1, **settings,
    )  # fmt: skip
    state, _ = checkpoint.load(run.path / "checkpoints" / "step_000000101.safetensors")
    np.testing.assert_array_equal(state["agent.params"], given["agent.params"])
    moved = np.abs(state["agent.learned_params"] - given["agent.params"])
    assert 0 < moved.max() < 0.0011


def test_only_numbers_are_normalised_and_once() -> None:
    for env, settings, message in [
        ("FrozenLake-v1", {}, "normalize_observations: received observations of Discrete"),
        ("CartPole-v1", {"scale_observations": True}, "normalize_observations and scale_observations: expected one"),
    ]:
        with pytest.raises(TensorqError, match=message):
            tq.train(env, normalize_observations=True, steps=2_000, progress="quiet", **settings)
