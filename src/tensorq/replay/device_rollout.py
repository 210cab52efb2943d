"""The last rollout inside the compiled loop, for learning without replay."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import tensorflow as tf

from tensorq.core.types import Rollout, Tensor, Transition
from tensorq.core.xla import with_block

if TYPE_CHECKING:
    from tensorq.config import Config


class DeviceRolloutState(NamedTuple):
    """The steps of a rollout, and how many rows were ever written. Row number n is at n mod T, while it is kept."""

    columns: Rollout  # () in place of a column that is not kept, because None would count as one
    written: Tensor  # int64 scalar

    def rollout(self) -> Rollout:
        """The columns, with None in place of those that are not kept. Each step has the weight 1."""
        found = Rollout(*(None if isinstance(column, tuple) else column for column in self.columns))
        return found._replace(weight=tf.ones_like(found.reward))


class DeviceRollout:
    """rollout_length steps of num_envs environments, overwritten from the beginning when it is full."""

    def __init__(
        self,
        config: Config,
        obs_dtype: Any,
        obs_shape: tuple[int, ...],
        masked_actions: int = 0,
        rated_actions: int = 0,
    ) -> None:
        """Prepare rows for observations of this dtype and shape.

        `masked_actions` is the number of actions if the world has an action mask, else 0; `rated_actions` is it if
        Q-values are kept, else 0.
        """
        self._shape = (config.rollout_length, config.num_envs)
        self._obs_dtype, self._obs_shape = obs_dtype, obs_shape
        self._masked_actions, self._rated_actions = masked_actions, rated_actions

    def init(self) -> DeviceRolloutState:
        """An empty rollout."""
        zeros, obs = tf.zeros(self._shape), tf.zeros((*self._shape, *self._obs_shape), self._obs_dtype)
        mask, rated = (*self._shape, self._masked_actions), (*self._shape, self._rated_actions)
        columns = Rollout(
            obs=obs,
            action=tf.zeros(self._shape, tf.int64),
            reward=zeros,
            discount=zeros,
            next_obs=obs,
            ended=tf.zeros(self._shape, tf.bool),
            weight=(),
            next_mask=tf.zeros(mask, tf.bool) if self._masked_actions else (),
            q_values=tf.zeros(rated) if self._rated_actions else (),
        )
        return DeviceRolloutState(columns, tf.constant(0, tf.int64))

    def add(self, state: DeviceRolloutState, step: Transition) -> DeviceRolloutState:
        """Write a step of each environment into the next row."""
        row = state.written % self._shape[0]
        given = Rollout(
            step.obs, step.action, step.reward, step.discount, step.next_obs, step.ended, (), step.next_mask,
            step.q_values,
        )  # fmt: skip
        columns = Rollout(
            *(
                column if isinstance(column, tuple) else with_block(column, row, new)
                for column, new in zip(state.columns, given, strict=True)
            )
        )
        return DeviceRolloutState(columns, state.written + 1)

    def full(self, state: DeviceRolloutState) -> Tensor:
        """Whether the last row has just been written."""
        return state.written % self._shape[0] == 0
