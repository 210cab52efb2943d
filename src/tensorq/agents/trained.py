"""A trained agent to act with: NumPy in, NumPy out. No TensorFlow for the default network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np

from tensorq.envs.host import obs_layout

QFunction = Callable[[np.ndarray], np.ndarray]  # observations [N, ...] -> Q-values [N, A]


class TrainedAgent:
    """Rates and picks actions for one observation or a batch of them."""

    def __init__(self, q_function: QFunction, observation_space: gym.Space, first_action: int = 0) -> None:
        """Wrap Q-values [N, A] of observations [N, ...]; actions count from first_action."""
        self._q_function = q_function
        self._first_action = first_action
        self._dtype, self._shape = obs_layout(observation_space)

    def q_values(self, obs: Any) -> np.ndarray:
        """Q-values [A] of one observation, or [N, A] of a batch."""
        batch, single = self._batch(obs)
        result = self._q_function(batch)
        return result[0] if single else result

    def act(self, obs: Any, mask: Any = None) -> Any:
        """The greedy action (an int) for one observation, or [N] actions for a batch.

        `mask`, [A] or [N, A], tells which actions are legal, as an environment's info["action_mask"] does.
        """
        q_values = self.q_values(obs)
        if mask is not None:
            q_values = np.where(np.asarray(mask, bool), q_values, -np.inf)
        actions = q_values.argmax(axis=-1) + self._first_action
        return int(actions) if np.ndim(actions) == 0 else actions

    def _batch(self, obs: Any) -> tuple[np.ndarray, bool]:
        """The observations as a batch, and whether there was just one."""
        array = np.asarray(obs, self._dtype)
        if array.shape == self._shape:
            return array[None], True
        if array.shape[1:] == self._shape and array.ndim == len(self._shape) + 1:
            return array, False
        raise ValueError(
            f"received an observation of shape {array.shape}, expected {self._shape} for one or "
            f"(N, {', '.join(map(str, self._shape))}) for a batch"
        )
