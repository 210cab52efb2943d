"""A run's Q-network: the default one, or one built by a user's function. TensorFlow is loaded only to build one."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np

from tensorq.errors import TensorqError
from tensorq.heads.head import Head
from tensorq.networks.numpy_network import normalized_numbers
from tensorq.process import load_tensorflow

if TYPE_CHECKING:
    from tensorq.config import Config
    from tensorq.networks.network import Network

# The switches of layers that a user's function replaces.
_ENCODER_SWITCHES = ("scale_observations", "channels_first", "divide_by_255")
_SWITCHES = {"network": ("dueling", "noisy", "layer_norm", *_ENCODER_SWITCHES), "features": _ENCODER_SWITCHES}
_SIGNATURES = {
    "network": "build_model(observation_space, num_actions) that returns a keras.Model of the Q-values",
    "features": "build_model(observation_space) that returns a keras.Model of features [N, F]",
}
NetworkBuilder = Callable[[gym.Space, int], Any]  # (observation space, number of actions) -> keras.Model
FeatureBuilder = Callable[[gym.Space], Any]  # observation space -> keras.Model of output [N, F]


@dataclass(frozen=True)
class NetworkFunction:
    """A user's function that builds the Q-network (`network`), or a model of features for it (`features`)."""

    function: Callable[..., Any]
    keyword: str = "network"
    own_space: bool = True  # it gets the environment's own space; older runs gave it the flat one

    @property
    def name(self) -> str:
        """The name of the function."""
        return str(getattr(self.function, "__qualname__", type(self.function).__name__))

    def __call__(self, observation_space: gym.Space, num_actions: int) -> Any:
        """Call the function and return its model."""
        return self.function(*(observation_space, num_actions)[: 1 if self.keyword == "features" else 2])


def network_function(
    network: NetworkFunction | NetworkBuilder | None, features: FeatureBuilder | None = None
) -> NetworkFunction | None:
    """The function given as network= or features=; raises TensorqError for anything that cannot build a network."""
    if network is not None and features is not None:
        raise TensorqError(
            "received network and features, expected one of them: features get hidden layers and a head."
        )
    if isinstance(network, NetworkFunction):
        return network
    keyword, function = ("network", network) if features is None else ("features", features)
    if function is None:
        return None
    wanted = f"expected a function {_SIGNATURES[keyword]}, or None for the network of hidden_sizes."
    built = hasattr(function, "trainable_variables") and not isinstance(function, type)
    if built or not callable(function):
        kind = "a model that is built already" if built else repr(function)
        raise TensorqError(f"{keyword}: received {kind}, {wanted}")
    try:
        signature = inspect.signature(function)
    except ValueError:  # some functions written in C have none
        return NetworkFunction(function, keyword)
    try:
        signature.bind(*(None, 0)[: 1 if keyword == "features" else 2])
    except TypeError:
        name = getattr(function, "__name__", type(function).__name__)
        raise TensorqError(f"{keyword}: received {name}{signature}, {wanted}") from None
    return NetworkFunction(function, keyword)


def build_network(
    observation_space: gym.Space,
    num_actions: int,
    config: Config,
    function: NetworkBuilder | None = None,
    own_space: gym.Space | None = None,
) -> Network:
    """The Q-network. Its initial weights depend on config.seed alone.

    `observation_space` is the Box or Discrete in which observations are stored. `function` builds the network, or
    features for it; it gets `own_space`, the environment's own observation space.
    """
    load_tensorflow()
    function = network_function(function)
    from tensorq.networks.network import Network
    from tensorq.networks.q_network import build_q_network

    normalized, space = normalized_numbers(observation_space, config), observation_space
    if normalized:
        space = gym.spaces.Box(-np.inf, np.inf, observation_space.shape, np.float32)
    if function is None:
        return Network(build_q_network(space, num_actions, config), space, normalized)
    if on := [switch for switch in _SWITCHES[function.keyword] if getattr(config, switch)]:
        off = ", ".join(f"{switch}=False" for switch in on)
        how = f"give {off} if the preset has switched it on, or leave out the function"
        raise TensorqError(f"{function.keyword}= replaces the layers that have {' and '.join(on)}: {how}.")
    if function.keyword == "network" and config.part(Head).num_fractions:
        raise TensorqError(
            f"head {config.head} needs a network that gets fractions as input: give another head, such as quantile, or "
            "give the function as features=, which makes features for that network."
        )
    from tensorq.networks.custom import build_custom

    if own_space is not None and function.own_space:
        if not normalized:
            space = own_space
        elif own_space.shape != observation_space.shape:
            raise TensorqError(
                f"normalize_observations: with {function.keyword}= expected observations of a Box, received those of "
                f"{own_space}."
            )
    return build_custom(function, space, observation_space, num_actions, config, normalized)
