"""What the games of MinAtar share: actions, sticky actions, observations and pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import tensorflow as tf

from tensorq.core.types import Tensor
from tensorq.core.xla import in_xla_on_cpu

SIDE = 10  # cells of a board's side
LANES = SIDE - 2  # rows 1 to 8, where a game has things in all rows but the first and the last
NOTHING, LEFT, UP, RIGHT, DOWN, FIRE = range(6)
NAMES = ("nothing", "left", "up", "right", "down", "fire")
STICKINESS = 0.1  # the probability that the last action is repeated in place of the one that was chosen
MOST_STACKED = 7  # planes, up to which channels_last stacks them
CELL = 32  # pixels of a cell's side in a picture


class Game:
    """A game whose state is a NamedTuple of tensors with N rows, the first of which is `last_action` [N] int32.

    With probability 0.1 the last action is repeated in place of the chosen one. A subclass has the class attributes,
    and reset, play and planes. The observation has a plane of zeros and 255 for each channel. Games have no time limit
    in the package; here an episode of 108 000 steps is cut.
    """

    channels: ClassVar[tuple[str, ...]]
    """The names of the observation's planes."""
    useful_actions: ClassVar[tuple[int, ...]]
    """The minimal action set."""
    reset_uniforms: ClassVar[int] = 0
    play_uniforms: ClassVar[int] = 0
    """The width of play's u."""
    max_episode_steps = 108_000
    solved_return = None

    def __init__(self, minimal_actions: bool = False) -> None:
        """Make the game with all six actions, or with those alone that do something in it."""
        actions = self.useful_actions if minimal_actions else tuple(range(6))
        self._actions = np.array(actions, np.int32)  # no tensor, because the first one fixes TensorFlow's threads
        self.action_names = tuple(NAMES[action] for action in actions)
        self.action_space = gym.spaces.Discrete(len(actions))
        self.observation_space = gym.spaces.Box(0, 255, (SIDE, SIDE, len(self.channels)), np.uint8)
        self.step_uniforms = 1 + self.play_uniforms

    def reset(self, u: Tensor) -> Any:
        """First states for uniforms [N, reset_uniforms]; the last action is to do nothing."""
        raise NotImplementedError

    def play(self, state: Any, action: Tensor, u: Tensor) -> tuple[Any, Tensor, Tensor]:
        """(next states, rewards [N], whether the games are over [N]) for actions [N] of all six."""
        raise NotImplementedError

    def planes(self, state: Any) -> list[Tensor]:
        """The planes [N, 10, 10] bool, by rows from the top, in the order of `channels`."""
        raise NotImplementedError

    def observe(self, state: Any) -> Tensor:
        """The planes as [N, 10, 10, channels] uint8."""
        # Otherwise XLA would compute the step that gave the state again for each plane, which takes most of the time.
        planes = self.planes(apart(state, lambda: tf.nest.map_structure(tf.identity, state)))
        return channels_last(planes)

    def step(self, state: Any, action: Tensor, u: Tensor) -> tuple[Any, Tensor, Tensor, Tensor]:
        """One step; no game truncates."""
        taken = tf.where(u[:, 0] < STICKINESS, state.last_action, tf.gather(self._actions, action))
        state, reward, over = self.play(state, taken, u[:, 1:])
        return state._replace(last_action=taken), reward, over, tf.zeros_like(over)

    def render(self, state: Any) -> np.ndarray:
        """The board of one game, each cell in the colour of its last channel, as the package draws it."""
        from matplotlib import colormaps

        count = len(self.channels)
        shades = colormaps["cubehelix"](np.linspace(0, 1, count + 2)[1:-1])[:, :3]
        colours = np.concatenate([np.zeros((1, 3)), shades])
        board = (self.observe(state).numpy()[0] > 0) * np.arange(1, count + 1)
        return np.kron((255 * colours).astype(np.uint8)[board.max(axis=2)], np.ones((CELL, CELL, 1), np.uint8))


def apart(instead: Any, function: Callable[[], Any]) -> Any:
    """The function's result, which is like `instead`, from a computation of its own.

    XLA on a CPU computes a value again for each of the results that need it, and in a long calculation that takes most
    of the time. It compiles the body of a loop on its own, so that this is a loop of one turn. XLA must not know that
    it is one, and so the number of turns depends on the first tensor of `instead`, which is never below 0, and which is
    no constant: from zeros XLA would see that there is one turn, and take the loop away.
    """
    if not in_xla_on_cpu():
        return function()
    first = tf.nest.flatten(instead)[0]
    once = tf.cast(tf.reduce_all(first >= 0), tf.int32)
    return tf.while_loop(lambda turn, _: turn < once, lambda turn, _: (turn + 1, function()), (0, instead))[1]


def channels_last(planes: Sequence[Tensor]) -> Tensor:
    """Planes [N, 10, 10] bool as channels [N, 10, 10, planes] uint8 of 0 and 255.

    XLA puts many planes together slowly. As bits of a number first, Seaquest's ten let it make 1.1 million steps a
    second in place of 0.4.
    """
    if len(planes) <= MOST_STACKED:
        return tf.stack([tf.where(plane, tf.constant(255, tf.uint8), 0) for plane in planes], axis=3)
    words = apart(
        tf.cast(planes[0], tf.int32),
        lambda: tf.add_n([tf.cast(plane, tf.int32) * 2**place for place, plane in enumerate(planes)]),
    )
    bits = tf.bitwise.right_shift(words[..., None], tf.range(len(planes))) & 1
    return tf.cast(-bits, tf.uint8)  # 255 for 1


def cells(row: Tensor, column: Tensor) -> Tensor:
    """Planes [N, 10, 10] bool with one cell each, in these rows and columns [N]; none if one is outside."""
    numbers = tf.range(SIDE)
    return (row[:, None, None] == numbers[:, None]) & (column[:, None, None] == numbers)


def in_lanes(column: Tensor) -> Tensor:
    """Planes [N, 10, 10] bool with one cell in each lane, in these columns [N, 8]; none where one is outside."""
    return tf.pad(column, [[0, 0], [1, 1]], constant_values=-1)[:, :, None] == tf.range(SIDE)
