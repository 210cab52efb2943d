"""A compiled world as a gymnasium.Env: for the host loop, evaluation, videos, and other libraries."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np
import tensorflow as tf

if TYPE_CHECKING:
    from tensorq.envs.world import World


class GymView(gym.Env[np.ndarray, int]):
    """One environment of a world, with its time limit."""

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 30}

    def __init__(self, world: World, render_mode: str | None = None) -> None:
        """Store the world. With render_mode="rgb_array", `render` gives its picture if it has one."""
        self.world, self.render_mode = world, render_mode
        self.observation_space, self.action_space = world.observation_space, world.action_space  # type: ignore[assignment]
        self._state: Any = None
        self._steps = 0

    def get_action_meanings(self) -> list[str]:
        """The names of the actions, as Atari's environments give them: the world's action_names, or else numbers."""
        count = range(int(self.world.action_space.n))
        return list(getattr(self.world, "action_names", map(str, count)))

    @cached_property
    def _programs(self) -> tuple[Any, Any]:
        """The traced functions of a reset and a step, made at the first reset: to trace fixes TensorFlow's threads.

        TensorFlow would warn of several views, which share their code, as if one function were traced again and again.
        """
        uniforms = [tf.TensorSpec((1, width)) for width in (self.world.reset_uniforms, self.world.step_uniforms)]
        reset = tf.function(self._first, autograph=False).get_concrete_function(uniforms[0])
        state = tf.nest.map_structure(lambda part: tf.TensorSpec(part.shape, part.dtype), reset.structured_outputs[0])
        action = tf.TensorSpec((1,), tf.int32)
        return reset, tf.function(self._next, autograph=False).get_concrete_function(state, action, uniforms[1])

    def _first(self, u: Any) -> tuple[Any, ...]:
        state = self.world.reset(u)
        return state, self.world.observe(state), self._mask(state)

    def _next(self, state: Any, action: Any, u: Any) -> tuple[Any, ...]:
        state, reward, terminated, truncated = self.world.step(state, action, u)
        return state, self.world.observe(state), self._mask(state), reward, terminated, truncated

    def _mask(self, state: Any) -> Any:
        mask = getattr(self.world, "action_mask", None)
        return mask(state) if mask else ()

    def _uniforms(self, width: int) -> Any:
        """Uniforms [1, width] in [0, 1): multiples of 2^-24, which float32 holds exactly."""
        return tf.constant(self.np_random.integers(2**24, size=(1, width)) * 2.0**-24, tf.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        """Begin a new episode."""
        super().reset(seed=seed)
        self._state, obs, mask = self._programs[0](self._uniforms(self.world.reset_uniforms))
        self._steps = 0
        return obs.numpy()[0], _info(mask)

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict]:
        """One step, with an action of the action space."""
        self._require_reset()
        index = tf.constant([int(action) - int(self.world.action_space.start)], tf.int32)
        u = self._uniforms(self.world.step_uniforms)
        self._state, obs, mask, reward, terminated, truncated = self._programs[1](self._state, index, u)
        self._steps += 1
        over = bool(truncated[0]) or self._steps >= self.world.max_episode_steps
        return obs.numpy()[0], float(reward[0]), bool(terminated[0]), over, _info(mask)

    def _require_reset(self) -> None:
        if self._state is None:
            raise gym.error.ResetNeeded(f"{type(self.world).__name__} has no state yet: call reset() first.")

    def render(self) -> Any:
        """The picture of the current state, [height, width, 3] uint8; None without render_mode."""
        draw = getattr(self.world, "render", None)
        if self.render_mode != "rgb_array" or not draw:
            return None
        self._require_reset()
        return draw(self._state)


def _info(mask: Any) -> dict[str, Any]:
    return {"action_mask": mask.numpy()[0].astype(np.int8)} if tf.is_tensor(mask) else {}
