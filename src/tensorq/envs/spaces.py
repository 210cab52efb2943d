"""Spaces: those that tensorq supports, and how it converts other spaces to them. No TensorFlow here.

Networks and replay use Box and Discrete observations and Discrete actions. MultiDiscrete, MultiBinary, Tuple and Dict
observations are flattened into one Box (envs/observations.py). Combinations of MultiDiscrete actions are numbered.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from tensorq.core.pixels import FlatBox, pixel_mask
from tensorq.errors import TensorqError

MAX_ACTIONS = 1_024  # the most combinations of MultiDiscrete actions: each has an output of the network
_MOST_NUMBERS = 2**26  # the most numbers in one observation that are accepted from config.json
_MOST_BOUNDS = 2**19  # the most bounds that are kept in config.json if they differ from number to number
_COMPOSITE = (spaces.MultiDiscrete, spaces.MultiBinary, spaces.Tuple, spaces.Dict)


def plain_observation_space(space: gym.Space) -> gym.Space:
    """The Box or Discrete in which observations are stored; raises TensorqError for an unsupported space."""
    _refuse_unknown(space)
    if not isinstance(space, _COMPOSITE):
        return space
    flat = spaces.flatten_space(space)
    assert isinstance(flat, spaces.Box)
    return FlatBox(flat, np.concatenate([_pixels(leaf) for leaf in leaves(space)]))


def stacked_space(space: gym.Space, frame_stack: int) -> gym.Space:
    """The space [K, ...] of stacks of K plain observations, as of Gymnasium's FrameStackObservation, oldest first.

    For K = 1 it is the space itself. Raises TensorqError for a space that is no Box, or was none before it was
    flattened.
    """
    if frame_stack == 1:
        return space
    if not isinstance(space, spaces.Box) or isinstance(space, FlatBox):
        raise TensorqError(
            f"frame_stack: received {frame_stack} for observations of {space}, expected 1: only observations of a Box "
            "can be stacked."
        )
    low, high = (np.repeat(bound[None], frame_stack, axis=0) for bound in (space.low, space.high))
    return spaces.Box(low, high, dtype=space.dtype.type)


def leaves(space: gym.Space) -> list[gym.Space]:
    """The innermost parts of a space, in the order in which they are flattened."""
    return [leaf for _, leaf in named_leaves(space)]


def named_leaves(space: gym.Space, name: str = "") -> list[tuple[str, gym.Space]]:
    """The same with their names, such as camera or arms[0]; an empty name if the space has no parts."""
    if isinstance(space, spaces.Dict):
        parts = [(f"{name}.{key}" if name else str(key), part) for key, part in space.spaces.items()]
    elif isinstance(space, spaces.Tuple):
        parts = [(f"{name}[{place}]", part) for place, part in enumerate(space.spaces)]
    else:
        return [(name, space)]
    return [leaf for inner, part in parts for leaf in named_leaves(part, inner)]


def _pixels(leaf: gym.Space) -> np.ndarray:
    return pixel_mask(leaf) if isinstance(leaf, spaces.Box) else np.zeros(spaces.flatdim(leaf), bool)


def _refuse_unknown(space: gym.Space) -> None:
    if isinstance(space, (spaces.Tuple, spaces.Dict)):
        if not space.spaces:
            raise TensorqError(f"observation space {space}: it has no part, expected at least one.")
        if isinstance(space, spaces.Dict) and not all(isinstance(name, str) for name in space.spaces):
            raise TensorqError(f"observation space {space}: expected parts with names that are text.")
        for part in space.spaces.values() if isinstance(space, spaces.Dict) else space.spaces:
            _refuse_unknown(part)
    elif isinstance(space, spaces.Box):
        if space.low.size > _MOST_BOUNDS and not (_uniform(space.low) and _uniform(space.high)):
            raise TensorqError(
                f"observation space of shape {space.shape}: its bounds differ from number to number, expected the same "
                f"bounds for all if there are more than {_MOST_BOUNDS:,} numbers."
            )
    elif isinstance(space, spaces.Discrete):
        if not -(2**31) <= space.start <= space.start + space.n - 1 < 2**31:
            raise TensorqError(f"observation space {space}: expected states from -2^31 to 2^31 - 1.")
    elif not isinstance(space, _COMPOSITE):
        raise TensorqError(
            f"observation space {type(space).__name__}: expected Box, Discrete, MultiDiscrete, MultiBinary, or a Tuple "
            "or Dict of these."
        )


def obs_layout(space: gym.Space) -> tuple[np.dtype, tuple[int, ...]]:
    """(dtype, shape) of stored observations of a space: float64 becomes float32, Discrete becomes int32."""
    if isinstance(space, gym.spaces.Discrete):
        return np.dtype(np.int32), ()
    dtype = np.dtype(space.dtype)
    return (np.dtype(np.float32) if dtype.kind == "f" else dtype), tuple(space.shape or ())


def plain_action_space(space: gym.Space) -> spaces.Discrete:
    """The Discrete space from which actions are chosen; raises TensorqError for an unsupported space."""
    if isinstance(space, spaces.Discrete):
        return space
    if isinstance(space, spaces.MultiDiscrete):
        count = math.prod(int(n) for n in space.nvec.ravel())
        if count <= MAX_ACTIONS:
            return spaces.Discrete(count)
        raise TensorqError(
            f"action space {space}: {count:,} combinations, expected at most {MAX_ACTIONS:,}, as each has an output "
            "of the network."
        )
    hint = ""
    if isinstance(space, spaces.Box):
        hint = " Q-learning picks from a list of actions: discretise them with a wrapper."
    raise TensorqError(f"action space {space}: expected Discrete or MultiDiscrete actions.{hint}")


def is_composite(space: gym.Space) -> bool:
    """Whether observations of the space are flattened."""
    return isinstance(space, _COMPOSITE)


def to_native_actions(space: gym.Space, indices: np.ndarray) -> np.ndarray:
    """Convert actions [N], counted from 0, to actions of `space`: [N], or [N, ...] for MultiDiscrete."""
    if isinstance(space, spaces.MultiDiscrete):
        parts = np.stack(np.unravel_index(indices, tuple(int(n) for n in space.nvec.ravel())), axis=-1)
        return parts.reshape(*np.shape(indices), *space.shape).astype(space.dtype) + space.start
    return np.asarray(indices) + int(plain_action_space(space).start)


def check_mask(mask: Any, space: gym.Space, rows: int | None = None) -> np.ndarray:
    """The mask of legal actions as bool; raises TensorqError if it is not a mask of zeros and ones.

    Args:
        mask: [A], or [rows, A] if rows is given. For MultiDiscrete actions it may also be a tuple of one mask for each
            part, as space.sample takes it; then every combination of legal parts is legal.
        space: the environment's own action space.
        rows: the number of observations, if the masks may belong to several.
    """
    sizes = space.nvec.ravel().tolist() if isinstance(space, spaces.MultiDiscrete) else [int(space.n)]  # type: ignore[attr-defined]
    count = math.prod(sizes)
    array = as_array(mask)
    if len(sizes) > 1 and isinstance(mask, tuple):
        parts = [as_array(part) for part in mask]
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


def check_masks(masks: Sequence[Any], space: gym.Space, num_actions: int) -> np.ndarray:
    """One mask for each environment, [N, A] bool; raises TensorqError as check_mask does."""
    array = as_array(masks)
    if array.shape == (len(masks), num_actions) and array.dtype.kind in "biuf":
        legal = array == 1
        if np.count_nonzero(legal) + np.count_nonzero(array == 0) == array.size:  # a third of all()'s time
            return legal
    return np.stack([check_mask(mask, space) for mask in masks])


def check_choice(masks: np.ndarray) -> None:
    """Refuse masks [A] or [N, A] without a legal action in a row that needs an action."""
    if not masks.any(axis=-1).all():
        raise TensorqError("action mask: received only zeros, expected a legal action if the episode continues.")


def as_array(value: Any) -> np.ndarray:
    """The value as an array; an empty array of objects if that is not possible."""
    try:
        return np.asarray(value)
    except ValueError:  # rows of different lengths
        return np.empty(0, object)


def excerpt(value: object) -> str:
    """The text of a value for an error message, cut if it is long."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 80 else f"{text[:80]}..."


# --- in config.json ---------------------------------------------------------------------------------------------------


def space_to_json(space: gym.Space) -> dict[str, Any]:
    """The description of a space in config.json."""
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
    low, high = _bound_to_json(space.low), _bound_to_json(space.high)
    return {"shape": list(space.shape), "dtype": str(space.dtype), "low": low, "high": high}


def _bound_to_json(bound: np.ndarray) -> Any:
    """A list of bounds, or one number if all bounds are equal; infinite bounds are null."""
    kept = bound.ravel()[:1] if _uniform(bound) else bound.ravel()
    numbers = [number if math.isfinite(number) else None for number in kept.tolist()]
    return numbers[0] if _uniform(bound) else numbers


def _uniform(bound: np.ndarray) -> bool:
    return bound.size > 0 and bool((bound == bound.flat[0]).all())


def space_from_json(data: Mapping[str, Any]) -> gym.Space:
    """The space of a description by space_to_json; raises ValueError, KeyError and others for anything else."""
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
        low, high = (_bounds(data, name, shape).astype(dtype) for name in _BOUNDS)
        return spaces.Box(low, high, shape, dtype.type)
    unbounded = (-np.inf, np.inf) if dtype.kind == "f" else (0, 1)  # older runs kept large spaces without bounds
    return spaces.Box(unbounded[0], unbounded[1], shape, dtype.type)


_BOUNDS = {"low": -np.inf, "high": np.inf}


def _bounds(data: Mapping[str, Any], name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The bounds of a Box from config.json: null is an infinite bound, and a single number is the bound of all."""
    kept = data[name] if isinstance(data[name], list) else [data[name]] * math.prod(shape)
    return np.array([_BOUNDS[name] if bound is None else bound for bound in kept]).reshape(shape)


def same_space(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two descriptions by space_to_json are of equal spaces, with equal names of parts in the same order.

    If an older run kept no bounds, bounds are not compared.
    """
    if "tuple" in one and "tuple" in other:
        pairs = zip(one["tuple"], other["tuple"], strict=False)
        return len(one["tuple"]) == len(other["tuple"]) and all(same_space(*pair) for pair in pairs)
    if "dict" in one and "dict" in other:
        names = list(one["dict"])
        return names == list(other["dict"]) and all(
            same_space(one["dict"][name], other["dict"][name]) for name in names
        )
    rest, others = ({name: each[name] for name in each.keys() - _BOUNDS} for each in (one, other))
    if rest != others:
        return False
    if "low" not in one or "low" not in other:
        return True
    shape = tuple(one["shape"])
    return all(np.array_equal(_bounds(one, name, shape), _bounds(other, name, shape)) for name in _BOUNDS)
