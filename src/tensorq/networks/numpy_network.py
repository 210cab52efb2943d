"""The forward pass of networks/mlp.py in NumPy: 6 us for one observation, where TensorFlow takes over 100."""

from __future__ import annotations

import math

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from tensorq.config import Config
from tensorq.errors import TensorqError

FloatArray = NDArray[np.float32]
COSINES, LAYER_NORM_EPSILON = 64, 1e-5  # as in networks/mlp.py, which imports Keras
ACTING_FRACTIONS = 32


class NumpyNetwork:
    """The default network's Q-values. Weights are views of `params`, so that renewing those in place renews it."""

    def __init__(self, observation_space: gym.Space, num_actions: int, config: Config, params: FloatArray) -> None:
        """Cut the flat parameter vector [P] in Keras' order; raises TensorqError if it is not as long as needed."""
        self._space, self._config, self._num_actions = observation_space, config, num_actions
        self._scale = np.float32(1 / 255 if observation_space.dtype == np.uint8 else 1)
        self._params, self._used = params, 0
        size = input_size(observation_space)
        self.num_noise = 0
        self._hidden = []
        for units in config.hidden_sizes:
            dense = self._dense(size, units, by_rows=config.noisy, noisy=config.noisy)
            norm = (self._cut((units,)), self._cut((units,))) if config.layer_norm else None
            self._hidden.append((dense, norm))
            size = units
        implicit = config.head == "implicit_quantile"
        embedding = self._dense(COSINES, size) if implicit else None
        rows = (num_actions + config.dueling) * config.outputs_per_action
        self._output = self._dense(size, rows, by_rows=True, noisy=config.noisy)
        if self._used != params.size:
            raise TensorqError(f"{params.size} parameters are stored, the settings describe {self._used}.")
        self._embedding = embedding
        if implicit:
            fractions = (np.arange(ACTING_FRACTIONS, dtype=np.float32) + np.float32(0.5)) / ACTING_FRACTIONS
            self._cosines = np.cos(math.pi * np.arange(COSINES, dtype=np.float32) * fractions[:, None])
        if config.head in ("categorical", "hl_gauss"):
            self._support = np.linspace(config.value_min, config.value_max, config.num_atoms, dtype=np.float32)

    def _cut(self, shape: tuple[int, ...]) -> FloatArray:
        first, self._used = self._used, self._used + math.prod(shape)
        part = self._params[first : self._used]
        return part.reshape(shape) if part.size == math.prod(shape) else np.zeros(shape, np.float32)

    def _dense(self, inputs: int, units: int, by_rows: bool = False, noisy: bool = False) -> tuple[FloatArray, ...]:
        """(kernel [inputs, units], bias) and, of a noisy layer, their deviations, seen as networks.layers has them."""
        parts: list[FloatArray] = []
        for _ in range(1 + noisy):
            kernel = self._cut((units, inputs) if by_rows else (inputs, units))
            parts += [kernel.T if by_rows else kernel, self._cut((units,))]
        self.num_noise += (inputs + units) * noisy
        return tuple(parts)

    def __call__(self, obs: np.ndarray, noise: FloatArray | None = None) -> FloatArray:
        """Q-values [N, A] of observations [N, ...], with noise [Z] in noisy layers if it is given."""
        if isinstance(self._space, gym.spaces.Discrete):
            x = np.eye(int(self._space.n), dtype=np.float32)[np.asarray(obs) - int(self._space.start)]
        else:
            x = np.asarray(obs, np.float32).reshape(len(obs), -1)
            if self._scale != 1:
                x = x * self._scale
        used = 0
        for weights, norm in self._hidden:
            x = _apply(weights, x, None if noise is None else noise[used:])
            used += x.shape[1] + weights[0].shape[0]
            if norm is not None:
                centred = x - x.mean(axis=1, keepdims=True)
                variance = np.square(centred).mean(axis=1, keepdims=True)
                x = centred / np.sqrt(variance + np.float32(LAYER_NORM_EPSILON)) * norm[0] + norm[1]
            x = np.maximum(x, 0)
        if self._embedding is not None:
            kernel, bias = self._embedding
            x = x[:, None, :] * np.maximum(self._cosines @ kernel + bias, 0)
        x = _apply(self._output, x, None if noise is None else noise[used:])
        return self._to_q_values(x)

    def _to_q_values(self, outputs: FloatArray) -> FloatArray:
        """[N, rows], or [N, K, rows] of an implicit quantile network, to [N, A]."""
        config = self._config
        if self._embedding is not None:
            outputs = outputs.mean(axis=1)  # the mean over fractions passes through what is linear
        elif config.outputs_per_action > 1:
            outputs = outputs.reshape(len(outputs), -1, config.outputs_per_action)
            if config.head == "quantile":
                outputs = outputs.mean(axis=2)
        if config.dueling:
            advantages = outputs[:, 1:]
            outputs = outputs[:, :1] + advantages - advantages.mean(axis=1, keepdims=True)
        if config.head in ("categorical", "hl_gauss"):
            weights = np.exp(outputs - outputs.max(axis=2, keepdims=True))
            outputs = (weights @ self._support) / weights.sum(axis=2)
        return outputs


def _apply(weights: tuple[FloatArray, ...], x: FloatArray, noise: FloatArray | None) -> FloatArray:
    """A dense layer; [(x * f_in) D + d] * f_out is what its noise adds, without forming the noisy kernel."""
    result: FloatArray = x @ weights[0] + weights[1]
    if noise is not None and len(weights) > 2:
        inputs, units = weights[0].shape
        noise_in, noise_out = noise[:inputs], noise[inputs : inputs + units]
        result += ((x * noise_in) @ weights[2] + weights[3]) * noise_out
    return result


def input_size(observation_space: gym.Space) -> int:
    """Numbers that one observation becomes."""
    if isinstance(observation_space, gym.spaces.Discrete):
        return int(observation_space.n)
    return int(np.prod(observation_space.shape or ()))
