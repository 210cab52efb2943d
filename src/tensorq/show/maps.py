"""Maps of Gymnasium's grid worlds: which state lies in which cell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

_LEFT, _DOWN, _RIGHT, _UP = (-1, 0), (0, 1), (1, 0), (0, -1)  # steps


class World(NamedTuple):
    """How an environment's states lie on maps of one size, and what its actions do there."""

    states: npt.NDArray[np.intp]  # [maps, rows, columns]
    names: npt.NDArray[np.str_]  # [rows, columns], of special cells; empty for all others
    steps: Sequence[tuple[int, int]]  # (right, down) of each of the first actions
    signs: Sequence[str] = ()  # for each of the other actions, a sign and its meaning
    titles: Sequence[str] = ("",)  # of each map
    targets: Sequence[tuple[int, int]] = ()  # of each map: the cell (row, column) that is to be reached
    walls: Sequence[Sequence[int]] = ()  # cells (row, column) with a wall to their right
    across: int = 1  # the number of maps in a row, and of rows of maps


def find_world(env: Any) -> World | None:
    """How the states of Gymnasium's FrozenLake, CliffWalking and Taxi lie on a map; None for any other environment."""
    kind = type(env).__name__
    if kind == "TaxiEnv":
        return _taxi(env)
    if kind == "FrozenLakeEnv":
        steps = (_LEFT, _DOWN, _RIGHT, _UP)
        names = np.full(env.desc.shape, "", "<U5")
        for letter, name in ((b"S", "start"), (b"H", "hole"), (b"G", "goal")):
            names[env.desc == letter] = name
    elif kind == "CliffWalkingEnv":
        steps = (_UP, _RIGHT, _DOWN, _LEFT)
        names = np.full(env.shape, "", "<U5")
        names[-1] = ["start", *["cliff"] * (env.shape[1] - 2), "goal"]
    else:
        return None
    return World(np.arange(names.size).reshape(1, *names.shape), names, steps)


def _taxi(env: Any) -> World:
    """A map for each place of the passenger and each destination."""
    places, origins = "RGYB", ("from R", "from G", "from Y", "from B", "in the taxi,")
    names = np.full((5, 5), "")
    names[tuple(np.transpose(env.locs))] = list(places)
    states = np.arange(500).reshape(5, 5, 5, 4)  # [rows, columns, origins, destinations]
    pairs = [(start, target) for target in range(4) for start in range(5) if start != target]
    return World(
        np.stack([states[:, :, start, target] for start, target in pairs]),
        names,
        steps=(_DOWN, _UP, _RIGHT, _LEFT),
        signs=("● pick up", "■ drop off"),
        titles=[f"{origins[start]} to {places[target]}" for start, target in pairs],
        targets=[env.locs[target] for _, target in pairs],
        walls=np.argwhere(env.desc[1:-1, 2:-1:2] == b"|").tolist(),
        across=4,
    )
