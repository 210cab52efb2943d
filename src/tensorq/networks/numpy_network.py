"""The forward pass of networks/mlp.py in NumPy: 6 us for one observation, where TensorFlow takes over 100."""

from __future__ import annotations

import math
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from tensorq.config import Config
from tensorq.core.pixels import pixel_mask
from tensorq.errors import TensorqError

FloatArray = NDArray[np.float32]
COSINES = 64  # cos(pi i fraction), i = 0 to 63: what an implicit quantile network sees of a fraction
ACTING_FRACTIONS = 32  # whose mean is its Q-value
LAYER_NORM_EPSILON = 1e-5
UNBOUNDED = 1e6  # a bound beyond this says nothing of the usual size


def parameter_shapes(observation_space: gym.Space, num_actions: int, config: Config) -> list[tuple[int, ...]]:
    """The default network's weights, in Keras' order."""
    shapes: list[tuple[int, ...]] = []
    size = input_size(observation_space)
    for units in config.hidden_sizes:
        # networks.layers.RowDense, the noisy one, stores [units, inputs], and the deviations of both after them.
        shapes += [(units, size), (units,)] * 2 if config.noisy else [(size, units), (units,)]
        shapes += [(units,), (units,)] if config.layer_norm else []
        size = units
    if config.head == "implicit_quantile":
        shapes += [(COSINES, size), (size,)]
    rows = (num_actions + config.dueling) * config.outputs_per_action
    return shapes + [(rows, size), (rows,)] * (1 + config.noisy)


def num_params(observation_space: gym.Space, num_actions: int, config: Config) -> int:
    """P, the numbers in the default network's flat parameter vector."""
    return sum(math.prod(shape) for shape in parameter_shapes(observation_space, num_actions, config))


class NumpyNetwork:
    """The default network's Q-values. Weights are views of `params`, so that renewing those in place renews it."""

    def __init__(self, observation_space: gym.Space, num_actions: int, config: Config, params: FloatArray) -> None:
        """Cut the flat parameter vector [P], in Keras' order."""
        self._space, self._config = observation_space, config
        self.centre, self.factor = observation_scaling(observation_space, config)
        weights, start = [], 0
        for shape in parameter_shapes(observation_space, num_actions, config):
            weights.append(params[start : start + math.prod(shape)].reshape(shape))
            start += math.prod(shape)
        parts = iter(weights)

        def dense(by_rows: bool) -> tuple[FloatArray, ...]:
            """(kernel [inputs, units], bias) and, of a noisy layer, their deviations."""
            layer = [next(parts) for _ in range(4 if config.noisy and by_rows else 2)]
            return tuple(weight.T if by_rows else weight for weight in layer)

        self.hidden = []
        for _ in config.hidden_sizes:
            weights_here = dense(by_rows=config.noisy)
            self.hidden.append((weights_here, (next(parts), next(parts)) if config.layer_norm else None))
        self.embedding = dense(by_rows=False) if config.head == "implicit_quantile" else None
        self.output = dense(by_rows=True)
        noisy = [layer for layer, _ in self.hidden] + [self.output]
        self.num_noise = sum(sum(layer[0].shape) for layer in noisy) if config.noisy else 0
        if self.embedding is not None:
            fractions = (np.arange(ACTING_FRACTIONS, dtype=np.float32) + np.float32(0.5)) / ACTING_FRACTIONS
            self._cosines = np.cos(math.pi * np.arange(COSINES, dtype=np.float32) * fractions[:, None])
        self.support: FloatArray | None = None
        if config.head in ("categorical", "hl_gauss"):
            self.support = np.linspace(*config.support, dtype=np.float32)

    def __call__(self, obs: np.ndarray, noise: FloatArray | None = None) -> FloatArray:
        """Q-values [N, A] of observations [N, ...], with noise [Z] in noisy layers if it is given."""
        if isinstance(self._space, gym.spaces.Discrete):
            x = np.zeros((len(obs), int(self._space.n)), np.float32)
            x[np.arange(len(obs)), state_rows(obs, int(self._space.start), int(self._space.n))] = 1
        else:
            x = np.asarray(obs, np.float32).reshape(len(obs), -1)
            if self.factor is not None:
                x = (x - self.centre) * self.factor
        used = 0
        for weights, norm in self.hidden:
            x = _apply(weights, x, None if noise is None else noise[used:])
            used += x.shape[1] + weights[0].shape[0]
            if norm is not None:
                centred = x - _mean(x)
                variance = _mean(np.square(centred))
                x = centred / np.sqrt(variance + np.float32(LAYER_NORM_EPSILON)) * norm[0] + norm[1]
            x = np.maximum(x, 0)
        if self.embedding is not None:
            x = x * self.fractions_mean()
        x = _apply(self.output, x, None if noise is None else noise[used:])
        return self._to_q_values(x)

    def fractions_mean(self) -> FloatArray:
        """What the last hidden layer of an implicit quantile network is multiplied by, [units].

        The mean over the acting fractions may be taken here, as what follows is linear.
        """
        assert self.embedding is not None
        kernel, bias = self.embedding
        result: FloatArray = np.maximum(self._cosines @ kernel + bias, 0).mean(axis=0)
        return result

    def _to_q_values(self, outputs: FloatArray) -> FloatArray:
        """[N, rows] to [N, A]."""
        config = self._config
        if config.outputs_per_action > 1:
            outputs = outputs.reshape(len(outputs), -1, config.outputs_per_action)
            if config.head == "quantile":
                outputs = outputs.mean(axis=2)
        if config.dueling:
            advantages = outputs[:, 1:]
            outputs = outputs[:, :1] + advantages - advantages.mean(axis=1, keepdims=True)
        if self.support is not None:
            weights = np.exp(outputs - outputs.max(axis=2, keepdims=True))
            outputs = (weights @ self.support) / weights.sum(axis=2)
        return outputs


def _mean(x: FloatArray) -> FloatArray:
    """The mean of each row [N, 1]: x.mean(axis=1, keepdims=True) to the bit, in a third of its time for few rows."""
    total: FloatArray = np.add.reduce(x, axis=1, keepdims=True)
    return total / np.float32(x.shape[1])


def _apply(weights: tuple[FloatArray, ...], x: FloatArray, noise: FloatArray | None) -> FloatArray:
    """A dense layer; [(x * f_in) D + d] * f_out is what its noise adds, without forming the noisy kernel."""
    result: FloatArray = x @ weights[0] + weights[1]
    if noise is not None and len(weights) > 2:
        inputs, units = weights[0].shape
        noise_in, noise_out = noise[:inputs], noise[inputs : inputs + units]
        result += ((x * noise_in) @ weights[2] + weights[3]) * noise_out
    return result


def observation_scaling(observation_space: gym.Space, config: Config) -> tuple[Any, Any]:
    """(centre, factor) for x -> (x - centre) * factor on flat observations; factor is None where they stay as they are.

    Pixels (core.pixels) are divided by 255. With scale_observations other numbers that have finite bounds are brought
    to [-1, 1].
    """
    if not isinstance(observation_space, gym.spaces.Box):
        return np.float32(0), None
    pixels = pixel_mask(observation_space)
    if config.pixels == "by_dtype":
        pixels = np.full(observation_space.low.size, observation_space.dtype == np.uint8)
    if pixels.all():
        return np.float32(0), np.float32(1 / 255)
    if not config.scale_observations:
        return np.float32(0), np.where(pixels, 1 / 255, 1).astype(np.float32) if pixels.any() else None
    bounds = np.array([np.ravel(observation_space.low), np.ravel(observation_space.high)], np.float64)
    low, high = np.clip(bounds, -UNBOUNDED, UNBOUNDED)
    bounded = (low > -UNBOUNDED) & (high < UNBOUNDED) & (high > low) & ~pixels
    centre = np.where(bounded, (low + high) / 2, 0)
    factor = np.divide(2, high - low, out=np.ones_like(low), where=bounded)
    return centre.astype(np.float32), np.where(pixels, 1 / 255, factor).astype(np.float32)


def state_rows(states: Any, first: int, count: int) -> NDArray[np.integer[Any]]:
    """States [N] counted from 0; raises TensorqError unless all are among the `count` from `first` on."""
    rows = np.asarray(states) - first
    if rows.size and not 0 <= rows.min() <= rows.max() < count:
        raise TensorqError(f"received the states {states}, expected them from {first} to {first + count - 1}.")
    return rows


def input_size(observation_space: gym.Space) -> int:
    """Numbers that one observation becomes."""
    if isinstance(observation_space, gym.spaces.Discrete):
        return int(observation_space.n)
    return int(np.prod(observation_space.shape or ()))
