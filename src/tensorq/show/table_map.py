"""A table of Q-values as a picture: over the map of one of Gymnasium's grid worlds, else states by actions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tensorq.envs.calls import close_or_warn
from tensorq.envs.spaces import plain_action_space
from tensorq.errors import TensorqError
from tensorq.evaluation.load import read_kept
from tensorq.runs.saved import SavedRun
from tensorq.show.style import GREEN, INK, SOFT_INK, VERMILION

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import SubFigure

FloatArray = npt.NDArray[np.float64]

MOST_STATES = 200  # in a picture without a map
_SCALE, _UNKNOWN = ("#FCF8EC", "#D5E6EE", "#8CC0E0", "#2E86C1"), "#ECEEF0"
_ENDS = {"hole": "#46515E", "goal": GREEN, "cliff": VERMILION}  # cells without a decision
_TIE = 1e-6  # share of the whole range: rounding alone separates equal values by less
_MARGIN, _WIDTH = 0.1, 0.87  # of maps and texts, as shares of the width
_TOP_INCHES, _BOTTOM_INCHES = 0.74, 0.48  # above and below the maps
_LEFT, _DOWN, _RIGHT, _UP = (-1, 0), (0, 1), (1, 0), (0, -1)  # steps on a map


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


@dataclass(frozen=True)
class TableMap:
    """A table with what is needed to draw it."""

    table: FloatArray  # [S, A]; NaN for illegal actions, and for a state whose values are all as at the start
    initial_value: float
    world: World | None
    details: str
    first_state: int = 0  # the environment's number for the first row
    first_action: int = 0

    @property
    def height_inches(self) -> float:
        """The height of the picture at the width of a curve."""
        if self.world:
            cells = _cell_inches(self.world) * self.world.across * len(self.world.names)
        else:
            cells = float(np.clip(0.32 * self.table.shape[1], 1.0, 10.0))
        return _TOP_INCHES + cells + _BOTTOM_INCHES

    def greedy(self) -> npt.NDArray[np.bool_]:
        """Which actions [S, A] are the best of their state, with all ties; none if all values are as at the start."""
        best = np.fmax.reduce(self.table, axis=1, keepdims=True)
        range_of_values = np.fmax.reduce(self.table, axis=None) - np.fmin.reduce(self.table, axis=None)
        return self.table >= best - _TIE * range_of_values

    def draw(self, figure: SubFigure) -> None:
        """Draw into a part of a figure that is height_inches high."""
        from matplotlib.cm import ScalarMappable
        from matplotlib.colors import LinearSegmentedColormap, Normalize
        from mpl_toolkits.axes_grid1 import ImageGrid  # type: ignore[import-untyped]

        world, inch = self.world, 1 / self.height_inches
        values, signs = self.table, ["colour: Q-value", "dots: greedy actions"]
        grey = np.isnan(values)
        if world:
            values = np.fmax.reduce(self.table, axis=1)[world.states]
            signs = ["colour: highest Q-value", "arrows: greedy actions", *world.signs]
            grey = np.isnan(values) & ~np.isin(world.names, [*_ENDS])
        known = values[np.isfinite(values)]
        caption = " · ".join([*signs, *(["grey: as at the start"] if grey.any() else [])])
        if not known.size:
            caption = f"nothing has been learned yet: all Q-values are still {self.initial_value:g}, as at the start"
        figure.text(_MARGIN, 1 - 0.2 * inch, "The table of Q-values", fontsize=12, fontweight="bold", color=INK)
        figure.text(_MARGIN + _WIDTH, 1 - 0.2 * inch, self.details, fontsize=10, color=SOFT_INK, ha="right")
        figure.text(_MARGIN, 1 - 0.42 * inch, caption, fontsize=9.5, color=SOFT_INK)

        low, high = (known.min(), known.max()) if known.size else (0.0, 1.0)
        colours = LinearSegmentedColormap.from_list("values", _SCALE).with_extremes(bad=_UNKNOWN)
        scale = ScalarMappable(Normalize(low, high if high > low else low + 1), colours)
        grid = ImageGrid(
            figure, (_MARGIN, _BOTTOM_INCHES * inch, _WIDTH - 0.05, 1 - (_TOP_INCHES + _BOTTOM_INCHES) * inch),
            (world.across, world.across) if world else (1, 1), axes_pad=0.24, aspect=bool(world),
            cbar_mode="single" if known.size else None, cbar_size=0.13,
        )  # fmt: skip
        for number, axes in enumerate(grid):
            if world:
                self._draw_map(axes, world, number, values[number], scale)
            else:
                self._draw_plain(axes, scale)
            axes.tick_params(colors=INK, labelsize=9, length=0)
            axes.spines[:].set_color("#B8BEC6")
        if known.size:
            bar = figure.colorbar(scale, cax=grid.cbar_axes[0])
            bar.ax.tick_params(colors=INK, labelsize=9, length=0)
            bar.outline.set_visible(False)

    def _draw_plain(self, axes: Axes, scale: ScalarMappable) -> None:
        """States from left to right, actions from top to bottom, a dot on the greedy ones."""
        (num_states, num_actions), left, top = self.table.shape, self.first_state - 0.5, self.first_action - 0.5
        extent = (left, left + num_states, top + num_actions, top)
        axes.imshow(scale.to_rgba(self.table.T), extent=extent, aspect="auto", interpolation="nearest")
        states, actions = np.nonzero(self.greedy())
        size = float(np.clip(400 / num_states, 2.5, 9))
        axes.plot(self.first_state + states, self.first_action + actions, ".", color=INK, markersize=size)
        axes.set_xlabel("state", color=INK, fontsize=10)
        axes.set_ylabel("action", color=INK, fontsize=10)
        axes.locator_params(nbins=10, integer=True, min_n_ticks=1)

    def _draw_map(self, axes: Axes, world: World, number: int, values: FloatArray, scale: ScalarMappable) -> None:
        """Cells in the colour of their highest value; in them that value, their name and the greedy actions."""
        from matplotlib.colors import to_rgba
        from matplotlib.patches import Rectangle

        (rows, columns), size, colours = values.shape, _cell_inches(world), scale.to_rgba(values)
        write = partial(axes.text, color=INK, fontsize=min(8.5, 24 * size))
        for (row, column), name in np.ndenumerate(world.names):
            value, colour = values[row, column], INK
            if name in _ENDS:
                colours[row, column], colour = to_rgba(_ENDS[name]), "white"
            elif np.isfinite(value) and size > 0.48:
                number_text = f"{value:.{2 if abs(value) < 10 else 1}f}".replace("-", "\N{MINUS SIGN}")
                write(column, row + 0.46, number_text, ha="center", va="bottom")
            write(column - 0.4, row - 0.42, name, color=colour, fontstyle="italic", va="top")
        axes.imshow(colours, interpolation="nearest")
        axes.vlines(np.arange(1, columns) - 0.5, -0.5, rows - 0.5, color="white", linewidth=1.2)
        axes.hlines(np.arange(1, rows) - 0.5, -0.5, columns - 0.5, color="white", linewidth=1.2)
        for row, column in world.walls:
            axes.vlines(column + 0.5, row - 0.5, row + 0.5, color=INK, linewidth=2.2)
        for row, column in world.targets[number : number + 1]:
            corner = (column - 0.5, row - 0.5)
            axes.add_patch(Rectangle(corner, 1, 1, fill=False, edgecolor=GREEN, linewidth=2.2, clip_on=False, zorder=3))
        axes.set(xticks=[], yticks=[])
        axes.set_title(world.titles[number], fontsize=8.5, color=INK, pad=3)

        greedy = self.greedy()[world.states[number]]
        tied = greedy.sum(axis=2) > 1
        row, column, action = np.nonzero(greedy[..., : len(world.steps)])
        is_tied, step = tied[row, column], np.transpose(world.steps)[:, action]
        # A single arrow is in the middle of its cell; several begin above it, so that none reaches the number.
        tail = np.array([column, row]) - np.where(is_tied, [[0.0], [0.1]], 0.23 * step)
        axes.quiver(
            *tail, *np.where(is_tied, 0.32, 0.46) * step, angles="xy", scale_units="xy", scale=1, units="x",
            width=0.06, headwidth=3.8, headlength=3.6, headaxislength=3.4, color=INK, zorder=3,
        )  # fmt: skip
        for row, column, action in np.argwhere(greedy[..., len(world.steps) :]):
            aside, fontsize = (0.3, 7) if tied[row, column] else (0, 11)  # below the arrows, to their right
            sign = world.signs[action][0]
            write(column + aside, row + aside, sign, fontsize=fontsize, ha="center", va="center_baseline")


def _cell_inches(world: World) -> float:
    """The side of a cell of a map, with its share of the gaps between maps."""
    return min(0.95, 6.2 / (world.across * max(world.names.shape)))


def _world(run: SavedRun, num_states: int) -> tuple[World | None, Any]:
    """The map of a run's states and its legal actions [S, A].

    There is no map, and True for the actions, if the environment has none, cannot be made here, or is the only one.
    """
    if run.config.single_environment:
        return None, True
    try:
        env = run.environment_maker()()
    except TensorqError:
        return None, True
    try:
        inner: Any = getattr(env, "unwrapped", env)
        world = find_world(inner)
        masked = world and hasattr(inner, "action_mask")
        return world, np.array([inner.action_mask(state) for state in range(num_states)], bool) if masked else True
    finally:
        close_or_warn(env, lambda text: None)  # a failure has been reported before


def read_table_map(run: SavedRun, which: str = "best") -> TableMap | None:
    """The table of a qtable run to draw: that of the kept best agent, or else of the last; None if there is none.

    A run on an environment of the user's own has a map only if `run` has the function that makes the environment.
    """
    try:
        agent = read_kept(run, which).agent()
    except TensorqError:
        return read_table_map(run, "last") if which == "best" else None
    space: Any = run.environment.observation_space
    table = agent.q_values(np.arange(space.start, space.start + space.n))
    learned = (table != run.config.initial_value).any(axis=1, keepdims=True)
    world, legal = _world(run, len(table))
    if world is None and len(table) > MOST_STATES:
        return None
    learned = learned & legal
    if world:  # an episode is over in these: there is nothing to decide
        learned[world.states[:, np.isin(world.names, [*_ENDS])]] = False
    table = np.where(learned, table, np.nan)
    details = {"best": "kept best agent", "last": "last checkpoint"}[which]
    first_action = int(plain_action_space(run.environment.action_space).start)
    return TableMap(table, run.config.initial_value, world, details, int(space.start), first_action)
