"""What a run has to know about its environment at the start, and keeps in config.json. No TensorFlow here."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv, VectorEnv, VectorWrapper
from gymnasium.wrappers import NormalizeObservation, NormalizeReward
from gymnasium.wrappers import vector as vector_wrappers

from tensorq.envs.atari import is_game, time_limit
from tensorq.envs.calls import EnvironmentMaker, OnlyOne, Warn, close_or_warn, environment_name, new_each_time
from tensorq.envs.gymnasium_ids import gymnasium_maker
from tensorq.envs.spaces import (
    plain_action_space,
    plain_observation_space,
    same_space,
    space_from_json,
    space_to_json,
)
from tensorq.envs.world import WORLDS, is_view, why_no_world
from tensorq.errors import TensorqError

_NORMALISING = (
    NormalizeObservation, NormalizeReward, vector_wrappers.NormalizeObservation, vector_wrappers.NormalizeReward,
)  # fmt: skip


@dataclass(frozen=True)
class Environment:
    """One environment: how to make it, and its properties."""

    id: str
    make: EnvironmentMaker
    custom: bool  # made by a user's function, not found by its id
    native_observation_space: gym.Space
    native_action_space: gym.Space
    max_episode_steps: int | None
    solved_return: float | None
    num_envs: int | None  # the number in a vector environment, which decides it itself
    no_world: str | None  # why it cannot be trained as a compiled world
    normalising: tuple[str, ...]  # the wrappers that normalise by statistics of their own

    @property
    def observation_space(self) -> gym.Space:
        """The Box or Discrete that networks and replay use."""
        return plain_observation_space(self.native_observation_space)

    @property
    def action_space(self) -> gym.spaces.Discrete:
        """The Discrete space from which actions are chosen."""
        return plain_action_space(self.native_action_space)

    def release(self, warn: Warn) -> None:
        """With single_environment, close the environment if no loop has it."""
        if isinstance(self.make, OnlyOne):
            self.make.release(warn)

    def to_json(self) -> dict[str, Any]:
        """The content for config.json."""
        return {
            "id": self.id,
            "custom": self.custom,
            "observation_space": space_to_json(self.native_observation_space),
            "action_space": space_to_json(self.native_action_space),
            "max_episode_steps": self.max_episode_steps,
            "solved_return": self.solved_return,
        }

    def warnings(self, loop: str, wanted_loop: str) -> list[str]:
        """The warnings before training begins in `loop`; `wanted_loop` is the value of Config.loop."""
        told = []
        if self.id in [*WORLDS] and not self.custom and loop == "host" and wanted_loop == "auto":
            told.append(f"{self.no_world}: the host loop trains on the environment of gymnasium.make")
        if self.normalising:
            which = " and ".join(self.normalising)
            told.append(
                f"the statistics of {which} are not kept with the run: evaluate, load and act get numbers "
                "that are normalised differently, or not at all, and a resume begins the statistics anew; with the "
                "setting normalize_observations, the statistics are kept with the agent"
            )
        return told


def describe(
    env: str,
    make: EnvironmentMaker | None = None,
    env_args: Mapping[str, Any] | None = None,
    *,
    single: bool = False,
    warn: Warn = warnings.warn,
) -> Environment:
    """Make the environment once and describe it; raises TensorqError if tensorq does not support it.

    Args:
        env: its id, or a name for the environment that `make` makes.
        make: a user's function.
        env_args: keywords for gymnasium.make.
        single: whether only one environment is ever made; it stays open for training, or until `release`.
        warn: called with one line if closing the environment raises.
    """
    maker = new_each_time(make or gymnasium_maker(env, env_args))
    maker = OnlyOne(maker) if single else maker
    instance = maker()
    if not isinstance(instance, (VectorEnv, gym.Env)):
        raise TensorqError(
            f"the environment function returned {type(instance).__name__}, expected a gymnasium.Env or VectorEnv."
        )
    kept = False
    try:
        observation_space, action_space = _spaces(instance)
        plain_observation_space(observation_space), plain_action_space(action_space)  # refuse others
        spec, world = instance.spec, getattr(instance.unwrapped, "world", None) if is_view(instance.spec) else None
        limit = world.max_episode_steps if world else spec.max_episode_steps if spec else None
        if make is None and is_game(env):
            limit = time_limit(env_args or {})
        num_envs = instance.num_envs if isinstance(instance, VectorEnv) else None
        normalising = tuple(dict.fromkeys(_normalising(instance)))
        kept = single
    finally:
        if not kept:
            close_or_warn(instance, warn)
    return Environment(
        id=env,
        make=maker,
        custom=make is not None,
        native_observation_space=observation_space,
        native_action_space=action_space,
        max_episode_steps=limit,
        # With arguments the task is another one, so Gymnasium's goal does not hold. A world computes its own goal.
        solved_return=world.solved_return if world else spec.reward_threshold if spec and not env_args else None,
        num_envs=num_envs,
        no_world=why_no_world(env, make is not None, env_args or {}, single),
        normalising=normalising,
    )


def _spaces(instance: gym.Env | VectorEnv) -> tuple[gym.Space, gym.Space]:
    prefix = "single_" if isinstance(instance, VectorEnv) else ""
    found = []
    for name in (f"{prefix}observation_space", f"{prefix}action_space"):
        space = getattr(instance, name, None)
        if not isinstance(space, gym.Space):
            raise TensorqError(
                f"{environment_name(instance)} has the {name} {space}, expected a gymnasium space: set self.{name} in "
                "its __init__."
            )
        found.append(space)
    return found[0], found[1]


def _normalising(env: Any) -> list[str]:
    """The normalising wrappers of an environment, from the outside in, also around the environments of a vector."""
    found = [wrapper.__name__ for wrapper in _NORMALISING if isinstance(env, wrapper)]
    if isinstance(env, (gym.Wrapper, VectorWrapper)):
        return found + _normalising(env.env)
    if isinstance(env, SyncVectorEnv):
        return found + [name for each in env.envs for name in _normalising(each)]
    if isinstance(env, AsyncVectorEnv):  # its environments are in other processes; their specs list wrappers
        specs = [spec for spec in env.get_attr("spec") if spec is not None]
        wrappers = [wrapper.name for spec in specs for wrapper in spec.additional_wrappers]
        return found + [name for name in wrappers if name in {wrapper.__name__ for wrapper in _NORMALISING}]
    return found


def choose_loop(loop: str, environment: Environment) -> str:
    """ "compiled" or "host" by Config.loop; raises TensorqError if compiled is asked for without a compiled world."""
    if loop == "compiled" and environment.no_world:
        raise TensorqError(f"loop compiled (--loop): {environment.no_world}: give host, or leave it out.")
    return "compiled" if environment.no_world is None and loop != "host" else "host"


@dataclass(frozen=True)
class SavedEnvironment:
    """What a run's agent has to know about the environment on which it was trained."""

    custom: bool
    observation_space: gym.Space  # native
    action_space: gym.Space  # native
    _kept: Mapping[str, Any]

    def require_same(self, run_dir: Path, observation_space: gym.Space, action_space: gym.Space) -> None:
        """Raise TensorqError unless native spaces equal those of the run's environment, with names and bounds."""
        for name, given, own in (
            ("observation_space", observation_space, self.observation_space),
            ("action_space", action_space, self.action_space),
        ):
            if not same_space(space_to_json(given), self._kept[name]):
                raise TensorqError(
                    f"{run_dir} was trained on an environment with {name} {own}, and this one has {given}: expected "
                    "the same, with the same parts in the same order."
                )


def read_environment(run_dir: Path, content: Mapping[str, Any]) -> SavedEnvironment:
    """The environment that a run's config.json describes; raises TensorqError if the description is damaged."""
    try:
        data = content["environment"]
        custom = data["custom"]
        if not isinstance(custom, bool):
            raise ValueError(f"custom is {custom!r}")
        observation_space, action_space = (space_from_json(data[f"{name}_space"]) for name in ("observation", "action"))
        plain_observation_space(observation_space), plain_action_space(action_space)
        return SavedEnvironment(custom, observation_space, action_space, data)
    except (AssertionError, AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise TensorqError(
            f'the "environment" of {run_dir / "config.json"} is damaged ({reason}); put the original file back.'
        ) from error
