"""What a run needs to know of its environment before it begins, and keeps in config.json. No TensorFlow here."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import VectorEnv

from tensorq.envs.host import EnvironmentMaker, check_spaces, gymnasium_maker, obs_layout
from tensorq.envs.world import WORLDS
from tensorq.errors import TensorqError

_MOST_NUMBERS = 2**26  # in one observation that a file speaks of
_MOST_BOUNDS = 2**12  # kept in config.json; images have the same bounds everywhere


@dataclass(frozen=True)
class Environment:
    """One environment: how to make it, and what is known of it."""

    id: str
    make: EnvironmentMaker
    custom: bool  # made by a function of the user's, not found by its id
    observation_space: gym.Space
    action_space: gym.spaces.Discrete
    max_episode_steps: int | None
    solved_return: float | None
    num_envs: int | None  # of a vector environment, which decides it itself

    def to_json(self) -> dict[str, Any]:
        """What config.json keeps."""
        dtype, shape = obs_layout(self.observation_space)
        observation: dict[str, Any] = {"shape": list(shape), "dtype": str(dtype)}
        space = self.observation_space
        if isinstance(space, gym.spaces.Discrete):
            observation = {"discrete": int(space.n), "start": int(space.start)}
        elif isinstance(space, gym.spaces.Box) and math.prod(shape) <= _MOST_BOUNDS:
            observation |= {"low": np.ravel(space.low).tolist(), "high": np.ravel(space.high).tolist()}
        return {
            "id": self.id,
            "custom": self.custom,
            "observation": observation,
            "num_actions": int(self.action_space.n),
            "first_action": int(self.action_space.start),
            "max_episode_steps": self.max_episode_steps,
            "solved_return": self.solved_return,
        }


def describe(env: str, make: EnvironmentMaker | None = None) -> Environment:
    """Make the environment once and look at it; raises TensorqError for what tensorq cannot play."""
    maker = make or gymnasium_maker(env)
    instance = maker()
    try:
        if isinstance(instance, VectorEnv):
            observation_space, action_space = instance.single_observation_space, instance.single_action_space
        elif isinstance(instance, gym.Env):
            observation_space, action_space = instance.observation_space, instance.action_space
        else:
            raise TensorqError(
                f"the environment function returned {type(instance).__name__}, expected a gymnasium.Env or VectorEnv."
            )
        action_space = check_spaces(observation_space, action_space)
        spec = instance.spec
        num_envs = instance.num_envs if isinstance(instance, VectorEnv) else None
    finally:
        if hasattr(instance, "close"):
            instance.close()
    return Environment(
        id=env,
        make=maker,
        custom=make is not None,
        observation_space=observation_space,
        action_space=action_space,
        max_episode_steps=spec.max_episode_steps if spec else None,
        solved_return=spec.reward_threshold if spec else None,
        num_envs=num_envs,
    )


def choose_loop(loop: str, env: str, custom: bool) -> str:
    """ "compiled" or "host" for what Config.loop says; raises TensorqError for a world that does not exist."""
    has_world = env in WORLDS and not custom
    if loop == "compiled" and not has_world:
        raise TensorqError(f"--loop compiled: {env} has no compiled world; worlds exist for {', '.join(WORLDS)}.")
    return "compiled" if has_world and loop != "host" else "host"


@dataclass(frozen=True)
class SavedEnvironment:
    """What a run's agent has to know of the environment that it was trained on."""

    custom: bool
    observation_space: gym.Space  # as far as a network cares
    num_actions: int
    first_action: int


def read_environment(run_dir: Path, content: Mapping[str, Any]) -> SavedEnvironment:
    """What config.json of a run says of its environment; raises TensorqError where that is damaged."""
    try:
        data = content["environment"]
        custom, num_actions = data["custom"], int(data["num_actions"])
        if not isinstance(custom, bool) or num_actions < 1:
            raise ValueError(f"custom is {custom!r}, num_actions is {num_actions}")
        return SavedEnvironment(custom, _space_from_json(data["observation"]), num_actions, int(data["first_action"]))
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise TensorqError(
            f'the "environment" of {run_dir / "config.json"} is damaged ({reason}); put the original file back.'
        ) from error


def _space_from_json(data: Mapping[str, Any]) -> gym.Space:
    if "discrete" in data:
        return gym.spaces.Discrete(int(data["discrete"]), start=int(data["start"]))
    dtype, shape = np.dtype(str(data["dtype"])), tuple(int(size) for size in data["shape"])
    if dtype.kind not in "fiub" or math.prod(shape) > _MOST_NUMBERS:
        raise ValueError(f"observations of dtype {dtype} and shape {shape}")
    if "low" in data and dtype.kind == "f":
        low = np.array([-np.inf if bound is None else float(bound) for bound in data["low"]]).reshape(shape)
        high = np.array([np.inf if bound is None else float(bound) for bound in data["high"]]).reshape(shape)
        return gym.spaces.Box(low.astype(dtype), high.astype(dtype), shape, dtype.type)
    unbounded = (-np.inf, np.inf) if dtype.kind == "f" else (0, 1)
    return gym.spaces.Box(unbounded[0], unbounded[1], shape, dtype.type)
