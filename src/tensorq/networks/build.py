"""A run's Q-network: the default one, or that of the user's function. No TensorFlow before one is built."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import gymnasium as gym

from tensorq.config import Config
from tensorq.errors import TensorqError

if TYPE_CHECKING:
    from tensorq.networks.network import Network

NetworkBuilder = Callable[[gym.Space, int], Any]  # (observation space, number of actions) -> keras.Model


def build_network(
    observation_space: gym.Space, num_actions: int, config: Config, function: NetworkBuilder | None = None
) -> Network:
    """The Q-network, whose weights depend on config.seed alone: also those that training leaves as they are."""
    import keras

    from tensorq.networks.mlp import build_mlp
    from tensorq.networks.network import Network

    if function is None:
        return Network(build_mlp(observation_space, num_actions, config))
    if on := [switch for switch in ("dueling", "noisy", "layer_norm", "scale_observations") if getattr(config, switch)]:
        off = ", ".join(f"{switch}=False" for switch in on)
        how = f"give {off}, if it was the preset that has it on, or leave out the function"
        raise TensorqError(f"the default network alone has {' and '.join(on)}: {how}.")
    if config.head == "implicit_quantile":
        raise TensorqError(
            "head implicit_quantile belongs to the default network, which is told the fractions: give another head, "
            "such as quantile, or leave out the function."
        )
    keras.utils.set_random_seed(config.seed)  # the only way to seed initializers that are not ours
    model = function(observation_space, num_actions)
    if not isinstance(model, keras.Model):
        raise TensorqError(f"the network function returned {type(model).__name__}, expected a keras.Model.")
    expected = (None, num_actions) + ((config.num_atoms,) if config.outputs_per_action > 1 else ())
    if not model.built or model.output_shape[1:] != expected[1:]:
        hint = "" if model.built else " Start the model with a keras.Input of the observation's shape."
        shape = model.output_shape if model.built else "unknown"
        raise TensorqError(f"the network's output shape is {shape}, expected {expected} for head {config.head}.{hint}")
    return Network(model)
