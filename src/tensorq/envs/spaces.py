"""Spaces: what tensorq plays, and how other observations and actions become that. No TensorFlow here.

Networks and replay know Box and Discrete observations and Discrete actions. MultiDiscrete, MultiBinary, Tuple and Dict
observations are flattened into one Box, their discrete parts one-hot; MultiDiscrete actions are counted through.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv

from tensorq.errors import TensorqError

MAX_ACTIONS = 1_024  # that combinations of MultiDiscrete actions may come to: each has an output of the network
_MOST_NUMBERS = 2**26  # in one observation that a file speaks of
_MOST_BOUNDS = 2**12  # kept in config.json; images have the same bounds everywhere
_COMPOSITE = (spaces.MultiDiscrete, spaces.MultiBinary, spaces.Tuple, spaces.Dict)


def plain_observation_space(space: gym.Space) -> gym.Space:
    """The Box or Discrete in which observations are stored and learned from; raises TensorqError by name."""
    if isinstance(space, (spaces.Box, spaces.Discrete)):
        return space
    _refuse_unknown(space)
    return spaces.flatten_space(space)


def _refuse_unknown(space: gym.Space) -> None:
    if isinstance(space, (spaces.Tuple, spaces.Dict)):
        for part in space.spaces.values() if isinstance(space, spaces.Dict) else space.spaces:
            _refuse_unknown(part)
    elif not isinstance(space, (spaces.Box, spaces.Discrete, *_COMPOSITE)):
        raise TensorqError(
            f"observation space {type(space).__name__}: expected Box, Discrete, MultiDiscrete, MultiBinary, or a Tuple "
            "or Dict of these."
        )


def plain_action_space(space: gym.Space) -> spaces.Discrete:
    """The Discrete that actions are picked from; raises TensorqError by name."""
    if isinstance(space, spaces.Discrete):
        return space
    if isinstance(space, spaces.MultiDiscrete):
        count = math.prod(int(n) for n in space.nvec.ravel())
        if count <= MAX_ACTIONS:
            return spaces.Discrete(count)
        raise TensorqError(
            f"action space {space}: {count:,} combinations, expected at most {MAX_ACTIONS:,}, since each has an output "
            "of the network."
        )
    hint = ""
    if isinstance(space, spaces.Box):
        hint = " Q-learning picks from a list of actions: discretise them with a wrapper."
    raise TensorqError(f"action space {space}: expected Discrete or MultiDiscrete actions.{hint}")


def is_composite(space: gym.Space) -> bool:
    """Whether observations of the space are flattened."""
    return isinstance(space, _COMPOSITE)


def to_plain(space: gym.Space, obs: Any) -> Any:
    """An observation of `space` as one of plain_observation_space(space)."""
    return spaces.flatten(space, obs) if isinstance(space, _COMPOSITE) else obs


def to_native_actions(space: gym.Space, indices: np.ndarray) -> np.ndarray:
    """Actions [N] counted from 0 as those of `space`: [N], or [N, ...] for MultiDiscrete."""
    if isinstance(space, spaces.MultiDiscrete):
        parts = np.stack(np.unravel_index(indices, tuple(int(n) for n in space.nvec.ravel())), axis=-1)
        return parts.reshape(*np.shape(indices), *space.shape).astype(space.dtype) + space.start
    return np.asarray(indices) + int(plain_action_space(space).start)


def check_mask(mask: Any, space: gym.Space, rows: int | None = None) -> np.ndarray:
    """The legal actions, as bool, by a mask of zeros and ones; raises TensorqError for what is none.

    Args:
        mask: [A], or [rows, A] if rows is given; of MultiDiscrete actions also one mask for each part, in a tuple as
            space.sample takes it: what is legal then is every combination of legal parts.
        space: of the environment's own actions.
        rows: how many observations the masks may belong to.
    """
    sizes = space.nvec.ravel().tolist() if isinstance(space, spaces.MultiDiscrete) else [int(space.n)]  # type: ignore[attr-defined]
    count = math.prod(sizes)
    array = _as_array(mask)
    if len(sizes) > 1 and isinstance(mask, tuple):
        parts = [_as_array(part) for part in mask]
        if [part.shape for part in parts] == [(size,) for size in sizes]:
            array = functools.reduce(np.outer, parts).ravel()
    if (
        array.shape in ((count,), (rows, count))
        and array.dtype.kind in "biuf"
        and set(array.ravel().tolist()) <= {0, 1}
    ):
        return array.astype(bool)
    expected = f"zeros and ones of shape ({count},)" + (f" or ({rows}, {count})" if rows is not None else "")
    if len(sizes) > 1:
        expected += f", or a tuple of masks of {' and '.join(map(str, sizes))} for its parts"
    raise TensorqError(f"action mask: received {excerpt(mask)}, expected {expected}.")


def check_choice(masks: np.ndarray) -> None:
    """Refuse masks [A] or [N, A] that leave nothing to do where an action is needed."""
    if not masks.any(axis=-1).all():
        raise TensorqError("action mask: received zeros alone, expected a legal action wherever the episode goes on.")


def _as_array(value: Any) -> np.ndarray:
    try:
        return np.asarray(value)
    except ValueError:  # rows of different lengths
        return np.empty(0, object)


def excerpt(value: object) -> str:
    """A value in an error message, cut where it is long."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 80 else f"{text[:80]}..."


def adapt(env: Any) -> Any:
    """A gym.Env or VectorEnv with flattened observations and counted actions, where it has others."""
    if isinstance(env, VectorEnv):
        return _adapt_vector(env)
    observation_space, action_space = env.observation_space, env.action_space
    plain_observation_space(observation_space)
    if isinstance(observation_space, _COMPOSITE):
        env = gym.wrappers.FlattenObservation(env)
    if not isinstance(action_space, spaces.Discrete):
        env = gym.wrappers.TransformAction(
            env, lambda index: to_native_actions(action_space, np.asarray(index)), plain_action_space(action_space)
        )
    return env


def _adapt_vector(env: VectorEnv) -> VectorEnv:
    observation_space, action_space = env.single_observation_space, env.single_action_space
    plain_observation_space(observation_space)
    if isinstance(observation_space, _COMPOSITE):
        if env.metadata.get("autoreset_mode") == AutoresetMode.SAME_STEP:
            raise TensorqError(
                f"a vector environment with autoreset mode SAME_STEP and observations of {observation_space}: received "
                "both, expected mode NEXT_STEP or DISABLED, where such observations can be flattened."
            )
        env = gym.wrappers.vector.FlattenObservation(env)
    if not isinstance(action_space, spaces.Discrete):
        single = plain_action_space(action_space)
        env = gym.wrappers.vector.TransformAction(
            env,
            lambda indices: to_native_actions(action_space, np.asarray(indices)),
            action_space=spaces.MultiDiscrete([int(single.n)] * env.num_envs),
            single_action_space=single,
        )
    return env


# --- in config.json ---------------------------------------------------------------------------------------------------


def space_to_json(space: gym.Space) -> dict[str, Any]:
    """What config.json keeps of a space."""
    if isinstance(space, spaces.Discrete):
        return {"discrete": int(space.n), "start": int(space.start)}
    if isinstance(space, spaces.MultiDiscrete):
        return {"multi_discrete": space.nvec.tolist(), "start": space.start.tolist()}
    if isinstance(space, spaces.MultiBinary):
        return {"multi_binary": list(space.shape)}
    if isinstance(space, spaces.Tuple):
        return {"tuple": [space_to_json(part) for part in space.spaces]}
    if isinstance(space, spaces.Dict):
        return {"dict": {name: space_to_json(part) for name, part in space.spaces.items()}}
    if not isinstance(space, spaces.Box):
        raise TypeError(f"cannot keep {space}")
    data: dict[str, Any] = {"shape": list(space.shape), "dtype": str(space.dtype)}
    if math.prod(space.shape) <= _MOST_BOUNDS:
        data |= {"low": np.ravel(space.low).tolist(), "high": np.ravel(space.high).tolist()}
    return data


def space_from_json(data: Mapping[str, Any]) -> gym.Space:
    """The space that space_to_json described, as far as a network cares; raises ValueError and the like for others."""
    if "discrete" in data:
        return spaces.Discrete(int(data["discrete"]), start=int(data["start"]))
    if "multi_discrete" in data:
        return spaces.MultiDiscrete(np.array(data["multi_discrete"], np.int64), start=np.array(data["start"], np.int64))
    if "multi_binary" in data:
        return spaces.MultiBinary([int(size) for size in data["multi_binary"]])
    if "tuple" in data:
        return spaces.Tuple([space_from_json(part) for part in data["tuple"]])
    if "dict" in data:
        # Pairs keep their order, in which observations are flattened; a dict would be sorted.
        return spaces.Dict([(str(name), space_from_json(part)) for name, part in data["dict"].items()])
    dtype, shape = np.dtype(str(data["dtype"])), tuple(int(size) for size in data["shape"])
    if dtype.kind not in "fiub" or math.prod(shape) > _MOST_NUMBERS:
        raise ValueError(f"observations of dtype {dtype} and shape {shape}")
    if "low" in data:
        low = np.array([-np.inf if bound is None else bound for bound in data["low"]]).astype(dtype)
        high = np.array([np.inf if bound is None else bound for bound in data["high"]]).astype(dtype)
        return spaces.Box(low.reshape(shape), high.reshape(shape), shape, dtype.type)
    unbounded = (-np.inf, np.inf) if dtype.kind == "f" else (0, 1)
    return spaces.Box(unbounded[0], unbounded[1], shape, dtype.type)
