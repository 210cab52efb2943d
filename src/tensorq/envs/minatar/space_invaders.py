"""Space Invaders: a cannon shoots at a block of aliens that comes down row by row and shoots back."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tensorq.core.types import Tensor
from tensorq.envs.minatar.game import FIRE, LEFT, NOTHING, RIGHT, SIDE, Game, cells

FULL, BOTTOM = 2**SIDE - 1, 2 ** (SIDE - 1)  # all cells of a column, and its lowest cell
WAVE = np.array([0, 0] + 6 * [0b1111] + [0, 0], np.int32)  # four rows of six aliens
RELOAD, BOMB_TIMER = 5, 10
SLOWEST, FASTEST = 12, 6


class State(NamedTuple):
    """N games. A board is a number for each of its ten columns; the bit 2^r of it is the cell in row r."""

    last_action: Tensor  # [N] int32
    cannon: Tensor  # [N] int32, a column
    aliens: Tensor  # [N, 10] int32, a board
    shots: Tensor  # [N, 10] int32, the cannon's, a board
    bombs: Tensor  # [N, 10] int32, the aliens' shots, a board
    rightward: Tensor  # [N] bool, whether the aliens move right
    interval: Tensor  # [N] int32, the most steps between the aliens' moves; they are fewer if fewer aliens are left
    move_timer: Tensor  # [N] int32, in how many steps the aliens move
    bomb_timer: Tensor  # [N] int32, in how many steps the nearest alien shoots
    shot_timer: Tensor  # [N] int32, in how many steps the cannon can shoot


class SpaceInvaders(Game):
    """An alien gives 1. The game is over when an alien or its shot reaches the cannon, or aliens have no row left.

    After the last alien a new block comes, which moves faster. At the board's side, the aliens turn and come down.
    """

    channels = ("cannon", "alien", "alien_left", "alien_right", "friendly_bullet", "enemy_bullet")
    useful_actions = (NOTHING, LEFT, RIGHT, FIRE)

    def reset(self, u: Tensor) -> State:
        """The aliens move left at first."""
        count = u.shape[0]
        zero, empty = tf.zeros(count, tf.int32), tf.zeros((count, SIDE), tf.int32)
        timers = zero + SLOWEST, zero + SLOWEST, zero + BOMB_TIMER, zero
        return State(zero, zero + 5, empty + WAVE, empty, empty, tf.zeros(count, tf.bool), *timers)

    def play(self, state: State, action: Tensor, u: Tensor) -> tuple[State, Tensor, Tensor]:
        """See Game."""
        across = tf.cast(action == RIGHT, tf.int32) - tf.cast(action == LEFT, tf.int32)
        cannon = tf.clip_by_value(state.cannon + across, 0, SIDE - 1)
        fires = (action == FIRE) & (state.shot_timer == 0)
        distance = tf.range(SIDE) - cannon[:, None]
        here = distance == 0
        shots = _shifted(state.shots | tf.where(here & fires[:, None], BOTTOM, 0), -1)
        bombs = _shifted(state.bombs, 1) & FULL

        moves, aliens = state.move_timer == 0, state.aliens
        left, right = tf.pad(aliens[:, 1:], [[0, 0], [0, 1]]), tf.pad(aliens[:, :-1], [[0, 0], [1, 0]])
        turns = moves & (tf.where(state.rightward, aliens[:, -1], aliens[:, 0]) > 0)
        down = (_shifted(aliens, 1) | _shifted(aliens, 1 - SIDE)) & FULL  # from the last row to the first
        moved = tf.where(turns[:, None], down, tf.where(state.rightward[:, None], right, left))
        moved = tf.where(moves[:, None], moved, aliens)
        reached = (here & ((bombs | aliens | moved) >= BOTTOM)) | (turns[:, None] & (aliens >= BOTTOM))

        bombards = state.bomb_timer == 0
        rank = tf.where(moved > 0, 2 * tf.abs(distance) + tf.cast(distance > 0, tf.int32), 2 * SIDE)
        nearest = (rank == tf.reduce_min(rank, axis=1, keepdims=True)) & bombards[:, None]  # the left one of two
        bombs |= tf.where(nearest, _lowest(moved), 0)
        killed = moved & shots
        left_over = moved - killed
        cleared = ~tf.reduce_any(left_over > 0, axis=1)
        faster = cleared & (state.interval > FASTEST)
        state = State(
            action,
            cannon,
            tf.where(cleared[:, None], WAVE, left_over),
            shots - killed,
            bombs,
            state.rightward ^ turns,
            state.interval - tf.cast(faster, tf.int32),
            tf.where(moves, tf.minimum(_total(aliens), state.interval), state.move_timer) - 1,
            tf.where(bombards, BOMB_TIMER, state.bomb_timer) - 1,
            tf.where(fires, RELOAD - 1, tf.maximum(state.shot_timer - 1, 0)),
        )
        return state, tf.cast(_total(killed), tf.float32), tf.reduce_any(reached, axis=1)

    def planes(self, state: State) -> list[Tensor]:
        """See Game."""
        aliens, rightward = _cells_of(state.aliens), state.rightward[:, None, None]
        return [
            cells(tf.fill([state.cannon.shape[0]], SIDE - 1), state.cannon),
            aliens,
            aliens & ~rightward,
            aliens & rightward,
            _cells_of(state.shots),
            _cells_of(state.bombs),
        ]


def _shifted(board: Tensor, rows: int) -> Tensor:
    """The board so many rows further down, or up if negative; what goes down out of the board is still in the bits."""
    shift = tf.bitwise.left_shift if rows > 0 else tf.bitwise.right_shift
    return shift(board, abs(rows))


def _lowest(board: Tensor) -> Tensor:
    """Of each column, the lowest cell that is set."""
    for rows in (1, 2, 4, 8):
        board |= _shifted(board, -rows)  # at the end, all cells above a set cell are set
    return board - _shifted(board, -1)


def _total(board: Tensor) -> Tensor:
    """How many cells are set: [N, 10] -> [N] int32."""
    return tf.reduce_sum(tf.cast(tf.raw_ops.PopulationCount(x=board), tf.int32), axis=1)


def _cells_of(board: Tensor) -> Tensor:
    """A board's plane: [N, 10] -> [N, 10, 10] bool, by rows."""
    return tf.bitwise.bitwise_and(board[:, None, :], 2 ** np.arange(SIDE, dtype=np.int32)[:, None]) > 0
