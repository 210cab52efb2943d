"""A Keras model as a pure function of one flat parameter vector."""

from __future__ import annotations

import inspect
from typing import Any

import gymnasium as gym
import numpy as np
import tensorflow as tf
from keras import Model

from tensorq.core.types import Tensor
from tensorq.core.xla import in_xla
from tensorq.networks.layers import convolutions, is_noise
from tensorq.networks.own_space import from_stored


class Network:
    """Wraps a built Keras model as a function without state: parameters are one float32 vector [P], noise is another.

    Only our own noisy layers get noise, at any depth of the model. Other weights that are not trained (such as a batch
    norm's averages) stay as they were built. Outputs are float32, whatever dtype the model computes in.
    """

    def __init__(self, model: Model, space: gym.Space | None = None, normalized: int = 0) -> None:
        """Store a built Keras model and the way in which observations are prepared for it.

        `space` is the space whose observations the model takes; None for observations in stored form. `normalized` is
        D, the number of numbers in an observation, if they are normalised by the parameters' last 2 D numbers, means
        and factors; else 0.
        """
        self.model, self.space, self.normalized = model, space, normalized
        self.shapes = [tuple(weight.shape) for weight in model.trainable_variables]
        self._sizes = [int(np.prod(shape)) for shape in self.shapes]
        self._noise_sizes = [int(weight.shape[0]) for weight in model.non_trainable_variables if is_noise(weight)]
        # Keras tells the layers that this is not training, but passes the argument to `call`, which may not take it.
        accepted = inspect.signature(model.call).parameters.values()
        takes_training = any(each.name == "training" or each.kind == each.VAR_KEYWORD for each in accepted)
        self._keywords = {"training": False} if takes_training else {}
        self.convolutions = convolutions(model)

    @property
    def num_noise(self) -> int:
        """Z, the number of random numbers that the noisy layers need; 0 if there are none."""
        return sum(self._noise_sizes)

    def initial_params(self) -> np.ndarray:
        """The model's weights as built, [P] float32. The means of normalisation begin at 0 and its factors at 1."""
        weights = [np.ravel(weight.numpy()).astype(np.float32) for weight in self.model.trainable_variables]
        return np.concatenate([*weights, np.zeros(self.normalized, np.float32), np.ones(self.normalized, np.float32)])

    def unflatten(self, params: Tensor) -> list[Tensor]:
        """[P] -> the model's weights."""

        @tf.custom_gradient  # type: ignore[untyped-decorator]
        def split(flat: Tensor) -> tuple[list[Tensor], Any]:
            ends = np.cumsum(self._sizes)
            # Outside XLA slices share the memory of the vector, if they are aligned; tf.split copies.
            parts = [flat[end - size : end] for end, size in zip(ends, self._sizes, strict=True)]
            weights = [tf.reshape(part, shape) for part, shape in zip(parts, self.shapes, strict=True)]
            return weights, self._flatten

        weights: list[Tensor] = split(params[: -2 * self.normalized] if self.normalized else params)
        return weights

    def _flatten(self, *gradients: Tensor) -> Tensor:
        """Gradients of the weights as one vector, in XLA written one after the other.

        XLA would compute the sums of the biases' gradients inside a concatenation, which then takes ten times as long.
        """
        if not in_xla():
            return tf.concat([tf.reshape(gradient, [-1]) for gradient in gradients], axis=0)
        flat, end = tf.zeros(sum(self._sizes)), 0
        for gradient, size in zip(gradients, self._sizes, strict=True):
            begin, end = end, end + size
            part = tf.reshape(gradient, [size])
            flat = tf.raw_ops.TensorStridedSliceUpdate(input=flat, begin=[begin], end=[end], strides=[1], value=part)
        return flat

    def outputs(
        self,
        params: Tensor,
        obs: Tensor,
        noise: Tensor | None = None,
        fractions: Tensor | None = None,
        mean: bool = False,
    ) -> Tensor:
        """The model's outputs for observations. Call it only while tracing: Keras needs milliseconds for a call.

        Args:
            params: [P].
            obs: [N, ...].
            noise: [Z] for noisy layers; None leaves the noise out, as greedy play does.
            fractions: for implicit quantile networks, [N, K], or [1, K] for the same in every row.
            mean: whether to return the mean over the fractions.

        Returns:
            [N, A, M], with M outputs for each action; M is 1 for the mean.
        """
        if self.normalized:
            centre, factor = tf.split(tf.stop_gradient(params[-2 * self.normalized :]), 2)
            shape = obs.shape[1:]
            obs = (tf.cast(obs, tf.float32) - tf.reshape(centre, shape)) * tf.reshape(factor, shape)
        inputs = obs if self.space is None else from_stored(self.space, obs)
        result = self.result(params, inputs, noise, fractions)
        if fractions is not None:
            result = result[int(mean)]  # in a compiled program the other one is never computed
        result = tf.cast(result, tf.float32)
        return result if len(result.shape) == 3 else result[:, :, None]

    def result(self, params: Tensor, inputs: Any, noise: Tensor | None = None, fractions: Tensor | None = None) -> Any:
        """The model's own result for inputs in its own form; the other arguments are those of `outputs`."""
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
