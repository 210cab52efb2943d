"""A sum tree in XLA: numbers that can be set by place, and drawn with probability in proportion to them."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from tensorq.core.types import Tensor

WIDTH = 8  # children of a node: wider ones make fewer levels, and more to add up on each of them
BELOW_ONE = 1 - 2.0**-52


class TreeState(NamedTuple):
    """The numbers, and above them the sums and the largest of every WIDTH, of every WIDTH of those, and so on."""

    sums: tuple[Tensor, ...]  # [nodes, WIDTH] float64 each; the first holds the numbers themselves
    maxima: tuple[Tensor, ...]  # the same without the first level


class DeviceTree:
    """Functions on TreeState. A node is always recomputed from its children, so rounding errors do not gather."""

    def __init__(self, capacity: int) -> None:
        self._nodes = [-(-capacity // WIDTH)]
        while self._nodes[-1] > 1:
            self._nodes.append(-(-self._nodes[-1] // WIDTH))

    def init(self) -> TreeState:
        """All numbers 0."""
        levels = tuple(tf.zeros((nodes, WIDTH), tf.float64) for nodes in self._nodes)
        return TreeState(levels, levels[1:])

    def set(self, state: TreeState, places: Tensor, values: Tensor) -> TreeState:
        """Numbers at these places [B] become values [B]; at a place given twice, one of them wins."""
        sums, maxima = list(state.sums), list(state.maxima)
        path = tf.cast(places, tf.int32)
        sums[0] = _put(sums[0], path, tf.cast(values, tf.float64))
        largest = sums[0]
        for level in range(1, len(sums)):
            node = path // WIDTH
            sums[level] = _put(sums[level], node, tf.reduce_sum(tf.gather(sums[level - 1], node), axis=1))
            largest = _put(maxima[level - 1], node, tf.reduce_max(tf.gather(largest, node), axis=1))
            maxima[level - 1] = largest
            path = node
        return TreeState(tuple(sums), tuple(maxima))

    def maximum(self, state: TreeState) -> Tensor:
        """The largest number, a float64 scalar."""
        return tf.reduce_max(state.maxima[-1] if state.maxima else state.sums[-1])

    def sample(self, state: TreeState, u: Tensor) -> tuple[Tensor, Tensor]:
        """Places [B] int32 and their probabilities [B], one from each of B equal parts of the sum, for uniforms [B]."""
        count = u.shape[0]
        total = tf.reduce_sum(state.sums[-1])
        rest = (tf.range(count, dtype=tf.float64) + tf.cast(u, tf.float64)) * (total / count)
        place = tf.zeros(count, tf.int32)
        value = rest
        lower = tf.constant([[float(row <= column) for column in range(WIDTH)] for row in range(WIDTH)], tf.float64)
        for level in reversed(state.sums):
            children = tf.gather(level, place)
            ends = tf.matmul(children, lower)  # cumulative sums; XLA's own cumsum is slower
            rest = tf.minimum(rest, ends[:, -1] * BELOW_ONE)  # rounding may not lead past the last child that counts
            passed = ends <= rest[:, None]
            rest = rest - tf.reduce_max(tf.where(passed, ends, 0.0), axis=1)
            child = tf.reduce_sum(tf.cast(passed, tf.int32), axis=1)
            value = tf.reduce_sum(children * tf.one_hot(child, WIDTH, dtype=tf.float64), axis=1)
            place = place * WIDTH + child
        return place, value / total


def _put(level: Tensor, place: Tensor, values: Tensor) -> Tensor:
    indices = tf.stack([place // WIDTH, place % WIDTH], axis=1)
    return tf.tensor_scatter_nd_update(level, indices, values)
