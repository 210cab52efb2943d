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
import pytest

from forked import CONTEXT
from tensorq import trainer, training
from tensorq.config import Config
from tensorq.events import Event, Progress
from tensorq.presets import preset_names, resolve
from tensorq.runs import checkpoint

KILLS = 20
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


def work(path: Path, config: Config, make: Any, training: Any) -> None:
    """Train, or resume what a killed process left."""

    def observe(event: Event) -> None:
        if isinstance(event, Progress):
            training.set()

    if (path / "config.json").exists():
        trainer.resume(path, make=make, observers=[observe])
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


@pytest.mark.parametrize(
    ("settings", "make", "most_seconds"),
    [
        ({"loop": "compiled", "steps": 300_000, "checkpoint_period_steps": 3_000}, None, 0.2),
        (
            {"loop": "host", "steps": 45_000, "checkpoint_period_steps": 500, "evaluation_period_steps": 4_000},
            None,
            0.15,
        ),
        ({"loop": "host", "steps": 45_000, "checkpoint_period_steps": 500, "env": "vector"}, make_vector, 0.15),
    ],
    ids=["compiled", "host", "host vector of 4"],
)
def test_twenty_kills_change_nothing(tmp_path: Path, settings: dict[str, Any], make: Any, most_seconds: float) -> None:
    config = Config(**SMALL | settings)
    whole, _ = start(tmp_path / "whole", config, make)
    whole.join()
    assert whole.exitcode == 0

    instants, path, early = random.Random(0), tmp_path / "killed", 0
    for kill in range(KILLS):
        process, training = start(path, config, make)
        if kill % 7:
            assert training.wait(60)
            time.sleep(instants.uniform(0, most_seconds))
        else:  # now and then before training has begun
            time.sleep(instants.uniform(0, 1))
        early += not process.is_alive()
        os.kill(process.pid, signal.SIGKILL)
        process.join()
    assert early == 0, "the run ended before it had been killed twenty times: make it longer"
    process, _ = start(path, config, make)
    process.join()
    assert process.exitcode == 0

    expected, found = contents(tmp_path / "whole"), contents(path)
    assert found.keys() == expected.keys()
    assert [name for name in expected if found[name] != expected[name]] == []


RAINBOW: dict[str, Any] = {
    "double": True, "dueling": True, "n_step": 3, "priority_exponent": 0.5, "importance_anneal_updates": 2_000,
    "noisy": True, "epsilon_start": 0.1, "epsilon_final": 0.0, "head": "categorical", "num_atoms": 11,
    "value_min": 0.0, "value_max": 50.0,
}  # fmt: skip
IMPLICIT: dict[str, Any] = {"head": "implicit_quantile", "num_atoms": 4, "munchausen": True, "munchausen_clip": -2.0}
# Rollouts of 96 steps: the checkpoints, at 800 and 1 600, come in their middle.
PQN: dict[str, Any] = {
    "algorithm": "pqn", "num_envs": 4, "rollout_length": 24, "layer_norm": True, "learning_starts_steps": 1_000,
    "target_sync_updates": 100,
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
        trainer.resume(path, make=make)
    else:
        trainer.train(config, make=make, run_dir=path, observers=[observe])


@pytest.mark.parametrize(
    ("switches", "loop", "make"),
    [
        (RAINBOW, "compiled", None),
        (RAINBOW, "host", make_vector),
        (IMPLICIT, "compiled", None),
        (IMPLICIT, "host", None),
        (PQN, "compiled", None),
        (PQN, "host", make_vector),
    ],
    ids=[
        "rainbow compiled",
        "rainbow host vector of 4",
        "implicit quantile compiled",
        "implicit quantile host",
        "pqn compiled",
        "pqn host vector of 4",
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
        if preset == "pqn":  # rollouts of 2 048 steps
            small |= {"num_envs": 8, "batch_size": 64}
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
