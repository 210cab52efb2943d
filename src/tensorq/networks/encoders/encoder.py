"""Encoder: the interface of all encoders."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tensorq.settings import Part

if TYPE_CHECKING:
    import gymnasium as gym
    import numpy as np


@dataclass(frozen=True)
class Encoder(Part):
    """Computes features from observations. The fields of a subclass are its settings."""

    def build(self, observation_space: gym.Space, seed: int) -> tuple[Any, Any]:
        """(input, features [N, F]) as Keras tensors for a Box or Discrete space. Weights depend on the seed alone."""
        raise NotImplementedError

    def build_stack(self, observation_space: gym.Space, seed: int) -> tuple[Any, Any]:
        """The same for a Box [K, ...] of stacks of K observations, oldest first (setting frame_stack above 1)."""
        return self.build(observation_space, seed)

    def in_numpy(self, observation_space: gym.Space) -> Callable[[np.ndarray], np.ndarray] | None:
        """The same function in NumPy, observations [N, ...] to features, if there are no weights; None if it has none.

        With it a run acts in Python without TensorFlow, at a twentieth of the cost for a small network.
        """
        return None


def frame_space(stacks: gym.spaces.Box) -> gym.spaces.Box:
    """The space of one observation in stacks [K, ...]."""
    import gymnasium as gym

    return gym.spaces.Box(stacks.low[0], stacks.high[0], dtype=stacks.dtype.type)
