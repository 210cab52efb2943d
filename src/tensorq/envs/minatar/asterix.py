"""Asterix: gold and enemies cross the board from both sides, more and faster with time; take gold, avoid enemies."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tensorq.core.types import Tensor
from tensorq.envs.minatar.game import DOWN, LANES, LEFT, NOTHING, RIGHT, SIDE, UP, Game, cells, in_lanes

LAST_LEVEL = 9
LEVEL_TIMER = 100
FIRST_SPAWN_TIMER, FIRST_MOVE_TIMER = 10, 5
UP_TO = np.triu(np.ones((LANES, LANES), np.float32))  # a product with it sums from the first lane up to each one


class State(NamedTuple):
    """N games. Lanes are rows 1 to 8. A lane has one thing at most, which is gold or an enemy."""

    last_action: Tensor  # [N] int32
    column: Tensor  # [N] int32, of the player
    row: Tensor  # [N] int32, of the player, from 1 to 8
    things: Tensor  # [N, 8] int32, the column of each lane's thing, -1 if there is none
    rightward: Tensor  # [N, 8] bool, whether it moves right
    gold: Tensor  # [N, 8] bool, whether it is gold
    spawn_timer: Tensor  # [N] int32, in how many steps a thing appears
    move_timer: Tensor  # [N] int32, in how many steps all things move
    level_timer: Tensor  # [N] int32, in how many steps the game becomes harder; -1 is the last
    level: Tensor  # [N] int32, how often it became harder


class Asterix(Game):
    """Gold gives 1. The game is over when the player and an enemy meet.

    On level k a thing appears every 10 - k steps, and things move every 5 - k // 2 steps.
    """

    channels = ("player", "enemy", "trail", "gold")
    useful_actions = (NOTHING, LEFT, UP, RIGHT, DOWN)
    play_uniforms = 3

    def reset(self, u: Tensor) -> State:
        """The player is in the middle of an empty board."""
        count = u.shape[0]
        zero, none = tf.zeros(count, tf.int32), tf.zeros((count, LANES), tf.bool)
        middle, things = zero + 5, tf.fill([count, LANES], -1)
        timers = zero + FIRST_SPAWN_TIMER, zero + FIRST_MOVE_TIMER, zero + LEVEL_TIMER
        return State(zero, middle, middle, things, none, none, *timers, zero)

    def play(self, state: State, action: Tensor, u: Tensor) -> tuple[State, Tensor, Tensor]:
        """See Game. A new thing's uniforms are for its side, its kind and its lane, a free one."""
        spawns, moves = state.spawn_timer == 0, state.move_timer == 0
        free = state.things < 0
        up_to = tf.matmul(tf.cast(free, tf.float32), UP_TO)  # free lanes up to each one; XLA's cumsum is slow
        chosen = tf.floor(u[:, 2] * up_to[:, -1]) + 1.0
        new = free & (up_to == chosen[:, None]) & spawns[:, None]
        from_left = u[:, 0] < 1 / 2
        things = tf.where(new, tf.where(from_left, 0, SIDE - 1)[:, None], state.things)
        rightward = tf.where(new, from_left[:, None], state.rightward)
        gold = tf.where(new, (u[:, 1] < 1 / 3)[:, None], state.gold)

        across = tf.cast(action == RIGHT, tf.int32) - tf.cast(action == LEFT, tf.int32)
        down = tf.cast(action == DOWN, tf.int32) - tf.cast(action == UP, tf.int32)
        column, row = tf.clip_by_value(state.column + across, 0, SIDE - 1), tf.clip_by_value(state.row + down, 1, LANES)

        # The player can meet a thing before things move and after; gold that it took does not move.
        place = tf.where(tf.range(1, LANES + 1) == row[:, None], column[:, None], SIDE)  # no thing is in column SIDE
        met = things == place
        things = tf.where(met & gold, -1, things)
        things += tf.where((things >= 0) & moves[:, None], tf.where(rightward, 1, -1), 0)
        things = tf.where(things < SIDE, things, -1)
        met |= things == place
        things = tf.where(met & gold, -1, things)
        takes, over = tf.reduce_any(met & gold, axis=1), tf.reduce_any(met & ~gold, axis=1)

        harder = (state.level_timer < 0) & (state.level < LAST_LEVEL)
        timers = (
            tf.where(spawns, 10 - state.level, state.spawn_timer) - 1,
            tf.where(moves, 5 - state.level // 2, state.move_timer) - 1,
            tf.where(harder, LEVEL_TIMER, tf.maximum(state.level_timer - 1, -1)),
        )
        level = state.level + tf.cast(harder, tf.int32)
        state = State(action, column, row, things, rightward, gold, *timers, level)
        return state, tf.cast(takes, tf.float32), over

    def planes(self, state: State) -> list[Tensor]:
        """See Game. A thing's trail is the cell behind it."""
        things, gold = state.things, state.gold
        behind = tf.where(things < 0, -1, things + tf.where(state.rightward, -1, 1))
        return [
            cells(state.row, state.column),
            in_lanes(tf.where(gold, -1, things)),
            in_lanes(behind),
            in_lanes(tf.where(gold, things, -1)),
        ]
