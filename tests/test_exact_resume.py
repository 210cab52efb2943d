"""A run that is killed again and again ends with the same weights and tables, to the bit, as one that never was."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from forked import CONTEXT
from tensorq import trainer, training
from tensorq.config import Config
from tensorq.errors import TensorqError
from tensorq.events import Event, Progress
from tensorq.presets import preset_names, resolve
from tensorq.runs import checkpoint, directory
from tensorq.runs.saved import SavedRun
from tensorq.stopped import Stopped

KILLS = [6, pytest.param(20, marks=pytest.mark.learn)]
SMALL: dict[str, Any] = {
    "seed": 3,
    "hidden_sizes": (16,),
    "batch_size": 16,
    "learning_starts_steps": 100,
    "replay_capacity": 1_500,
    "log_period_steps": 500,
    "target_sync_updates": 50,
}


def make_vector() -> gym.vector.VectorEnv:
    return gym.make_vec("CartPole-v1", num_envs=4, vectorization_mode="sync")


def make_chase() -> gym.Env:
    return Chase()


def work(path: Path, config: Config, make: Any, training: Any) -> None:
    """Train, or resume what a killed process left."""

    def observe(event: Event) -> None:
        if isinstance(event, Progress):
            training.set()

    if (path / "config.json").exists():
        trainer.resume(SavedRun(path, make_env=make), observers=[observe])
    else:
        trainer.train(config, make=make, run_dir=path, observers=[observe])


def start(path: Path, config: Config, make: Any) -> tuple[Any, Any]:
    training = CONTEXT.Event()
    process = CONTEXT.Process(target=work, args=(path, config, make, training))
    process.start()
    return process, training


def contents(path: Path) -> dict[str, bytes]:
    """Everything that must not depend on the kills."""
    tensors, _ = checkpoint.load(max((path / "checkpoints").glob("step_*.safetensors")))
    best, _ = checkpoint.load(path / "checkpoints" / "best.safetensors")
    named = {f"last {name}": array.tobytes() for name, array in tensors.items()}
    named |= {f"best {name}": array.tobytes() for name, array in best.items()}
    return named | {name: (path / name).read_bytes() for name in ("metrics.csv", "episodes.csv")}


@pytest.mark.parametrize("kills", KILLS)
@pytest.mark.parametrize(
    ("settings", "make", "most_seconds"),
    [
        ({"loop": "compiled", "steps": 15_000, "checkpoint_period_steps": 3_000}, None, 0.2),
        (
            {"loop": "host", "steps": 2_250, "checkpoint_period_steps": 500, "evaluation_period_steps": 4_000},
            None,
            0.15,
        ),
        ({"loop": "host", "steps": 2_250, "checkpoint_period_steps": 500, "env": "vector"}, make_vector, 0.15),
    ],
    ids=["compiled", "host", "host vector of 4"],
)
def test_kills_change_nothing(
    tmp_path: Path, settings: dict[str, Any], make: Any, most_seconds: float, kills: int
) -> None:
    config = Config(**SMALL | settings | {"steps": kills * settings["steps"]})
    whole, _ = start(tmp_path / "whole", config, make)
    whole.join()
    assert whole.exitcode == 0

    instants, path, early = random.Random(0), tmp_path / "killed", 0
    for kill in range(kills):
        process, training = start(path, config, make)
        if kill % 5:
            assert training.wait(60)
            time.sleep(instants.uniform(0, most_seconds))
        else:  # now and then before training has begun
            time.sleep(instants.uniform(0, 1))
        early += not process.is_alive()
        os.kill(process.pid, signal.SIGKILL)
        process.join()
    assert early == 0, "the run ended before it had been killed so often: make it longer"
    process, _ = start(path, config, make)
    process.join()
    assert process.exitcode == 0

    expected, found = contents(tmp_path / "whole"), contents(path)
    assert found.keys() == expected.keys()
    assert [name for name in expected if found[name] != expected[name]] == []


RAINBOW: dict[str, Any] = {
    "double": True, "dueling": True, "n_step": 3, "priority_exponent": 0.5, "importance_anneal_updates": 2_000,
    "noisy": True, "epsilon_start": 0.1, "epsilon_final": 0.0, "head": "categorical", "num_atoms": 11,
    "value_min": 0.0, "value_max": 50.0, "normalize_observations": True, "frame_stack": 3,
}  # fmt: skip
IMPLICIT: dict[str, Any] = {"head": "implicit_quantile", "num_atoms": 4, "munchausen": True, "munchausen_clip": -2.0}
# Rollouts of 96 steps: the checkpoints, at 800 and 1 600, come in their middle.
PQN: dict[str, Any] = {
    "algorithm": "pqn", "num_envs": 4, "rollout_length": 24, "layer_norm": True, "learning_starts_steps": 1_000,
    "target_sync_updates": 100, "normalize_observations": True, "frame_stack": 2, "averaging_rate": 0.01,
}  # fmt: skip
# Every 2 400 steps environments are reset: of three checkpoints, two repeat all actions since the last reset.
LONG: dict[str, Any] = {"reset_period_steps": 2_400, "n_step": 3}
# Each checkpoint comes while a call of updates runs, or has ended and is not acted by.
OVERLAP: dict[str, Any] = {"overlap_learning": True}
CNN: dict[str, Any] = {"encoder": "cnn", "channels": (4, 4), "kernel_sizes": (3, 3), "strides": (1, 2), "threads": 2}
BREAKOUT: dict[str, Any] = {
    "env": "tensorq/MinAtar-Breakout-v1", "evaluation_episodes": 5, "num_envs": 4, "replay_ratio": 0.1,
}  # fmt: skip
COPIED_AT = 6  # the sixth row of metrics.csv, of step 2 000: after 500, 800, 1 000, 1 500 and 1 600


def work_and_be_copied(path: Path, config: Config, make: Any, copy: Path) -> None:
    """Train; the folder is copied as it stands in the middle, as if the process had been killed there."""
    training.Training._show = lambda self: None  # type: ignore[method-assign]  # no time for pictures
    rows = 0

    def observe(event: Event) -> None:
        nonlocal rows
        rows += isinstance(event, Progress)
        if rows == COPIED_AT and isinstance(event, Progress):
            shutil.copytree(path, copy)

    if path.exists():
        trainer.resume(SavedRun(path, make_env=make))
    else:
        trainer.train(config, make=make, run_dir=path, observers=[observe])


@pytest.mark.parametrize(
    ("switches", "loop", "make"),
    [
        (RAINBOW, "compiled", None),
        (RAINBOW, "host", make_vector),
        (IMPLICIT, "compiled", None),
        (IMPLICIT | OVERLAP, "host", None),
        (PQN, "compiled", None),
        (PQN, "host", make_vector),
        (LONG | OVERLAP, "host", None),
        (CNN | OVERLAP | {"replay_ratio": 0.1}, "host", make_chase),
        (CNN | PQN | {"normalize_observations": False}, "host", make_chase),
        (CNN | BREAKOUT, "compiled", None),
    ],
    ids=[
        "rainbow compiled",
        "rainbow host vector of 4",
        "implicit quantile compiled",
        "implicit quantile host overlapped",
        "pqn compiled",
        "pqn host vector of 4",
        "long host overlapped",
        "images host overlapped",
        "images pqn host",
        "images compiled",
    ],
)
def test_a_kill_changes_nothing_with_switches(tmp_path: Path, switches: dict[str, Any], loop: str, make: Any) -> None:
    config = Config(
        **SMALL | switches | {"loop": loop, "steps": 4_000, "checkpoint_period_steps": 800, "replay_capacity": 600}
    )
    names = end_the_same(tmp_path, config, make)
    left = sorted(int(path.stem[5:]) for path in (tmp_path / "copied there" / "checkpoints").glob("step_*"))
    assert [steps // 100 for steps in left] == [8, 16]
    assert any("priorities" in name or "tree" in name for name in names) == ("priority_exponent" in switches)


@pytest.mark.learn
@pytest.mark.parametrize("loop", ["compiled", "host"])
@pytest.mark.parametrize("preset", preset_names())
def test_a_kill_changes_nothing_with_a_preset(tmp_path: Path, preset: str, loop: str) -> None:
    if preset == "qtable":
        if loop == "compiled":
            pytest.skip("a table learns in Python")
        config = resolve("FrozenLake-v1", preset, steps=4_000, checkpoint_period_steps=800, log_period_steps=500)
    else:
        small = {"hidden_sizes": (16,), "log_period_steps": 500, "checkpoint_period_steps": 800, "loop": loop}
        if resolve("CartPole-v1", preset).algorithm == "pqn":
            small |= {"num_envs": 8, "rollout_length": 16, "batch_size": 64}
        else:
            small |= {"replay_capacity": 600, "learning_starts_steps": 100}
        config = resolve("CartPole-v1", preset, steps=4_000, **small)
    end_the_same(tmp_path, config, None)


def end_the_same(tmp_path: Path, config: Config, make: Any) -> Collection[str]:
    """Check that a run copied in its middle goes on to the same end; returns the names of what was compared."""
    for name in ("whole", "copy"):
        arguments = (tmp_path / name, config, make, tmp_path / "copy")
        process = CONTEXT.Process(target=work_and_be_copied, args=arguments)
        process.start()
        process.join()
        assert process.exitcode == 0
        if name == "whole":
            shutil.copytree(tmp_path / "copy", tmp_path / "copied there")
            assert not (tmp_path / "copy" / "result.json").exists()
            assert [*(tmp_path / "copy" / "checkpoints").glob("step_*")]
    expected, found = contents(tmp_path / "whole"), contents(tmp_path / "copy")
    assert found.keys() == expected.keys()
    assert [name for name in expected if found[name] != expected[name]] == []
    return expected.keys()


class Chase(gym.Env):
    """A dot on 10x10 pixels moves at random; the action says whether it will be in the left or the right half."""

    observation_space, action_space = gym.spaces.Box(0, 255, (10, 10, 1), np.uint8), gym.spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict]:
        super().reset(seed=seed)
        self.place, self.age = self.np_random.integers(10, size=2), 0
        return self._seen(), {}

    def _seen(self) -> Any:
        picture = np.zeros((10, 10, 1), np.uint8)
        picture[tuple(self.place)] = 255
        return picture

    def step(self, action: int) -> tuple[Any, float, bool, bool, dict]:
        self.place = np.clip(self.place + self.np_random.integers(-1, 2, size=2), 0, 9)
        self.age += 1
        return self._seen(), float((self.place[1] >= 5) == action), False, self.age == 20, {}


class Crossing(gym.Env):
    """Five places in a row, begun at a random one; each step pays where it leads. It can be told to fail."""

    observation_space, action_space = gym.spaces.Discrete(5), gym.spaces.Discrete(2)
    made = 0
    failure: tuple[int, str, int, BaseException] | None = None  # which environment, what of it, which call, with what

    def __init__(self) -> None:
        Crossing.made += 1
        self.number, self.calls = Crossing.made, {"reset": 0, "step": 0}

    def _called(self, name: str) -> None:
        self.calls[name] += 1
        if self.failure and self.failure[:3] == (self.number, name, self.calls[name]):
            raise self.failure[3]

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[int, dict]:
        super().reset(seed=seed)
        self.place, self.age = int(self.np_random.integers(5)), 0
        self._called("reset")
        return self.place, {}

    def step(self, action: int) -> tuple[int, float, bool, bool, dict]:
        self.place = min(max(self.place + (1 if self.np_random.random() < 0.5 + 0.3 * action else -1), 0), 4)
        self.age += 1
        self._called("step")
        return self.place, float(self.place), False, self.age == 7, {}


TABLE: dict[str, Any] = {
    "algorithm": "qtable", "num_envs": 2, "steps": 700, "evaluation_period_steps": 150, "evaluation_episodes": 3,
    "log_period_steps": 100, "checkpoint_period_steps": 200,
}  # fmt: skip
# Environment 1 is only looked at, 2 and 3 are trained in, those from 4 on play evaluations. Each of the two has a reset
# when it is made and when the run begins, one in seven steps, and one at each checkpoint, the first at its 100th step.
FAILURES = {
    "in the first step": (3, "step", 1),
    "in a step": (3, "step", 160),
    "in a reset after an episode": (3, "reset", 12),
    "in a reset at a boundary": (3, "reset", 2 + 100 // 7 + 1),
    "in an evaluation": (4, "step", 20),
    "in the last evaluation": (6, "step", 7 * 4 + 3),
    "in an evaluation in the only environment": (1, "step", 150 + 10),
}


def crossed(path: Path, config: Config, monkeypatch: pytest.MonkeyPatch, failure: Any = None) -> Path:
    monkeypatch.setattr(training.Training, "_show", lambda self: None)
    monkeypatch.setattr(Crossing, "made", 0)
    monkeypatch.setattr(Crossing, "failure", failure)
    if (path / "config.json").exists():
        return trainer.resume(SavedRun(path, make_env=Crossing))
    return trainer.train(config, make=Crossing, run_dir=path)


@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES)
def test_an_environment_that_fails_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: tuple[int, str, int]
) -> None:
    only = {"num_envs": 1, "single_environment": True} if failure[0] == 1 else {}
    config, error = Config(**TABLE | only), RuntimeError("simulator\nlost")
    whole, path = crossed(tmp_path / "whole", config, monkeypatch), tmp_path / "failed"
    line = r"Crossing raised RuntimeError: simulator lost \(.*test_exact_resume.py, line \d+\)"
    with pytest.raises(TensorqError, match=line) as caught:
        crossed(path, config, monkeypatch, (*failure, error))
    assert caught.value.__cause__ is error
    steps = checkpoint.Checkpoints(path / "checkpoints").newest_steps()
    way_on = f"; the run is saved: tq.resume('{path}', make_env=make_env) continues from step {steps:,}"
    assert str(caught.value).endswith(way_on)
    if failure[:2] == (3, "step"):
        assert steps == 2 * (failure[2] - 1)
    crossed(path, config, monkeypatch)
    assert contents(path) == contents(whole)
    results = [directory.read_result(run) or {} for run in (whole, path)]
    for name in ("steps", "updates", "episodes", "best", "final"):
        assert results[0][name] == results[1][name]


@pytest.mark.parametrize("wish", [KeyboardInterrupt(), SystemExit(), SystemExit("window closed")], ids=repr)
@pytest.mark.parametrize("failure", [(3, "step", 160), (4, "reset", 3)], ids=["in a step", "in an evaluation"])
def test_an_environment_that_ends_the_process_stops_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: Any, wish: BaseException
) -> None:
    """As a window does that is closed."""
    with pytest.raises(Stopped) as caught:
        crossed(tmp_path / "run", Config(**TABLE), monkeypatch, (*failure, wish))
    assert (caught.value.exit_code, caught.value.__cause__) == (130, wish)
    assert checkpoint.Checkpoints(tmp_path / "run" / "checkpoints").newest_steps() == caught.value.steps > 100


def test_what_was_due_when_an_environment_failed_is_not_done_for_a_later_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At step 690 only the end is due, with its evaluation; a run that goes on to 900 instead passes there."""
    config, path = Config(**TABLE | {"steps": 690}), tmp_path / "failed"
    whole = crossed(tmp_path / "whole", Config(**TABLE | {"steps": 900}), monkeypatch)
    with pytest.raises(TensorqError, match="continues from step 690"):
        crossed(path, config, monkeypatch, (*FAILURES["in the last evaluation"], RuntimeError()))
    monkeypatch.setattr(Crossing, "failure", None)
    trainer.resume(SavedRun(path, make_env=Crossing), steps=900)
    assert contents(path) == contents(whole)
