"""A Q-network from a user's function: it is called with a seed, built and tried; errors say what is wrong."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import keras
import tensorflow as tf

from tensorq.errors import TensorqError, where_raised
from tensorq.heads.head import Head
from tensorq.networks.network import Network
from tensorq.networks.own_space import examples, keras_inputs
from tensorq.networks.q_network import add_outputs
from tensorq.networks.seeding import seeded

if TYPE_CHECKING:
    from tensorq.config import Config
    from tensorq.networks.build import NetworkFunction


def build_custom(
    function: NetworkFunction,
    space: gym.Space,
    flat_space: gym.Space,
    num_actions: int,
    config: Config,
    normalized: int,
) -> Network:
    """The network of `function`. All of its initial weights, trained or not, depend on config.seed alone.

    The model is called once, because subclasses of keras.Model are built by their first call. Raises TensorqError if it
    cannot be trained: no weights to train, an input or output of another shape, or a function that raises.

    `space` is the function's argument: the environment's own space, or in older runs the flat one. `flat_space` is the
    Box or Discrete in which observations are stored; a model with one input of its shape gets them. `normalized` is as
    in Network.
    """
    called = f"the {function.keyword} function"
    with seeded(config.seed):
        try:
            model = function(space, num_actions)
        except Exception as error:
            raise TensorqError(f"{called} raised {where_raised(error)}.") from error
        if not isinstance(model, keras.Model):
            raise TensorqError(f"{called} returned {type(model).__name__}, expected a keras.Model.")
        given = model.inputs if getattr(model, "inputs", None) else []
        if not normalized and [tuple(each.shape[1:]) for each in given] == [flat_space.shape]:
            space = flat_space
        _require_inputs(given, space)
        obs = examples(space)
        _tried(lambda: model(obs, training=False), model, space)
        network = Network(model, space, normalized)
        if not network.shapes:
            why = "all of its weights are frozen (trainable=False)" if model.weights else "it has no weights"
            raise TensorqError(
                f"the network has nothing to train: {why}; expected a keras.Model with trainable weights."
            )
        found = _tried(lambda: _traced(network, obs), model, space)
        if not tf.is_tensor(found):
            raise TensorqError("the network has several outputs, expected one tensor.")
        if function.keyword == "features":
            return _with_head(model, found, space, num_actions, config, normalized)
    _require_outputs(found, num_actions, config)
    return network


def _traced(network: Network, obs: Any) -> Any:
    """The model's outputs for observations in its own form, computed in a graph."""
    given = tf.constant(network.initial_params()), tf.nest.map_structure(tf.constant, obs)
    traced = tf.function(lambda params, obs: network.result(params, obs), autograph=False)
    return traced.get_concrete_function(*given)(*given)


def _tried(call: Callable[[], Any], model: Any, space: gym.Space) -> Any:
    """The result of calling the model; raises TensorqError with the likely cause if the call raises."""
    try:
        return call()
    except TensorqError:
        raise
    except Exception as error:
        given = ", ".join(f"{part.dtype} of shape {part.shape}" for part in tf.nest.flatten(examples(space)))
        raise TensorqError(
            f"the network cannot be called with two observations, {given}: {where_raised(error)}.{_hint(model, space)}"
        ) from error


def _with_head(model: Any, found: Any, space: gym.Space, num_actions: int, config: Config, normalized: int) -> Network:
    """Add hidden layers and a head to a model of features."""
    if len(found.shape) != 2:
        shape = (None, *found.shape[1:])
        raise TensorqError(f"the features have the shape {shape}, expected (None, F): end with keras.layers.Flatten().")
    inputs = keras_inputs(space)
    features = keras.ops.cast(model(inputs), "float32")
    return Network(add_outputs(inputs, features, num_actions, config), space, normalized)


def _require_outputs(found: Any, num_actions: int, config: Config) -> None:
    """Refuse outputs whose shape is not that of the head."""
    outputs_per_action = config.part(Head).outputs_per_action
    expected = (num_actions,) + ((outputs_per_action,) if outputs_per_action > 1 else ())
    if found.shape != (2, *expected):
        shape = (None, *found.shape[1:]) if found.shape[:1] == 2 else tuple(found.shape)
        raise TensorqError(
            f"the network's output shape is {shape}, expected {(None, *expected)}: end with Dense({num_actions})"
            + (f" and head {config.head}'s {outputs_per_action} numbers for each action." if expected[1:] else ".")
        )


def _require_inputs(given: Sequence[Any], space: gym.Space) -> None:
    """Refuse a built model whose inputs are not named as a Dict's parts, or are more than the space has parts."""
    expected = tf.nest.flatten(keras_inputs(space))
    names, wanted = [each.name for each in given], [each.name for each in expected]
    if isinstance(space, gym.spaces.Dict) and given and sorted(names) != sorted(wanted):
        parts = (f"keras.Input({tuple(each.shape[1:])}, dtype={each.dtype!r}, name={each.name!r})" for each in expected)
        raise TensorqError(
            f"the network has the inputs {', '.join(names)}, expected those of the Dict's parts: {', '.join(parts)}; "
            "or one of shape tq.flatten_space(observation_space).shape."
        )
    if len(given) > len(expected):
        raise TensorqError(
            f"the network has {len(given)} inputs, expected {len(expected)} for observations of {space}."
        )


def _hint(model: Any, space: gym.Space) -> str:
    """The likely reason why a model cannot be called with observations, as a sentence, or nothing."""
    shape, wanted = getattr(model, "input_shape", None), (None, *(space.shape or ()))
    if shape is not None and space.shape is not None and shape != wanted:
        return f" It takes inputs of shape {shape}, expected {wanted}: begin with keras.Input({wanted[1:]})."
    if isinstance(space, gym.spaces.Discrete) and space.start:
        return f" States are numbered as in the space, from {space.start} to {space.start + space.n - 1}."
    return ""
