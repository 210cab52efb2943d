"""A run's life in its folder: what a failure leaves, what a resume may touch, and what is told."""

from __future__ import annotations

import dataclasses
import gc
import hashlib
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import tensorflow as tf
from threadpoolctl import threadpool_info, threadpool_limits

import tensorq as tq
from forked import in_a_fork
from tensorq import preflight, trainer
from tensorq.agents.trained import TrainedAgent
from tensorq.config import Config
from tensorq.envs.description import describe
from tensorq.errors import TensorqError
from tensorq.evaluation.load import evaluate_run
from tensorq.evaluation.play import Episodes
from tensorq.events import Audience, Evaluated, Event, Finished, Message, Progress, Started
from tensorq.loops.loop import require_fitting
from tensorq.networks.numpy_network import num_params
from tensorq.presets import resolve
from tensorq.process import import_tensorflow
from tensorq.runs import checkpoint, directory
from tensorq.runs.directory import RunDirectory
from tensorq.runs.freeing import after_freeing, free_replay, replay_bytes
from tensorq.runs.saved import SavedRun
from tensorq.runs.tables import read_table
from tensorq.show import film
from tensorq.stopped import Stopped
from tensorq.training import Training
from test_load import make_run

CONFIG = Config(
    env="mine", steps=900, hidden_sizes=(4,), batch_size=4, learning_starts_steps=100, log_period_steps=100,
    checkpoint_period_steps=300, evaluation_period_steps=0, evaluation_max_episode_steps=20,
)  # fmt: skip


def make() -> gym.Env:
    return gym.make("CartPole-v1")


@pytest.fixture(scope="module")
def told() -> list[Event | int]:
    """What the finished run told; after each Progress how many rows of metrics.csv could be read just then."""
    return []


def process() -> dict[str, Any]:
    """What a run might leave changed in the process that it is in."""
    names = ("SDL_VIDEODRIVER", "TF_CPP_MIN_LOG_LEVEL")
    wakeup = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(wakeup)
    return {
        "environment": {name: os.environ.get(name) for name in names},
        "signals": [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)],
        "wakeup": wakeup,
        "blas": [found["num_threads"] for found in threadpool_info() if found["user_api"] == "blas"],
        "garbage": (gc.isenabled(), gc.get_freeze_count() > 10_000),
        "path": list(sys.path),
        "folder": os.getcwd(),
        "tensor_float_32": tf.config.experimental.tensor_float_32_execution_enabled(),
    }


@pytest.fixture(scope="module")
def processes() -> list[dict[str, Any]]:
    """The state of the process before the finished run, when it started, and after it."""
    return []


@pytest.fixture(scope="module")
def finished(
    tmp_path_factory: pytest.TempPathFactory, told: list[Event | int], processes: list[dict[str, Any]]
) -> Iterator[Path]:
    run = tmp_path_factory.mktemp("trainer") / "run"

    def observe(event: Event) -> None:
        told.append(event)
        if isinstance(event, Started):
            processes.append(process())
        if isinstance(event, Progress):
            told.append((run / "metrics.csv").read_text().count("\n") - 1)

    gc.freeze()
    with pytest.MonkeyPatch.context() as patch, threadpool_limits(2, user_api="blas"):
        for name in process()["environment"]:
            patch.delenv(name, raising=False)
        processes.append(process())
        trainer.train(CONFIG, make=make, run_dir=run, observers=[observe])
        processes.append(process())
    gc.unfreeze()
    yield run


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished run."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


def scored(mean: float, episodes: int) -> Episodes:
    """What an evaluation gives."""
    return Episodes(np.full(episodes, mean), np.ones(episodes, np.int64), 0)


class Dead(BaseException):
    """As if the process had been killed: nothing is saved."""


def training(path: Path, told: list[Event], config: Config = CONFIG, began: float = 0.0) -> Training:
    environment = describe("CartPole-v1") if config.env == "mine" else describe(config.env)
    return Training(config, environment, None, RunDirectory(path), Audience([told.append]), began)


def test_a_run_leaves_the_process_as_it_was(finished: Path, processes: list[dict[str, Any]]) -> None:
    before, started, after = processes
    assert after == before
    assert before["garbage"] == (True, True) and before["tensor_float_32"] and not started["tensor_float_32"]
    assert set(before["blas"]) == {2} and set(started["blas"]) == {1}
    assert started["signals"] != before["signals"] and started["environment"]["TF_CPP_MIN_LOG_LEVEL"] == "3"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_process_forked_from_one_that_trained_may_learn_tables_alone(finished: Path, tmp_path: Path) -> None:
    def train() -> str:
        with pytest.raises(TensorqError, match="forked from one in which TensorFlow .*get_context.'spawn'") as caught:
            trainer.train(CONFIG, make=make, run_dir=tmp_path / "run")
        trainer.train(resolve("FrozenLake-v1", "qtable", steps=300), run_dir=tmp_path / "table")
        return str(caught.value)

    assert "\n" not in in_a_fork(train) and sorted(os.listdir(tmp_path)) == ["table"]


def contents(run: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in run.iterdir() if file.suffix in (".json", ".csv")}


def test_rows_can_be_read_at_every_stop(finished: Path, told: list[Event | int]) -> None:
    assert [each for each in told if isinstance(each, int)] == list(range(9))  # those of the stops before


def test_ten_episodes_do_not_decide_whether_it_is_solved(finished: Path) -> None:
    result = directory.read_result(finished) or {}
    assert (result["best"]["episodes"], result["solved"]) == (10, None)
    assert (result["seconds_to_solved"], result["steps_to_solved"]) == (None, None)


@pytest.mark.parametrize(("episodes", "mean", "solved"), [(99, 500, None), (100, 475, True), (100, 474.9, False)])
def test_a_hundred_episodes_do(tmp_path: Path, episodes: int, mean: float, solved: bool | None) -> None:
    one = training(tmp_path, [])
    record, goal = one._record, one.environment.solved_return
    assert record.solved(goal) is None
    assert record.evaluated(mean, episodes) and record.solved(goal) is solved


def test_the_first_time_that_it_was_solved_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = training(tmp_path, [])
    monkeypatch.setattr(one._checkpoints, "save_best", lambda *_: None)
    for steps, mean in ((1_000, 400.0), (2_000, 480.0), (3_000, 500.0)):
        loop: Any = SimpleNamespace(evaluate=lambda _, mean=mean: scored(mean, 100), steps=steps)
        loop.updates, loop.kept = 0, lambda: {}
        one._evaluate(loop, lambda: False)
    assert (one._record.steps_to_solved, one._record.best and one._record.best["steps"]) == (2_000, 3_000)


@pytest.mark.parametrize("settings", [{}, {"algorithm": "qtable"}], ids=["dqn", "table"])
def test_an_environment_that_can_exist_once_is_made_once_and_resumed_exactly(
    tmp_path: Path, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Only(Unmoved):
        made = closed = 0
        seeds: list[Any] = []

        def __init__(self) -> None:
            Only.made += 1
            super().__init__()
            self.observation_space = gym.spaces.Discrete(3)

        def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
            Only.seeds.append(seed)
            return 0, super().reset(seed=seed)[1]

        def step(self, action: Any) -> Any:
            return 1, *super().step(action)[1:]

        def close(self) -> None:
            Only.closed += 1

    if settings:
        settings = {**settings, "replay_ratio": 1, "learning_starts_steps": Config.learning_starts_steps}
    config = dataclasses.replace(
        CONFIG, **settings, single_environment=True, evaluation_period_steps=200, evaluation_episodes=3
    )
    trainer.train(config, make=Only, run_dir=tmp_path / "whole")
    assert (Only.made, Only.closed) == (1, 1)
    assert not (tmp_path / "whole" / "video.gif").exists()
    # Four evaluations of three episodes and the last one, each followed by training's own reset.
    assert sum(seed is not None for seed in Only.seeds) >= 5 * (3 + 1)

    def stop(event: Event) -> None:
        if isinstance(event, Progress) and event.steps == 500:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(Stopped):
        trainer.train(config, make=Only, run_dir=tmp_path / "parts", observers=[stop])
    trainer.resume(SavedRun(tmp_path / "parts", make_env=Only))
    assert (Only.made, Only.closed) == (3, 3)
    for name in ("metrics.csv", "episodes.csv"):
        assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    with pytest.raises(TensorqError, match="num_envs: received 2, expected 1 with single_environment"):
        trainer.train(dataclasses.replace(config, num_envs=2), make=Only, run_dir=tmp_path / "two")
    with pytest.raises(TensorqError, match="is a run already"):
        trainer.train(config, make=Only, run_dir=tmp_path / "parts")
    assert (Only.made, Only.closed) == (5, 5)
    with directory.open(tmp_path / "parts"), pytest.raises(TensorqError, match="is training in"):
        trainer.resume(SavedRun(tmp_path / "parts", make_env=Only), steps=2_000)
    assert Only.made == 5


@pytest.mark.parametrize("single", [True, False])
@pytest.mark.parametrize("table", [True, False], ids=["table", "dqn"])
def test_environments_are_closed_where_a_loop_cannot_begin(tmp_path: Path, table: bool, single: bool) -> None:
    """Their second reset fails, which a loop makes."""

    class Twice(Rows):
        open = 0

        def __init__(self) -> None:
            Twice.open += 1
            self.resets = 0

        def reset(self, **keywords: Any) -> Any:
            self.resets += 1
            if self.resets == 2:
                raise RuntimeError("no second time")
            return super().reset(**keywords)

        def close(self) -> None:
            Twice.open -= 1

    config = dataclasses.replace(TABLE if table else CONFIG, single_environment=single)
    with pytest.raises(TensorqError, match="raised RuntimeError: no second time"):
        trainer.train(config, make=Twice, run_dir=tmp_path / "run")
    assert Twice.open == 0 and not (tmp_path / "run").exists()


def test_a_run_of_ones_own_says_why_it_has_no_video(told: list[Event | int], finished: Path) -> None:
    assert (
        Message("no video: the environment function's environment has no render_mode='rgb_array': make it with that")
        in told
    )
    assert [event.needs for event in told if isinstance(event, Started)] == [("make_env",)]


def test_a_run_of_ones_own_gets_a_video_if_it_can(tmp_path: Path) -> None:
    trainer.train(CONFIG, make=lambda: Unmoved("rgb_array"), run_dir=tmp_path / "run")
    assert (tmp_path / "run" / "video.gif").exists()


def test_a_vector_environment_that_has_another_number_says_so(tmp_path: Path) -> None:
    told: list[Event] = []
    config = dataclasses.replace(CONFIG, num_envs=2)
    vector = partial(gym.make_vec, "CartPole-v1", num_envs=4)
    trainer.train(config, make=vector, run_dir=tmp_path / "run", observers=[told.append])
    assert Message("num_envs is 4, the size of the vector environment, not 2") in told
    assert any("is a VectorEnv, and a video shows one" in getattr(event, "text", "") for event in told)


def test_seconds_count_from_the_call_and_what_earlier_processes_took(tmp_path: Path) -> None:
    one = training(tmp_path, [], began=time.perf_counter() - 5)
    one._before.elapsed_seconds = 60
    one._count(SimpleNamespace(steps=0, updates=0))  # type: ignore[arg-type]
    assert 65 <= one._record.elapsed_seconds < 70  # and not this process's age


@pytest.mark.parametrize(("overlap", "expected"), [(False, 1), (True, 2)])
def test_tensorflow_runs_acting_beside_overlapped_learning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overlap: bool, expected: int
) -> None:
    """With one call at a time, acting would wait until learning has ended."""

    def told(threads: int, calls: int) -> None:
        raise TensorqError(f"{calls} at once")

    monkeypatch.setattr("tensorq.process.import_tensorflow", told)
    with pytest.raises(TensorqError, match=f"^{expected} at once"):
        trainer.train(Config(loop="host", overlap_learning=overlap), run_dir=tmp_path / "run")


def test_tensorflow_that_runs_one_call_at_a_time_already_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    threads = tf.config.threading.get_intra_op_parallelism_threads()
    monkeypatch.setattr(tf.config.threading, "get_inter_op_parallelism_threads", lambda: 1)
    tf.constant(0)  # it runs: its numbers of threads are fixed
    assert import_tensorflow(threads) is None
    assert "one call at a time already" in (import_tensorflow(threads, calls=2) or "")


def test_a_signal_is_told_at_once_and_ends_a_run_that_has_not_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Event] = []
    monkeypatch.setattr("tensorq.process.import_tensorflow", lambda threads, calls: signal.raise_signal(signal.SIGTERM))
    with pytest.raises(Stopped) as caught:
        trainer.train(CONFIG, make=make, run_dir=tmp_path / "a run", observers=[told.append])
    assert told == [Message(text, "activity") for text in ("loading TensorFlow ...", "stopping ...")]
    assert str(caught.value) == f"stopped; tq.resume('{tmp_path}/a run', make_env=make_env) continues from step 0"
    assert (tmp_path / "a run" / "config.json").exists()


def test_a_stop_ends_a_loop_over_seeds_and_says_how_to_go_on() -> None:
    stopped = Stopped(Path("a run"), 1_000, signal.SIGINT)
    assert isinstance(stopped, KeyboardInterrupt) and (stopped.steps, stopped.exit_code) == (1_000, 130)
    assert str(stopped) == (
        "stopped; `tensorq resume 'a run'`, or tq.resume('a run') in Python, continues from step 1,000; "
        "`tensorq plot 'a run'` draws its curve so far"
    )


COMPILED: dict[str, Any] = {"env": "CartPole-v1", "preset": "dqn"}
PQN: dict[str, Any] = {"env": "CartPole-v1", "preset": "pqn", "steps": 10**12}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hidden_sizes": (1,) * 101}, "hidden_sizes: received 101 layers, expected at most 100"),
        ({"epsilon_spread": 10.0}, "epsilon_spread 10 is for several environments, .* or leave epsilon_spread at 1"),
        ({"stagger_steps": 9}, "stagger_steps 9 is for several environments, .* or leave stagger_steps at 0"),
        ({"num_envs": 10_001}, "num_envs: received 10001, expected at most 10,000 environments in the host loop"),
        (
            {"update_period_steps": 2 * 10**6, "steps": 10**9},
            "update_period_steps: received 2000000, .* gives more than 1,000,000 updates at once",
        ),
        ({"replay_capacity": 10**12}, "replay_capacity 1,000,.* of memory, and .* are available"),
        ({"num_atoms": 10**5, "head": "quantile", "preset": "dqn"}, "num_atoms 100,000 needs .* of memory"),
        ({"hidden_sizes": (10**6, 10**6)}, "hidden_sizes 1000000 1000000 need .* of memory"),
        (COMPILED | {"num_envs": 10**9, "replay_capacity": 10**9, "steps": 10**10}, "num_envs 1,000,000,000 needs"),
        (COMPILED | {"batch_size": 10**9, "replay_capacity": 10**9}, "batch_size 1,000,000,000 needs .* of memory"),
        (PQN | {"rollout_length": 10**9}, "rollout_length 1,000,000,000 needs .* of memory"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else "",
)
def test_what_fits_nowhere_is_refused_by_its_name_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], message: str
) -> None:
    monkeypatch.setattr(preflight, "available_bytes", lambda: 2**36)
    began = time.perf_counter()
    with pytest.raises(TensorqError, match=message):
        if "env" in settings:
            config, maker = (
                resolve(settings["env"], **{name: settings[name] for name in settings if name != "env"}),
                None,
            )
        else:
            config, maker = dataclasses.replace(CONFIG, **settings), make
        trainer.train(config, make=maker, run_dir=tmp_path / "run")
    assert time.perf_counter() - began < 1 and not [*tmp_path.iterdir()]


def test_a_function_that_returns_one_environment_again_is_refused(tmp_path: Path) -> None:
    env = make()
    with pytest.raises(TensorqError, match="returned the same CartPoleEnv again, expected a new one each time: make i"):
        trainer.train(CONFIG, make=lambda: env, run_dir=tmp_path / "run")
    assert not [*tmp_path.iterdir()]


def test_fewer_updates_than_the_host_loop_makes_at_once_are_refused(tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, num_envs=64, steps=1_020, learning_starts_steps=1_000)
    with pytest.raises(TensorqError, match="steps: received 1020, which give 20 updates, but the host loop makes 6"):
        trainer.train(config, make=make, run_dir=tmp_path / "run")
    assert not [*tmp_path.iterdir()]


def test_the_best_agent_of_a_future_that_is_given_up_is_not_kept(tmp_path: Path) -> None:
    """A run that dies at step 500 goes back to its checkpoint of step 300, and there is given another end."""

    def die(event: Event) -> None:
        if isinstance(event, Progress) and event.steps == 500:
            raise Dead

    run, config = tmp_path / "run", dataclasses.replace(CONFIG, evaluation_period_steps=50, seed=1)
    best = run / "checkpoints" / "best.safetensors"
    with pytest.raises(Dead):
        trainer.train(config, make=make, run_dir=run, observers=[die])
    assert checkpoint.load(best)[1]["steps"] > 310
    trainer.resume(SavedRun(run, make_env=make), steps=310)
    whole = trainer.train(dataclasses.replace(config, steps=310), make=make, run_dir=tmp_path / "whole")
    assert best.read_bytes() == (whole / "checkpoints" / "best.safetensors").read_bytes()
    assert checkpoint.load(best)[1] == (directory.read_result(run) or {})["best"]


def test_a_vector_environment_of_another_size_is_not_gone_on_with(tmp_path: Path) -> None:
    run = trainer.train(CONFIG, make=partial(gym.make_vec, "CartPole-v1", num_envs=2), run_dir=tmp_path / "run")
    before = contents(run)
    with pytest.raises(TensorqError, match="started with 2 environments, and make_env returned .* of 3: give one of 2"):
        trainer.resume(SavedRun(run, make_env=partial(gym.make_vec, "CartPole-v1", num_envs=3)), steps=1_000)
    assert contents(run) == before


def test_another_environment_is_not_gone_on_with_nor_played(run: Path) -> None:
    before = contents(run)
    other = partial(gym.make, "Acrobot-v1")
    message = r"was trained on an environment with observation_space Box.*\(4,\), float32\), and this one has Box"
    with pytest.raises(TensorqError, match=message):
        trainer.resume(SavedRun(run, make_env=other), steps=1_000)
    with pytest.raises(TensorqError, match=message):
        evaluate_run(SavedRun(run, make_env=other), 3)
    assert contents(run) == before


def test_a_run_that_made_no_update_says_so(tmp_path: Path) -> None:
    told: list[Event] = []
    config = dataclasses.replace(CONFIG, episodes=2)
    trainer.train(config, make=make, run_dir=tmp_path / "run", observers=[told.append])
    assert any("nothing was learned" in getattr(event, "text", "") for event in told)


def test_the_last_step_of_a_killed_run_keeps_its_final_return(finished: Path, run: Path) -> None:
    expected = directory.read_result(finished) or {}
    assert expected["final"]["mean_return"] is not None
    (run / "result.json").unlink()
    trainer.resume(SavedRun(run, make_env=make))
    result = directory.read_result(run) or {}
    assert (result["final"], result["best"]) == (expected["final"], expected["best"])


def test_a_resume_that_fails_touches_nothing(run: Path) -> None:
    for path in (run / "checkpoints").glob("step_*"):
        path.write_bytes(b"damaged")
    before = contents(run)
    with pytest.raises(TensorqError, match="no checkpoint of this run can be used"):
        trainer.resume(SavedRun(run, make_env=make), steps=1_000)
    assert contents(run) == before
    shutil.rmtree(run / "checkpoints")
    with pytest.raises(TensorqError, match="has no checkpoint left to continue from"):
        trainer.resume(SavedRun(run, make_env=make), steps=1_000)
    assert contents(run) == before


@pytest.mark.parametrize("table", ["metrics.csv", "episodes.csv"])
def test_a_lost_table_is_not_begun_again(run: Path, table: str) -> None:
    (run / table).unlink()
    before = contents(run)
    with pytest.raises(TensorqError, match=f"{table} is missing: put it back, or train again into another run_dir"):
        trainer.resume(SavedRun(run, make_env=make), steps=1_000)
    assert contents(run) == before


def test_a_run_that_lost_its_checkpoints_does_not_begin_again(run: Path) -> None:
    (run / "result.json").unlink()
    shutil.rmtree(run / "checkpoints")
    rows = (run / "metrics.csv").read_text().splitlines(keepends=True)
    (run / "metrics.csv").write_text("".join(rows[:5]))  # to step 400: the checkpoint of step 300 must have been there
    with pytest.raises(
        TensorqError, match="no checkpoint left to continue from, though it came to step 400: put its che"
    ):
        trainer.resume(SavedRun(run, make_env=make))
    (run / "metrics.csv").write_text("".join(rows[:4]))  # killed, it may be, while that one was written
    told: list[Event] = []
    trainer.resume(SavedRun(run, make_env=make), observers=[told.append])
    assert Message("no checkpoint had been made by step 300: training begins again") in told


def test_a_run_that_was_stopped_can_be_given_an_earlier_end(run: Path) -> None:
    content = directory.read_config(run)
    content["config"]["steps"] = 2_000_000
    directory.write_json(run / "config.json", content)
    (run / "result.json").unlink()
    with pytest.raises(TensorqError, match=r"is at 900 steps and \d+ episodes: give steps \(--steps\) above 900"):
        trainer.resume(SavedRun(run, make_env=make), steps=900)
    told: list[Event] = []
    trainer.resume(SavedRun(run, make_env=make), steps=1_000, observers=[told.append])
    assert Message("the run will end at 1,000 steps instead of 2,000,000") in told
    assert (directory.read_result(run) or {})["steps"] == 1_000


def test_an_error_in_a_saved_setting_names_the_file(run: Path) -> None:
    content = directory.read_config(run)
    content["config"]["gamma"] = "x"
    directory.write_json(run / "config.json", content)
    with pytest.raises(TensorqError, match=r"^in the run's config\.json, gamma: received 'x', expected a number\.$"):
        trainer.resume(SavedRun(run, make_env=make), steps=1_000)


def test_why_there_is_no_best_agent(run: Path) -> None:
    (run / "checkpoints" / "best.safetensors").write_bytes(b"damaged")
    with pytest.raises(TensorqError, match=r"best.safetensors is damaged.*; the last agent can be used: --which last"):
        tq.load(run)
    (run / "checkpoints" / "best.safetensors").unlink()
    with pytest.raises(TensorqError, match=r"best.safetensors is missing: put it back; the last agent .* --which last"):
        tq.load(run)
    rows = (run / "metrics.csv").read_text().splitlines(keepends=True)
    (run / "metrics.csv").write_text("".join(rows[:5]))  # the only evaluation was at the end
    with pytest.raises(
        TensorqError,
        match="kept no agent yet: no greedy evaluation gave a finite .*; the last agent can be used",
    ):
        tq.load(run)
    shutil.rmtree(run / "checkpoints")
    with pytest.raises(
        TensorqError, match="kept no agent yet: no greedy evaluation gave a finite return before it stopped.$"
    ):
        tq.load(run)


def test_a_checkpoint_that_another_config_would_not_make_is_not_gone_on_with(run: Path) -> None:
    content = directory.read_config(run)
    content["config"]["hidden_sizes"] = [5]
    directory.write_json(run / "config.json", content)
    before = contents(run)
    # 4 * 5 weights and 5 * 2 more, or with biases 5 * 5 + 6 * 2
    with pytest.raises(TensorqError, match=r"agent.params, received shape \(30,\), expected shape \(37,\)"):
        trainer.resume(SavedRun(run, make_env=make), steps=1_000)
    assert contents(run) == before

    fresh, path = {"world": np.zeros((2, 4)), "replay.blocks": np.zeros((0, 24))}, Path("step.safetensors")
    require_fitting(fresh | {"replay.blocks": np.zeros((3, 24))}, fresh, path)
    for other, message in [
        ({"world": np.zeros((2, 4))}, "replay.blocks, received nothing, expected shape"),
        (fresh | {"memory": np.zeros(1)}, r"memory, received shape \(1,\), expected nothing"),
        (fresh | {"replay.blocks": np.zeros((3, 28))}, r"replay.blocks, received shape \(28,\), expected"),
    ]:
        with pytest.raises(TensorqError, match=message):
            require_fitting(other, fresh, path)


def test_a_resume_with_nothing_to_do_is_told_which_limit_to_raise(run: Path) -> None:
    episodes = (directory.read_result(run) or {})["episodes"]
    before = contents(run)
    for limits, advice in (
        ({}, r"steps \(--steps\) above 900."),
        ({"steps": 800}, r"steps \(--steps\) above 900."),
        ({"steps": 1_000, "episodes": 3}, rf"episodes \(--episodes\) above {episodes} \(0 is no limit\)."),
        ({"episodes": 3}, rf"steps \(--steps\) above 900 and episodes \(--episodes\) above {episodes} .*"),
    ):
        with pytest.raises(TensorqError, match=f"is at 900 steps and {episodes} episodes: give {advice}$"):
            trainer.resume(SavedRun(run, make_env=make), **limits)
    (run / "result.json").unlink()  # killed just before it was written: only the checkpoint knows
    with pytest.raises(TensorqError, match=r"give episodes \(--episodes\)"):
        trainer.resume(SavedRun(run, make_env=make), steps=1_000, episodes=3)
    del before["result.json"]
    assert contents(run) == before


class Wandering(gym.Wrapper):
    """Changes the working directory where a simulator might."""

    def __init__(self, folder: Path) -> None:
        os.chdir(folder)
        super().__init__(gym.make("CartPole-v1"))
        self.folder = folder

    def reset(self, **keywords: Any) -> tuple[Any, dict]:
        os.chdir(self.folder)
        return self.env.reset(**keywords)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict]:
        os.chdir(self.folder.parent)
        return self.env.step(action)


@pytest.mark.parametrize("given", ["run", None])
def test_an_environment_that_changes_the_folder_tears_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str | None
) -> None:
    here, elsewhere = tmp_path / "here", tmp_path / "else" / "where"
    here.mkdir(), elsewhere.mkdir(parents=True)
    monkeypatch.chdir(here)  # and back, when the test is over
    settings = {**dataclasses.asdict(CONFIG), "steps": 400, "seed": 3}
    del settings["env"]
    run = tq.train(partial(Wandering, elsewhere), run_dir=given, progress="quiet", **settings)
    assert run.path == here / (given or "runs/custom-dqn-seed3") and Path.cwd() != here
    assert run.result["steps"] == 400 and (run.path / "checkpoints" / "step_000000400.safetensors").exists()
    assert sorted(tmp_path.rglob("*.json")) == [run.path / "config.json", run.path / "result.json"]
    os.chdir(run.path.parent)
    again = tq.open_run(run.path.name)
    os.chdir(elsewhere)
    assert again.path == run.path and again.agent().act([0.0, 0.0, 0.0, 0.0]) in (0, 1)


def test_a_run_that_fails_before_its_first_checkpoint_says_how_to_go_on(tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, loss="mse", learning_rate=1e18, learning_rate_final=1e18)
    with pytest.raises(TensorqError, match=rf"not finite .* train again, into another .* removing {tmp_path}/run"):
        trainer.train(config, make=make, run_dir=tmp_path / "run")


def test_a_network_function_is_kept_by_its_name(tmp_path: Path) -> None:
    def build_wide(space: gym.Space, num_actions: int) -> Any:
        import keras

        return keras.Sequential([keras.Input(space.shape), keras.layers.Dense(num_actions)])

    def stop(event: Event) -> None:
        raise tq.StopTraining

    run = trainer.train(CONFIG, make=make, network=build_wide, run_dir=tmp_path / "run", observers=[stop])
    assert directory.read_config(run)["network_name"].endswith("build_wide")


def test_a_network_function_that_fails_leaves_no_folder(tmp_path: Path) -> None:
    def network(space: gym.Space, num_actions: int) -> Any:
        raise ZeroDivisionError

    for run in (tmp_path / "run", tmp_path):
        with pytest.raises(
            TensorqError, match=r"the network function raised ZeroDivisionError \(.*test_trainer.py, line"
        ):
            trainer.train(CONFIG, make=make, network=network, run_dir=run)
        assert not [*tmp_path.iterdir()]


class FromThree(gym.Env):
    """Ends at once; action 1 pays the state's number, which is 3, 4 or 5."""

    observation_space, action_space = gym.spaces.Discrete(3, start=3), gym.spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.state = int(self.np_random.integers(3, 6))
        return self.state, {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return self.state, float(self.state * action), True, False, {}


def test_states_reach_a_network_of_ones_own_as_the_space_has_them(tmp_path: Path) -> None:
    def network(space: gym.Space, num_actions: int) -> Any:
        import keras

        return keras.Sequential([keras.Input((), dtype="int32"), keras.layers.Embedding(6, num_actions)])

    told: list[Event] = []
    config = dataclasses.replace(CONFIG, learning_rate=0.1, learning_rate_final=0.1, evaluation_period_steps=300)
    run = trainer.train(config, make=FromThree, network=network, run_dir=tmp_path / "run", observers=[told.append])
    assert Message("the network gets states numbered as in the space, from 3 to 5, not from 0") in told
    agent = tq.load(run, network=network)  # rows 0 to 2 of its six belong to no state
    np.testing.assert_allclose(agent.q_values([3, 4, 5]), [[0, 3], [0, 4], [0, 5]], atol=0.1)
    assert evaluate_run(SavedRun(run, make_env=FromThree, network=network), 20).mean > 3.5
    assert directory.read_result(run)["final"]["mean_return"] > 3.5  # type: ignore[index]


def test_checkpoints_that_cut_episodes_are_warned_of(tmp_path: Path, finished: Path, told: list[Event | int]) -> None:
    texts = [event.text for event in told if isinstance(event, Message)]
    assert [
        text for text in texts if "reset_period_steps 1000 (--reset-period-steps) or more" in text
    ]  # twice CartPole's 500
    quiet: list[Event] = []
    cases = ((1, 1_000, 9_000, 0), (2, 2_000, 9_000, 0), (2, 500, 500, 0), (2, 1_999, 9_000, 1))
    for num_envs, period, steps, warned in cases:
        config = dataclasses.replace(CONFIG, num_envs=num_envs, checkpoint_period_steps=period, steps=steps)
        training(tmp_path, quiet, config)._warn_of_cut_episodes()
        assert len(quiet) == warned
        config = dataclasses.replace(config, checkpoint_period_steps=1, reset_period_steps=period, loop="host")
        quiet.clear()
        training(tmp_path, quiet, config)._warn_of_cut_episodes()
        assert len(quiet) == warned
        quiet.clear()


class Unmoved(gym.Env):
    """One step, and a picture."""

    observation_space, action_space = gym.spaces.Box(-1, 1, (4,)), gym.spaces.Discrete(2)
    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode = render_mode

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        return np.zeros(4, np.float32), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict]:
        return np.zeros(4, np.float32), 1.0, True, False, {}

    def render(self) -> Any:
        return np.zeros((8, 8, 3), np.uint8)


class WithoutMode(Unmoved):
    def __init__(self) -> None:
        self.render_mode = None


class Blind(Unmoved):
    def render(self) -> Any:
        return None


class Floating(Unmoved):
    def render(self) -> Any:
        return np.zeros((8, 8, 3))


class Broken(Unmoved):
    def render(self) -> Any:
        raise RuntimeError("no\nscreen")


class Timeless(Unmoved):
    metadata = {"render_modes": ["rgb_array"], "render_fps": None}  # noqa: RUF012


@pytest.mark.parametrize(
    ("env", "message"),
    [
        (WithoutMode, "no video: environment 'Shown-v0' takes no render_mode"),
        (Blind, "no video: rendering Shown-v0 gave NoneType, expected an image"),
        (Floating, "no video: rendering Shown-v0 gave float64 (8, 8, 3), expected an image, a uint8 array"),
        (Broken, "no video: Shown-v0 raised RuntimeError: no screen ("),
        (Timeless, None),
    ],
)
def test_a_run_is_over_whatever_its_environment_draws(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, env: Callable[..., gym.Env], message: str | None
) -> None:
    spec = gym.envs.registration.EnvSpec("Shown-v0", entry_point=env, disable_env_checker=True)
    monkeypatch.setitem(gym.registry, "Shown-v0", spec)
    monkeypatch.setattr(Unmoved, "observation_space", describe("CartPole-v1").native_observation_space)  # as make_run
    config = dataclasses.replace(CONFIG, env="Shown-v0")
    size = num_params(Unmoved.observation_space, 2, config)
    make_run(tmp_path / "run", np.zeros(size, np.float32), env="Shown-v0", hidden_sizes=(4,))
    told: list[Event] = []
    training(tmp_path / "run", told, config)._show()
    texts = [event.text for event in told if isinstance(event, Message)]
    assert [text for text in texts if text.startswith("no curve: ")]  # nothing was trained
    videos = [text for text in texts if text.startswith("no video: ")]
    assert (tmp_path / "run" / "video.gif").exists() == (message is None) == (not videos)
    assert message is None or videos[0].startswith(message)


class Counting(Unmoved):
    """Counts its steps, pays as many and ends after 5; its picture is as bright as it is old."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        self.age = 0
        return np.zeros(4, np.float32), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict]:
        self.age += 1
        return np.full(4, self.age, np.float32), self.age, self.age == 5, False, {}

    def render(self) -> Any:
        return np.full((8, 8, 3), self.age, np.uint8)


@pytest.mark.parametrize(("stride", "steps"), [(1, [0, 1, 2, 3, 4, 5]), (2, [0, 2, 4, 5]), (5, [0, 5]), (9, [0, 5])])
def test_pictures_belong_to_their_numbers(stride: int, steps: list[int]) -> None:
    agent = TrainedAgent(
        lambda obs: np.stack([obs[:, 0], 2 * obs[:, 1]], axis=1), Counting.observation_space, Counting.action_space
    )
    frames = [*film._frames(Counting(), agent, 1, 0, stride, max_steps=100)]
    assert [frame.step for frame in frames] == [frame.image.getpixel((0, 0))[0] for frame in frames] == steps
    assert [frame.total_return for frame in frames] == [step * (step + 1) / 2 for step in steps]
    assert [frame.q_values.tolist() for frame in frames if frame.q_values is not None] == [[n, 2 * n] for n in steps]
    assert [frame.action for frame in frames] == [0 if step == 0 else 1 for step in steps[:-1]] + [None]


@pytest.mark.parametrize(("loop", "switches"), [("host", {"priority_exponent": 0.5, "n_step": 2}), ("compiled", {})])
def test_a_run_whose_replay_was_freed_fills_a_new_one_before_it_learns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loop: str, switches: dict[str, Any]
) -> None:
    monkeypatch.setattr(Training, "_show", lambda self: None)
    config = dataclasses.replace(CONFIG, env="CartPole-v1", loop=loop, **switches)
    run = trainer.train(config, run_dir=tmp_path / "run")
    obs, before = np.zeros(4), [path.stat().st_size for path in sorted((run / "checkpoints").iterdir())]
    q_values = tq.load(run, "last").q_values(obs)
    assert replay_bytes(SavedRun(run)) > 900 * (4 * 4 + 4 + 4)  # observation, action and reward of 900 steps
    with directory.open(run), pytest.raises(TensorqError, match="is training in"):
        free_replay(SavedRun(run))
    free_replay(SavedRun(run))
    after = [path.stat().st_size for path in sorted((run / "checkpoints").iterdir())]
    assert replay_bytes(SavedRun(run)) == 0 and not (run / "replay.bin").exists()
    assert after[0] == before[0] and after[1] < before[1] and after[2] < before[2]  # the best, and two of steps
    np.testing.assert_array_equal(tq.load(run, "last").q_values(obs), q_values)
    with pytest.raises(TensorqError, match=r"was freed: 100 steps fill a new one .* steps \(--steps\) above 1000"):
        trainer.resume(SavedRun(run), steps=1_000)
    assert (run / "result.json").exists()

    told: list[Event] = []
    trainer.resume(SavedRun(run), steps=1_300, observers=[told.append])
    assert sum(isinstance(event, Message) and "not exact any more" in event.text for event in told) == 1
    table = read_table(run / "metrics.csv")
    steps, updates = table["steps"], table["updates"]
    assert updates[steps == 900] == 800  # learning_starts_steps is 100
    assert updates[steps == 1_000].tolist() == [800] and updates[steps == 1_100] == 900
    assert updates[-1] == 1_100  # those of the 100 steps are not made up for


@pytest.mark.parametrize("name", ["memory.rows", "replay.growing"])
def test_a_replay_of_an_earlier_form_counts_as_freed(run: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Checkpoints of both loops had these tensors; replay.bin is longer than all that is written later."""
    monkeypatch.setattr(Training, "_show", lambda self: None)
    for path in (run / "checkpoints").glob("step_*"):
        tensors, metadata = checkpoint.load(path)
        kept = {each: tensor for each, tensor in tensors.items() if not each.startswith("replay.")}
        checkpoint.save(path, {**kept, name: np.zeros((2, 3))}, metadata)
    (run / "replay.bin").write_bytes(bytes(10**6))
    told: list[Event] = []
    steps = CONFIG.steps + CONFIG.learning_starts_steps + 400
    trainer.resume(SavedRun(run, make_env=make), steps=steps, observers=[told.append])
    assert [
        text for text in texts(told) if "the replay has the form of an earlier version of tensorq: a new one" in text
    ]
    assert (run / "replay.bin").stat().st_size < 10**5
    result = directory.read_result(run) or {}
    assert result["steps"] == steps


def test_updates_wait_again_each_time_that_a_replay_is_freed(tmp_path: Path) -> None:
    def begins(freed: bool, steps: int, refill_steps: int = 0, **settings: int) -> tuple[int, int, int]:
        config = Config(**{"learning_starts_steps": 500, "steps": 9_000} | settings)
        metadata = {"replay_freed": freed, "steps": steps, "refill_steps": refill_steps}
        changed, *rest = after_freeing(config, metadata, tmp_path)
        return changed.learning_starts_steps, rest[0], rest[1]

    assert after_freeing(CONFIG, {"steps": 900}, tmp_path) == (CONFIG, 0, 0)  # a checkpoint of an earlier version
    assert begins(True, 2_000) == (1_000, 500, 500)
    assert begins(False, 3_000, 500) == (1_000, 500, 0)  # a resume of the resumed run
    assert begins(True, 4_000, 500) == (1_500, 1_000, 500)
    assert begins(True, 300) == (800, 300, 500)  # it had not begun to learn
    assert begins(True, 2_000, learning_starts_steps=0) == (64, 64, 64)  # a batch


class Rows(gym.Env):
    """Three steps that pay what `pay` says; its picture and its end can fail."""

    observation_space, action_space = gym.spaces.Discrete(3), gym.spaces.Discrete(2)
    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012
    render_mode = "rgb_array"
    pay: float = 1.0
    at_close: BaseException | None = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[int, dict]:
        super().reset(seed=seed)
        self.age = 0
        return 0, {}

    def step(self, action: int) -> tuple[int, float, bool, bool, dict]:
        self.age += 1
        return self.age % 3, self.pay, self.age == 3, False, {}

    def render(self) -> Any:
        return np.zeros((8, 8, 3), np.uint8)

    def close(self) -> None:
        if self.at_close:
            raise self.at_close


TABLE = Config(
    env="rows", algorithm="qtable", steps=600, evaluation_period_steps=200, evaluation_episodes=2, log_period_steps=100,
    checkpoint_period_steps=300,
)  # fmt: skip


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """No time for pictures."""
    monkeypatch.setattr(Training, "_show", lambda self: None)


def texts(told: list[Event]) -> list[str]:
    return [event.text for event in told if isinstance(event, Message)]


class Long(Rows):
    """Games of 70 steps."""

    def step(self, action: int) -> tuple[int, float, bool, bool, dict]:
        obs, reward, _, truncated, info = super().step(action)
        return obs, reward, self.age == 70, truncated, info


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(("reset_period_steps", "games"), [(0, 0), (100, 6), (300, 8)])
def test_whole_games_are_played_between_resets(tmp_path: Path, reset_period_steps: int, games: int) -> None:
    """Of 600 steps, with a checkpoint every 50: none in 50 steps, one in each 100, four in each 300."""
    config = dataclasses.replace(TABLE, checkpoint_period_steps=50, reset_period_steps=reset_period_steps)
    run = trainer.train(config, make=Long, run_dir=tmp_path / "run")
    assert read_table(run / "episodes.csv")["length"].tolist() == [70] * games


@pytest.mark.parametrize("error", [RuntimeError("display is gone"), SystemExit(1)], ids=repr)
def test_an_environment_that_cannot_be_closed_costs_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    monkeypatch.setattr(Rows, "at_close", error)
    told: list[Event] = []
    run = trainer.train(TABLE, make=Rows, run_dir=tmp_path / "run", observers=[told.append])
    assert {"result.json", "curve.png", "video.gif"} <= {path.name for path in run.iterdir()}
    warnings = [text for text in texts(told) if text.startswith("closing the environment failed: ")]
    assert len(warnings) == 3  # the one that is looked at, those of the run, and the one that is filmed
    assert all(f"{type(error).__name__}: {error} (" in text for text in warnings)
    for use in (
        lambda: evaluate_run(SavedRun(run, make_env=Rows), 2),
        lambda: film.film(SavedRun(run, make_env=Rows)),
    ):
        with pytest.warns(UserWarning, match="closing the environment failed: "):
            use()


class Walked(Rows):
    """An episode of it ends in training alone; it tells how many steps were made of all there are."""

    steps = 0
    at_step: Callable[[int], object] = staticmethod(lambda step: None)

    def step(self, action: int) -> Any:
        Walked.steps += 1
        self.at_step(Walked.steps)
        observed, pay, ended, *rest = super().step(action)
        return observed, pay, ended and self is Walked.training, *rest

    def reset(self, **keywords: Any) -> Any:
        Walked.training = Walked.training or self
        return super().reset(**keywords)

    training: Walked | None = None


@pytest.mark.parametrize("kind", ["dqn", "table"])
@pytest.mark.usefixtures("undrawn")
def test_a_signal_in_an_evaluation_waits_for_no_episode_and_the_run_goes_on_exactly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Of two episodes that end after 50 steps each, side by side, the first begins with step 201 of them all."""
    settings = {"evaluation_max_episode_steps": 50}
    if kind == "dqn":
        settings |= {"algorithm": "dqn", "hidden_sizes": (4,), "batch_size": 4, "learning_starts_steps": 100}
    config = dataclasses.replace(TABLE, **settings)

    def train(run: str, at_step: Callable[[int], object], resumes: bool = False) -> list[Event]:
        told: list[Event] = []
        monkeypatch.setattr(Walked, "steps", 0)
        monkeypatch.setattr(Walked, "training", None)
        monkeypatch.setattr(Walked, "at_step", staticmethod(at_step))
        if resumes:
            trainer.resume(SavedRun(tmp_path / run, make_env=Walked), observers=[told.append])
        else:
            trainer.train(config, run_dir=tmp_path / run, make=Walked, observers=[told.append])
        return told

    told = train("whole", lambda step: None)
    assert Walked.steps == 600 + 3 * 2 * 50
    cut = "2 of 2 greedy episodes were cut after 50 steps and scored as they stood: the limit is "
    assert len([text for text in texts(told) if text.startswith(cut)]) == 1

    with pytest.raises(Stopped) as stopped:
        train("parts", lambda step: step == 205 and signal.raise_signal(signal.SIGINT))
    assert stopped.value.steps == 200 and Walked.steps == 206
    train("parts", lambda step: None, resumes=True)
    for name in ("metrics.csv", "episodes.csv"):
        assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    bests = [list((directory.read_result(tmp_path / run) or {})["best"].items()) for run in ("parts", "whole")]
    assert bests[0] == bests[1]


@pytest.mark.usefixtures("undrawn")
def test_an_evaluation_that_is_no_number_is_never_the_best(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Evaluations at 200, 400 and 600 steps."""
    means = iter([np.nan, np.inf, np.nan, -3.0, np.inf])
    monkeypatch.setattr("tensorq.loops.host.HostLoop.evaluate", lambda self, _: scored(next(means), 2))
    told: list[Event] = []
    run = trainer.train(TABLE, make=Rows, run_dir=tmp_path / "run", observers=[told.append])
    result = directory.read_result(run) or {}
    assert (result["best"], result["final"]["mean_return"], result["solved"]) == (None, None, None)
    assert (run / "metrics.csv").read_text().count(",nan") == 2
    warnings = [text for text in texts(told) if "the greedy evaluation" in text]
    assert (
        len(warnings) == 1
        and "at step 200 gave a mean return of nan: rewards or their sum are not finite" in warnings[0]
    )
    with pytest.raises(TensorqError, match="kept no agent yet: no greedy evaluation gave a finite return"):
        tq.load(run)
    trainer.resume(SavedRun(run, make_env=Rows), steps=1_000)  # a number at 800 is better than none, infinity no better
    assert (directory.read_result(run) or {})["best"] == {"steps": 800, "mean_return": -3.0, "episodes": 2}


def test_a_kept_agent_in_place_of_a_checkpoint_is_refused(run: Path) -> None:
    checkpoints = checkpoint.Checkpoints(run / "checkpoints")
    shutil.copy(checkpoints.best_path, checkpoints.step_paths()[0])
    with pytest.raises(
        TensorqError, match="step_000000900.safetensors holds only an agent, like best.safetensors, not a whole run"
    ):
        trainer.resume(SavedRun(run, make_env=make), steps=1_000)


@pytest.mark.usefixtures("undrawn")
def test_a_best_agent_without_a_number_does_not_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Earlier versions kept those."""
    run = trainer.train(TABLE, make=Rows, run_dir=tmp_path / "run")
    checkpoints = checkpoint.Checkpoints(run / "checkpoints")
    tensors, metadata, _ = checkpoints.latest(print) or ({}, {}, None)
    checkpoints.save(600, tensors, {**metadata, "best": {**metadata["best"], "mean_return": np.nan}})
    monkeypatch.setattr(Rows, "pay", -1.0)
    trainer.resume(SavedRun(run, make_env=Rows), steps=700)
    assert (
        (directory.read_result(run) or {})["best"]["mean_return"]
        == checkpoint.load(checkpoints.best_path)[1]["mean_return"]
        == -3
    )


@pytest.mark.parametrize("drawn", ["tensorq.show.curve.draw_run", "tensorq.show.film.film"])
def test_a_stop_while_pictures_are_drawn_leaves_a_finished_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, drawn: str
) -> None:
    def interrupted(*given: object, **keywords: object) -> None:
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(drawn, interrupted)
    told: list[Event] = []
    with pytest.raises(
        Stopped, match=r"stopped; the run is finished, but not all pictures are drawn: `tensorq plot"
    ) as caught:
        trainer.train(TABLE, make=Rows, run_dir=tmp_path / "run", observers=[told.append])
    assert caught.value.exit_code == 130
    assert isinstance(told[-1], Finished) and told[-1].result["steps"] == 600
    assert (directory.read_result(tmp_path / "run") or {})["finished"]


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("kind", [Progress, Evaluated])
def test_an_observer_that_raises_loses_nothing(tmp_path: Path, kind: type) -> None:
    def broken(event: Event) -> None:
        if isinstance(event, kind) and event.steps >= 400:
            raise ValueError("no such column")

    whole = trainer.train(TABLE, make=Rows, run_dir=tmp_path / "whole")
    message = (
        r"the observer .*broken raised ValueError: no such column \(.*, line \d+\); the run is saved: .* from step 400"
    )
    with pytest.raises(TensorqError, match=message):
        trainer.train(TABLE, make=Rows, run_dir=tmp_path / "parts", observers=[broken])
    parts = trainer.resume(SavedRun(tmp_path / "parts", make_env=Rows))
    for name in ("metrics.csv", "episodes.csv"):
        assert (parts / name).read_bytes() == (whole / name).read_bytes()


def test_a_signal_that_comes_when_training_is_over_leaves_the_pictures_out(tmp_path: Path) -> None:
    def observe(event: Event) -> None:
        if isinstance(event, Progress) and event.steps == 600:
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(Stopped, match="the run is finished") as caught:
        trainer.train(TABLE, make=Rows, run_dir=tmp_path / "run", observers=[observe])
    assert caught.value.exit_code == 143
    assert not (tmp_path / "run" / "curve.png").exists()


def rows_of(run: Path, column: str) -> list[float]:
    return read_table(run / "metrics.csv")[column].tolist()


@pytest.mark.parametrize(("goal", "ends_at", "episodes"), [(3.0, 200, 100), (3.1, 600, 2)], ids=["reached", "missed"])
@pytest.mark.usefixtures("undrawn")
def test_a_run_stops_at_its_goal(tmp_path: Path, goal: float, ends_at: int, episodes: int) -> None:
    config = dataclasses.replace(TABLE, stop_return=goal)
    run = trainer.train(config, make=Rows, run_dir=tmp_path / "run")
    result = directory.read_result(run) or {}
    assert (result["steps"], result["best"]["episodes"]) == (ends_at, episodes)
    reason = "the mean return of 100 greedy episodes, 3, reached stop_return 3"
    assert result["stopped"] == (reason if ends_at == 200 else None)


@pytest.mark.usefixtures("undrawn")
def test_a_goal_is_decided_by_a_hundred_episodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two of 4 reach a goal of 3.5, and a hundred of 3 to 4 do not."""
    played: list[int] = []

    def returns(envs: Any, q_values: Any, seeds: list[int], most_steps: int) -> Episodes:
        played.append(len(seeds))
        return Episodes(np.full(len(seeds), 4.0 if len(seeds) == 2 else 3.0), np.zeros(len(seeds)), 0)

    monkeypatch.setattr("tensorq.evaluation.play.play_episodes", returns)
    run = trainer.train(dataclasses.replace(TABLE, stop_return=3.5), make=Rows, run_dir=tmp_path / "run")
    assert played == [2, 98] * 3
    result = directory.read_result(run) or {}
    assert (result["steps"], result["stopped"]) == (600, None)
    # 2 * 4 + 98 * 3 = 302 of 100 episodes
    assert result["best"] == {"steps": 600, "mean_return": 3.02, "episodes": 100}


@pytest.mark.usefixtures("undrawn")
def test_a_run_that_reached_its_goal_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = dataclasses.replace(TABLE, stop_return=3.0)
    run = trainer.train(config, make=Rows, run_dir=tmp_path / "run")
    trainer.resume(SavedRun(run, make_env=Rows))
    result = directory.read_result(run) or {}
    assert (result["steps"], rows_of(run, "steps")) == (400, [100, 200, 300, 400])
    assert result["stopped"]
    (run / "result.json").unlink()  # killed before it was written: the run had stopped there
    trainer.resume(SavedRun(run, make_env=Rows))
    assert directory.read_result(run) == {
        **result,
        **{name: (directory.read_result(run) or {})[name] for name in CLOCK},
    }
    monkeypatch.setattr(Rows, "pay", 0.0)

    def die(event: Event) -> None:
        if isinstance(event, Progress):
            raise Dead

    with pytest.raises(Dead):  # a run that was told to go on and dies at once is told no more
        trainer.resume(SavedRun(run, make_env=Rows), observers=[die])
    trainer.resume(SavedRun(run, make_env=Rows))
    assert ((directory.read_result(run) or {})["steps"], (directory.read_result(run) or {})["stopped"]) == (600, None)


CLOCK = ("seconds", "steps_per_second", "process_seconds")


@pytest.mark.parametrize(
    ("kind", "steps", "rows"), [(Message, 0, [0]), (Started, 0, [0]), (Progress, 100, [100]), (Finished, 600, None)]
)
def test_an_observer_ends_a_run(tmp_path: Path, kind: type, steps: int, rows: list[int] | None) -> None:
    told: list[Event] = []

    def stop(event: Event) -> None:
        if isinstance(event, kind):
            raise tq.StopTraining("enough")

    config = dataclasses.replace(TABLE, num_envs=2)
    maker = partial(gym.vector.SyncVectorEnv, [Rows] * 4) if kind is Message else Rows  # which gets a message at once
    run = trainer.train(config, make=maker, run_dir=tmp_path / "run", observers=[stop, told.append])
    result = directory.read_result(run) or {}
    assert (result["steps"], result["stopped"]) == (steps, None if kind is Finished else "enough")
    assert isinstance(told[-1], Finished) and (run / "curve.png").exists()
    if rows:
        assert (rows_of(run, "steps"), rows_of(run, "evaluation_return")) == (rows, [3.0])
        trainer.resume(SavedRun(run, make_env=maker))
        assert rows_of(run, "steps")[-1] == 600


@pytest.mark.usefixtures("undrawn")
def test_a_run_begins_with_the_kept_parameters_of_another(tmp_path: Path) -> None:
    first = trainer.train(TABLE, make=Rows, run_dir=tmp_path / "first")
    best = first / "checkpoints" / "best.safetensors"
    expected = checkpoint.load(best)[0]["agent.params"]
    assert expected.any()

    def stop(event: Event) -> None:
        raise tq.StopTraining

    config = dataclasses.replace(TABLE, seed=5, num_envs=2, gamma=0.5)
    run = trainer.train(config, make=Rows, run_dir=tmp_path / "run", init_from=first, observers=[stop])
    assert directory.read_config(run)["init_from"] == {
        "path": str(best), "sha256": hashlib.sha256(best.read_bytes()).hexdigest()
    }  # fmt: skip
    tensors = checkpoint.load(next((run / "checkpoints").glob("step_*")))[0]
    assert tensors["agent.params"].tolist() == expected.tolist()
    assert (tensors["agent.updates"], tensors["steps"]) == (0, 0)

    whole = trainer.train(config, make=Rows, run_dir=tmp_path / "whole", init_from=first)

    def die(event: Event) -> None:
        if isinstance(event, Progress):
            raise Dead

    with pytest.raises(Dead):
        trainer.train(config, make=Rows, run_dir=tmp_path / "killed", init_from=first, observers=[die])
    shutil.rmtree(first)
    killed = trainer.resume(SavedRun(tmp_path / "killed", make_env=Rows))
    for name in ("metrics.csv", "episodes.csv", "checkpoints/best.safetensors"):
        assert (killed / name).read_bytes() == (whole / name).read_bytes()
    (killed / "checkpoints" / "initial.safetensors").unlink()
    trainer.resume(SavedRun(killed, make_env=Rows), steps=700)


def test_what_does_not_fit_is_not_begun_with(finished: Path, tmp_path: Path) -> None:
    custom = lambda space, count: None  # noqa: E731
    cases: list[tuple[dict[str, Any], Any, Any, str]] = [
        ({"hidden_sizes": (5,)}, make, None, r"has hidden_sizes \(4,\), this run's has hidden_sizes \(5,\): its param"),
        (
            {"head": "quantile", "num_atoms": 3},
            make,
            None,
            "has head expected, num_atoms 1, this run's has head quantile, num",
        ),
        ({"dueling": True}, make, None, "dueling False, this run's has dueling True"),
        ({}, partial(gym.make, "Acrobot-v1"), None, r"was trained on observations Box.* this run's are Box.*\(6,\)"),
        ({}, make, custom, "has the default network, this run has a network function's network"),
    ]
    for settings, maker, network, message in cases:
        config = dataclasses.replace(CONFIG, **settings)
        with pytest.raises(TensorqError, match=f"init_from: .*{message}"):
            trainer.train(config, make=maker, network=network, run_dir=tmp_path / "run", init_from=finished)
    scaled = dataclasses.replace(CONFIG, scale_observations=True, learning_starts_steps=100, steps=200)

    def within(bound: float) -> Callable[[], gym.Env]:
        class Within(Unmoved):
            observation_space = gym.spaces.Box(-bound, bound, (4,))

        return Within

    other = trainer.train(scaled, make=within(2.0), run_dir=tmp_path / "other")
    message = r"gets observations scaled by the bounds of Box\(-2.0.* this run's by the bounds of Box\(-3.0"
    with pytest.raises(TensorqError, match=f"init_from: .*{message}"):
        trainer.train(scaled, make=within(3.0), run_dir=tmp_path / "run", init_from=other)
    with pytest.raises(TensorqError, match="no_run does not exist; expected the folder of a run"):
        trainer.train(CONFIG, make=make, run_dir=tmp_path / "run", init_from=tmp_path / "no_run")
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("undrawn")
def test_parameters_become_those_of_a_network_and_its_target(finished: Path, tmp_path: Path) -> None:
    """Of a network function, whose size is not known before it has built one, too."""
    sizes = iter([8, 4])

    def network(space: gym.Space, count: int) -> Any:
        import keras

        return keras.Sequential([keras.Input(space.shape), keras.layers.Dense(next(sizes)), keras.layers.Dense(count)])

    def stop(event: Event) -> None:
        raise tq.StopTraining

    params = checkpoint.load(finished / "checkpoints" / "best.safetensors")[0]["agent.params"]
    run = trainer.train(CONFIG, make=make, run_dir=tmp_path / "run", init_from=finished, observers=[stop])
    tensors = checkpoint.load(next((run / "checkpoints").glob("step_*")))[0]
    for name in ("agent.params", "agent.target_params"):
        np.testing.assert_array_equal(tensors[name], params)
    assert not tensors["agent.optimizer.first_moment"].any()

    content = directory.read_config(run)
    directory.write_json(run / "config.json", {**content, "network": "custom"})
    with pytest.raises(TensorqError, match="init_from: the network of that run has 30 parameters, this run's has 58"):
        trainer.train(CONFIG, make=make, network=network, run_dir=tmp_path / "other", init_from=run)
    assert not (tmp_path / "other").exists()

    made: list[gym.Env] = []

    def make_once() -> gym.Env:
        assert not made, "no second one"
        made.append(make())
        return made[0]

    with pytest.raises(TensorqError, match="AssertionError: no second one"):  # when the parameters lie in the folder
        trainer.train(CONFIG, make=make_once, run_dir=tmp_path / "other", init_from=finished)
    assert not (tmp_path / "other").exists()
