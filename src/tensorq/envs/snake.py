"""Snake as a compiled world: eat, grow, and neither bite yourself nor hit a wall, until the board is full."""

from __future__ import annotations

from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import tensorflow as tf

from tensorq.core.types import Tensor
from tensorq.errors import TensorqError

UP, RIGHT, DOWN, LEFT = range(4)
COLUMN_STEPS, ROW_STEPS = (0, 1, 0, -1), (-1, 0, 1, 0)
LEAST_SIDE, MOST_SIDE = 4, 20
CELL, SUPERSAMPLING = 40, 3  # pixels of a cell's side in a picture, and how much larger it is drawn at first
DARK, LIGHT, GREEN, HEAD_GREEN, APPLE, STALK = "#1d2b2a", "#223331", "#7bc96f", "#a6e39a", "#f0544f", "#8a5a35"


class SnakeState(NamedTuple):
    """The states of N games. Cells are numbered by rows, from the upper left."""

    ages: Tensor  # [N, cells] int32: in how many steps without food the snake leaves a cell; 0 where it is not
    head: Tensor  # [N] int32, a cell; its age is the snake's length
    direction: Tensor  # [N] int32, the last action
    food: Tensor  # [N] int32, a cell
    hunger: Tensor  # [N] int32, steps since the last food


class Snake:
    """Food gives 1, death -1. A full board is won. 2 * cells steps without food end the game as a time limit does.

    The snake begins with one cell. A cell that its tail leaves in a step is free in this step. Actions are up, right,
    down and left; the opposite of the last one is illegal once the snake has a neck, and continues straight on.
    """

    reset_uniforms = 2
    step_uniforms = 1
    solved_return = None
    action_names = ("up", "right", "down", "left")

    def __init__(self, width: int = 8, height: int = 8) -> None:
        """Make a board of this size. Raises ValueError unless both sides are from 4 to 20."""
        for name, side in (("width", width), ("height", height)):
            if isinstance(side, bool) or not isinstance(side, int) or not LEAST_SIDE <= side <= MOST_SIDE:
                expected = f"a whole number from {LEAST_SIDE} to {MOST_SIDE}"
                raise TensorqError(f"{name}: received {side!r}, expected {expected}.")
        self.width, self.height, self.cells = width, height, width * height
        self.starve_steps = 2 * self.cells
        self.max_episode_steps = self.cells * self.starve_steps
        self.observation_space = gym.spaces.Box(0, 255, (height, width, 6), np.uint8)
        self.action_space = gym.spaces.Discrete(4)

    def reset(self, u: Tensor) -> SnakeState:
        """A snake of one cell and food, both anywhere."""
        head = tf.cast(u[:, 0] * self.cells, tf.int32)
        ages = tf.one_hot(head, self.cells, dtype=tf.int32)
        nothing = tf.zeros_like(head)
        return SnakeState(ages, head, nothing, self._free_cell(ages, u[:, 1]), nothing)

    def observe(self, state: SnakeState) -> Tensor:
        """Planes of uint8: head, deadly cells, 255 * age / length, 255 / age, food, 255 * hunger / starve_steps.

        A share of the length does not say whether the tail leaves a cell in one step or in two, 255 / age does.
        """
        ages, length = state.ages, tf.reduce_max(state.ages, axis=1, keepdims=True)
        planes = [
            tf.one_hot(state.head, self.cells, 255, 0),
            tf.where(ages > 1, 255, 0),
            255 * ages // length,
            tf.where(ages > 0, 255 // tf.maximum(ages, 1), 0),
            tf.one_hot(state.food, self.cells, 255, 0),
            tf.repeat(255 * tf.minimum(state.hunger, self.starve_steps)[:, None] // self.starve_steps, self.cells, 1),
        ]
        found = tf.stack([tf.cast(plane, tf.uint8) for plane in planes], axis=2)
        return tf.reshape(found, (-1, self.height, self.width, len(planes)))

    def action_mask(self, state: SnakeState) -> Tensor:
        """All directions but the one back into the neck."""
        back = tf.one_hot((state.direction + 2) % 4, 4, True, False)
        return ~(back & (tf.reduce_max(state.ages, axis=1) > 1)[:, None])

    def step(self, state: SnakeState, action: Tensor, u: Tensor) -> tuple[SnakeState, Tensor, Tensor, Tensor]:
        """One move. New food is in a free cell, each with the same probability."""
        length = tf.reduce_max(state.ages, axis=1)
        back = ((action + 2) % 4 == state.direction) & (length > 1)
        direction = tf.where(back, state.direction, action)
        column = state.head % self.width + tf.gather(COLUMN_STEPS, direction)
        row = state.head // self.width + tf.gather(ROW_STEPS, direction)
        inside = (column >= 0) & (column < self.width) & (row >= 0) & (row < self.height)
        head = tf.where(inside, row * self.width + column, state.head)
        there = tf.one_hot(head, self.cells, True, False)
        dies = ~inside | tf.reduce_any(there & (state.ages > 1), axis=1)
        eats = ~dies & (head == state.food)
        length += tf.cast(eats, tf.int32)
        ages = tf.where((eats | dies)[:, None], state.ages, tf.maximum(state.ages - 1, 0))
        ages = tf.where(there & ~dies[:, None], length[:, None], ages)
        hunger = tf.where(eats, 0, state.hunger + 1)
        terminated = dies | (length == self.cells)
        food = tf.where(eats, self._free_cell(ages, u[:, 0]), state.food)
        reward = tf.cast(eats, tf.float32) - tf.cast(dies, tf.float32)
        truncated = ~terminated & (hunger >= self.starve_steps)
        head = tf.where(dies, state.head, head)
        return SnakeState(ages, head, direction, food, hunger), reward, terminated, truncated

    def _free_cell(self, ages: Tensor, u: Tensor) -> Tensor:
        """A free cell [N] for uniforms [N]: the one before which a share u of the free cells are. 0 if none is free."""
        free = tf.cast(ages == 0, tf.float32)
        up_to = tf.matmul(free, tf.linalg.band_part(tf.ones((self.cells, self.cells)), 0, -1))  # XLA's cumsum is slow
        before = tf.floor(u * up_to[:, -1])
        return tf.cast(tf.argmax(up_to > before[:, None], axis=1), tf.int32)

    def render(self, state: SnakeState) -> np.ndarray:
        """A picture [height, width, 3] of one game, with the score above the board."""
        from PIL import Image, ImageDraw, ImageFont

        size = CELL * SUPERSAMPLING
        ages = state.ages.numpy()[0]
        picture = Image.new("RGB", (self.width * size, (self.height + 1) * size), DARK)
        draw = ImageDraw.Draw(picture)

        def centre(cell: int) -> tuple[float, float]:
            return (cell % self.width + 0.5) * size, (cell // self.width + 1.5) * size

        def disc(at: tuple[float, float], radius: float, colour: str) -> None:
            x, y, r = *at, radius * size
            draw.ellipse((x - r, y - r, x + r, y + r), fill=colour)

        for cell in range(self.cells):
            if (cell // self.width + cell % self.width) % 2:
                left, top = cell % self.width * size, (cell // self.width + 1) * size
                draw.rectangle((left, top, left + size - 1, top + size - 1), fill=LIGHT)
        length = int(ages.max())
        if length < self.cells:
            x, y = centre(int(state.food[0]))
            draw.line((x, y - 0.2 * size, x + 0.1 * size, y - 0.42 * size), fill=STALK, width=size // 12)
            disc((x, y + 0.03 * size), 0.3, APPLE)
        body = [int(cell) for cell in np.argsort(-ages)[:length]]
        for one, other in zip(body[:-1], body[1:], strict=True):  # as wide as Pillow's discs, so that no joint is seen
            draw.line((*centre(one), *centre(other)), fill=GREEN, width=int(0.62 * size) + 3)
        for cell in body:
            disc(centre(cell), 0.31, GREEN)
        x, y = centre(body[0])
        disc((x, y), 0.37, HEAD_GREEN)
        right, down = COLUMN_STEPS[int(state.direction[0])], ROW_STEPS[int(state.direction[0])]
        for side in (-1, 1):
            eye = (x + size * (0.12 * right - 0.16 * side * down), y + size * (0.12 * down + 0.16 * side * right))
            disc(eye, 0.1, "white")
            disc((eye[0] + 0.04 * size * right, eye[1] + 0.04 * size * down), 0.05, "black")
        font: Any = ImageFont.load_default(0.55 * size)
        draw.text((0.3 * size, 0.5 * size), f"{length - 1} / {self.cells - 1}", fill="white", font=font, anchor="lm")
        return np.asarray(picture.resize((self.width * CELL, (self.height + 1) * CELL), Image.Resampling.LANCZOS))
