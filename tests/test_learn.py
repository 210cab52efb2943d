"""Slow runs that must learn: `make learn`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import pytest

from tensorq.evaluation.load import evaluate_run
from tensorq.presets import resolve
from tensorq.runs.saved import SavedRun
from tensorq.trainer import train

pytestmark = pytest.mark.learn


def learn(folder: Path, env: str, preset: str = "dqn", **settings: Any) -> float:
    """Train, and return the mean of 100 greedy episodes of the kept best agent."""
    return float(evaluate_run(SavedRun(train(resolve(env, preset, **settings), run_dir=folder / "run")), 100).mean)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("env", ["CartPole-v1", "Acrobot-v1", "MountainCar-v0", "LunarLander-v3"])
def test_small_worlds_are_solved(env: str, seed: int, tmp_path: Path) -> None:
    if env == "LunarLander-v3":
        pytest.importorskip("Box2D")
    assert learn(tmp_path, env, seed=seed) >= (gymnasium.spec(env).reward_threshold or 0.0)


def test_cartpole_is_solved_in_the_host_loop(tmp_path: Path) -> None:
    assert learn(tmp_path, "CartPole-v1", loop="host") >= 475


@pytest.mark.parametrize("loop", ["compiled", "host"])
def test_cartpole_is_solved_without_replay(loop: str, tmp_path: Path) -> None:
    assert learn(tmp_path, "CartPole-v1", "pqn", loop=loop) >= 475


def test_the_posts_hyperparameters_learn(tmp_path: Path) -> None:
    assert learn(tmp_path, "CartPole-v1", "blog") >= 200  # the post's curve ends about there
