"""Encoder: the interface that every encoder has."""

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
    """Makes features of observations. A subclass has its settings as fields."""

    def build(self, observation_space: gym.Space, seed: int) -> tuple[Any, Any]:
        """(input, features [N, F]) as Keras tensors, for a Box or Discrete space; weights depend on the seed alone."""
        raise NotImplementedError

    def in_numpy(self, observation_space: gym.Space) -> Callable[[np.ndarray], np.ndarray] | None:
        """The same from observations [N, ...] to features in NumPy, where the encoder has no weights; None: it cannot.

        With it a run acts in Python without TensorFlow, at a twentieth of the cost for a small network.
        """
        return None
