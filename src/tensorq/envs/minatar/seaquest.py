"""Seaquest: a submarine shoots fish and other submarines, picks up divers, and comes up before its oxygen is gone."""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tensorq.core.types import Tensor
from tensorq.envs.minatar.game import DOWN, FIRE, LEFT, NOTHING, RIGHT, SIDE, UP, Game, apart, cells

FULL_OXYGEN = 200
MOST_ABOARD = 6
ENEMY_INTERVAL, DIVER_INTERVAL = 20, 30  # steps from one enemy, or diver, to the next; an enemy's at level 0
SLOWEST, FASTEST = 5, 2  # how many steps an enemy rests between two moves, at level 0 and from level 6 on
RESTS = SLOWEST + 1
TOP_LEVEL = ENEMY_INTERVAL - 1  # then an enemy comes in every step
RELOAD = 5  # the player's; an enemy submarine's is 10, see Words
DIVER_PERIOD = 6  # steps from one move of the divers to the next
DEEP = 8  # rows 1 to 8, where enemies, their bullets and divers are
EMPTY = -1  # the column of a thing that is not there

# Masks: a row of the board is a number with a bit for each column, bit 0 for the left one.
# Words: a number with three masks, from bits 0, 10 and 20. Enemies have two words. The first has the fish, the
# submarines, and bit 0 of the submarines' reload time. The second has bits 1, 2 and 3 of it. A place without a
# submarine has no bits of a reload time.
EVERY = 2**SIDE - 1
THRICE = 1 + 2**SIDE + 4**SIDE  # a mask times this is a word with three such masks
LEFT_EDGE, RIGHT_EDGE = THRICE, THRICE << SIDE - 1
COLUMNS = np.arange(SIDE, dtype=np.int32)
ROWS = np.arange(1, 1 + DEEP, dtype=np.int32)
REST = np.arange(RESTS, dtype=np.int32)[:, None]
LAST_ROW = (COLUMNS == SIDE - 1)[:, None]

_and, _or, _xor, _not = tf.bitwise.bitwise_and, tf.bitwise.bitwise_or, tf.bitwise.bitwise_xor, tf.bitwise.invert
_up, _down = tf.bitwise.left_shift, tf.bitwise.right_shift


class State(NamedTuple):
    """N games. A thing is in a column and a row; `right` tells whether it goes to the right.

    Two places for the player's bullets, and two for divers, are enough. A bullet is gone 9 steps after it was fired,
    and the next but one comes 10 steps after it or later. A diver moves 5, 11, ..., 59 steps after it came, and is gone
    then; the next but one comes 60 steps after it. So a new one takes the place of the older one.
    """

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
    enemies: Tensor  # [N, 6, 8] int32, the first words of enemies, by the steps until they move, and by rows from 1
    reloads: Tensor  # [N, 6, 8] int32, the second words
    enemy_right: Tensor  # [N, 8] bool, the way of all enemies in a row
    shots_left: Tensor  # [N, 8] int32, masks of enemies' bullets that go to the left
    shots_right: Tensor  # [N, 8] int32


class Seaquest(Game):
    """An enemy that a bullet hits gives 1. To come up with six divers gives up to 10, by the oxygen that is left.

    The game is over when an enemy or its bullet touches the player, without oxygen, and when the player comes up with
    no divers. Each time it comes up with some, one of them leaves and the game becomes more difficult.

    The package has lists of things, and goes through them from the end and removes some on the way. Their order matters
    only where two are in one place, and there the words and places do the same:

    - All enemies in a row go the same way. Two that are in one place never move in the same step, so that a bit is
      enough for each, and the older one is the one that moves first. With a rest above 2 they come at least 15 steps
      apart, so that the older one is 3 columns ahead, and a shorter rest lets the other catch up by one column at most.
      With a rest of 2, enemies move 2, 5, 8, ... steps after they came, each in a step of its own.
    - So at most one enemy moves to a place in one step, and it does not matter which enemy is the first to move.
    - A bullet takes the first fish of the list in its place, or else the first submarine. An enemy takes the first
      bullet in its place, and of two bullets in one place the younger one is the first to hit.
    - The package removes the first thing of a list that is equal to the one that is meant, and then the one that is
      meant is moved in its stead. The two are equal, so that nobody can tell.
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

    def reset(self, u: Tensor) -> State:
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
            bullet_column=full(EMPTY, 2),
            bullet_row=full(0, 2),
            bullet_right=full(False, 2),
            diver_column=full(EMPTY, 2),
            diver_row=full(0, 2),
            diver_right=full(False, 2),
            enemies=full(0, RESTS, DEEP),
            reloads=full(0, RESTS, DEEP),
            enemy_right=full(False, DEEP),
            shots_left=full(0, DEEP),
            shots_right=full(0, DEEP),
        )

    def play(self, state: State, action: Tensor, u: Tensor) -> tuple[State, Tensor, Tensor]:
        """See Game."""
        state = apart(state, lambda: _act(_add_diver(_add_enemy(state, u), u), action))
        state, hits, _ = apart(_idle(state), lambda: _move_bullets(state))
        state, more_hits, touched = apart(_idle(state), lambda: _move_enemies(_move_divers(state)))
        state, bonus, over = apart(_idle(state), lambda: _end_step(state))
        return state, tf.cast(hits + more_hits + bonus, tf.float32), touched | over

    def planes(self, state: State) -> list[Tensor]:
        """See Game."""
        alike = tf.repeat(state.last_action[:, None], SIDE, axis=1)
        bullets, fish, subs, trails, shots, divers = apart([alike] * 6, lambda: _row_masks(state))
        oxygen = state.oxygen[:, None, None]
        aboard = state.aboard[:, None, None]
        return [
            cells(state.row, state.column),
            cells(state.row, state.column + tf.where(state.right, -1, 1)),
            _plane(bullets),
            _plane(trails),
            _plane(shots),
            _plane(fish),
            _plane(subs),
            LAST_ROW & (oxygen >= FULL_OXYGEN // SIDE * (1 + COLUMNS)),
            LAST_ROW & (aboard > SIDE - 2 - COLUMNS) & (COLUMNS < SIDE - 1),
            _plane(divers),
        ]


def _idle(state: State) -> tuple[State, Tensor, Tensor]:
    return state, tf.zeros_like(state.column), tf.zeros_like(state.right)


def _row_masks(state: State) -> list[Tensor]:
    """Masks [N, 10] of the player's bullets, fish, submarines, trails, enemies' bullets and divers."""
    enemies = _union(state.enemies)
    fish, subs = _mask(enemies, 0), _mask(enemies, 1)
    trails = _shift(_or(fish, subs), ~state.enemy_right)
    divers, diver_trails = (
        _things(state.diver_column + tf.where(state.diver_right, ahead, -ahead), state.diver_row, state.diver_column)
        for ahead in (0, -1)
    )
    masks = [fish, subs, _or(trails, diver_trails), _or(state.shots_left, state.shots_right), divers]
    bullets = _things(state.bullet_column, state.bullet_row, state.bullet_column, COLUMNS)
    return [bullets, *(tf.pad(mask, [[0, 0], [1, SIDE - 1 - DEEP]]) for mask in masks)]


def _mask(words: Tensor, index: int) -> Tensor:
    """One of the three masks of words."""
    return _and(_down(words, SIDE * index), EVERY)


def _union(words: Tensor) -> Tensor:
    """The words or masks [N, 8] of all enemies, for those by rests [N, 6, 8]."""
    return functools.reduce(_or, tf.unstack(words, axis=1))


def _shift(words: Tensor, right: Tensor) -> Tensor:
    """Words or masks a column to the right or to the left; what leaves the board is gone."""
    return tf.where(right, _up(_and(words, ~RIGHT_EDGE), 1), _down(_and(words, ~LEFT_EDGE), 1))


def _place(column: Tensor, row: Tensor, rows: np.ndarray = ROWS) -> Tensor:
    """Masks [N, 8] with one place, or those of other rows; none if the place is outside."""
    inside = _inside(column)
    return tf.where((row[:, None] == rows) & inside[:, None], _up(1, tf.where(inside, column, 0))[:, None], 0)


def _things(column: Tensor, row: Tensor, known: Tensor, rows: np.ndarray = ROWS) -> Tensor:
    """Masks as of _place of a pair of things; of those alone whose `known` column is on the board."""
    column = tf.where(known >= 0, column, EMPTY)
    return _or(_place(column[:, 0], row[:, 0], rows), _place(column[:, 1], row[:, 1], rows))


def _inside(column: Tensor) -> Tensor:
    return (column >= 0) & (column < SIDE)


def _plane(masks: Tensor) -> Tensor:
    """The plane [N, 10, 10] bool for masks [N, 10]."""
    return _and(_down(masks[:, :, None], COLUMNS), 1) > 0


def _rest(state: State) -> Tensor:
    """How many steps [N] an enemy rests after a move."""
    return tf.maximum(SLOWEST - _down(state.level, 1), FASTEST)


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
    here = row[:, None] == ROWS
    taken = _and(_union(state.enemies), 4**SIDE - 1) > 0
    against = tf.reduce_any(here & taken & (state.enemy_right != right[:, None]), axis=1)
    new = due & ~against
    bit = tf.where(
        (here & new[:, None])[:, None] & (_rest(state)[:, None, None] == REST), _up(1, column)[:, None, None], 0
    )
    sub = sub[:, None, None]
    return state._replace(
        enemy_timer=tf.where(due, ENEMY_INTERVAL - state.level, state.enemy_timer),
        enemies=_or(state.enemies, tf.where(sub, _up(bit, SIDE), bit)),
        reloads=_or(state.reloads, tf.where(sub, _or(bit, _up(bit, 2 * SIDE)), 0)),  # 10 is 8 and 2
        enemy_right=tf.where(here & new[:, None], right[:, None], state.enemy_right),
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
        last_action=action,
        column=tf.clip_by_value(state.column + across, 0, SIDE - 1),
        row=tf.clip_by_value(state.row + down, 0, SIDE - 2),
        right=(state.right | (action == RIGHT)) & (action != LEFT),
        reload=tf.where(fires, RELOAD, state.reload),
        bullet_column=_append(fires, state.bullet_column, state.column),
        bullet_row=_append(fires, state.bullet_row, state.row),
        bullet_right=_append(fires, state.bullet_right, state.right),
    )


def _move_bullets(state: State) -> tuple[State, Tensor, Tensor]:
    """The player's bullets move, the younger one first; also returns how many enemies [N] they hit."""
    moved = state.bullet_column + tf.where(state.bullet_right, 1, -1)
    column = tf.where((state.bullet_column >= 0) & _inside(moved), moved, EMPTY)
    enemies, reloads, columns, hits = state.enemies, state.reloads, [], tf.zeros_like(state.column)
    for index in (1, 0):
        place = _place(column[:, index], state.bullet_row[:, index])[:, None]
        there = _and(enemies, place * (THRICE & 4**SIDE - 1))
        order = tf.where(there == 0, 2 * RESTS, tf.where(there <= EVERY, REST, RESTS + REST))
        first = tf.reduce_min(order, axis=(1, 2))
        hit = first < 2 * RESTS
        struck = ((first % RESTS)[:, None, None] == REST) & hit[:, None, None]
        others = _not(tf.where(struck, place * THRICE, 0))
        enemies, reloads = _and(enemies, others), _and(reloads, others)
        columns.append(tf.where(hit, EMPTY, column[:, index]))
        hits += tf.cast(hit, tf.int32)
    columns = tf.stack(columns[::-1], axis=1)
    return state._replace(bullet_column=columns, enemies=enemies, reloads=reloads), hits, tf.zeros_like(state.right)


def _move_divers(state: State) -> State:
    """A diver comes aboard before it moves or after it, the younger one first; the others move every sixth step."""
    due = state.diver_timer % DIVER_PERIOD == 1  # they come 30 steps apart, so that all of them move together
    columns, aboard = [], state.aboard
    for index in (1, 0):
        before, row = state.diver_column[:, index], state.diver_row[:, index]
        after = before + tf.where(due, tf.where(state.diver_right[:, index], 1, -1), 0)
        met = (row == state.row) & ((before == state.column) | (after == state.column))
        taken = (before >= 0) & met & (aboard < MOST_ABOARD)
        columns.append(tf.where((before >= 0) & ~taken & _inside(after), after, EMPTY))
        aboard += tf.cast(taken, tf.int32)
    return state._replace(diver_column=tf.stack(columns[::-1], axis=1), aboard=aboard)


def _move_enemies(state: State) -> tuple[State, Tensor, Tensor]:
    """Enemies fire and move, and so do their bullets. Also returns how many enemies moved onto the player's bullets.

    And whether something touched the player, before its move or after it.
    """
    player = _place(state.column, state.row)
    moved = _shift(state.enemies[:, 0], state.enemy_right)
    to_rest = _rest(state)[:, None, None] == REST

    def after(words: Tensor) -> Tensor:
        """Words when those at the end of their rest have moved, and the others are a step nearer to their move."""
        first = _shift(words[:, 0], state.enemy_right)[:, None]
        return _or(tf.pad(words[:, 1:], [[0, 0], [0, 1], [0, 0]]), tf.where(to_rest, first, 0))

    enemies, reloads = after(state.enemies), after(state.reloads)
    fish, subs, bit0 = (_mask(enemies, index) for index in range(3))
    bit1, bit2, bit3 = (_mask(reloads, index) for index in range(3))
    loading = _or(_or(bit0, bit1), _or(bit2, bit3))
    fires = _union(_and(subs, _not(loading)))
    # One less, and 10 after 0: a bit changes if all bits below it are 0, but bits 0 and 2 stay 0 after 0.
    none0 = _and(subs, _not(bit0))
    none1 = _and(none0, _not(bit1))
    none2 = _and(none1, _not(bit2))
    bit0, bit1 = _and(none0, loading), _xor(bit1, none0)
    bit2, bit3 = _and(_xor(bit2, none1), loading), _xor(bit3, none2)

    meets = _and(_or(_mask(moved, 0), _mask(moved, 1)), _not(player))
    columns, struck, hits = [], tf.zeros_like(meets), tf.zeros_like(state.column)
    for index in (0, 1):
        bullet = state.bullet_column[:, index]
        there = _and(_and(meets, _not(struck)), _place(bullet, state.bullet_row[:, index]))
        hit = tf.reduce_any(there > 0, axis=1)
        struck = _or(struck, there)
        columns.append(tf.where(hit, EMPTY, bullet))
        hits += tf.cast(hit, tf.int32)
    old_left = _or(state.shots_left, tf.where(state.enemy_right, 0, fires))
    old_right = _or(state.shots_right, tf.where(state.enemy_right, fires, 0))
    others = _not(tf.where(to_rest, (struck * THRICE)[:, None], 0))
    seen = _or(_union(state.enemies), _union(enemies))
    shots = _or(_or(old_left, _down(old_left, 1)), _or(old_right, _up(old_right, 1)))
    state = state._replace(
        bullet_column=tf.stack(columns, axis=1),
        enemies=_and(_word(fish, subs, bit0), others),
        reloads=_and(_word(bit1, bit2, bit3), others),
        shots_left=_down(old_left, 1),
        shots_right=_and(_up(old_right, 1), EVERY),
    )
    seen = _or(_or(_mask(seen, 0), _mask(seen, 1)), shots)
    return state, hits, tf.reduce_any(_and(seen, player) > 0, axis=1)


def _word(mask0: Tensor, mask1: Tensor, mask2: Tensor) -> Tensor:
    return _or(_or(mask0, _up(mask1, SIDE)), _up(mask2, 2 * SIDE))


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
