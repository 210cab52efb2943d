"""A Keras model as a pure function of one flat parameter vector."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from keras import Model

from tensorq.core.types import Tensor


class Network:
    """Wraps a Keras model: parameters in and out as one vector [P], and no state of its own.

    Non-trainable weights (a batch norm's averages, say) stay as they were built.
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        self.shapes = [tuple(weight.shape) for weight in model.trainable_variables]
        self._sizes = [int(np.prod(shape)) for shape in self.shapes]

    def initial_params(self) -> np.ndarray:
        """The model's own weights, as built: [P] float32."""
        return np.concatenate([np.ravel(weight.numpy()) for weight in self.model.trainable_variables])

    def unflatten(self, params: Tensor) -> list[Tensor]:
        """[P] -> the model's weights, as slices. Works on tensors and on arrays."""
        parts, start = [], 0
        for size, shape in zip(self._sizes, self.shapes, strict=True):
            part = params[start : start + size]
            parts.append(part.reshape(shape) if isinstance(params, np.ndarray) else tf.reshape(part, shape))
            start += size
        return parts

    def q_values(self, params: Tensor, obs: Tensor) -> Tensor:
        """[P] and [N, ...] -> [N, A]. Call it while tracing: Keras costs milliseconds a call."""
        frozen = [weight.value for weight in self.model.non_trainable_variables]
        return self.model.stateless_call(self.unflatten(params), frozen, obs, training=False)[0]
