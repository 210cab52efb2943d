"""Our own Keras layers. They compute in float32, whatever Keras' global policy is."""

from __future__ import annotations

import math
from typing import Any

import keras
import tensorflow as tf

from tensorq.core.cosine import cos_pi
from tensorq.core.xla import in_xla_on_cpu

FEW_COLUMNS, MOST_ROWS = 8, 128  # up to which _product has its own gradient; with more, XLA is as fast


@keras.saving.register_keras_serializable("tensorq")
class RowDense(keras.layers.Layer):  # type: ignore[misc]  # Keras is not typed
    """A dense layer whose kernel is stored as [units, inputs], with factorised noise if noise_deviation is not 0.

    Without noise it computes the same as keras.layers.Dense. If there are few units, XLA's product with contiguous rows
    (and its gradient) takes a fraction of the time: a whole update of the 256-unit network falls from 70 to 34 us.

    With noise (Fortunato et al. 2018, equations 9 to 11), weights are kernel + kernel_deviation * (f_out x f_in). The
    f are the layer's non-trainable weight `noise` [inputs + units]. It is built as zero; a stateless call of the model
    passes numbers from exploration.noise in its place. Deviations begin at noise_deviation / sqrt(inputs).
    """

    def __init__(self, units: int, noise_deviation: float = 0.0, seed: int | None = None, **keywords: Any) -> None:
        super().__init__(**{"dtype": "float32", **keywords})
        self.units = units
        self.noise_deviation = noise_deviation
        self.seed = seed

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Create the weights."""
        inputs = int(input_shape[-1] or 0)
        bound = 1 / math.sqrt(inputs)
        seeds = (None, None) if self.seed is None else (self.seed, self.seed + 50)
        kernel: Any = keras.initializers.GlorotUniform(seed=seeds[0])
        bias: Any = "zeros"
        if self.noise_deviation:
            kernel = keras.initializers.RandomUniform(-bound, bound, seed=seeds[0])
            bias = keras.initializers.RandomUniform(-bound, bound, seed=seeds[1])
        self.kernel = self.add_weight(shape=(self.units, inputs), initializer=kernel, name="kernel")
        self.bias = self.add_weight(shape=(self.units,), initializer=bias, name="bias")
        if self.noise_deviation:
            first = keras.initializers.Constant(self.noise_deviation * bound)
            self.kernel_deviation = self.add_weight(self.kernel.shape, initializer=first, name="kernel_deviation")
            self.bias_deviation = self.add_weight(self.bias.shape, initializer=first, name="bias_deviation")
            self.noise = self.add_weight((inputs + self.units,), initializer="zeros", trainable=False, name="noise")
            self.noise.is_noise = True  # the mark that is_noise looks for: other layers may have a weight of that name

    def call(self, inputs: Any) -> Any:
        """[..., inputs] -> [..., units]."""
        kernel, bias = self.kernel.value, self.bias.value
        if self.noise_deviation:
            noise_in, noise_out = keras.ops.split(self.noise.value, [inputs.shape[-1]])
            kernel = kernel + self.kernel_deviation * noise_out[:, None] * noise_in
            bias = bias + self.bias_deviation * noise_out
        return _product(inputs, kernel, rows=True) + bias

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """[..., inputs] -> [..., units]."""
        return (*input_shape[:-1], self.units)

    def get_config(self) -> dict[str, Any]:
        """The arguments with which Keras makes this layer again."""
        own = {"units": self.units, "noise_deviation": self.noise_deviation, "seed": self.seed}
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable("tensorq")
class Dense(keras.layers.Dense):  # type: ignore[misc]  # Keras is not typed
    """keras.layers.Dense, with the same weights and results, whose gradient takes less time if there are few inputs."""

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """[..., inputs] -> [..., units]."""
        x = _product(inputs, self.kernel.value, rows=False)
        x = x if self.bias is None else keras.ops.add(x, self.bias)
        return x if self.activation is None else self.activation(x)


def _product(x: Any, kernel: Any, rows: bool) -> Any:
    """[..., inputs] times [inputs, units] -> [..., units]; with rows, the kernel is [units, inputs].

    The kernel's gradient is a product whose first factor is transposed. If this factor has few columns, XLA on a CPU
    takes half the time when each column is first copied into one piece of memory: 2 us in place of 4 for 64 rows, 4
    inputs and 256 units.
    """
    plain = not in_xla_on_cpu() or x.dtype != kernel.dtype or len(x.shape) != 2 or not x.shape[0]
    if plain or x.shape[0] > MOST_ROWS or kernel.shape[0] > FEW_COLUMNS:
        return keras.ops.matmul(x, keras.ops.transpose(kernel) if rows else kernel)

    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def product(x: Any, kernel: Any) -> tuple[Any, Any]:
        def gradients(upstream: Any) -> tuple[Any, Any]:
            few, other = (upstream, x) if rows else (x, upstream)
            return tf.matmul(upstream, kernel, transpose_b=not rows), tf.stack(tf.unstack(few, axis=1)) @ other

        return tf.matmul(x, kernel, transpose_b=rows), gradients

    return product(x, tf.convert_to_tensor(kernel))


def is_noise(weight: Any) -> bool:
    """Whether a weight is the noise of a RowDense."""
    return getattr(weight, "is_noise", False)


@keras.saving.register_keras_serializable("tensorq")
class Conv2D(keras.layers.Conv2D):  # type: ignore[misc]  # Keras is not typed
    """keras.layers.Conv2D, with the same arguments, weights and results, that is also fast in the compiled loop.

    XLA runs small convolutions slowly on a CPU, so there shifted slices of the image are multiplied by the kernel as a
    matrix. Dilated and grouped convolutions, and images whose channels come first, are left to Keras.
    """

    def convolution_op(self, inputs: Any, kernel: Any) -> Any:
        """[N, height, width, channels] -> [N, height', width', filters]."""
        if not (_is_plain(self) and in_xla_on_cpu()):
            return super().convolution_op(inputs, kernel)
        height, width, channels, filters = kernel.shape
        if self.padding == "same":
            sizes = zip(inputs.shape[1:3], (height, width), self.strides, strict=True)
            margins = [max(kernel - 1 - (size - 1) % stride, 0) for size, kernel, stride in sizes]
            inputs = tf.pad(inputs, [[0, 0], *([margin // 2, margin - margin // 2] for margin in margins), [0, 0]])
        rows, columns = (
            range(0, inputs.shape[axis + 1] - kernel.shape[axis] + 1, self.strides[axis]) for axis in range(2)
        )
        patches = [
            inputs[:, i : i + rows[-1] + 1 : rows.step, j : j + columns[-1] + 1 : columns.step]
            for i in range(height)
            for j in range(width)
        ]
        flat = tf.reshape(tf.concat(patches, axis=-1), (-1, height * width * channels))
        found = flat @ tf.reshape(kernel, (height * width * channels, filters))
        return tf.reshape(found, (-1, len(rows), len(columns), filters))


def convolutions(model: Any) -> list[Any]:
    """The convolutions of a model, ours or Keras', at any depth."""
    kinds = tuple(value for name, value in vars(keras.layers).items() if "Conv" in name and isinstance(value, type))
    return [layer for layer in model._flatten_layers() if isinstance(layer, kinds)]


def is_slow_in_xla(layer: Any) -> bool:
    """Whether a layer is Keras' own Conv2D where ours would be faster in the compiled loop on a CPU."""
    return isinstance(layer, keras.layers.Conv2D) and not isinstance(layer, Conv2D) and _is_plain(layer)


def _is_plain(layer: Any) -> bool:
    """Whether slices times a matrix can replace a convolution."""
    return bool(layer.groups == 1 and layer.dilation_rate == (1, 1) and layer.data_format == "channels_last")


@keras.saving.register_keras_serializable("tensorq")
class Cosines(keras.layers.Layer):  # type: ignore[misc]  # Keras is not typed
    """cos(pi i x) for i from 0 to count - 1, the inputs that an implicit quantile network gets for a fraction x."""

    def __init__(self, count: int, **keywords: Any) -> None:
        super().__init__(**{"dtype": "float32", **keywords})
        self.count = count

    def call(self, inputs: Any) -> Any:
        """[...] -> [..., count]."""
        return cos_pi(inputs[..., None] * tf.range(self.count, dtype=inputs.dtype))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """[...] -> [..., count]."""
        return (*input_shape, self.count)

    def get_config(self) -> dict[str, Any]:
        """The arguments with which Keras makes this layer again."""
        return {**super().get_config(), "count": self.count}
