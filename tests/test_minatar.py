"""MinAtar's games against the package minatar, whose random draws are replaced by the worlds' uniforms."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import tensorflow as tf

import tensorq as tq
from tensorq.core import xla
from tensorq.envs.check import check_world
from tensorq.envs.minatar.asterix import Asterix
from tensorq.envs.minatar.breakout import Breakout
from tensorq.envs.minatar.freeway import Freeway
from tensorq.envs.minatar.game import Game
from tensorq.envs.minatar.seaquest import Seaquest
from tensorq.envs.minatar.space_invaders import SpaceInvaders
from tensorq.envs.world import where_rows

GAMES = 32
ENVS = {
    "asterix": "tensorq/MinAtar-Asterix-v0",
    "breakout": "tensorq/MinAtar-Breakout-v0",
    "freeway": "tensorq/MinAtar-Freeway-v0",
    "seaquest": "tensorq/MinAtar-Seaquest-v0",
    "space_invaders": "tensorq/MinAtar-SpaceInvaders-v0",
}


class Script:
    """Stands for the package's RandomState: every call gives the next result of a list that is made for each step."""

    def __init__(self) -> None:
        self.results: Iterator[Any] = iter(())

    def _next(self, *arguments: Any, **keywords: Any) -> Any:
        return next(self.results)

    rand = randint = _next


# What the package would draw for these uniforms, in its order: of a reset, and of a step without its sticky action.
def breakout_begin(u: np.ndarray) -> list[Any]:
    return [int(u[0] >= 0.5)]


def freeway_paces(u: np.ndarray, game: Any = None) -> list[Any]:
    slowness, side = np.split(u, 2)
    return [1 + (slowness * 5).astype(int), np.where(side < 0.5, 0.2, 0.8)]  # for 0.5 the package makes a car stand


def asterix_spawn(u: np.ndarray, game: Any) -> list[Any]:
    return [float(u[0]), float(u[1]), int(u[2] * game.env.entities.count(None))]


def no_draws(u: np.ndarray, game: Any = None) -> list[Any]:
    return []


def seaquest_draws(u: np.ndarray, game: Any) -> list[Any]:
    draws: list[Any] = []
    if game.env.e_spawn_timer == 0:
        draws += [float(u[0]), float(u[1]), 1 + int(8 * u[2])]
    if game.env.d_spawn_timer == 0:
        draws += [float(u[3]), 1 + int(8 * u[4])]
    return draws


def seaquest_player(env: Any, noise: float) -> int:
    """An action that often keeps the player alive: it fetches divers, fires, and comes up and down again."""
    boat, moves = np.array([env.sub_x, env.sub_y]), [(0, 0), (-1, 0), (0, -1), (1, 0), (0, 1)]
    if env.diver_count < 0 and env.ramp_index < 19:
        return 2 if env.sub_y else 4  # after six divers each time it comes up is free
    foes = env.e_fish + env.e_subs + env.e_bullets
    if noise < 0.5 and env.shot_timer == 0 and any(x[1] == env.sub_y and (x[0] > boat[0]) == env.sub_or for x in foes):
        return 5
    up = env.diver_count == 6 or (env.diver_count > 0 and (env.oxygen < 50 or noise < 0.01))
    goal = np.array([boat[0], 0] if up else min([x[:2] for x in env.divers] or [[5, 4]]))
    danger = [(x[0] + (turn if x[2] else -turn), x[1]) for x in foes for turn in range(3)]
    places = [np.clip(boat + move, 0, [9, 8]) for move in moves]
    costs = [abs(place - goal).sum() + 50 * danger.count(tuple(place)) for place in places]
    for index, place in enumerate(places):
        costs[index] += 200 * (place[1] == 0 < boat[1] and not up)
    return int(np.argmin(costs))


class Case(NamedTuple):
    """A game, what the package draws in it, and how it is played."""

    kind: type[Game]
    begin_draws: Callable[..., list[Any]]
    step_draws: Callable[..., list[Any]]
    policy: tuple[float, ...] = (1 / 6,) * 6  # the probability of each action
    player: Callable[[Any, float], int] | None = None  # of the package's game and a uniform, in place of a policy
    goes_on: bool = False  # whether every other game goes on after its end, to see what only good players reach


CASES = {
    "breakout": Case(Breakout, breakout_begin, no_draws),
    "asterix": Case(Asterix, no_draws, asterix_spawn, goes_on=True),
    "freeway": Case(Freeway, freeway_paces, freeway_paces, policy=(0.1, 0.05, 0.6, 0.05, 0.15, 0.05)),
    "space_invaders": Case(SpaceInvaders, no_draws, no_draws, policy=(0.1, 0.2, 0.05, 0.2, 0.05, 0.4), goes_on=True),
    "seaquest": Case(Seaquest, no_draws, seaquest_draws),
    "seaquest played well": Case(Seaquest, no_draws, seaquest_draws, player=seaquest_player),
}


@pytest.mark.parametrize("steps", [10_000, pytest.param(100_000, marks=pytest.mark.learn)])
@pytest.mark.parametrize("name", list(CASES))
def test_a_game_is_the_packages(name: str, steps: int) -> None:
    """Steps that are random, or of a player for the game."""
    case, generator = CASES[name], np.random.default_rng(8)

    def choose(seen: np.ndarray, games: list[Any]) -> np.ndarray:
        if case.player is not None:
            return np.array([case.player(game.env, generator.random()) for game in games], np.int32)
        return generator.choice(6, size=GAMES, p=case.policy).astype(np.int32)

    assert play_both(name, steps, choose) > 0


@pytest.mark.learn
@pytest.mark.parametrize("name", [name for name in CASES if name in ENVS])
def test_a_game_is_the_packages_for_a_trained_agent(name: str, tmp_path: Path) -> None:
    """20 000 steps of an agent that has learned for 500 000; in Seaquest, which is learned late, for twice as many."""
    learned = 1_000_000 if name == "seaquest" else 500_000
    run = tq.train(ENVS[name], preset="pqn", steps=learned, progress="quiet", run_dir=tmp_path / "run")
    agent, generator = tq.load(run), np.random.default_rng(9)
    by_chance = play_both(name, 20_000, lambda seen, games: generator.integers(6, size=GAMES, dtype=np.int32))
    rewards = play_both(name, 20_000, lambda seen, games: agent.act(seen).astype(np.int32))
    assert rewards > 2 * by_chance


def play_both(name: str, steps: int, choose: Callable[[np.ndarray, list[Any]], np.ndarray]) -> float:
    """Play a game in the world and in the package: identical observations, rewards and ends. The sum of rewards.

    `choose` takes observations [GAMES, 10, 10, channels] and the package's games, and gives actions [GAMES].
    """
    minatar = pytest.importorskip("minatar")
    case = CASES[name]
    world, generator = case.kind(), np.random.default_rng(7)
    mortal = np.arange(GAMES) % 2 == 1 if case.goes_on else np.ones(GAMES, bool)

    def uniforms(width: int) -> np.ndarray:
        return (generator.integers(2**24, size=(GAMES, width)) * 2.0**-24).astype(np.float32)

    @xla.compiled
    def advance(state: Any, action: Any, u: Any, reset_u: Any) -> Any:
        state, reward, over, _ = world.step(state, action, u)
        seen, first = world.observe(state), world.reset(reset_u)
        state = tf.nest.map_structure(functools.partial(where_rows, over & mortal), first, state)
        return state, reward, over, seen, world.observe(state)

    script = Script()
    games = [minatar.Environment(name.split()[0]) for _ in range(GAMES)]
    u = uniforms(world.reset_uniforms)
    state = world.reset(tf.constant(u))

    def begin(game: Any, row: np.ndarray) -> None:
        script.results = iter(case.begin_draws(row))
        game.reset()
        game.last_action = 0  # the package keeps it from the episode before

    for game, row in zip(games, u, strict=True):
        game.random = game.env.random = script
        begin(game, row)
    after = world.observe(state).numpy()
    np.testing.assert_array_equal(after, 255 * np.stack([game.state() for game in games]))
    ends = rewards = 0
    for _ in range(steps // GAMES):
        action = choose(after, games)
        u, reset_u = uniforms(world.step_uniforms), uniforms(world.reset_uniforms)
        state, *found = advance(state, tf.constant(action), tf.constant(u), tf.constant(reset_u))
        reward, over, seen, after = (part.numpy() for part in found)
        for index, game in enumerate(games):
            script.results = iter([float(u[index, 0]), *case.step_draws(u[index, 1:], game)])
            expected, terminal = game.act(int(action[index]))
            assert (reward[index], over[index]) == (expected, terminal)
        np.testing.assert_array_equal(seen, 255 * np.stack([game.state() for game in games]))
        for index in np.flatnonzero(over):
            if mortal[index]:
                begin(games[index], reset_u[index])
            games[index].env.terminal = False
            np.testing.assert_array_equal(after[index], 255 * games[index].state())
        ends, rewards = ends + over.sum(), rewards + reward.sum()
    assert ends > 0 or (name == "freeway" and steps // GAMES < 2_501)  # its games have 2 501 steps
    return float(rewards)


@pytest.mark.parametrize("name", list(CASES))
def test_a_game_passes_check_world(name: str) -> None:
    check_world(CASES[name].kind())
