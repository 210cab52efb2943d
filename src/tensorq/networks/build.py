"""A run's Q-network: the default one, or that of the user's function. No TensorFlow before one is built."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import gymnasium as gym

from tensorq.config import Config
from tensorq.errors import TensorqError
from tensorq.process import load_tensorflow

if TYPE_CHECKING:
    from tensorq.networks.network import Network

NetworkBuilder = Callable[[gym.Space, int], Any]  # (observation space, number of actions) -> keras.Model


def check_function(function: Any) -> None:
    """Refuse what could not build a network, before anything is made for it; None is the default network."""
    if function is None:
        return
    wanted = (
        "expected a function build_model(observation_space, num_actions) that returns a keras.Model, or None for the "
        "network of hidden_sizes."
    )
    built = hasattr(function, "trainable_variables") and not isinstance(function, type)
    if built or not callable(function):
        kind = "a model that is built already" if built else repr(function)
        raise TensorqError(f"network: received {kind}, {wanted}")
    try:
        signature = inspect.signature(function)
    except ValueError:  # of some functions written in C
        return
    try:
        signature.bind(None, 0)
    except TypeError:
        name = getattr(function, "__name__", type(function).__name__)
        raise TensorqError(f"network: received {name}{signature}, {wanted}") from None


def build_network(
    observation_space: gym.Space, num_actions: int, config: Config, function: NetworkBuilder | None = None
) -> Network:
    """The Q-network, whose weights depend on config.seed alone."""
    load_tensorflow()
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
    from tensorq.networks.custom import build_custom

    return build_custom(function, observation_space, num_actions, config)
