"""The forward pass of networks/q_network.py in NumPy: 6 us for one observation, where TensorFlow takes over 100."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from tensorq.core.pixels import pixel_mask
from tensorq.errors import TensorqError
from tensorq.heads.head import Head
from tensorq.networks.encoders.auto import encoder_of
from tensorq.networks.settings import NetworkSettings, noise_deviation

if TYPE_CHECKING:
    from tensorq.config import Config

FloatArray = NDArray[np.float32]
COSINES = 64  # cos(pi i fraction), i = 0 to 63, the inputs that an implicit quantile network gets for a fraction
ACTING_FRACTIONS = 32  # the mean over these fractions is the Q-value
LAYER_NORM_EPSILON = 1e-5


def parameter_shapes(observation_space: gym.Space, num_actions: int, config: Config) -> list[tuple[int, ...]]:
    """The shapes of the default network's weights, in Keras' order."""
    network, head, noisy = config.part(NetworkSettings), config.part(Head), noise_deviation(config) > 0
    shapes: list[tuple[int, ...]] = []
    size = gym.spaces.flatdim(observation_space)
    for units in network.hidden_sizes:
        # Noisy layers are networks.layers.RowDense: it stores [units, inputs], then the deviations of kernel and bias.
        shapes += [(units, size), (units,)] * 2 if noisy else [(size, units), (units,)]
        shapes += [(units,), (units,)] if network.layer_norm else []
        size = units
    if head.num_fractions:
        shapes += [(COSINES, size), (size,)]
    rows = (num_actions + network.dueling) * head.outputs_per_action
    return shapes + [(rows, size), (rows,)] * (1 + noisy)


def knows(observation_space: gym.Space, config: Config) -> bool:
    """Whether NumpyNetwork can replace the network that these settings build."""
    return config.part(Head).in_numpy and encoder_of(config, observation_space).in_numpy(observation_space) is not None


def num_params(observation_space: gym.Space, num_actions: int, config: Config) -> int:
    """P, the size of the default network's flat parameter vector."""
    weights = sum(math.prod(shape) for shape in parameter_shapes(observation_space, num_actions, config))
    return weights + 2 * normalized_numbers(observation_space, config)


def normalized_numbers(observation_space: gym.Space, config: Config) -> int:
    """How many numbers of an observation are normalised: D or 0. Raises TensorqError for states and pixels."""
    if not config.part(NetworkSettings).normalize_observations:
        return 0
    if not isinstance(observation_space, gym.spaces.Box) or pixel_mask(observation_space).any():
        raise TensorqError(
            f"normalize_observations: received observations of {observation_space}, expected numbers: states are "
            "one-hot and pixels are divided by 255 already."
        )
    return gym.spaces.flatdim(observation_space)


class NumpyNetwork:
    """Computes the default network's Q-values. Its weights are views of `params`: writing there changes the network."""

    def __init__(self, observation_space: gym.Space, num_actions: int, config: Config, params: FloatArray) -> None:
        """Split the flat parameter vector [P] into weights, in Keras' order."""
        self._normalized = normalized_numbers(observation_space, config)
        encode = encoder_of(config, observation_space).in_numpy(observation_space)
        assert encode is not None
        self._encode, self._head = encode, config.part(Head)
        network, noisy = config.part(NetworkSettings), noise_deviation(config) > 0
        self._dueling = network.dueling
        shapes = parameter_shapes(observation_space, num_actions, config)
        *flat, scaling = np.split(params, np.cumsum([math.prod(shape) for shape in shapes]))
        self.mean, self.factor = np.split(scaling, 2)
        parts = (part.reshape(shape) for part, shape in zip(flat, shapes, strict=True))

        def dense(by_rows: bool) -> tuple[FloatArray, ...]:
            """(kernel [inputs, units], bias) and, for a noisy layer, their deviations."""
            layer = [next(parts) for _ in range(4 if noisy and by_rows else 2)]
            return tuple(weight.T if by_rows else weight for weight in layer)

        self.hidden = []
        for _ in network.hidden_sizes:
            weights_here = dense(by_rows=noisy)
            self.hidden.append((weights_here, (next(parts), next(parts)) if network.layer_norm else None))
        self.embedding = dense(by_rows=False) if self._head.num_fractions else None
        self.output = dense(by_rows=True)
        layers = [layer for layer, _ in self.hidden] + [self.output]
        self.num_noise = sum(sum(layer[0].shape) for layer in layers) if noisy else 0
        if self.embedding is not None:
            fractions = (np.arange(ACTING_FRACTIONS, dtype=np.float32) + np.float32(0.5)) / ACTING_FRACTIONS
            self._cosines = np.cos(math.pi * np.arange(COSINES, dtype=np.float32) * fractions[:, None])
        support = self._head.support
        self.support = None if support is None else np.linspace(*support, dtype=np.float32)

    def __call__(self, obs: np.ndarray, noise: FloatArray | None = None) -> FloatArray:
        """Q-values [N, A] of observations [N, ...]; noise [Z], if given, is added in noisy layers."""
        if self._normalized:
            obs = (np.asarray(obs, np.float32).reshape(len(obs), -1) - self.mean) * self.factor
        x = self._encode(obs)
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
        """The factors [units] of the last hidden layer of an implicit quantile network.

        The mean over the acting fractions may be taken here, because all later layers are linear.
        """
        assert self.embedding is not None
        kernel, bias = self.embedding
        return np.maximum(self._cosines @ kernel + bias, 0).mean(axis=0)

    def _to_q_values(self, outputs: FloatArray) -> FloatArray:
        """Outputs [N, rows] to Q-values [N, A]."""
        if self._head.outputs_per_action > 1:
            outputs = outputs.reshape(len(outputs), -1, self._head.outputs_per_action)
            if self.support is None:
                outputs = outputs.mean(axis=2)
        if self._dueling:
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
    """A dense layer. Its noise adds [(x * f_in) D + d] * f_out, so that no noisy kernel has to be computed."""
    result = x @ weights[0] + weights[1]
    if noise is not None and len(weights) > 2:
        inputs, units = weights[0].shape
        noise_in, noise_out = noise[:inputs], noise[inputs : inputs + units]
        result += ((x * noise_in) @ weights[2] + weights[3]) * noise_out
    return result
