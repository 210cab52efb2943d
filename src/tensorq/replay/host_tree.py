"""A sum tree in NumPy: it sets numbers by place, and draws places with probability in proportion to their number.

It has three levels, whatever the capacity: the numbers, the sums of every 32 and the sums of every 1024. For a batch
of 64, each NumPy call costs about a microsecond and each level needs a dozen calls, so a binary tree of 20 levels would
take ten times as long. No TensorFlow here.
"""

from __future__ import annotations

import numpy as np

WIDTH = 32
SHIFT = 5  # 2^5 is WIDTH
BELOW_ONE = 1 - 1e-12


class HostTree:
    """`capacity` numbers, all 0 at first.

    A sum is always recomputed in the same order, so equal numbers give equal sums to the bit, whatever was set before.
    """

    def __init__(self, capacity: int) -> None:
        tops = -(-capacity // WIDTH**2)
        self.leaves = np.zeros(tops * WIDTH**2)
        self._middles = np.zeros(tops * WIDTH)
        self._tops = np.zeros(tops)
        self._leaf_rows, self._middle_rows = self.leaves.reshape(-1, WIDTH), self._middles.reshape(-1, WIDTH)
        self._changed: list[np.ndarray] = []  # places whose sums are to be recomputed before they are needed
        self.maximum = 0.0
        self._highest_place = 0
        self._shape: tuple[int, ...] = ()  # of the last draws, for which the next line's parts and rows were computed
        self._parts = self._rows = np.arange(0)
        self._up_to = np.triu(np.ones((WIDTH, WIDTH)))  # a product with it adds up rows, faster than cumsum

    def set(self, places: np.ndarray, values: np.ndarray) -> None:
        """Set the numbers at places [B] to values [B]. A place that is given twice gets its last value."""
        self.leaves[places] = values
        self._changed.append(places)
        kept = self.leaves.take(places)
        index = int(kept.argmax())
        if kept[index] >= self.maximum:
            self.maximum, self._highest_place = float(kept[index]), int(places[index])
        elif self.leaves[self._highest_place] < self.maximum:  # rare: the newest maximum was lowered
            self._highest_place = int(self.leaves.argmax())
            self.maximum = float(self.leaves[self._highest_place])

    def set_to_maximum(self, places: np.ndarray, first: float) -> None:
        """Set the numbers at places [B] to the largest of all, or to `first` if all are 0."""
        if not len(places):
            return
        self.maximum = self.maximum or first
        self.leaves[places] = self.maximum
        self._highest_place = int(places[-1])
        self._changed.append(places)

    def restore(self, leaves: np.ndarray) -> None:
        """Set all numbers at once, from at most `capacity` leaves; the others become 0."""
        self.leaves[:] = 0
        self.leaves[: len(leaves)] = leaves
        self._changed = [np.arange(0, len(self.leaves), WIDTH)]
        self._highest_place = int(self.leaves.argmax())
        self.maximum = float(self.leaves[self._highest_place])

    def _update_sums(self) -> None:
        node = (self._changed[0] if len(self._changed) == 1 else np.concatenate(self._changed)) >> SHIFT
        self._changed = []
        # A product with ones would round differently for another number of rows.
        self._middles[node] = np.add.reduce(self._leaf_rows.take(node, axis=0), axis=1)
        node = node >> SHIFT
        self._tops[node] = np.add.reduce(self._middle_rows.take(node, axis=0), axis=1)

    def sample(self, u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Draw places [..., B] for uniforms [..., B], and return their probabilities, too.

        Each row has one draw from each of B equal parts of the whole sum.
        """
        if self._changed:
            self._update_sums()
        if u.shape != self._shape:
            draws = np.arange(u.size)
            self._shape, self._parts, self._rows = u.shape, draws % u.shape[-1], draws * WIDTH
        ends = self._tops.cumsum()
        total = ends[-1]
        rest = (self._parts + u.ravel()) * (total / u.shape[-1])
        place = ends.searchsorted(np.minimum(rest, total * BELOW_ONE), side="right")
        value = self._tops.take(place)
        rest -= ends.take(place) - value
        for level in (self._middle_rows, self._leaf_rows):
            children = level.take(place, axis=0)
            ends = children @ self._up_to
            # Rounding must not select a child after the last one that is not 0, nor one before the first.
            np.maximum(np.minimum(rest, value * BELOW_ONE, out=rest), 0, out=rest)
            child = (ends > rest[:, None]).argmax(axis=1)
            here = self._rows + child
            value = children.take(here)
            rest -= ends.take(here) - value
            place = place * WIDTH + child
        return place.reshape(u.shape), (value / total).reshape(u.shape)
