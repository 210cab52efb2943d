"""Seaquest: a submarine shoots fish and enemy submarines, picks up divers, and comes up before its oxygen is used up."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tensorq.core.types import Tensor
from tensorq.envs.minatar.game import DOWN, FIRE, LEFT, NOTHING, RIGHT, SIDE, UP, Game, cells

FULL_OXYGEN = 200
MOST_ABOARD = 6
ENEMY_INTERVAL, DIVER_INTERVAL = 20, 30  # steps from one enemy, or diver, to the next; an enemy's at level 0
SLOWEST, FASTEST = 5, 2  # how many steps an enemy rests between two moves, at level 0 and from level 6 on
TOP_LEVEL = ENEMY_INTERVAL - 1  # then an enemy comes in every step
RELOAD, ENEMY_RELOAD = 5, 10
DIVER_PERIOD = 6  # steps from one move of the divers to the next
EMPTY = -1  # the column of a place that is free

# Places for what moves. A new thing takes the place of the oldest one, which has always left the board by then:
# - Enemies: with a rest of 2 they move 2, 5, ..., 29 steps after they came, and the tenth move takes them off the board.
#   Before the moves of a step, those of the last 30 steps can be there, one of each step at the top level. A slower
#   enemy lives longer, 59 steps at most, but then the next ones come more slowly. At level 5 and below they are at
#   least 15 steps apart. From level 6 on a slow enemy lives 33 more steps at most. A level takes 2 steps at least, so
#   the interval is 2 or more in the first 26 of them. That makes at most 4 + 13 + 8 = 25 later enemies.
# - The player's bullets: one is gone 9 steps after it was fired, and the next but one comes 10 steps after it or later.
# - Divers: one moves 5, 11, ..., 59 steps after it came, and is gone then. The next but one comes 60 steps after it.
ENEMIES = 30
PAIR = 2

# A row of the board can be one number, a mask: two bits for each column, which count what is there. Three is the most:
# enemies that are in one place came within 3 steps of each other, with a rest of 2; see Seaquest.
EVERY = 4**SIDE - 1
ROWS = np.arange(SIDE, dtype=np.int32)


class State(NamedTuple):
    """N games. A thing is in a column and a row; `right` tells whether it goes to the right. Lists: see EMPTY."""

    last_action: Tensor  # [N] int32
    column: Tensor  # [N] int32, the front of the player
    row: Tensor  # [N] int32
    right: Tensor  # [N] bool
    reload: Tensor  # [N] int32, steps until the player can fire again
    oxygen: Tensor  # [N] int32
    aboard: Tensor  # [N] int32, divers; below 0 after the player came up with six, as in the package
    surfaced: Tensor  # [N] bool, whether the player has been at the top since it last came up
    level: Tensor  # [N] int32, how often the game became more difficult: 0 to 19
    enemy_timer: Tensor  # [N] int32, steps until the next enemy comes
    diver_timer: Tensor  # [N] int32
    bullet_column: Tensor  # [N, 2] int32, the player's bullets, the older one first
    bullet_row: Tensor  # [N, 2] int32
    bullet_right: Tensor  # [N, 2] bool
    diver_column: Tensor  # [N, 2] int32, the older one first
    diver_row: Tensor  # [N, 2] int32
    diver_right: Tensor  # [N, 2] bool
    oldest: Tensor  # [N] int32, the place of the oldest enemy; the others follow in turn, and after place 29 place 0
    enemy_column: Tensor  # [N, 30] int32
    enemy_row: Tensor  # [N, 30] int32
    enemy_right: Tensor  # [N, 30] bool
    enemy_sub: Tensor  # [N, 30] bool, whether it is a submarine or a fish
    enemy_rest: Tensor  # [N, 30] int32, steps until it moves
    enemy_reload: Tensor  # [N, 30] int32, steps until it fires, if it is a submarine
    shots_left: Tensor  # [N, 10] int32, masks of enemies' bullets that go to the left
    shots_right: Tensor  # [N, 10] int32


class Seaquest(Game):
    """An enemy that a bullet hits gives 1. To come up with six divers gives up to 10, by the oxygen that is left.

    The game is over when an enemy or its bullet touches the player, without oxygen, and when the player comes up with
    no divers. Each time it comes up with some, one of them leaves and the game becomes more difficult.

    The package goes through lists of things and removes some on the way. Order matters only where two are in one place,
    and there the masks and the places below do the same:

    - All enemies in a row go the same way. Two that are in one place never move in the same step. With a rest above 2
      they come at least 15 steps apart, so that the older one is 3 columns ahead, and a shorter rest does not let
      another catch up by more than a column. With a rest of 2, enemies that came in different steps move in different
      steps or are in different columns. So at most one enemy moves to a place in one step, and it does not matter
      which enemy is the first to move.
    - A bullet takes the first fish of the list in its place, or else the first submarine. An enemy takes the first
      bullet in its place, and of two bullets in one place the younger one is the first to hit.
    - The package removes the first thing of a list that is equal to the one that is meant, and then that one is moved
      in its stead. The two are equal, so that nobody can tell.
    - A submarine fires even in the step in which it moves onto a bullet. Several enemies' bullets in one place act as
      one.
    """

    channels = (
        "sub_front",
        "sub_back",
        "friendly_bullet",
        "trail",
        "enemy_bullet",
        "enemy_fish",
        "enemy_sub",
        "oxygen_gauge",
        "diver_gauge",
        "diver",
    )
    useful_actions = (NOTHING, LEFT, UP, RIGHT, DOWN, FIRE)
    play_uniforms = 5

    def begin(self, u: Tensor) -> State:
        """The player is at the top, and nothing else is there."""
        count = u.shape[0]

        def full(value: int | bool, *shape: int) -> Tensor:
            return tf.fill([count, *shape], value)

        return State(
            last_action=full(0),
            column=full(5),
            row=full(0),
            right=full(False),
            reload=full(0),
            oxygen=full(FULL_OXYGEN),
            aboard=full(0),
            surfaced=full(True),
            level=full(0),
            enemy_timer=full(ENEMY_INTERVAL),
            diver_timer=full(DIVER_INTERVAL),
            bullet_column=full(EMPTY, PAIR),
            bullet_row=full(0, PAIR),
            bullet_right=full(False, PAIR),
            diver_column=full(EMPTY, PAIR),
            diver_row=full(0, PAIR),
            diver_right=full(False, PAIR),
            oldest=full(0),
            enemy_column=full(EMPTY, ENEMIES),
            enemy_row=full(0, ENEMIES),
            enemy_right=full(False, ENEMIES),
            enemy_sub=full(False, ENEMIES),
            enemy_rest=full(0, ENEMIES),
            enemy_reload=full(0, ENEMIES),
            shots_left=full(0, SIDE),
            shots_right=full(0, SIDE),
        )

    def play(self, state: State, action: Tensor, u: Tensor) -> tuple[State, Tensor, Tensor]:
        """See Game."""
        state = _add_diver(_add_enemy(state, u), u)
        state = _act(state._replace(last_action=action), action)
        state, hits = _move_bullets(state)
        state = _move_divers(state)
        state, more_hits, touched = _move_enemies(state)
        state, shot = _move_shots(state)
        state, bonus, over = _end_step(state)
        return state, tf.cast(hits + more_hits + bonus, tf.float32), touched | shot | over

    def planes(self, state: State) -> list[Tensor]:
        """See Game."""
        back = state.column + tf.where(state.right, -1, 1)
        enemy = state.enemy_column >= 0
        trails = _masks(_behind(state.enemy_column, state.enemy_right), state.enemy_row, enemy)
        diver_trails = _masks(_behind(state.diver_column, state.diver_right), state.diver_row, state.diver_column >= 0)
        last_row = (ROWS == SIDE - 1)[:, None]
        supply = (state.oxygen * SIDE // FULL_OXYGEN)[:, None, None]
        aboard = state.aboard[:, None, None]
        return [
            cells(state.row, state.column),
            cells(state.row, back),
            _plane(_masks(state.bullet_column, state.bullet_row)),
            _plane(tf.bitwise.bitwise_or(trails, diver_trails)),
            _plane(tf.bitwise.bitwise_or(state.shots_left, state.shots_right)),
            _plane(_masks(state.enemy_column, state.enemy_row, ~state.enemy_sub)),
            _plane(_masks(state.enemy_column, state.enemy_row, state.enemy_sub)),
            last_row & (supply > ROWS),
            last_row & (ROWS >= SIDE - 1 - aboard) & (ROWS < SIDE - 1),
            _plane(_masks(state.diver_column, state.diver_row)),
        ]


class MinimalSeaquest(Seaquest):
    """Seaquest with its minimal action set, which is all six actions."""

    def __init__(self) -> None:
        super().__init__(minimal_actions=True)


def _masks(column: Tensor, row: Tensor, chosen: Tensor | None = None) -> Tensor:
    """Masks [N, 10] of the rows, for things [N, K]; those outside the board do not count."""
    inside = (column >= 0) & (column < SIDE)
    if chosen is not None:
        inside &= chosen
    bit = tf.where(inside, tf.bitwise.left_shift(1, 2 * tf.where(inside, column, 0)), 0)
    return tf.reduce_sum(tf.where(row[:, :, None] == ROWS, bit[:, :, None], 0), axis=1)


def _plane(masks: Tensor) -> Tensor:
    """The plane [N, 10, 10] bool for masks [N, 10]."""
    return tf.bitwise.bitwise_and(tf.bitwise.right_shift(masks[:, :, None], 2 * ROWS), 3) > 0


def _behind(column: Tensor, right: Tensor) -> Tensor:
    return column + tf.where(right, -1, 1)


def _ahead(column: Tensor, right: Tensor) -> Tensor:
    return column + tf.where(right, 1, -1)


def _inside(column: Tensor) -> Tensor:
    return (column >= 0) & (column < SIDE)


def _rest(state: State) -> Tensor:
    """How many steps [N] an enemy rests after a move."""
    return tf.maximum(SLOWEST - state.level // 2, FASTEST)


def _entry(right: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
    """The side and the row, 1 to 8, in which something comes in."""
    return tf.where(right, 0, SIDE - 1), 1 + tf.cast(8 * u, tf.int32)


def _append(new: Tensor, things: Tensor, value: Tensor) -> Tensor:
    """Pairs [N, 2] without the older thing and with a new one at the end, where `new` [N] tells it."""
    return tf.where(new[:, None], tf.stack([things[:, 1], value], axis=1), things)


def _add_enemy(state: State, u: Tensor) -> State:
    """An enemy comes if it is time, but not into a row where another one goes the other way."""
    due = state.enemy_timer == 0
    right, sub = u[:, 0] < 0.5, u[:, 1] < 1 / 3
    column, row = _entry(right, u[:, 2])
    against = (state.enemy_column >= 0) & (state.enemy_row == row[:, None]) & (state.enemy_right != right[:, None])
    new = due & ~tf.reduce_any(against, axis=1)
    here = (tf.range(ENEMIES) == state.oldest[:, None]) & new[:, None]
    return state._replace(
        enemy_timer=tf.where(due, ENEMY_INTERVAL - state.level, state.enemy_timer),
        oldest=tf.where(new, (state.oldest + 1) % ENEMIES, state.oldest),
        enemy_column=tf.where(here, column[:, None], state.enemy_column),
        enemy_row=tf.where(here, row[:, None], state.enemy_row),
        enemy_right=tf.where(here, right[:, None], state.enemy_right),
        enemy_sub=tf.where(here, sub[:, None], state.enemy_sub),
        enemy_rest=tf.where(here, _rest(state)[:, None], state.enemy_rest),
        enemy_reload=tf.where(here, ENEMY_RELOAD, state.enemy_reload),
    )


def _add_diver(state: State, u: Tensor) -> State:
    due, right = state.diver_timer == 0, u[:, 3] < 0.5
    column, row = _entry(right, u[:, 4])
    return state._replace(
        diver_timer=tf.where(due, DIVER_INTERVAL, state.diver_timer),
        diver_column=_append(due, state.diver_column, column),
        diver_row=_append(due, state.diver_row, row),
        diver_right=_append(due, state.diver_right, right),
    )


def _act(state: State, action: Tensor) -> State:
    """The player moves, or fires if it has reloaded."""
    fires = (action == FIRE) & (state.reload == 0)
    across = tf.cast(action == RIGHT, tf.int32) - tf.cast(action == LEFT, tf.int32)
    down = tf.cast(action == DOWN, tf.int32) - tf.cast(action == UP, tf.int32)
    return state._replace(
        column=tf.clip_by_value(state.column + across, 0, SIDE - 1),
        row=tf.clip_by_value(state.row + down, 0, SIDE - 2),
        right=(state.right | (action == RIGHT)) & (action != LEFT),
        reload=tf.where(fires, RELOAD, state.reload),
        bullet_column=_append(fires, state.bullet_column, state.column),
        bullet_row=_append(fires, state.bullet_row, state.row),
        bullet_right=_append(fires, state.bullet_right, state.right),
    )


def _move_bullets(state: State) -> tuple[State, Tensor]:
    """The player's bullets move, the younger one first; also returns how many enemies [N] they hit."""
    moved = _ahead(state.bullet_column, state.bullet_right)
    column = tf.where((state.bullet_column >= 0) & _inside(moved), moved, EMPTY)
    order = (tf.range(ENEMIES) - state.oldest[:, None]) % ENEMIES + tf.where(state.enemy_sub, ENEMIES, 0)
    none = 2 * ENEMIES
    enemies, columns, hits = state.enemy_column, [], tf.zeros_like(state.column)
    for index in (1, 0):
        here = column[:, index]
        there = (enemies == here[:, None]) & (state.enemy_row == state.bullet_row[:, index, None])
        first = tf.reduce_min(tf.where(there & (here >= 0)[:, None], order, none), axis=1)
        hit = first < none
        enemies = tf.where(order == first[:, None], EMPTY, enemies)
        columns.append(tf.where(hit, EMPTY, here))
        hits += tf.cast(hit, tf.int32)
    return state._replace(bullet_column=tf.stack(columns[::-1], axis=1), enemy_column=enemies), hits


def _move_divers(state: State) -> State:
    """A diver comes aboard before it moves or after it, the younger one first; the others move every sixth step."""
    due = state.diver_timer % DIVER_PERIOD == 1  # they come 30 steps apart, so that all of them move together
    columns, aboard = [], state.aboard
    for index in (1, 0):
        before, row = state.diver_column[:, index], state.diver_row[:, index]
        after = tf.where(due, _ahead(before, state.diver_right[:, index]), before)
        met = (row == state.row) & ((before == state.column) | (after == state.column))
        taken = (before >= 0) & met & (aboard < MOST_ABOARD)
        columns.append(tf.where((before >= 0) & ~taken & _inside(after), after, EMPTY))
        aboard += tf.cast(taken, tf.int32)
    return state._replace(diver_column=tf.stack(columns[::-1], axis=1), aboard=aboard)


def _move_enemies(state: State) -> tuple[State, Tensor, Tensor]:
    """Enemies move and fire; also returns how many moved onto bullets, and whether one touched the player."""
    before, row, right = state.enemy_column, state.enemy_row, state.enemy_right
    exists = before >= 0
    moves = exists & (state.enemy_rest == 0)
    after = tf.where(moves, _ahead(before, right), before)
    level_with, player = row == state.row[:, None], state.column[:, None]
    touches = level_with & ((before == player) | (after == player))  # an empty place never does
    meets = moves & ~(level_with & (after == player))
    columns, column, hits = [], after, tf.zeros_like(state.column)
    for index in (0, 1):
        bullet = state.bullet_column[:, index]
        there = (column == bullet[:, None]) & (row == state.bullet_row[:, index, None])
        struck = meets & there & (bullet >= 0)[:, None]
        hit = tf.reduce_any(struck, axis=1)
        column = tf.where(struck, EMPTY, column)
        columns.append(tf.where(hit, EMPTY, bullet))
        hits += tf.cast(hit, tf.int32)
    fires = exists & state.enemy_sub & (state.enemy_reload == 0)
    left_shots, right_shots = (_masks(after, row, fires & way) for way in (~right, right))
    state = state._replace(
        bullet_column=tf.stack(columns, axis=1),
        enemy_column=tf.where(_inside(column), column, EMPTY),
        enemy_rest=tf.where(moves, _rest(state)[:, None], state.enemy_rest - 1),
        enemy_reload=tf.where(fires, ENEMY_RELOAD, state.enemy_reload - 1),
        shots_left=tf.bitwise.bitwise_or(state.shots_left, left_shots),
        shots_right=tf.bitwise.bitwise_or(state.shots_right, right_shots),
    )
    return state, hits, tf.reduce_any(touches, axis=1)


def _move_shots(state: State) -> tuple[State, Tensor]:
    """Enemies' bullets move; also returns whether one touched the player, before its move or after it."""
    left = tf.bitwise.right_shift(state.shots_left, 2)
    right = tf.bitwise.bitwise_and(tf.bitwise.left_shift(state.shots_right, 2), EVERY)
    crossed = tf.bitwise.bitwise_or(state.shots_left, state.shots_right)
    crossed = tf.bitwise.bitwise_or(crossed, tf.bitwise.bitwise_or(left, right))
    player = tf.where(state.row[:, None] == ROWS, tf.bitwise.left_shift(3, 2 * state.column)[:, None], 0)
    shot = tf.reduce_any(tf.bitwise.bitwise_and(crossed, player) > 0, axis=1)
    return state._replace(shots_left=left, shots_right=right), shot


def _end_step(state: State) -> tuple[State, Tensor, Tensor]:
    """Timers, oxygen and coming up; also returns the reward for six divers, and whether the game is over."""
    top = state.row == 0
    arrives = top & ~state.surfaced
    drowned = (state.oxygen <= 0) | (arrives & (state.aboard == 0))
    up = arrives & (state.aboard != 0)
    six = up & (state.aboard == MOST_ABOARD)
    bonus = tf.where(six, state.oxygen * 10 // FULL_OXYGEN, 0)
    state = state._replace(
        reload=tf.maximum(state.reload - 1, 0),
        oxygen=tf.where(up, FULL_OXYGEN, tf.where(top, state.oxygen, state.oxygen - 1)),
        aboard=tf.where(six, 0, state.aboard) - tf.cast(up, tf.int32),
        surfaced=top & (state.surfaced | up),
        level=tf.where(up, tf.minimum(state.level + 1, TOP_LEVEL), state.level),
        enemy_timer=tf.maximum(state.enemy_timer - 1, 0),
        diver_timer=tf.maximum(state.diver_timer - 1, 0),
    )
    return state, bonus, drowned
