"""Snake, held against a naive Snake of lists: random play, and play that fills the board."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import tensorflow as tf
from gymnasium.utils.env_checker import check_env

import tensorq as tq
from tensorq.core import host_random
from tensorq.core.xla import compiled
from tensorq.envs.check import check_world
from tensorq.envs.gym_view import GymView
from tensorq.envs.snake import DOWN, LEFT, RIGHT, UP, Snake, SnakeState
from tensorq.evaluation import compiled as evaluation

MOVES = {UP: (0, -1), RIGHT: (1, 0), DOWN: (0, 1), LEFT: (-1, 0)}
Cell = tuple[int, int]  # (column, row)


class NaiveSnake:
    """One game. `body` are cells from the head to the tail."""

    def __init__(self, width: int, height: int, u: np.ndarray) -> None:
        self.width, self.height, self.direction, self.hunger = width, height, UP, 0
        cells = [(x, y) for y in range(height) for x in range(width)]
        self.body = [cells[int(u[0] * np.float32(len(cells)))]]
        self.food = self.free_cell(u[1])

    def free_cell(self, u: np.float32) -> Cell:
        free = [(x, y) for y in range(self.height) for x in range(self.width) if (x, y) not in self.body]
        return free[int(u * np.float32(len(free)))] if free else (0, 0)

    def step(self, action: int, u: np.float32) -> tuple[float, bool, bool]:
        if len(self.body) == 1 or (action + 2) % 4 != self.direction:
            self.direction = action
        (x, y), (right, down) = self.body[0], MOVES[self.direction]
        head = x + right, y + down
        self.hunger += 1
        if not (0 <= head[0] < self.width and 0 <= head[1] < self.height) or head in self.body[:-1]:
            return -1.0, True, False
        self.body.insert(0, head)
        if head != self.food:
            self.body.pop()
            return 0.0, False, self.hunger >= 2 * self.width * self.height
        self.hunger, full = 0, len(self.body) == self.width * self.height
        self.food = self.free_cell(u)
        return 1.0, full, False

    def planes(self) -> np.ndarray:
        found = np.zeros((self.height, self.width, 6), np.uint8)
        for age, (x, y) in enumerate(reversed(self.body), start=1):
            found[y, x, 1:4] = 255 if age > 1 else 0, 255 * age // len(self.body), 255 // age
        (x, y), (food_x, food_y) = self.body[0], self.food
        found[y, x, 0] = found[food_y, food_x, 4] = 255
        found[..., 5] = 255 * self.hunger // (2 * self.width * self.height)
        return found

    def mask(self) -> list[bool]:
        return [len(self.body) == 1 or (action + 2) % 4 != self.direction for action in range(4)]


def around(x: int, y: int, width: int, height: int) -> int:
    """The direction of a round trip through all cells, for an even height: up the first column, then row by row."""
    if x == 0:
        return UP if y else RIGHT
    if y % 2 == 0:
        return RIGHT if x < width - 1 else DOWN
    return LEFT if x > 1 or y == height - 1 else DOWN


def test_nothing_can_be_done_before_the_first_reset() -> None:
    view = GymView(Snake(), "rgb_array")
    for act in (view.render, lambda: view.step(0)):
        with pytest.raises(gym.error.ResetNeeded, match=r"Snake has no state yet: call reset\(\) first"):
            act()


@pytest.mark.parametrize(("width", "height", "skill"), [(4, 4, 1.0), (5, 4, 0.98), (7, 6, 0.5)])
def test_the_world_is_the_naive_game(width: int, height: int, skill: float) -> None:
    random, count, ends, full = np.random.default_rng(0), 8, 0, 0
    world = Snake(width, height)
    reset, step, observe, mask = (
        compiled(each) for each in (world.reset, world.step, world.observe, world.action_mask)
    )

    def uniforms(width: int) -> np.ndarray:
        return (random.integers(2**24, size=(count, width)) * 2.0**-24).astype(np.float32)

    u = uniforms(2)
    games, state = [NaiveSnake(width, height, row) for row in u], reset(tf.constant(u))
    for _ in range(300):
        np.testing.assert_array_equal(observe(state), [game.planes() for game in games])
        legal = mask(state).numpy()
        np.testing.assert_array_equal(legal, [game.mask() for game in games])
        actions = [around(*game.body[0], width, height) for game in games]
        random_actions = random.integers(4, size=count)  # illegal ones, too
        actions = np.where(random.random(count) < skill, actions, random_actions).astype(np.int32)
        u, first = uniforms(1), uniforms(2)
        state, *found = step(state, tf.constant(actions), tf.constant(u))
        expected = [game.step(int(action), row[0]) for game, action, row in zip(games, actions, u, strict=True)]
        for values, column in zip(found, zip(*expected, strict=True), strict=True):
            np.testing.assert_array_equal(values, column)
        over = np.array([terminated or truncated for _, terminated, truncated in expected])
        full += sum(len(game.body) == width * height for game in games)
        ends += over.sum()
        games = [NaiveSnake(width, height, first[row]) if over[row] else game for row, game in enumerate(games)]
        fresh = reset(tf.constant(first))
        state = tf.nest.map_structure(lambda new, old, over=over: tf.where(_column(over, new), new, old), fresh, state)
    assert ends > 1
    assert full > 1 or skill < 1


def _column(over: np.ndarray, like: Any) -> Any:
    return tf.constant(over.reshape(-1, *[1] * (len(like.shape) - 1)))


def test_the_world_and_its_environment_are_right() -> None:
    check_world(Snake(5, 4))
    check_env(GymView(Snake(4, 4)), skip_render_check=True)
    assert GymView(Snake()).get_action_meanings() == ["up", "right", "down", "left"]


@pytest.mark.parametrize("side", [3, 21, 6.0, True])
def test_a_board_of_another_size_is_refused(side: Any) -> None:
    with pytest.raises(ValueError, match="expected a whole number from 4 to 20"):
        Snake(width=side)


def test_a_picture_shows_snake_food_and_score() -> None:
    ages = np.zeros((1, 16), np.int32)
    ages[0, [5, 6, 7]] = 1, 2, 3  # the head is at the right border
    state = SnakeState(*(tf.constant(part) for part in (ages, [7], [RIGHT], [12], [0])))
    picture = Snake(4, 4).render(state)
    assert picture.shape == (200, 160, 3)
    apple, head, body, empty = picture[180, 20], picture[105, 130], picture[100, 60], picture[140, 60]
    assert apple[0] > 2 * apple[1]
    assert body[1] > body[0]
    assert head[1] > 1.2 * head[0]
    assert empty.max() < 80


def test_a_run_is_evaluated_in_the_compiled_world_with_random_numbers_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    board: Any = {"width": 4, "height": 4}
    settings: Any = {"steps": 300, "learning_starts_steps": 100, "progress": "quiet"}
    run = tq.train("tensorq/Snake-v0", env_args=board, run_dir=tmp_path / "run", **settings)
    monkeypatch.setattr(evaluation, "MOST_AT_ONCE", 3)
    found, agent, world = run.evaluate(episodes=5), tq.load(run), Snake(**board)
    returns: list[float] = []
    for group in range(2):

        def uniforms(step: int, width: int, group: int = group) -> Any:
            counter = np.array([group * 2**20 + step])
            bits = host_random.random_bits(0, host_random.UNSEEN, counter, 3 * world.reset_uniforms)
            return tf.constant((bits >> 8).reshape(3, -1)[:, :width] * 2.0**-24, tf.float32)

        state, total, alive, step = world.reset(uniforms(0, 2)), np.zeros(3), np.ones(3, bool), 0
        while alive.any():
            step += 1
            action = agent.act(world.observe(state).numpy(), world.action_mask(state).numpy())
            state, reward, terminated, truncated = world.step(state, tf.constant(action), uniforms(step, 1))
            total += reward.numpy() * alive
            alive &= ~(terminated | truncated).numpy()
        returns += total.tolist()
    assert found.returns.tolist() == returns[:5]
