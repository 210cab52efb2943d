"""Replay inside the compiled loop: one matrix of float32 rows, used as a ring."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import tensorflow as tf

from tensorq.core.random import to_indices, to_uniforms
from tensorq.core.types import Batch, Tensor, Transition
from tensorq.replay.device_tree import DeviceTree, TreeState
from tensorq.replay.priorities import FIRST_PRIORITY, to_priority, to_weights
from tensorq.replay.settings import ReplaySettings

if TYPE_CHECKING:
    from tensorq.config import Config


class DeviceReplayState(NamedTuple):
    """The rows, and how many were ever written. Transition number n is in row n mod capacity, while it is kept."""

    rows: Tensor  # [capacity, row width] float32: obs, action, next_obs, discount, reward and, with masks, both masks
    written: Tensor  # int64 scalar
    tree: TreeState  # of priorities; it has no levels if draws are uniform


class DeviceReplay:
    """Replay of n-step transitions. Each is one packed row, so one gather fetches it.

    A row is written at its first step, and its window grows with each later step of the episode, up to n steps. So
    every row is always a valid transition, with a shorter window at the end of an episode and for the newest steps.
    """

    def __init__(self, config: Config, obs_shape: tuple[int, ...], masked_actions: int = 0) -> None:
        """`masked_actions` is the number of actions if the world has an action mask, else 0."""
        self._settings, self._gamma = config.part(ReplaySettings), config.gamma
        self.capacity = self._settings.replay_capacity
        self._obs_shape = obs_shape
        size = int(np.prod(obs_shape))
        self._widths = (size, masked_actions, 1, size, masked_actions, 1, 1)
        self._tree = DeviceTree(self.capacity) if self._settings.priority_exponent else None

    def init(self) -> DeviceReplayState:
        """An empty replay."""
        rows = tf.zeros((self.capacity, sum(self._widths)))
        return DeviceReplayState(rows, tf.constant(0, tf.int64), self._tree.init() if self._tree else TreeState(()))

    def add(self, state: DeviceReplayState, step: Transition) -> DeviceReplayState:
        """Store a step of each of N environments in place of the oldest N rows."""
        count = step.action.shape[0]
        place = (state.written + tf.range(count, dtype=tf.int64)) % self.capacity
        head = self._pack(step.obs, step.mask, step.action)
        end = self._pack(step.next_obs, step.next_mask, step.discount)
        places, rows = [place], [tf.concat([head, end, step.reward[:, None]], axis=1)]
        for back in range(1, self._settings.n_step):
            earlier = (place - back * count) % self.capacity
            old = tf.gather(state.rows, earlier)
            gamma = self._gamma**back
            discounted = tf.concat([end[:, :-1], gamma * end[:, -1:], old[:, -1:] + gamma * step.reward[:, None]], 1)
            grown = tf.concat([old[:, : head.shape[1]], discounted], axis=1)
            places.append(earlier)
            rows.append(tf.where((step.age >= back)[:, None], grown, old))
        stored = tf.tensor_scatter_nd_update(state.rows, tf.concat(places, 0)[:, None], tf.concat(rows, 0))
        tree = state.tree
        if self._tree:
            highest = self._tree.maximum(state.tree)
            first = tf.where(highest > 0, highest, tf.constant(FIRST_PRIORITY, tf.float64))
            tree = self._tree.set(state.tree, place, tf.repeat(first, count))
        return DeviceReplayState(stored, state.written + count, tree)

    def _pack(self, obs: Tensor, mask: Tensor | None, number: Tensor) -> Tensor:
        parts = [obs, number] if mask is None else [obs, mask, number]
        return tf.concat([tf.cast(tf.reshape(part, (number.shape[0], -1)), tf.float32) for part in parts], axis=1)

    def sample(self, state: DeviceReplayState, bits: Tensor, importance_exponent: Tensor) -> tuple[Batch, Tensor]:
        """Draw B transitions with replacement, for B random uint32 words. Also returns the numbers of their rows [B].

        Without priorities, draws are uniform and weights are 1. With priorities, one draw is from each of B equal parts
        of their sum. Its weight is (size * probability)^-importance_exponent, divided by the batch's largest weight
        (Schaul et al. 2016, section 3.4).
        """
        size = tf.minimum(state.written, self.capacity)
        if self._tree:
            places, probability = self._tree.sample(state.tree, to_uniforms(bits))
            weight = to_weights(probability * tf.cast(size, tf.float64), importance_exponent, tf.reduce_max)
            weight = tf.cast(weight, tf.float32)
        else:
            places, weight = to_indices(bits, size), tf.ones(bits.shape[0])
        fields = tf.split(tf.gather(state.rows, places), self._widths, axis=1)
        obs, mask, action, next_obs, next_mask, discount, reward = fields
        shape, masked = (bits.shape[0], *self._obs_shape), self._widths[1]
        batch = Batch(
            obs=tf.reshape(obs, shape),
            action=tf.cast(action[:, 0], tf.int32),
            reward=reward[:, 0],
            discount=discount[:, 0],
            next_obs=tf.reshape(next_obs, shape),
            weight=weight,
            mask=mask > 0 if masked else None,
            next_mask=next_mask > 0 if masked else None,
        )
        return batch, places

    def prioritise(self, tree: TreeState, places: Tensor, td_error: Tensor) -> TreeState:
        """The tree with new priorities for the transitions in these rows, from their TD errors [B]."""
        if not self._tree:
            return tree
        priority = to_priority(tf.cast(tf.abs(td_error), tf.float64), self._settings.priority_exponent)
        return self._tree.set(tree, places, priority)
