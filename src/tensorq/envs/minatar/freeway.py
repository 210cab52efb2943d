"""Freeway: a chicken crosses a road of eight lanes with cars of different speeds, as often as it can."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from tensorq.core.types import Tensor
from tensorq.envs.minatar.game import DOWN, LANES, NOTHING, SIDE, UP, Game, cells, in_lanes

COLUMN, BOTTOM = 4, SIDE - 1  # where the chicken walks and where it starts
REST = 3
TIME = 2500
SLOWEST = 5


class State(NamedTuple):
    """N games. Lanes are rows 1 to 8, with one car each. A car of pace p > 0 moves right, one of pace p < 0 left."""

    last_action: Tensor  # [N] int32
    row: Tensor  # [N] int32, of the chicken, which is never in row 0 after a step
    rest: Tensor  # [N] int32, in how many steps the chicken can move
    time: Tensor  # [N] int32, how many steps are left after the next one
    cars: Tensor  # [N, 8] int32, columns
    waits: Tensor  # [N, 8] int32, in how many steps the car moves; it starts at |p| after each move
    paces: Tensor  # [N, 8] int32, from -5 to 5 without 0


class Freeway(Game):
    """A crossing gives 1, and new paces to all cars. A car sends the chicken back. The game is over after 2501 steps.

    Cars that leave the board come back on the other side.
    """

    channels = ("chicken", "car", "speed1", "speed2", "speed3", "speed4", "speed5")
    useful_actions = (NOTHING, UP, DOWN)
    reset_uniforms = play_uniforms = 2 * LANES

    def reset(self, u: Tensor) -> State:
        """All cars are at the left."""
        count = u.shape[0]
        zero, paces = tf.zeros(count, tf.int32), _paces(u)
        cars = tf.zeros((count, LANES), tf.int32)
        return State(zero, zero + BOTTOM, zero + REST, zero + TIME, cars, tf.abs(paces), paces)

    def play(self, state: State, action: Tensor, u: Tensor) -> tuple[State, Tensor, Tensor]:
        """See Game. The uniforms are for new paces."""
        able = state.rest == 0
        up, down = able & (action == UP), able & (action == DOWN)
        row = tf.minimum(state.row - tf.cast(up, tf.int32) + tf.cast(down, tf.int32), BOTTOM)
        rest = tf.where(up | down, REST - 1, tf.maximum(state.rest - 1, 0))
        crosses = row == 0

        new_paces = _paces(u)
        paces = tf.where(crosses[:, None], new_paces, state.paces)
        waits = tf.where(crosses[:, None], tf.abs(new_paces), state.waits)
        moves = waits == 0
        cars = tf.where(moves, _wrapped(state.cars + tf.sign(paces)), state.cars)
        waits = tf.where(moves, tf.abs(paces), waits - 1)

        # A car hits the chicken where it was before it moved, and where it is after. It cannot be hit in row 9.
        level = tf.range(1, LANES + 1) == row[:, None]
        hit = tf.reduce_any(level & ((state.cars == COLUMN) | (cars == COLUMN)), axis=1)
        row = tf.where(crosses | hit, BOTTOM, row)
        time = state.time - 1
        return State(action, row, rest, time, cars, waits, paces), tf.cast(crosses, tf.float32), time < 0

    def planes(self, state: State) -> list[Tensor]:
        """See Game. The cell behind a car is in the plane of its pace."""
        column = tf.fill([state.row.shape[0]], COLUMN)
        behind, pace = _wrapped(state.cars - tf.sign(state.paces)), tf.abs(state.paces)
        trails = [in_lanes(tf.where(pace == number, behind, -1)) for number in range(1, SLOWEST + 1)]
        return [cells(state.row, column), in_lanes(state.cars), *trails]


def _paces(u: Tensor) -> Tensor:
    """Paces [N, 8] for uniforms [N, 16]: eight for how slow the cars are, eight for their directions."""
    slowness = 1 + tf.cast(u[:, :LANES] * SLOWEST, tf.int32)
    return tf.where(u[:, LANES:] < 0.5, -slowness, slowness)


def _wrapped(column: Tensor) -> Tensor:
    """The columns, of which -1 is the last one and SIDE the first."""
    return tf.where(column < 0, SIDE - 1, tf.where(column == SIDE, 0, column))
