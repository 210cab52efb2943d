"""Observations in the form of the environment's own space, for a user's model, made from stored observations.

Observations are stored as one row of numbers (envs/observations.py). For a Dict, a model gets a dict of tensors by
name; for a Tuple, a list. States of a Discrete part are integers, not one-hot.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import keras
import numpy as np
import tensorflow as tf
from gymnasium import spaces

from tensorq.core.types import Tensor


def keras_inputs(space: gym.Space) -> Any:
    """A keras.Input for each part, named as in the Dict. For a space without parts, the name is observation."""

    def make(leaf: gym.Space, name: str) -> Any:
        dtype, shape = layout(leaf)
        return keras.Input(shape, dtype=dtype.name, name=name)

    return _mapped(space, make)


def examples(space: gym.Space) -> Any:
    """Two observations as the model gets them: the first and the last state, or the numbers nearest to 0."""

    def make(leaf: gym.Space, name: str) -> np.ndarray:
        dtype, shape = layout(leaf)
        if isinstance(leaf, spaces.Discrete):
            return np.array([leaf.start, leaf.start + leaf.n - 1], dtype)
        if isinstance(leaf, spaces.Box):
            return np.stack([np.clip(0, leaf.low, leaf.high)] * 2).astype(dtype)
        return np.zeros((2, *shape), dtype)

    return _mapped(space, make)


def from_stored(space: gym.Space, stored: Tensor) -> Any:
    """Stored observations, [N, ...] or flat [N, numbers], in the form that a model of the space takes."""
    if not isinstance(space, (spaces.Dict, spaces.Tuple, spaces.MultiDiscrete, spaces.MultiBinary)):
        return stored
    start = 0

    def cut(leaf: gym.Space, name: str) -> Tensor:
        nonlocal start
        size = spaces.flatdim(leaf)
        part, start = stored[:, start : start + size], start + size
        dtype, shape = layout(leaf)
        if isinstance(leaf, spaces.Discrete):
            return tf.argmax(part, axis=1, output_type=tf.int32) + int(leaf.start)
        if isinstance(leaf, spaces.MultiDiscrete):
            codes = tf.split(part, leaf.nvec.ravel().tolist(), axis=1)
            found = tf.stack([tf.argmax(code, axis=1, output_type=tf.int32) for code in codes], axis=1)
            return tf.reshape(found, (-1, *shape)) + tf.constant(leaf.start, tf.int32)
        return tf.reshape(tf.cast(part, dtype), (-1, *shape))

    return _mapped(space, cut)


def layout(leaf: gym.Space) -> tuple[np.dtype, tuple[int, ...]]:
    """(dtype, shape) of a part in the model's inputs: float64 becomes float32, states and codes become int32."""
    shape = tuple(leaf.shape or ())
    if isinstance(leaf, (spaces.Discrete, spaces.MultiDiscrete)):
        return np.dtype(np.int32), shape
    dtype = np.dtype(leaf.dtype)
    return (np.dtype(np.float32) if dtype.kind == "f" else dtype), shape


def _mapped(space: gym.Space, function: Callable[[gym.Space, str], Any], name: str = "observation") -> Any:
    """The structure of a space, with each innermost part replaced by the function's result for it and its name."""
    if isinstance(space, spaces.Dict):
        return {key: _mapped(part, function, key) for key, part in space.spaces.items()}
    if isinstance(space, spaces.Tuple):
        return [_mapped(part, function, f"{name}_{index}") for index, part in enumerate(space.spaces)]
    return function(space, name)
