"""The default network: dense layers with ReLU, then one output an action, or several for a distributional head."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import keras

from tensorq.config import Config
from tensorq.networks.layers import Cosines, RowDense
from tensorq.networks.numpy_network import COSINES, LAYER_NORM_EPSILON, observation_scaling

FLOAT32 = {"dtype": "float32"}


def build_mlp(observation_space: gym.Space, num_actions: int, config: Config) -> keras.Model:
    """Observations [N, ...] to outputs [N, A], or [N, A, M] for a distributional head.

    Observations are flattened and perhaps scaled (numpy_network.observation_scaling), or one-hot. Weights start
    Glorot-uniform (Glorot and Bengio 2010), biases at zero, as Keras does, each layer from its own seed; those of noisy
    layers as RowDense says. With `layer_norm` each hidden layer is normalised before its ReLU. With `noisy` every dense
    layer is noisy, but that of an implicit quantile network's fractions.

    A dueling network has one more output, the value, to which the advantages, centred over actions, are added
    (Wang et al. 2016, equation 9). Both are linear in the last hidden layer.

    An implicit quantile network takes fractions [N, K] as a second input; their cosines' embedding is multiplied onto
    the last hidden layer (Dabney et al. 2018b, equation 4), and M is K. The embedding's biases start at one: the hidden
    layer passes nearly as it is at first. A second output [N, A, 1] is the mean over the fractions, taken before the
    last layer, which is linear: that costs a K-th.

    Everything is float32 and flattened in the order of the observation, whatever Keras' global settings say.
    """
    deviation = config.noisy_deviation if config.noisy else 0.0
    seed = config.seed * 100
    if isinstance(observation_space, gym.spaces.Discrete):
        inputs = keras.Input((), dtype="int32")
        count, start = int(observation_space.n), int(observation_space.start)
        x = keras.ops.one_hot(inputs - start, count, dtype="float32")
    else:
        inputs = keras.Input(observation_space.shape, dtype=str(observation_space.dtype))
        x = keras.layers.Flatten("channels_last", **FLOAT32)(inputs)
        centre, factor = observation_scaling(observation_space, config)
        if factor is not None:
            x = (x - centre) * factor
    for layer, units in enumerate(config.hidden_sizes):
        name = f"hidden_{layer + 1}"
        if deviation:
            x = RowDense(units, deviation, seed + layer, name=name)(x)
        else:
            kernel = keras.initializers.GlorotUniform(seed=seed + layer)
            x = keras.layers.Dense(units, kernel_initializer=kernel, name=name, **FLOAT32)(x)
        if config.layer_norm:
            x = keras.layers.LayerNormalization(epsilon=LAYER_NORM_EPSILON, name=f"{name}_norm", **FLOAT32)(x)
        x = keras.layers.ReLU(**FLOAT32)(x)

    streams, outputs_per_action = num_actions + config.dueling, config.outputs_per_action
    outputs = RowDense(streams * outputs_per_action, deviation, seed + len(config.hidden_sizes), name="outputs")
    if config.head == "implicit_quantile":
        fractions = keras.Input((None,), **FLOAT32)
        cosines = Cosines(COSINES)(fractions)
        kernel = keras.initializers.GlorotUniform(seed=seed + 99)
        first = {"kernel_initializer": kernel, "bias_initializer": "ones", **FLOAT32}
        embedding = keras.layers.Dense(x.shape[-1], "relu", name="fractions", **first)(cosines)
        inputs = [inputs, fractions]
        mean = outputs(x * keras.ops.mean(embedding, axis=1))
        found = [keras.ops.transpose(outputs(x[:, None, :] * embedding), (0, 2, 1)), mean[:, :, None]]
    else:
        x = outputs(x)
        found = [keras.layers.Reshape((streams, outputs_per_action), **FLOAT32)(x) if outputs_per_action > 1 else x]
    if config.dueling:
        found = [_join_streams(x) for x in found]
    return keras.Model(inputs, found if len(found) > 1 else found[0], name="mlp")


def _join_streams(x: Any) -> Any:
    """Q-values from the state's value and the actions' advantages [N, 1 + A, ...]."""
    advantages = x[:, 1:]
    return x[:, :1] + advantages - keras.ops.mean(advantages, axis=1, keepdims=True)
