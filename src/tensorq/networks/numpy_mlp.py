"""The forward pass of networks/mlp.py in NumPy: 6 us for one observation, where TensorFlow takes over 100."""

from __future__ import annotations

from collections.abc import Sequence

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]


class NumpyMLP:
    """The default network as NumPy arrays. Layers are (kernel [in, out], bias [out]) pairs."""

    def __init__(self, observation_space: gym.Space, layers: Sequence[tuple[FloatArray, FloatArray]]) -> None:
        self.layers = list(layers)
        self._space = observation_space
        self._scale = np.float32(1 / 255 if observation_space.dtype == np.uint8 else 1)

    def __call__(self, obs: np.ndarray) -> FloatArray:
        """Q-values [N, A] of observations [N, ...]."""
        if isinstance(self._space, gym.spaces.Discrete):
            x = np.eye(int(self._space.n), dtype=np.float32)[np.asarray(obs) - int(self._space.start)]
        else:
            x = np.asarray(obs, np.float32).reshape(len(obs), -1)
            if self._scale != 1:
                x = x * self._scale
        for kernel, bias in self.layers[:-1]:
            x = np.maximum(x @ kernel + bias, 0)
        kernel, bias = self.layers[-1]
        return x @ kernel + bias


def layers_from_flat(params: FloatArray, sizes: Sequence[int]) -> list[tuple[FloatArray, FloatArray]]:
    """Cut the flat parameter vector of an MLP of these layer widths, input first, into views: nothing is copied."""
    layers, start = [], 0
    for layer, (inputs, outputs) in enumerate(zip(sizes, sizes[1:], strict=False)):
        kernel = params[start : start + inputs * outputs]
        last = layer == len(sizes) - 2  # whose kernel is stored the other way round, see networks.layers.QValues
        start += inputs * outputs
        bias = params[start : start + outputs]
        layers.append((kernel.reshape(outputs, inputs).T if last else kernel.reshape(inputs, outputs), bias))
        start += outputs
    return layers


def input_size(observation_space: gym.Space) -> int:
    """Numbers that one observation becomes."""
    if isinstance(observation_space, gym.spaces.Discrete):
        return int(observation_space.n)
    return int(np.prod(observation_space.shape or ()))
