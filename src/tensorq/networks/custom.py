"""A Q-network by a function of the user's: called with a seed, built, tried, and refused in words of ours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import keras
import numpy as np
import tensorflow as tf

from tensorq.config import Config
from tensorq.errors import TensorqError, where_raised
from tensorq.networks.network import Network
from tensorq.networks.seeding import seeded


def build_custom(
    function: Callable[[gym.Space, int], Any], observation_space: gym.Space, num_actions: int, config: Config
) -> Network:
    """The network of `function`; all of its weights, trained or not, depend on config.seed alone.

    The model is called once, which builds what is not built yet, as subclasses of keras.Model are. Raises TensorqError
    for what cannot be trained: a model without weights to train, of another input or output, a function that raises.
    """
    obs = _examples(observation_space)
    with seeded(config.seed):
        try:
            model = function(observation_space, num_actions)
        except Exception as error:
            raise TensorqError(f"the network function raised {where_raised(error)}.") from error
        if not isinstance(model, keras.Model):
            raise TensorqError(f"the network function returned {type(model).__name__}, expected a keras.Model.")
        if len(getattr(model, "inputs", None) or [None]) > 1:
            raise TensorqError(
                f"the network has {len(model.inputs)} inputs, expected one, which takes whole observations; those of a "
                f"Dict or Tuple come as one flat Box: begin with keras.Input({observation_space.shape})."
            )
        try:
            model(obs, training=False)
            network = _require_weights(Network(model))
            given = tf.constant(network.initial_params()), tf.constant(obs)
            found = tf.function(network.result, autograph=False).get_concrete_function(*given)(*given)
        except TensorqError:
            raise
        except Exception as error:
            raise TensorqError(
                f"the network cannot be called with two observations, {obs.dtype} of shape {obs.shape}: "
                f"{where_raised(error)}.{_hint(model, observation_space)}"
            ) from error
    expected = (num_actions,) + ((config.num_atoms,) if config.outputs_per_action > 1 else ())
    if not tf.is_tensor(found):
        raise TensorqError(f"the network has several outputs, expected one, of shape {(None, *expected)}.")
    if found.shape != (len(obs), *expected):
        shape = (None, *found.shape[1:]) if found.shape[:1] == len(obs) else tuple(found.shape)
        raise TensorqError(
            f"the network's output shape is {shape}, expected {(None, *expected)}: end with Dense({num_actions})"
            + (f" and head {config.head}'s {config.num_atoms} numbers for each action." if expected[1:] else ".")
        )
    return network


def _require_weights(network: Network) -> Network:
    if not network.shapes:
        why = "all of its weights are frozen (trainable=False)" if network.model.weights else "it has no weights"
        raise TensorqError(f"the network has nothing to train: {why}; expected a keras.Model with trainable weights.")
    return network


def _hint(model: Any, space: gym.Space) -> str:
    """What may be wrong with a model that cannot be called with observations."""
    shape, wanted = getattr(model, "input_shape", None), (None, *(space.shape or ()))
    if shape is not None and shape != wanted:
        return f" It takes inputs of shape {shape}, expected {wanted}: begin with keras.Input({wanted[1:]})."
    if isinstance(space, gym.spaces.Discrete) and space.start:
        return f" States come as the space has them, from {space.start} to {space.start + space.n - 1}."
    return ""


def _examples(space: gym.Space) -> np.ndarray:
    """Two observations as the network will get them: the first and the last state, or what is nearest to 0."""
    if isinstance(space, gym.spaces.Discrete):
        return np.array([space.start, space.start + space.n - 1], np.int32)
    assert isinstance(space, gym.spaces.Box)
    dtype = np.dtype(np.float32) if space.dtype.kind == "f" else space.dtype
    return np.stack([np.clip(0, space.low, space.high)] * 2).astype(dtype)
