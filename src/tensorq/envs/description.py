"""What a run needs to know of its environment before it begins, and keeps in config.json. No TensorFlow here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
from gymnasium.vector import VectorEnv

from tensorq.envs.host import EnvironmentMaker, new_each_time, obs_layout
from tensorq.envs.registry import gymnasium_maker
from tensorq.envs.spaces import plain_action_space, plain_observation_space, space_from_json, space_to_json
from tensorq.envs.world import WORLDS
from tensorq.errors import TensorqError


@dataclass(frozen=True)
class Environment:
    """One environment: how to make it, and what is known of it."""

    id: str
    make: EnvironmentMaker
    custom: bool  # made by a function of the user's, not found by its id
    native_observation_space: gym.Space
    native_action_space: gym.Space
    max_episode_steps: int | None
    solved_return: float | None
    num_envs: int | None  # of a vector environment, which decides it itself

    @property
    def observation_space(self) -> gym.Space:
        """The Box or Discrete that networks and replay see."""
        return plain_observation_space(self.native_observation_space)

    @property
    def action_space(self) -> gym.spaces.Discrete:
        """The Discrete that actions are picked from."""
        return plain_action_space(self.native_action_space)

    def to_json(self) -> dict[str, Any]:
        """What config.json keeps."""
        return {
            "id": self.id,
            "custom": self.custom,
            "observation_space": space_to_json(self.native_observation_space),
            "action_space": space_to_json(self.native_action_space),
            "max_episode_steps": self.max_episode_steps,
            "solved_return": self.solved_return,
        }


def describe(env: str, make: EnvironmentMaker | None = None) -> Environment:
    """Make the environment once and look at it; raises TensorqError for what tensorq cannot play."""
    maker = new_each_time(make or gymnasium_maker(env))
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
        plain_observation_space(observation_space), plain_action_space(action_space)  # refuse others
        spec = instance.spec
        num_envs = instance.num_envs if isinstance(instance, VectorEnv) else None
    finally:
        if hasattr(instance, "close"):
            instance.close()
    return Environment(
        id=env,
        make=maker,
        custom=make is not None,
        native_observation_space=observation_space,
        native_action_space=action_space,
        max_episode_steps=spec.max_episode_steps if spec else None,
        solved_return=spec.reward_threshold if spec else None,
        num_envs=num_envs,
    )


def choose_loop(loop: str, env: str, custom: bool) -> str:
    """ "compiled" or "host" for what Config.loop says; raises TensorqError for a world that does not exist."""
    has_world = env in WORLDS and not custom
    if loop == "compiled" and not has_world:
        there = ", ".join(WORLDS)
        raise TensorqError(f"--loop compiled: {env} has no compiled world, as {there} have: give host, or nothing.")
    return "compiled" if has_world and loop != "host" else "host"


@dataclass(frozen=True)
class SavedEnvironment:
    """What a run's agent has to know of the environment that it was trained on."""

    custom: bool
    observation_space: gym.Space  # native, as far as a network cares
    action_space: gym.Space  # native

    def require_same(self, run_dir: Path, observation_space: gym.Space, action_space: gym.Space) -> None:
        """Raise TensorqError where native spaces do not fit the run's agent; bounds may be others."""
        for name, given, own in (
            (
                "observations",
                plain_observation_space(observation_space),
                plain_observation_space(self.observation_space),
            ),
            ("actions", plain_action_space(action_space), plain_action_space(self.action_space)),
        ):
            if obs_layout(given) != obs_layout(own) or getattr(given, "n", 0) != getattr(own, "n", 0):
                raise TensorqError(
                    f"{run_dir} was trained on an environment with {name} {own}, make_env returned one with {given}."
                )


def read_environment(run_dir: Path, content: Mapping[str, Any]) -> SavedEnvironment:
    """What config.json of a run says of its environment; raises TensorqError where that is damaged."""
    try:
        data = content["environment"]
        custom = data["custom"]
        if not isinstance(custom, bool):
            raise ValueError(f"custom is {custom!r}")
        observation_space, action_space = (space_from_json(data[f"{name}_space"]) for name in ("observation", "action"))
        plain_observation_space(observation_space), plain_action_space(action_space)
        return SavedEnvironment(custom, observation_space, action_space)
    except (AssertionError, AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise TensorqError(
            f'the "environment" of {run_dir / "config.json"} is damaged ({reason}); put the original file back.'
        ) from error
