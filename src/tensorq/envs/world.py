"""Compiled worlds: environments written in TensorFlow, as pure functions over a batch of N environments."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from tensorq.core.types import Tensor

if TYPE_CHECKING:
    from gymnasium import spaces

# Environment id -> where its world is; read without importing TensorFlow.
WORLDS = {
    "CartPole-v1": "tensorq.envs.cartpole:CartPole",
    "Acrobot-v1": "tensorq.envs.acrobot:Acrobot",
    "MountainCar-v0": "tensorq.envs.mountain_car:MountainCar",
}
# What each of them stands for: Gymnasium's environment with this entry point and this time limit, and no argument.
ORIGINALS = {
    "CartPole-v1": ("gymnasium.envs.classic_control.cartpole:CartPoleEnv", 500),
    "Acrobot-v1": ("gymnasium.envs.classic_control.acrobot:AcrobotEnv", 500),
    "MountainCar-v0": ("gymnasium.envs.classic_control.mountain_car:MountainCarEnv", 200),
}


class World(Protocol):
    """What the compiled loop needs. Time limits and automatic resets are the loop's business.

    A world where not every action is always legal also has `action_mask(state) -> [N, A] bool`.
    """

    observation_space: spaces.Box
    action_space: spaces.Discrete
    max_episode_steps: int
    reset_uniforms: int  # width of reset's u
    step_uniforms: int  # width of step's u; 0 where the world is deterministic

    def reset(self, u: Tensor) -> Tensor:
        """First states for uniforms [N, reset_uniforms]."""
        ...

    def observe(self, state: Tensor) -> Tensor:
        """Observations [N, ...] of states."""
        ...

    def step(self, state: Tensor, action: Tensor, u: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(next states, rewards [N], terminated [N]) for actions [N] int32 and uniforms [N, step_uniforms]."""
        ...


def why_no_world(env: str, env_args: Mapping[str, Any]) -> str | None:
    """Why an id of Gymnasium's registry cannot be trained as a compiled world; None where it can."""
    if env not in WORLDS:
        return f"{env} has no compiled world, as {', '.join(WORLDS)} have"
    if env_args:
        return f"the compiled world of {env} takes no {', '.join(env_args)}"
    import gymnasium

    spec, (entry_point, limit) = gymnasium.spec(env), ORIGINALS[env]
    if spec.entry_point != entry_point or spec.kwargs or spec.additional_wrappers:
        return f"{env} is registered as another environment than Gymnasium's own"
    if spec.max_episode_steps != limit:
        return (
            f"{env} is registered with a time limit of {spec.max_episode_steps} steps, its compiled world has {limit}"
        )
    return None


def make_world(env: str) -> World:
    """The compiled world of an environment id that is in WORLDS."""
    module, name = WORLDS[env].split(":")
    world: World = getattr(importlib.import_module(module), name)()
    return world
