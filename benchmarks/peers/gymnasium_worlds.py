"""Steps a second of worlds that NumPy and Python step: `python gymnasium_worlds.py COUNT`.

Each line "WORLD SECONDS" of the standard input, with tensorq's id of the world, is answered with the steps a second.
Games of the package minatar: a loop over one game if COUNT is 1, otherwise Gymnasium's SyncVectorEnv. CartPole-v1:
Gymnasium's own vector environment in NumPy. Actions are random; episodes that end begin again.
"""

from __future__ import annotations

import json
import re
import sys
import time
from importlib import metadata
from typing import Any

import gymnasium
import numpy as np

CALL = 1000  # steps of one game between two looks at the clock


def one_game(name: str, seconds: float) -> float:
    """The package as its README uses it."""
    from minatar import Environment

    game = Environment(name)
    game.seed(0)
    actions = np.array(game.minimal_action_set())
    generator = np.random.default_rng(0)
    game.reset()
    steps, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        for action in generator.choice(actions, CALL).tolist():
            _, over = game.act(action)
            if over:
                game.reset()
            game.state()
        steps += CALL
    return steps / (time.perf_counter() - started)


def vector(env: Any, seconds: float) -> float:
    """A vector environment of Gymnasium."""
    generator, actions = np.random.default_rng(0), env.single_action_space.n
    env.reset(seed=0)
    steps, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        env.step(generator.integers(actions, size=env.num_envs))
        steps += env.num_envs
    return steps / (time.perf_counter() - started)


def measure(world: str, count: int, seconds: float) -> float:
    """Steps a second in one of tensorq's worlds as others have it."""
    if world == "CartPole-v1":
        return vector(gymnasium.make_vec(world, count, vectorization_mode="vector_entry_point"), seconds)
    game = re.fullmatch(r"tensorq/MinAtar-(\w+)-v1", world)[1]  # type: ignore[index]
    if count == 1:
        return one_game(re.sub(r"(?<!^)(?=[A-Z])", "_", game).lower(), seconds)
    from minatar.gym import register_envs

    if f"MinAtar/{game}-v1" not in gymnasium.registry:
        register_envs()
    env = gymnasium.make_vec(
        f"MinAtar/{game}-v1", count, vectorization_mode="sync", vector_kwargs={"observation_mode": "same"}
    )
    return vector(env, seconds)


def main() -> None:
    """Answer until the input ends."""
    packages = ["gymnasium", "numpy"] + ["minatar"] * ("minatar" in metadata.packages_distributions())
    print(json.dumps({name: metadata.version(name) for name in packages}), flush=True)
    for line in sys.stdin:
        world, seconds = line.split()
        print(measure(world, int(sys.argv[1]), float(seconds)), flush=True)


if __name__ == "__main__":
    main()
