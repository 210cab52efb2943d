"""Slow runs that must learn: `make learn`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tensorq.config import resolve
from tensorq.evaluation.load import evaluate_run
from tensorq.trainer import train

pytestmark = pytest.mark.learn
SOLVED = 475  # CartPole-v1's reward threshold


@pytest.mark.parametrize("seed", range(5))
def test_cartpole_is_solved_in_the_compiled_loop(seed: int, tmp_path: Path) -> None:
    run = train(resolve("CartPole-v1", seed=seed), run_dir=tmp_path / "run")
    assert evaluate_run(run, 100).mean >= SOLVED


@pytest.mark.parametrize("seed", range(2))
def test_cartpole_is_solved_in_the_host_loop(seed: int, tmp_path: Path) -> None:
    run = train(resolve("CartPole-v1", seed=seed, loop="host"), run_dir=tmp_path / "run")
    assert evaluate_run(run, 100).mean >= SOLVED


def test_the_posts_hyperparameters_learn(tmp_path: Path) -> None:
    run = train(resolve("CartPole-v1", "blog", seed=0), run_dir=tmp_path / "run")
    assert evaluate_run(run, 100).mean >= 200  # the post's curve ends about there
