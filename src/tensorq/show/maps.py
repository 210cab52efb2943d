"""How the states of Gymnasium's grid worlds lie on maps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

# Steps (right, down) of the actions.
_LEFT, _DOWN, _RIGHT, _UP = (-1, 0), (0, 1), (1, 0), (0, -1)


@dataclass(frozen=True)
class Panel:
    """A map: the state of each cell [rows, columns], and the names of cells that are special."""

    states: npt.NDArray[np.intp]
    names: dict[tuple[int, int], str]
    title: str = ""
    framed: tuple[int, int] | None = None  # the cell that is to be reached


@dataclass(frozen=True)
class World:
    """How an environment's states lie on maps, and what its actions do there."""

    panels: list[Panel]
    moves: Sequence[tuple[int, int] | str]  # of each action: a step (right, down), or a sign
    columns: int = 1
    walls: list[tuple[int, int]] = field(default_factory=list)  # (row, column) of cells with a wall to their right
    signs: str = ""  # what signs mean


def find_world(env: Any) -> World | None:
    """How the states of Gymnasium's FrozenLake, CliffWalking and Taxi lie on a map; None for any other environment."""
    kind = type(env).__name__
    if kind == "FrozenLakeEnv":
        letters = {b"S": "start", b"H": "hole", b"G": "goal"}
        names = {cell: letters[letter] for cell, letter in np.ndenumerate(env.desc) if letter in letters}
        states = np.arange(env.desc.size).reshape(env.desc.shape)
        return World([Panel(states, names)], (_LEFT, _DOWN, _RIGHT, _UP))
    if kind == "CliffWalkingEnv":
        rows, columns = env.shape
        names = {(rows - 1, column): "cliff" for column in range(1, columns - 1)}
        names |= {(rows - 1, 0): "start", (rows - 1, columns - 1): "goal"}
        return World([Panel(np.arange(rows * columns).reshape(rows, columns), names)], (_UP, _RIGHT, _DOWN, _LEFT))
    return _taxi(env) if kind == "TaxiEnv" else None


def _taxi(env: Any) -> World:
    """A map for each place where the passenger is and each where he wants to be."""
    rows, columns, places = 5, 5, "RGYB"
    walls = [
        (row, column)
        for row in range(rows)
        for column in range(columns - 1)
        if env.desc[1 + row, 2 * column + 2] == b"|"
    ]
    panels = []
    for wanted, to in enumerate(places):
        for where, at in enumerate([*places, "taxi"]):
            if where != wanted:
                cells = [[env.encode(row, column, where, wanted) for column in range(columns)] for row in range(rows)]
                names = {place: places[index] for index, place in enumerate(env.locs)}
                title = f"in the taxi, to {to}" if at == "taxi" else f"from {at} to {to}"
                panels.append(Panel(np.array(cells), names, title, env.locs[wanted]))
    moves = (_DOWN, _UP, _RIGHT, _LEFT, "●", "■")
    return World(panels, moves, columns=4, walls=walls, signs=" · ● pick up · ■ drop off")
