"""The last rollout inside the compiled loop, for learning without replay."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import tensorflow as tf

from tensorq.core.types import Tensor, Transition
from tensorq.core.xla import with_block

if TYPE_CHECKING:
    from tensorq.config import Config


class DeviceRolloutState(NamedTuple):
    """The steps of a rollout, and how many rows were ever written. Row number n is at n mod T, while it is kept."""

    columns: tuple[Tensor, ...]  # those of a Rollout; without next_mask if all actions are always legal
    written: Tensor  # int64 scalar


class DeviceRollout:
    """rollout_length steps of num_envs environments, overwritten from the beginning when it is full."""

    def __init__(self, config: Config, obs_dtype: Any, obs_shape: tuple[int, ...], masked_actions: int = 0) -> None:
        """Prepare rows for observations of this dtype and shape.

        `masked_actions` is the number of actions if the world has an action mask, else 0.
        """
        self._shape = (config.rollout_length, config.num_envs)
        self._obs_dtype, self._obs_shape, self._masked_actions = obs_dtype, obs_shape, masked_actions

    def init(self) -> DeviceRolloutState:
        """An empty rollout."""
        zeros, obs = tf.zeros(self._shape), tf.zeros((*self._shape, *self._obs_shape), self._obs_dtype)
        masks = (tf.zeros((*self._shape, self._masked_actions), tf.bool),) if self._masked_actions else ()
        no, weight = tf.zeros(self._shape, tf.bool), tf.ones(self._shape)
        columns = (obs, tf.zeros(self._shape, tf.int64), zeros, zeros, obs, no, weight, *masks)
        return DeviceRolloutState(columns, tf.constant(0, tf.int64))

    def add(self, state: DeviceRolloutState, step: Transition) -> DeviceRolloutState:
        """Write a step of each environment into the next row."""
        row = state.written % self._shape[0]
        weight = tf.ones(self._shape[1])
        given = (step.obs, step.action, step.reward, step.discount, step.next_obs, step.ended, weight, step.next_mask)
        columns = tuple(with_block(column, row, new) for column, new in zip(state.columns, given, strict=False))
        return DeviceRolloutState(columns, state.written + 1)

    def full(self, state: DeviceRolloutState) -> Tensor:
        """Whether the last row has just been written."""
        return state.written % self._shape[0] == 0
