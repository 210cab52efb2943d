"""Replay inside the compiled loop: one matrix of float32 rows, overwritten in a ring."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tensorq.core.random import to_indices
from tensorq.core.types import Batch, Tensor


class DeviceReplayState(NamedTuple):
    """The rows, and how many were ever written; row r holds transition number n for the largest n = r mod capacity."""

    rows: Tensor  # [capacity, row width] float32: obs, next_obs, action, reward, discount
    written: Tensor  # int64 scalar


class DeviceReplay:
    """Uniform replay. A transition is one packed row: one scatter stores it and one gather fetches it."""

    def __init__(self, capacity: int, obs_shape: tuple[int, ...]) -> None:
        self.capacity = capacity
        self._obs_shape = obs_shape
        self._obs_size = int(np.prod(obs_shape))

    def init(self) -> DeviceReplayState:
        """An empty replay."""
        return DeviceReplayState(tf.zeros((self.capacity, 2 * self._obs_size + 3)), tf.constant(0, tf.int64))

    def add(
        self, state: DeviceReplayState, obs: Tensor, action: Tensor, reward: Tensor, discount: Tensor, next_obs: Tensor
    ) -> DeviceReplayState:
        """Store N transitions, one a row of each argument; the oldest give way."""
        count = obs.shape[0]
        numbers = [tf.cast(x, tf.float32)[:, None] for x in (action, reward, discount)]
        flat = [tf.reshape(x, (count, self._obs_size)) for x in (obs, next_obs)]
        place = (state.written + tf.range(count, dtype=tf.int64)) % self.capacity
        rows = tf.tensor_scatter_nd_update(state.rows, place[:, None], tf.concat(flat + numbers, axis=1))
        return DeviceReplayState(rows, state.written + count)

    def sample(self, state: DeviceReplayState, bits: Tensor) -> Batch:
        """B transitions, uniformly and with replacement, for B random uint32 words."""
        size = tf.minimum(state.written, self.capacity)
        rows = tf.gather(state.rows, to_indices(bits, size))
        width, shape = self._obs_size, (bits.shape[0], *self._obs_shape)
        return Batch(
            obs=tf.reshape(rows[:, :width], shape),
            action=tf.cast(rows[:, -3], tf.int32),
            reward=rows[:, -2],
            discount=rows[:, -1],
            next_obs=tf.reshape(rows[:, width : 2 * width], shape),
            weight=tf.ones(bits.shape[0]),
        )
