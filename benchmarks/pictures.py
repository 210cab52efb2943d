"""Draws docs/images/worlds.gif: Snake and MinAtar's games side by side, each drawn by its world's own render.

The player is no trained agent. It looks ahead: before each step it plays random games from the current state, and takes
the action with which they went best.

python benchmarks/pictures.py
"""

from __future__ import annotations

from typing import Any

import numpy as np

from measure import HERE
from tensorq.process import import_tensorflow

GAMES = ("Breakout", "Asterix", "SpaceInvaders", "Seaquest", "Freeway")
SHOWN = ["Snake8x8-v0", *(f"MinAtar-{game}-v0" for game in GAMES)]
OUTPUT = HERE.parent / "docs/images/worlds.gif"
SKIPPED, FRAMES, MILLISECONDS = 60, 80, 100  # steps before the first frame; frames, and how long each is shown
RANDOM_GAMES, HORIZON, DISCOUNT, PERSISTENCE = 300, 40, 0.95, 0.6
WIDTH, GAP = 140, 4  # pixels


def played(name: str) -> list[Any]:
    """The frames of a game, as PIL images of one width."""
    import tensorflow as tf
    from PIL import Image

    from tensorq.core.xla import compiled
    from tensorq.envs.world import make_world

    world, generator = make_world(f"tensorq/{name}"), np.random.default_rng(3)
    actions = int(world.action_space.n)
    draw = world.render  # type: ignore[attr-defined]

    def uniforms(*shape: int) -> Any:
        return tf.constant(generator.random(shape, np.float32) * (1 - 2**-24))

    @compiled
    def look_ahead(state: Any, first: Any, u: Any, again: Any, other: Any) -> Any:
        """The discounted returns [RANDOM_GAMES] of games that begin with these actions; a death costs 1 more."""

        def step(time: Any, state: Any, action: Any, total: Any, alive: Any) -> Any:
            state, reward, terminated, _ = world.step(state, action, u[time])
            total += alive * (reward - tf.cast(terminated, tf.float32)) * DISCOUNT ** tf.cast(time, tf.float32)
            alive *= 1 - tf.cast(terminated, tf.float32)
            return time + 1, state, tf.where(again[time] < PERSISTENCE, action, other[time]), total, alive

        begin = 0, state, first, tf.zeros(RANDOM_GAMES), tf.ones(RANDOM_GAMES)
        return tf.while_loop(lambda time, *_: time < HORIZON, step, begin)[3]

    advance = compiled(world.step)
    state, frames = world.reset(uniforms(1, world.reset_uniforms)), []
    first = np.arange(RANDOM_GAMES) % actions
    for step in range(SKIPPED + FRAMES):
        if step >= SKIPPED:
            picture = Image.fromarray(draw(state))
            frames.append(picture.resize((WIDTH, WIDTH * picture.height // picture.width), Image.Resampling.LANCZOS))
        many = tf.nest.map_structure(lambda part: tf.repeat(part, RANDOM_GAMES, axis=0), state)
        other = generator.integers(actions, size=(HORIZON, RANDOM_GAMES)).astype(np.int32)
        u, again = uniforms(HORIZON, RANDOM_GAMES, world.step_uniforms), uniforms(HORIZON, RANDOM_GAMES)
        returns = look_ahead(many, tf.constant(first, tf.int32), u, again, tf.constant(other)).numpy()
        means = [returns[first == action].mean() for action in range(actions)]
        best = tf.constant([int(np.argmax(means))], tf.int32)
        state, _, terminated, truncated = advance(state, best, uniforms(1, world.step_uniforms))
        if terminated[0] or truncated[0]:
            state = world.reset(uniforms(1, world.reset_uniforms))
    return frames


def main() -> None:
    """Play all games and write the picture."""
    from PIL import Image

    import_tensorflow(2)
    strips = []
    for frames in zip(*(played(name) for name in SHOWN), strict=True):
        size = (len(SHOWN) * (WIDTH + GAP) - GAP, max(frame.height for frame in frames))
        strip = Image.new("RGB", size, "white")
        for place, frame in enumerate(frames):
            strip.paste(frame, (place * (WIDTH + GAP), size[1] - frame.height))
        strips.append(strip)
    palette = strips[0].quantize(64)
    images = [strip.quantize(palette=palette, dither=Image.Dither.NONE) for strip in strips]
    images[0].save(OUTPUT, save_all=True, append_images=images[1:], duration=MILLISECONDS, loop=0, optimize=True)
    print(OUTPUT, OUTPUT.stat().st_size)


if __name__ == "__main__":
    main()
