"""A sum tree in XLA: it sets numbers by place, and draws places with probability in proportion to their number."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from tensorq.core.types import Tensor

WIDTH = 8  # children of a node: with more, there are fewer levels, but longer sums on each level
MOST_TOPS = 16  # the most nodes on the top level: to add so few up costs less than another level
BELOW_ONE = 1 - 2.0**-52


class TreeState(NamedTuple):
    """The numbers [nodes, WIDTH], and above them levels of [nodes, WIDTH, 2], all float64.

    A level holds the sum and the maximum of every WIDTH entries of the level below. Both are in one tensor, because a
    write costs the same, whatever its size.
    """

    levels: tuple[Tensor, ...]


class DeviceTree:
    """Functions on TreeState. A node is always recomputed from its children, so rounding errors do not accumulate."""

    def __init__(self, capacity: int) -> None:
        self._nodes = [-(-capacity // WIDTH)]
        while self._nodes[-1] > MOST_TOPS:
            self._nodes.append(-(-self._nodes[-1] // WIDTH))

    def init(self) -> TreeState:
        """A tree in which all numbers are 0."""
        numbers, *above = self._nodes
        levels = [tf.zeros((numbers, WIDTH), tf.float64), *(tf.zeros((nodes, WIDTH, 2), tf.float64) for nodes in above)]
        return TreeState(tuple(levels))

    def set(self, state: TreeState, places: Tensor, values: Tensor) -> TreeState:
        """Set the numbers at places [B] to values [B]. If a place is given twice, it gets one of its two values."""
        levels = list(state.levels)
        path, new = tf.cast(places, tf.int32), tf.cast(values, tf.float64)
        for index, level in enumerate(levels):
            node = path // WIDTH
            levels[index] = tf.tensor_scatter_nd_update(level, tf.stack([node, path % WIDTH], axis=1), new)
            sums, largest = _split(tf.gather(levels[index], node))
            new = tf.stack([tf.reduce_sum(sums, axis=1), tf.reduce_max(largest, axis=1)], axis=1)
            path = node
        return TreeState(tuple(levels))

    def maximum(self, state: TreeState) -> Tensor:
        """The largest number, a float64 scalar."""
        return tf.reduce_max(_split(state.levels[-1])[1])

    def sample(self, state: TreeState, u: Tensor) -> tuple[Tensor, Tensor]:
        """Draw places [B] int32, one from each of B equal parts of the sum, and return their probabilities [B], too."""
        count = u.shape[0]
        children = tf.reduce_sum(_split(state.levels[-1])[0], axis=1)[None]
        total = tf.reduce_sum(children)
        rest = (tf.range(count, dtype=tf.float64) + tf.cast(u, tf.float64)) * (total / count)
        place, rest, _ = _choose(children, rest)
        value = rest
        for level in reversed(state.levels):
            child, rest, value = _choose(_split(tf.gather(level, place))[0], rest)
            place = place * WIDTH + child
        return place, value / total


def _split(nodes: Tensor) -> tuple[Tensor, Tensor]:
    """Sums and maxima of a level's nodes. On the lowest level, the numbers are both."""
    return (nodes, nodes) if nodes.shape.rank == 2 else (nodes[..., 0], nodes[..., 1])


def _choose(children: Tensor, rest: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The child, of [B or 1, W], in which point `rest` [B] of the sum lies, the rest within it, and its number."""
    width = children.shape[1]
    up_to = tf.constant([[float(row <= column) for column in range(width)] for row in range(width)], tf.float64)
    ends = tf.matmul(children, up_to)  # cumulative sums; XLA's own cumsum is slower
    rest = tf.minimum(rest, ends[:, -1] * BELOW_ONE)  # against rounding past the last child that is not 0
    passed = ends <= rest[:, None]
    rest = rest - tf.reduce_max(tf.where(passed, ends, 0.0), axis=1)
    child = tf.reduce_sum(tf.cast(passed, tf.int32), axis=1)
    value = tf.reduce_sum(children * tf.one_hot(child, width, dtype=tf.float64), axis=1)
    return child, rest, value
