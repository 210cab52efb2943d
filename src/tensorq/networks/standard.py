"""Trained agents as Keras models that load without tensorq: from observations to Q-values, in Keras' own layers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gymnasium as gym
import keras
import numpy as np

from tensorq.errors import TensorqError
from tensorq.heads.head import Head, midpoints
from tensorq.networks.encoders.mlp import MLPEncoder
from tensorq.networks.layers import Conv2D, Cosines, Dense, RowDense
from tensorq.networks.network import Network
from tensorq.networks.numpy_network import ACTING_FRACTIONS, COSINES, LAYER_NORM_EPSILON, NumpyNetwork
from tensorq.networks.own_space import keras_inputs
from tensorq.networks.q_network import FLOAT32
from tensorq.networks.settings import NetworkSettings

if TYPE_CHECKING:
    from tensorq.config import Config


def standard_mlp(observation_space: gym.Space, num_actions: int, config: Config, params: np.ndarray) -> keras.Model:
    """The default network with parameters [P] as a model from observations [N, ...] to Q-values [N, A].

    All linear operations after the last hidden layer become part of the last kernel: the streams of a dueling network,
    the mean over quantiles, the embedding of the acting fractions. Noisy layers have their means as weights. States are
    looked up in the first layer's kernel, which gives the same as its product with one-hot states.
    """
    network = NumpyNetwork(observation_space, num_actions, config, params)
    layers: list[Any] = []
    weights: list[np.ndarray] = []
    discrete = isinstance(observation_space, gym.spaces.Discrete)

    def add_dense(kernel: np.ndarray, bias: np.ndarray, name: str) -> None:
        if discrete and not layers:
            layers.append(keras.layers.Embedding(*kernel.shape, "zeros", name=name, **FLOAT32))
            weights.append(kernel + bias)
        else:
            layers.append(keras.layers.Dense(len(bias), kernel_initializer="zeros", name=name, **FLOAT32))
            weights.extend([kernel, bias])

    if not discrete:
        layers.append(keras.layers.Flatten("channels_last", **FLOAT32))
        centre, factor = config.part(MLPEncoder).scaling(observation_space)
        if network.mean.size:
            centre, factor = network.mean, network.factor
        if factor is not None:
            layers.append(_scaling(centre, factor))
    for number, (dense, norm) in enumerate(network.hidden, 1):
        add_dense(dense[0], dense[1], f"hidden_{number}")
        if norm is not None:
            layers.append(
                keras.layers.LayerNormalization(epsilon=LAYER_NORM_EPSILON, name=f"hidden_{number}_norm", **FLOAT32)
            )
            weights.extend(norm)
        layers.append(keras.layers.ReLU(**FLOAT32))
    kernel, bias = (weight.astype(np.float64) for weight in network.output[:2])
    if network.embedding is not None:
        kernel *= network.fractions_mean()[:, None]
    add_dense(_folded(kernel, config), _folded(bias, config), "outputs")
    if network.support is not None:
        layers.append(keras.layers.Reshape((num_actions, len(network.support)), **FLOAT32))
        layers += _expectation_layers(num_actions, network.support)
        weights.append(network.support[:, None])
    return _model(observation_space, layers, weights)


def standard_table(observation_space: gym.spaces.Discrete, table: np.ndarray) -> keras.Model:
    """A table of Q-values [S, A] as a model from states [N] to Q-values [N, A], in float64 as in the table."""
    lookup = keras.layers.Embedding(*table.shape, "zeros", dtype="float64", name="table")
    return _model(observation_space, [lookup], [table])


def custom_model(network: Network, config: Config, params: np.ndarray) -> keras.Model:
    """Any other network's model with parameters [P]. A mean follows if its outputs are not Q-values yet."""
    for weight, value in zip(network.model.trainable_variables, network.unflatten(params), strict=True):
        weight.assign(value)
    model = _of_keras_alone(network.model)
    assert network.space is not None
    if not config.part(Head).in_numpy:
        raise TensorqError(f"head {config.head} cannot be written as Keras' own layers: use tq.load, which can use it.")
    inputs, head = keras_inputs(network.space), config.part(Head)
    x = inputs
    if network.normalized:
        x = keras.layers.Flatten("channels_last", **FLOAT32)(inputs)
        x = _scaling(*np.split(params[-2 * network.normalized :], 2))(x)
        x = keras.layers.Reshape(inputs.shape[1:], **FLOAT32)(x)
    if head.num_fractions:
        fractions = keras.ops.convert_to_tensor(midpoints(ACTING_FRACTIONS)[None])
        return keras.Model(inputs, model([x, fractions])[1][:, :, 0], name="agent")
    outputs = model(x)
    if len(outputs.shape) == 2 and outputs.dtype == "float32":
        return keras.Model(inputs, outputs, name="agent") if network.normalized else model
    outputs = keras.ops.cast(outputs, "float32")
    if len(outputs.shape) == 3 and head.support is None:
        outputs = keras.ops.mean(outputs, axis=-1)
    elif head.support is not None:
        support = np.linspace(*head.support, dtype=np.float32)
        for layer in _expectation_layers(outputs.shape[1], support):
            outputs = layer(outputs)
            if layer.weights:
                layer.set_weights([support[:, None]])
    return keras.Model(inputs, outputs, name="agent")


def _of_keras_alone(model: keras.Model) -> keras.Model:
    """The model with Keras' own layers in place of ours; they share no weights, all others do.

    Noisy layers become their means. Our layers inside a subclass of keras.Model, or of a layer, stay as they are.
    """
    weights: list[tuple[Any, list[Any]]] = []

    def own(layer: Any) -> Any:
        if isinstance(layer, RowDense):
            made: Any = keras.layers.Dense(layer.units, name=layer.name, dtype=layer.dtype_policy)
            weights.append((made, [keras.ops.transpose(layer.kernel), layer.bias]))
        elif type(layer) in (Conv2D, Dense):  # a subclass may compute something else
            made = getattr(keras.layers, type(layer).__name__).from_config(layer.get_config())
            weights.append((made, layer.get_weights()))
        elif isinstance(layer, Cosines):
            fractions = keras.Input((None,), **FLOAT32)
            angles = keras.ops.convert_to_tensor(np.pi * np.arange(COSINES, dtype=np.float32))
            made = keras.Model(fractions, keras.ops.cos(fractions[..., None] * angles), name=layer.name)
        else:
            return layer
        return made

    ours = any(isinstance(layer, (RowDense, Conv2D, Dense, Cosines)) for layer in model._flatten_layers())
    if not ours or not getattr(model, "inputs", None):
        return model
    found = keras.models.clone_model(model, clone_function=own, recursive=True)
    for layer, values in weights:
        layer.set_weights(values)
    return found


def _model(space: gym.Space, layers: list[Any], weights: list[np.ndarray]) -> keras.Model:
    """A model of these layers in sequence, with their weights. It counts states from 0."""
    dtype = "int32" if isinstance(space, gym.spaces.Discrete) else str(space.dtype)
    inputs = x = keras.Input(space.shape, dtype=dtype, name="observation")
    if isinstance(space, gym.spaces.Discrete) and space.start:
        x = x - int(space.start)
    for layer in layers:
        x = layer(x)
    model = keras.Model(inputs, x, name="agent")
    model.set_weights(weights)
    return model


def _scaling(centre: Any, factor: Any) -> Any:
    """A layer for x -> (x - centre) * factor, as in MLPEncoder.scaling."""
    if np.ndim(factor) == 0:
        return keras.layers.Rescaling(float(factor), **FLOAT32)
    centre, factor = (np.broadcast_to(part, factor.shape).astype(np.float64) for part in (centre, factor))
    return keras.layers.Normalization(mean=centre.tolist(), variance=(1 / factor**2).tolist(), **FLOAT32)


def _folded(weight: np.ndarray, config: Config) -> np.ndarray:
    """The last layer's kernel [units, rows] or bias [rows], combined into that of the outputs, [..., A * M]."""
    head = config.part(Head)
    weight = weight.reshape(*weight.shape[:-1], -1, head.outputs_per_action)
    if config.part(NetworkSettings).dueling:
        advantages = weight[..., 1:, :]
        weight = weight[..., :1, :] + advantages - advantages.mean(axis=-2, keepdims=True)
    if head.support is None:
        weight = weight.mean(axis=-1, keepdims=True)
    return weight.reshape(*weight.shape[:-2], -1).astype(np.float32)


def _expectation_layers(num_actions: int, support: np.ndarray) -> list[Any]:
    """Layers from logits [N, A, M] to the mean [N, A] of the support, which is the second layer's weight."""
    mean = keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros", name="support", **FLOAT32)
    return [keras.layers.Softmax(**FLOAT32), mean, keras.layers.Reshape((num_actions,), **FLOAT32)]
