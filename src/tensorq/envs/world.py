"""Compiled worlds: environments written in TensorFlow, as pure functions over a batch of N environments."""

from __future__ import annotations

import importlib
from typing import Protocol

import gymnasium as gym

from tensorq.core.types import Tensor

# Environment id -> where its world is; read without importing TensorFlow.
WORLDS = {
    "CartPole-v1": "tensorq.envs.cartpole:CartPole",
    "Acrobot-v1": "tensorq.envs.acrobot:Acrobot",
    "MountainCar-v0": "tensorq.envs.mountain_car:MountainCar",
}


class World(Protocol):
    """What the compiled loop needs. Time limits and automatic resets are the loop's business.

    A world where not every action is always legal also has `action_mask(state) -> [N, A] bool`.
    """

    observation_space: gym.spaces.Box
    action_space: gym.spaces.Discrete
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


def make_world(env: str) -> World:
    """The compiled world of an environment id that is in WORLDS."""
    module, name = WORLDS[env].split(":")
    world: World = getattr(importlib.import_module(module), name)()
    return world
