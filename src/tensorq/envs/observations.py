"""Observations: checked against their space, and converted into the layout in which they are stored.

A composite observation is flattened part by part, in the order of gymnasium.spaces.flatten: Box and MultiBinary
unchanged, Discrete and MultiDiscrete one-hot. No TensorFlow here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from tensorq.envs.spaces import as_array, excerpt, is_composite, named_leaves, obs_layout, plain_observation_space
from tensorq.errors import TensorqError

_FEW = 64  # up to so many numbers, Python adds faster than NumPy


class ObservationReader:
    """Reads observations of one space; raises TensorqError if the space does not contain them.

    It refuses another shape, other parts, another kind of numbers (floats in a space of integers), states that the
    space does not contain, and integers that its dtype cannot hold. It makes casts that lose nothing, and casts float64
    to float32, in which it is stored.
    """

    def __init__(self, space: gym.Space, giver: str = "the environment gave") -> None:
        """Prepare for the environment's own space; raises TensorqError if tensorq does not support this space.

        Every error message begins with `giver`.
        """
        self.space, self._giver = space, giver
        self.plain = plain_observation_space(space)
        self.dtype, self.shape = obs_layout(self.plain)
        self._leaves = [_Leaf(leaf, name, giver) for name, leaf in named_leaves(space)]
        self._single = None if is_composite(space) else self._leaves[0]
        self._floats = self.dtype.kind == "f"
        # States and dtypes of ordinary observations, which need no further check.
        self._least_state, self._last_state, self._dtypes = 0, -1, set[np.dtype]()
        if isinstance(space, spaces.Discrete):
            self._least_state, self._last_state = int(space.start), int(space.start + space.n) - 1
        elif isinstance(space, spaces.Box):
            self._dtypes = {np.dtype(np.float32), np.dtype(np.float64)} if self._floats else {self._leaves[0].dtype}

    def __call__(self, obs: Any, rows: int | None = None) -> np.ndarray:
        """Read one observation as [...], or a vector environment's batch as [rows, ...], in the stored dtype."""
        if type(obs) is np.ndarray and obs.dtype in self._dtypes:
            if obs.shape == (self.shape if rows is None else (rows, *self.shape)):
                return self._stored(obs)
        elif isinstance(obs, (int, np.integer)) and self._least_state <= obs <= self._last_state and rows is None:
            return np.array(obs, self.dtype)
        if self._single is not None:
            return self._stored(self._single.read(obs, rows))
        out = np.zeros((1 if rows is None else rows, *self.shape), self.dtype)
        start = 0
        for leaf, part in zip(self._leaves, _parts(self.space, obs, self._giver), strict=True):
            leaf.write(leaf.read(part, rows), out[:, start : start + leaf.size])
            start += leaf.size
        return out[0] if rows is None else out

    def _stored(self, array: np.ndarray) -> np.ndarray:
        """The array in the stored dtype. Numbers too large for float32 become infinite, which check_finite refuses."""
        if array.dtype == self.dtype:
            return array
        with np.errstate(over="ignore"):
            return array.astype(self.dtype)

    def rows(self, obs: Any) -> int | None:
        """The number of observations in a vector environment's batch; None if it is a single observation."""
        first = as_array(next(_parts(self.space, obs, self._giver)))
        return len(first) if first.ndim == len(self._leaves[0].shape) + 1 else None

    def check_finite(self, array: np.ndarray) -> None:
        """Refuse observations [rows, ...] with numbers that are infinite or NaN: nothing can be learned from them.

        If such a number were in the replay, it would be drawn thousands of steps later, and again after every resume.
        """
        if not self._floats:
            return
        few = array.size <= _FEW  # every step comes here
        if not (math.isfinite(sum(array.ravel().tolist())) if few else np.isfinite(array).all()):
            place = np.argwhere(~np.isfinite(array))[0]
            which = f" of environment {place[0]}" if len(array) > 1 else ""
            raise TensorqError(
                f"{self._giver} an observation with {array[tuple(place)]} at {place[1:].tolist()}{which}, expected "
                "finite numbers that float32 can hold."
            )

    def check_bounds(self, array: np.ndarray) -> None:
        """Refuse observations, [...] or [rows, ...], with numbers outside the space's bounds."""
        if isinstance(self.plain, spaces.Box):
            with np.errstate(over="ignore"):  # bounds too large for float32 become infinite
                low, high = (bound.astype(self.dtype) for bound in (self.plain.low, self.plain.high))
            outside = ~((array >= low) & (array <= high))
            if outside.any():
                place = np.argwhere(outside)[0]
                bounds = [np.broadcast_to(bound, array.shape)[tuple(place)] for bound in (low, high)]
                raise TensorqError(
                    f"{self._giver} an observation with {array[tuple(place)]:g} at {place.tolist()}, expected "
                    f"{bounds[0]:g} to {bounds[1]:g} by its space {self.space}: correct the observation or the space's "
                    "bounds."
                )


class _Leaf:
    """Checks and flattens the observations of a space without parts."""

    def __init__(self, space: gym.Space, name: str, giver: str) -> None:
        self._giver = giver
        self.space, self.shape, self.dtype = space, tuple(space.shape or ()), np.dtype(space.dtype)
        self._part = name and f" in its part {name}"
        self.size = spaces.flatdim(space)
        self._box = isinstance(space, spaces.Box)
        self._first: Any = None  # the first value of a Discrete or MultiDiscrete
        self._least: Any = 0
        self._most: Any = 1
        if isinstance(space, spaces.Box) and self.dtype.kind in "iu":
            self._least, self._most = np.iinfo(self.dtype).min, np.iinfo(self.dtype).max
        elif isinstance(space, (spaces.Discrete, spaces.MultiDiscrete)):
            counts: Any = space.n if isinstance(space, spaces.Discrete) else space.nvec
            self._first, self._least, self._most = space.start, space.start, space.start + counts - 1
            self._offsets = np.cumsum([0, *np.ravel(counts)[:-1]])

    def read(self, obs: Any, rows: int | None) -> np.ndarray:
        """Check an observation and return it as an array of the space's shape, or [rows, ...]."""
        try:
            array = obs if isinstance(obs, np.ndarray) else np.asarray(obs)
        except ValueError as error:  # rows of different lengths
            raise self._refusal(f"the observation {excerpt(obs)}") from error
        expected = self.shape if rows is None else (rows, *self.shape)
        if array.shape != expected:
            whole = array.dtype.kind != "O"
            received = f"an observation of shape {array.shape}" if whole else f"the observation {excerpt(obs)}"
            raise TensorqError(
                f"{self._giver} {received}{self._part}, expected shape {expected} by its space {self.space}."
            )
        if array.dtype == self.dtype and self._box:
            return array
        kinds = "fiub" if self.dtype.kind == "f" else "iub"
        if array.dtype.kind not in kinds:
            raise self._refusal(f"an observation of dtype {array.dtype}", " Return the space's dtype, or change that.")
        # This also holds if Gymnasium stores a batch of states in another dtype than the space's.
        if self.dtype.kind != "f" and not ((array >= self._least) & (array <= self._most)).all():
            raise self._refusal(f"the observation {excerpt(array.tolist())}")
        return array

    def _refusal(self, received: str, hint: str = "") -> TensorqError:
        return TensorqError(
            f"{self._giver} {received}{self._part}, which its observation space {self.space} does not contain.{hint}"
        )

    def write(self, array: np.ndarray, out: np.ndarray) -> None:
        """Flatten an observation from `read` into `out`, zeros of shape [rows, size]."""
        rows = array.reshape(len(out), math.prod(self.shape))
        if self._first is None:
            out[:] = rows
        else:
            places = rows - np.ravel(self._first) + self._offsets
            np.put_along_axis(out, places.astype(np.int64), 1, axis=1)


def _parts(space: gym.Space, obs: Any, giver: str) -> Iterator[Any]:
    """The observations of a space's leaves, in their order."""
    if isinstance(space, spaces.Dict):
        if not isinstance(obs, Mapping) or obs.keys() != space.spaces.keys():
            found = ", ".join(map(str, obs)) or "none" if isinstance(obs, Mapping) else excerpt(obs)
            raise TensorqError(
                f"{giver} an observation whose parts are not those of its space: {found}; expected a dict with "
                f"{', '.join(space.spaces)}."
            )
        for name, part in space.spaces.items():
            yield from _parts(part, obs[name], giver)
    elif isinstance(space, spaces.Tuple):
        if not isinstance(obs, (tuple, list)) or len(obs) != len(space.spaces):
            raise TensorqError(
                f"{giver} the observation {excerpt(obs)}, expected a tuple of {len(space.spaces)} parts "
                f"by its space {space}."
            )
        for part, value in zip(space.spaces, obs, strict=True):
            yield from _parts(part, value, giver)
    else:
        yield obs
