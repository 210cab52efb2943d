"""A run's Q-network: the default one, or that of the user's function. No TensorFlow before one is built."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np

from tensorq.config import Config
from tensorq.errors import TensorqError
from tensorq.networks.numpy_mlp import NumpyMLP, input_size, layers_from_flat

if TYPE_CHECKING:
    from tensorq.networks.network import Network

NetworkBuilder = Callable[[gym.Space, int], Any]  # (observation space, number of actions) -> keras.Model


def numpy_q_function(
    observation_space: gym.Space, num_actions: int, config: Config
) -> Callable[[np.ndarray], NumpyMLP]:
    """Makes the default network in NumPy from a flat parameter vector."""
    sizes = _layer_sizes(observation_space, num_actions, config)
    return lambda params: NumpyMLP(observation_space, layers_from_flat(params, sizes))


def num_params(observation_space: gym.Space, num_actions: int, config: Config) -> int:
    """Numbers in the default network's flat parameter vector."""
    sizes = _layer_sizes(observation_space, num_actions, config)
    return sum((inputs + 1) * outputs for inputs, outputs in zip(sizes, sizes[1:], strict=False))


def _layer_sizes(observation_space: gym.Space, num_actions: int, config: Config) -> list[int]:
    return [input_size(observation_space), *config.hidden_sizes, num_actions]


def build_network(
    observation_space: gym.Space, num_actions: int, config: Config, function: NetworkBuilder | None = None
) -> Network:
    """The Q-network, whose weights depend on config.seed alone: also those that training leaves as they are."""
    import keras

    from tensorq.networks.mlp import build_mlp
    from tensorq.networks.network import Network

    if function is None:
        return Network(build_mlp(observation_space, num_actions, config.hidden_sizes, config.seed))
    keras.utils.set_random_seed(config.seed)  # the only way to seed initializers that are not ours
    model = function(observation_space, num_actions)
    if not isinstance(model, keras.Model):
        raise TensorqError(f"the network function returned {type(model).__name__}, expected a keras.Model.")
    if not model.built or model.output_shape[1:] != (num_actions,):
        shape = model.output_shape if model.built else "unknown"
        raise TensorqError(
            f"the network's output shape is {shape}, expected (None, {num_actions}): one Q-value an action. "
            "Start the model with a keras.Input of the observation's shape."
        )
    return Network(model)
