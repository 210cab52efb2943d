"""Breakout: a paddle returns a ball that breaks three rows of bricks; when they are gone, three more come."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from tensorq.core.types import Tensor
from tensorq.envs.minatar.game import LEFT, NOTHING, RIGHT, SIDE, Game, cells

WALL = 3 * SIDE  # bricks, in rows 1 to 3


class State(NamedTuple):
    """N games. The ball moves along diagonals: direction 0 is up left, 1 up right, 2 down right, 3 down left."""

    last_action: Tensor  # [N] int32
    paddle: Tensor  # [N] int32, a column
    ball: Tensor  # [N, 2] int32, column and row
    trail: Tensor  # [N, 2] int32, where the ball was a step before
    direction: Tensor  # [N] int32
    bricks: Tensor  # [N, 30] bool
    strikes: Tensor  # [N] bool, whether the ball struck a brick a step before: then it passes through others


class Breakout(Game):
    """A brick gives 1. The game is over when the ball passes the paddle."""

    channels = ("paddle", "ball", "trail", "brick")
    useful_actions = (NOTHING, LEFT, RIGHT)
    reset_uniforms = 1

    def reset(self, u: Tensor) -> State:
        """The ball starts at the left or at the right, and falls to the middle."""
        count = u.shape[0]
        right = tf.cast(u[:, 0] >= 0.5, tf.int32)
        ball = tf.stack([9 * right, tf.fill([count], 3)], axis=1)
        zero = tf.zeros(count, tf.int32)
        return State(zero, zero + 4, ball, ball, 2 + right, tf.ones((count, WALL), tf.bool), tf.zeros(count, tf.bool))

    def play(self, state: State, action: Tensor, u: Tensor) -> tuple[State, Tensor, Tensor]:
        """See Game."""
        move = tf.cast(action == RIGHT, tf.int32) - tf.cast(action == LEFT, tf.int32)
        paddle = tf.clip_by_value(state.paddle + move, 0, SIDE - 1)
        direction, (old_x, old_y) = state.direction, tf.unstack(state.ball, axis=1)
        x = old_x + tf.where((direction == 0) | (direction == 3), -1, 1)
        y = old_y + tf.where(direction < 2, -1, 1)
        wall = (x < 0) | (x >= SIDE)
        x = tf.clip_by_value(x, 0, SIDE - 1)
        direction = tf.where(wall, tf.bitwise.bitwise_xor(direction, 1), direction)  # left and right change places

        here = tf.one_hot((y - 1) * SIDE + x, WALL, True, False)
        struck = tf.reduce_any(here & state.bricks, axis=1)
        breaks = struck & ~state.strikes
        bricks = state.bricks & ~(here & breaks[:, None])
        low = y == SIDE - 1
        bricks |= (low & ~tf.reduce_any(bricks, axis=1))[:, None]
        returned = low & (old_x == paddle)
        edge = low & ~returned & (x == paddle)
        mirrored = (y < 0) | breaks | returned
        direction = tf.where(mirrored, 3 - direction, direction)  # up and down change places
        direction = tf.where(edge, tf.bitwise.bitwise_xor(direction, 2), direction)  # back to where it came from
        over = low & ~returned & ~edge
        y = tf.where(breaks | returned | edge, old_y, tf.maximum(y, 0))
        state = State(action, paddle, tf.stack([x, y], axis=1), state.ball, direction, bricks, struck)
        return state, tf.cast(breaks, tf.float32), over

    def planes(self, state: State) -> list[Tensor]:
        """See Game."""
        count = state.paddle.shape[0]
        wall = tf.reshape(state.bricks, (count, 3, SIDE))
        return [
            cells(tf.fill([count], SIDE - 1), state.paddle),
            cells(state.ball[:, 1], state.ball[:, 0]),
            cells(state.trail[:, 1], state.trail[:, 0]),
            tf.pad(wall, [[0, 0], [1, 6], [0, 0]]),
        ]
