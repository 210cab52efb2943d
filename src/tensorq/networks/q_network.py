"""The Q-network: an encoder, dense layers with ReLU, then a head's outputs for each action."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gymnasium as gym
import keras

from tensorq.heads.head import Head
from tensorq.networks.encoders.auto import encoder_of
from tensorq.networks.layers import Cosines, Dense, RowDense
from tensorq.networks.numpy_network import COSINES, LAYER_NORM_EPSILON
from tensorq.networks.settings import NetworkSettings, frame_stack, noise_deviation

if TYPE_CHECKING:
    from tensorq.config import Config

FLOAT32 = {"dtype": "float32"}


def build_q_network(observation_space: gym.Space, num_actions: int, config: Config) -> keras.Model:
    """The model from observations [N, ...] to outputs [N, A], or [N, A, M] for a head with M outputs per action.

    With frame_stack K above 1, an observation is a stack [K, ...].

    Everything is float32, whatever Keras' global settings say. Each layer's weights come from a seed of its own.
    """
    encoder = encoder_of(config, observation_space)
    build = encoder.build if frame_stack(config) == 1 else encoder.build_stack
    inputs, features = build(observation_space, config.seed * 100)
    return add_outputs(inputs, features, num_actions, config)


def add_outputs(inputs: Any, x: Any, num_actions: int, config: Config) -> keras.Model:
    """The model of these inputs that adds hidden layers and a head's outputs to features x [N, F].

    As in Keras, weights start Glorot-uniform (Glorot and Bengio 2010) and biases at zero; each layer has its own seed.
    Noisy layers start as RowDense says. With `layer_norm` each hidden layer is normalised before its ReLU. With
    `noisy` every dense layer is noisy, except the one of an implicit quantile network's fractions.

    A dueling network has one more output, the value. The advantages, centred over actions, are added to it (Wang et
    al. 2016, equation 9). Both are linear in the last hidden layer.

    An implicit quantile network takes fractions [N, K] as a second input. The embedding of their cosines is multiplied
    with the last hidden layer (Dabney et al. 2018b, equation 4), and M is K. The embedding's biases start at one, so at
    first the hidden layer passes nearly unchanged. A second output [N, A, 1] is the mean over the fractions. It is
    taken before the last layer, which is linear, because that costs only a K-th.
    """
    network, head = config.part(NetworkSettings), config.part(Head)
    deviation, seed = noise_deviation(config), config.seed * 100
    for layer, units in enumerate(network.hidden_sizes):
        name = f"hidden_{layer + 1}"
        if deviation:
            x = RowDense(units, deviation, seed + layer, name=name)(x)
        else:
            kernel = keras.initializers.GlorotUniform(seed=seed + layer)
            x = Dense(units, kernel_initializer=kernel, name=name, **FLOAT32)(x)
        if network.layer_norm:
            x = keras.layers.LayerNormalization(epsilon=LAYER_NORM_EPSILON, name=f"{name}_norm", **FLOAT32)(x)
        x = keras.layers.ReLU(**FLOAT32)(x)

    streams, outputs_per_action = num_actions + network.dueling, head.outputs_per_action
    outputs = RowDense(streams * outputs_per_action, deviation, seed + len(network.hidden_sizes), name="outputs")
    if head.num_fractions:
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
    if network.dueling:
        found = [_join_streams(x) for x in found]
    return keras.Model(inputs, found if len(found) > 1 else found[0], name="q_network")


def _join_streams(x: Any) -> Any:
    """Q-values from the state's value and the actions' advantages [N, 1 + A, ...]."""
    advantages = x[:, 1:]
    return x[:, :1] + advantages - keras.ops.mean(advantages, axis=1, keepdims=True)
