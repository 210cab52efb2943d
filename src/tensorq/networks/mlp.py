"""The default network: dense layers with ReLU."""

from __future__ import annotations

from collections.abc import Sequence

import gymnasium as gym
import keras

from tensorq.networks.layers import QValues


def build_mlp(observation_space: gym.Space, num_actions: int, hidden_sizes: Sequence[int], seed: int) -> keras.Model:
    """Observations [N, ...] to Q-values [N, A]: flattened (uint8 scaled to [0, 1]) or one-hot, then dense layers.

    Weights start Glorot-uniform (Glorot and Bengio 2010), biases at zero, as Keras does, each layer from its own seed.
    """
    if isinstance(observation_space, gym.spaces.Discrete):
        inputs = keras.Input((), dtype="int32")
        count, start = int(observation_space.n), int(observation_space.start)
        x = keras.ops.one_hot(inputs - start, count)
    else:
        inputs = keras.Input(observation_space.shape, dtype=str(observation_space.dtype))
        x = keras.layers.Flatten()(inputs)
        if observation_space.dtype == "uint8":
            x = keras.layers.Rescaling(1 / 255)(x)
    for layer, units in enumerate(hidden_sizes):
        kernel = keras.initializers.GlorotUniform(seed=seed * 100 + layer)
        x = keras.layers.Dense(units, activation="relu", kernel_initializer=kernel, name=f"hidden_{layer + 1}")(x)
    kernel = keras.initializers.GlorotUniform(seed=seed * 100 + len(hidden_sizes))
    x = QValues(num_actions, kernel_initializer=kernel, name="q_values")(x)
    return keras.Model(inputs, x, name="mlp")
