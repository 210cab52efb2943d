"""A trained agent that acts: NumPy in, NumPy out. The default network does not need TensorFlow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np

from tensorq.envs.observations import ObservationReader
from tensorq.envs.spaces import as_array, check_choice, check_mask, excerpt, is_composite, to_native_actions
from tensorq.errors import TensorqError

QFunction = Callable[[np.ndarray], np.ndarray]  # observations [N, ...] -> Q-values [N, A]


def greedy(q_values: np.ndarray, mask: Any = None) -> np.ndarray:
    """The first of the best actions, [...] int32, for Q-values [..., A]; only those that are legal by mask [..., A]."""
    scores = q_values if mask is None else np.where(np.asarray(mask, bool), q_values, -np.inf)
    return scores.argmax(axis=-1).astype(np.int32)


class TrainedAgent:
    """Gives Q-values and greedy actions for one observation or a batch of them."""

    def __init__(self, q_function: QFunction, observation_space: gym.Space, action_space: gym.Space) -> None:
        """Wrap a function from flat observations [N, ...] to Q-values [N, A]. The spaces are the environment's own."""
        self._q_function = q_function
        self._observation_space, self._action_space = observation_space, action_space
        self._read = ObservationReader(observation_space, "received")
        self._dtype, self._shape = self._read.dtype, self._read.shape

    def __repr__(self) -> str:
        plain = f"{self._dtype} of shape {self._shape}"
        observations = self._observation_space if is_composite(self._observation_space) else plain
        return " ".join(f"<TrainedAgent: observations {observations}, actions {self._action_space}>".split())

    def q_values(self, obs: Any) -> np.ndarray:
        """Q-values [A] of one observation, or [N, A] of a batch; raises TensorqError if they are not finite."""
        batch, single = self._batch(obs)
        with np.errstate(over="ignore", invalid="ignore"):
            result = self._q_function(batch)
        if not np.isfinite(result).all():
            raise TensorqError(
                f"the Q-values of {excerpt(obs)} are not finite: the observation is too large, or the agent's weights "
                "are."
            )
        return result[0] if single else result

    def act(self, obs: Any, mask: Any = None) -> Any:
        """The greedy action for one observation (an int, or an array for MultiDiscrete), or [N] for a batch.

        `mask`, [A] or [N, A], says which actions are legal, as an environment's info["action_mask"] does.
        """
        q_values = self.q_values(obs)
        if mask is not None:
            mask = check_mask(mask, self._action_space, len(q_values) if q_values.ndim == 2 else None)
            check_choice(mask)
        actions = to_native_actions(self._action_space, greedy(q_values, mask))
        return int(actions) if np.ndim(actions) == 0 else actions

    def _batch(self, obs: Any) -> tuple[np.ndarray, bool]:
        """The observations as a batch, flat if they are composite, and whether there was just one."""
        space = self._observation_space
        parts = space.spaces if isinstance(space, gym.spaces.Tuple) else ()
        of_dict = len(parts) == 2 and isinstance(parts[1], gym.spaces.Dict)
        if isinstance(obs, tuple) and len(obs) == 2 and isinstance(obs[1], dict) and not of_dict:
            raise TensorqError(
                "received a tuple of an observation and a dict, as reset() returns it: give only obs[0]."
            )
        if is_composite(space):
            obs = self._flattened(obs)
        try:
            with np.errstate(over="ignore", invalid="ignore"):
                array = np.asarray(obs, self._dtype)
        except (OverflowError, TypeError, ValueError) as error:
            raise TensorqError(f"received {excerpt(obs)}, expected {self._expected()}: {error}.") from error
        if self._dtype.kind != "f" and getattr(obs, "dtype", None) != self._dtype and not np.array_equal(array, obs):
            raise TensorqError(f"received {excerpt(obs)}, expected {self._expected()}, which {self._dtype} can hold.")
        single = array.shape == self._shape
        if not single and (array.ndim != len(self._shape) + 1 or array.shape[1:] != self._shape or not len(array)):
            raise TensorqError(f"received observations of shape {array.shape}, expected {self._expected()}.")
        if self._dtype.kind == "f" and np.isnan(array).any():
            raise TensorqError(f"received {excerpt(obs)}, which has NaN, expected {self._expected()}.")
        return (array[None] if single else array), single

    def _flattened(self, obs: Any) -> Any:
        """Flatten a composite observation, a list or a vector environment's batch of them; return others unchanged."""
        space = self._observation_space
        if not isinstance(space, (gym.spaces.Dict, gym.spaces.Tuple)):  # integers in the space's shape
            array, shape = as_array(obs), tuple(space.shape or ())
            if array.dtype.kind not in "iub" or not array.size or shape not in (array.shape, array.shape[1:]):
                return obs
            return self._read(array, None if array.shape == shape else len(array))
        if isinstance(obs, np.ndarray):
            return obs  # it is flat already
        if not isinstance(obs, list):
            return self._read(obs, self._read.rows(obs))
        if space.contains(obs):  # a Tuple's parts
            return self._read(obs)
        several = any(isinstance(row, (dict, tuple)) for row in obs)
        return np.stack([self._read(row) for row in obs]) if several else obs

    def _expected(self) -> str:
        if is_composite(self._observation_space):
            return f"an observation of {self._observation_space}, a list of them or a vector environment's batch"
        batch = ", ".join(map(str, ("N", *self._shape)))
        return f"numbers of shape {self._shape} for one observation, or ({batch}) for a batch of at least one"
