"""A check that finds mistakes in a compiled world before it is trained on."""

from __future__ import annotations

from typing import Any, NoReturn

import gymnasium as gym
import numpy as np
import tensorflow as tf

from tensorq.core import xla
from tensorq.envs.world import World, where_rows
from tensorq.errors import TensorqError, where_raised

_ROWS, _STEPS = 3, 20


def check_world(world: World) -> None:
    """Raise TensorqError for the first point in which a world differs from tensorq.envs.world.World.

    It checks attributes, shapes and dtypes, whether XLA compiles the world, whether the same states, actions and
    uniforms give the same result again, and whether the rows of a batch are independent of each other.
    """
    _check_attributes(world)
    generator = np.random.default_rng(0)

    def uniforms(width: int) -> Any:
        return tf.constant(generator.integers(2**24, size=(_ROWS, width)) * 2.0**-24, tf.float32)

    reset, step, observe = (_method(world, name) for name in ("reset", "step", "observe"))
    mask = _method(world, "action_mask") if hasattr(world, "action_mask") else None
    state = reset(uniforms(world.reset_uniforms))
    layout = _layout(state)
    _check_observations(world, observe(state), mask(state) if mask else None)
    for _ in range(_STEPS):
        action = tf.constant(generator.integers(world.action_space.n, size=_ROWS), tf.int32)
        u = uniforms(world.step_uniforms)
        found = step(state, action, u)
        if not isinstance(found, (tuple, list)) or len(found) != 4:
            _refuse(world, "step", found, "(state, reward, terminated, truncated)")
        next_state, reward, terminated, truncated = found
        if _layout(next_state) != layout:
            _refuse(world, "step", f"a state of {_layout(next_state)}", f"a state like that of reset, {layout}")
        for name, value, dtype in (
            ("reward", reward, tf.float32), ("terminated", terminated, tf.bool), ("truncated", truncated, tf.bool)
        ):  # fmt: skip
            if value.shape != (_ROWS,) or value.dtype != dtype:
                _refuse(world, f"step's {name}", f"{value.dtype.name} of shape {value.shape}", f"{dtype.name} of [N]")
        again, alone = step(state, action, u), step(*_first_row((state, action, u)))
        if not _equal(found, again):
            _refuse(world, "step", "another result for the same state, action and u", "the same: u is all randomness")
        if not _equal(_first_row(found), alone):
            _refuse(world, "step", "another result for a row alone than in a batch", "independent rows")
        state = next_state
        _check_observations(world, observe(state), mask(state) if mask else None)
        over, first = terminated | truncated, reset(uniforms(world.reset_uniforms))
        state = tf.nest.map_structure(lambda new, old, over=over: where_rows(over, new, old), first, state)
    _check_picture(world, _first_row(state))


def _check_attributes(world: Any) -> None:
    for name, *kinds in (
        ("observation_space", gym.spaces.Box), ("action_space", gym.spaces.Discrete), ("max_episode_steps", int),
        ("reset_uniforms", int), ("step_uniforms", int), ("solved_return", int, float, type(None)),
    ):  # fmt: skip
        received = getattr(world, name, "nothing")
        if not isinstance(received, tuple(kinds)):
            _refuse(world, name, repr(received), " or ".join(kind.__name__ for kind in kinds))
    for name, least in (("max_episode_steps", 1), ("reset_uniforms", 0), ("step_uniforms", 0)):
        if getattr(world, name) < least:
            _refuse(world, name, getattr(world, name), f"at least {least}")


def _method(world: World, name: str, compiled: bool = True) -> Any:
    """A method of the world, compiled by XLA or as it is; raises TensorqError if it raises."""
    method = getattr(world, name)
    program = xla.compiled(method) if compiled else None

    def call(*arguments: Any) -> Any:
        try:
            return (program.get_concrete_function(*arguments) if program else method)(*arguments)
        except Exception as error:  # any exception: the world is not ours
            raise TensorqError(f"{type(world).__name__}.{name} raised {where_raised(error)}.") from error

    return call


def _check_observations(world: World, obs: Any, mask: Any) -> None:
    space = world.observation_space
    dtype = np.dtype(np.float32) if space.dtype.kind == "f" else space.dtype
    if obs.shape != (_ROWS, *space.shape) or obs.dtype != dtype:
        received = f"{obs.dtype.name} of shape {obs.shape}"
        _refuse(world, "observe", received, f"{dtype.name} of shape {(_ROWS, *space.shape)} for {_ROWS} states")
    for row in obs.numpy():
        if not space.contains(row.astype(space.dtype)):
            _refuse(world, "observe", row, f"an observation of {space}")
    if mask is not None and (mask.shape != (_ROWS, world.action_space.n) or mask.dtype != tf.bool):
        received = f"{mask.dtype.name} of shape {mask.shape}"
        _refuse(world, "action_mask", received, f"bool of shape {(_ROWS, int(world.action_space.n))}")


def _check_picture(world: World, state: Any) -> None:
    if not hasattr(world, "render"):
        return
    picture = _method(world, "render", compiled=False)(state)
    if not isinstance(picture, np.ndarray) or picture.dtype != np.uint8 or picture.shape[2:] != (3,):
        received = f"{picture.dtype} of shape {picture.shape}" if isinstance(picture, np.ndarray) else repr(picture)
        _refuse(world, "render", received, "a NumPy array [height, width, 3] of uint8")


def _first_row(structure: Any) -> Any:
    return tf.nest.map_structure(lambda tensor: tensor[:1], structure)


def _layout(state: Any) -> Any:
    return tf.nest.map_structure(lambda tensor: f"{tensor.dtype.name} {tuple(tensor.shape)}", state)


def _equal(one: Any, other: Any) -> bool:
    """Whether both are equal up to rounding, which differs in batches of other sizes."""
    pairs = zip(tf.nest.flatten(one), tf.nest.flatten(other), strict=True)
    return all(np.allclose(a.numpy(), b.numpy(), rtol=1e-4, atol=1e-6, equal_nan=True) for a, b in pairs)


def _refuse(world: World, name: str, received: Any, expected: str) -> NoReturn:
    raise TensorqError(f"{type(world).__name__}.{name}: received {received}, expected {expected}.")
