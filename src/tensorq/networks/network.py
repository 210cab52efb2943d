"""A Keras model as a pure function of one flat parameter vector."""

from __future__ import annotations

import inspect
from typing import Any

import gymnasium as gym
import numpy as np
import tensorflow as tf
from keras import Model

from tensorq.core.types import Tensor
from tensorq.networks.layers import is_noise
from tensorq.networks.own_space import from_stored


class Network:
    """Wraps a built Keras model: parameters in and out as one float32 vector [P], noise in as another, no state.

    Noise goes to the noisy layers of ours, however deep in the model they are; other weights that are not trained (a
    batch norm's averages, say) stay as they were built. Whatever the model computes in, float32 comes out.
    """

    def __init__(self, model: Model, space: gym.Space | None = None, normalized: int = 0) -> None:
        """Take the model and what is done to observations before.

        Args:
            model: built.
            space: the one whose observations the model takes; None for observations as they are stored.
            normalized: D, the numbers of an observation, where these are normalised by the parameters' last 2 D
                numbers, means and factors; else 0.
        """
        self.model, self.space, self.normalized = model, space, normalized
        self.shapes = [tuple(weight.shape) for weight in model.trainable_variables]
        self._sizes = [int(np.prod(shape)) for shape in self.shapes]
        self._noise_sizes = [int(weight.shape[0]) for weight in model.non_trainable_variables if is_noise(weight)]
        # Keras tells a model's layers that this is no training, but hands `training` on to whatever `call` there is.
        accepted = inspect.signature(model.call).parameters.values()
        takes_training = any(each.name == "training" or each.kind == each.VAR_KEYWORD for each in accepted)
        self._keywords = {"training": False} if takes_training else {}

    @property
    def num_noise(self) -> int:
        """Z, the number of random numbers that noisy layers need; 0 without any."""
        return sum(self._noise_sizes)

    def initial_params(self) -> np.ndarray:
        """The model's own weights, as built: [P] float32; at first nothing is subtracted, and the factor is 1."""
        weights = [np.ravel(weight.numpy()).astype(np.float32) for weight in self.model.trainable_variables]
        return np.concatenate([*weights, np.zeros(self.normalized, np.float32), np.ones(self.normalized, np.float32)])

    def unflatten(self, params: Tensor) -> list[Tensor]:
        """[P] -> the model's weights. By tf.split, whose gradient is one concatenation, where slices' is a long sum."""
        parts = tf.split(params[: -2 * self.normalized] if self.normalized else params, self._sizes)
        return [tf.reshape(part, shape) for part, shape in zip(parts, self.shapes, strict=True)]

    def outputs(
        self,
        params: Tensor,
        obs: Tensor,
        noise: Tensor | None = None,
        fractions: Tensor | None = None,
        mean: bool = False,
    ) -> Tensor:
        """What the model makes of observations. Call it while tracing: Keras costs milliseconds a call.

        Args:
            params: [P].
            obs: [N, ...].
            noise: [Z] for noisy layers; None leaves it out, which is how to act greedily.
            fractions: [N, K], or [1, K] for the same in every row, for implicit quantile networks.
            mean: whether the mean over the fractions will do.

        Returns:
            [N, A, M], M outputs an action; 1 if it is the mean.
        """
        if self.normalized:
            centre, factor = tf.split(tf.stop_gradient(params[-2 * self.normalized :]), 2)
            shape = obs.shape[1:]
            obs = (tf.cast(obs, tf.float32) - tf.reshape(centre, shape)) * tf.reshape(factor, shape)
        inputs = obs if self.space is None else from_stored(self.space, obs)
        result = self.result(params, inputs, noise, fractions)
        if fractions is not None:
            result = result[int(mean)]  # compiled, the other one is never computed
        result = tf.cast(result, tf.float32)
        return result if len(result.shape) == 3 else result[:, :, None]

    def result(self, params: Tensor, inputs: Any, noise: Tensor | None = None, fractions: Tensor | None = None) -> Any:
        """What the model itself returns for its own inputs; the rest as `outputs` takes it."""
        trainable = zip(self.unflatten(params), self.model.trainable_variables, strict=True)
        weights = self.model.non_trainable_variables
        values: list[Any] = [weight.value for weight in weights]
        if noise is not None and self.num_noise:
            parts = iter(tf.split(noise, self._noise_sizes))
            values = [next(parts) if is_noise(weight) else value for weight, value in zip(weights, values, strict=True)]
        if fractions is not None:
            inputs = [inputs, fractions]
        params_cast = [tf.cast(part, weight.dtype) for part, weight in trainable]
        return self.model.stateless_call(params_cast, values, inputs, **self._keywords)[0]
