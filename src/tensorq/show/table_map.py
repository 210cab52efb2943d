"""A table of Q-values as a picture: over the environment's map where it has one, else states by actions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tensorq.envs.calls import close_or_warn
from tensorq.envs.spaces import plain_action_space
from tensorq.errors import TensorqError
from tensorq.evaluation.load import read_kept
from tensorq.runs.saved import SavedRun
from tensorq.show.maps import Panel, World, find_world
from tensorq.show.style import GREEN, INK, SOFT_INK, VERMILION

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

MOST_STATES = 200  # of a picture without a map
_WIDTH_INCHES, _LEFT_INCHES, _RIGHT_INCHES, _TOP_INCHES, _BOTTOM_INCHES = 8.0, 0.7, 0.95, 0.45, 0.42
_SCALE = ("#FCF8EC", "#D5E6EE", "#8CC0E0", "#2E86C1")
_HOLE, _GOAL, _CLIFF, _NOTHING = "#46515E", GREEN, VERMILION, "#ECEEF0"
_TIE = 1e-6  # of the whole range: what rounding alone leaves between equal values


@dataclass(frozen=True)
class TableMap:
    """A table with what is needed to draw it."""

    table: FloatArray  # [S, A]
    legal: BoolArray  # [S, A]
    changed: BoolArray  # [S], whether any value of the state is another than at the start
    world: World | None
    details: str
    first_state: int = 0  # what the environment calls the first row
    first_action: int = 0

    @property
    def height_inches(self) -> float:
        """How high the picture is at the width of a curve."""
        return self._cell_inches()[1] + _TOP_INCHES + _BOTTOM_INCHES

    def greedy(self) -> BoolArray:
        """Which actions [S, A] are the best of their state, ties all; none where all is as at the start."""
        values = np.where(self.legal, self.table, -np.inf)
        best = values.max(axis=1, keepdims=True)
        range_of_values = np.ptp(self.table) or 1.0
        greedy: BoolArray = (values >= best - _TIE * range_of_values) & self.changed[:, None]
        return greedy

    def draw(self, figure: SubFigure) -> None:
        """Draw into a part of a figure that is height_inches high."""
        size, height = self._cell_inches()
        total = self.height_inches
        left, top = _LEFT_INCHES / _WIDTH_INCHES, 1 - 0.2 / total
        figure.text(left, top, "The table of Q-values", fontsize=12, fontweight="bold", color=INK)
        figure.text(1 - 0.28 / _WIDTH_INCHES, top, self.details, fontsize=10, color=SOFT_INK, ha="right")
        if self.world is None:
            _draw_plain(figure, self, total, height)
            return
        values = np.where(self.legal, self.table, -np.inf).max(axis=1)
        shown = np.concatenate([_living(panel) for panel in self.world.panels])
        shown = shown[self.changed[shown]]
        low, high = (float(values[shown].min()), float(values[shown].max())) if shown.size else (0.0, 1.0)
        painter = _Painter(self, values, low, high, size)
        rows, columns = self.world.panels[0].states.shape
        for index, panel in enumerate(self.world.panels):
            row, column = divmod(index, self.world.columns)
            left = self._margin_inches(size) + column * (columns * size + _gap(self.world))
            top = _TOP_INCHES + row * (rows * size + _gap(self.world)) + (_TITLE_INCHES if panel.title else 0)
            across, down = columns * size / _WIDTH_INCHES, rows * size / total
            painter.draw(figure.add_axes((left / _WIDTH_INCHES, 1 - top / total - down, across, down)), panel)
        right = _WIDTH_INCHES - self._margin_inches(size) + _LEFT_INCHES - _RIGHT_INCHES
        if shown.size:
            _draw_scale(figure, low, high, total, height, right + 0.25)
        text = "colour: highest Q-value · arrows: greedy actions" + self.world.signs
        complete = shown.size == sum(len(_living(panel)) for panel in self.world.panels)
        _draw_caption(figure, self, text, complete, total)

    def _cell_inches(self) -> tuple[float, float]:
        """The side of a cell, and the height of all maps together."""
        wide = _WIDTH_INCHES - _LEFT_INCHES - _RIGHT_INCHES
        if self.world is None:
            return wide / len(self.table), max(1.2, 0.32 * self.table.shape[1])
        rows, columns = self.world.panels[0].states.shape
        across, gap = self.world.columns, _gap(self.world)
        down = -(-len(self.world.panels) // across)
        size = min((wide - (across - 1) * gap) / (across * columns), 0.95, max(4.8 / rows / down, 0.32))
        title = _TITLE_INCHES if self.world.panels[0].title else 0.0
        return size, down * rows * size + (down - 1) * gap + title

    def _margin_inches(self, size: float) -> float:
        """What is left of the maps, which lie in the middle."""
        world = self.world
        if world is None:
            return _LEFT_INCHES
        used = world.columns * world.panels[0].states.shape[1] * size + (world.columns - 1) * _gap(world)
        return _LEFT_INCHES + (_WIDTH_INCHES - _LEFT_INCHES - _RIGHT_INCHES - used) / 2


_TITLE_INCHES = 0.2


def _gap(world: World) -> float:
    return 0.24 if world.columns > 1 else 0.0


def _living(panel: Panel) -> npt.NDArray[np.intp]:
    """The states of a panel in which there is something to decide."""
    alive = np.ones(panel.states.shape, bool)
    for cell, name in panel.names.items():
        alive[cell] = name not in ("hole", "goal", "cliff")
    return panel.states[alive]


class _Painter:
    """Draws maps in one scale of colours."""

    def __init__(self, picture: TableMap, values: FloatArray, low: float, high: float, size: float) -> None:
        from matplotlib.colors import LinearSegmentedColormap, Normalize

        self.world: Any = picture.world
        self.values, self.changed, self.greedy, self.size = values, picture.changed, picture.greedy(), size
        self.colours = LinearSegmentedColormap.from_list("values", _SCALE)
        self.scale = Normalize(low, high if high > low else low + 1)
        self.decimals = 2 if max(abs(low), abs(high)) < 10 else 1

    def draw(self, axes: Axes, panel: Panel) -> None:
        from matplotlib.patches import Rectangle

        rows, columns = panel.states.shape
        axes.set(xlim=(0, columns), ylim=(rows, 0))
        axes.axis("off")
        single: list[tuple[float, ...]] = []
        tied: list[tuple[float, ...]] = []
        for (row, column), state in np.ndenumerate(panel.states):
            name = panel.names.get((row, column), "")
            colour, alive = self._colour(name, state)
            axes.add_patch(Rectangle((column, row), 1, 1, facecolor=colour, edgecolor="white", linewidth=1.2))
            x, y = column + 0.5, row + 0.5
            if not alive:
                if name != "cliff" and self.size > 0.4:
                    axes.text(x, y, name, color="white", fontsize=9, fontweight="bold", ha="center", va="center")
                continue
            self._label(axes, panel, row, column, name, state)
            moves = [self.world.moves[action] for action in np.flatnonzero(self.greedy[state])]
            steps = [move for move in moves if not isinstance(move, str)]
            for sign in (move for move in moves if isinstance(move, str)):
                # Beside arrows, signs go below them: the one for the passenger to the left, the other to the right.
                aside = 0.3 if len(moves) > 1 else 0.0
                axes.text(x + (aside if sign == self.world.moves[-1] else -aside), y + aside, sign, color=INK,
                          fontsize=7 if aside else 11, ha="center", va="center_baseline")  # fmt: skip
            (single if len(moves) == 1 else tied).extend((x, y, *step) for step in steps)
        self._arrows(axes, single, 0.42 if 0.4 < self.size < 0.7 else 0.5, "mid")
        self._arrows(axes, tied, 0.34 if self.size > 0.4 else 0.42, "tail")
        self._cliff(axes, panel)
        for row, column in self.world.walls:
            axes.plot([column + 1] * 2, [row, row + 1], color=INK, linewidth=2.2, solid_capstyle="butt", clip_on=False)
        axes.add_patch(Rectangle((0, 0), columns, rows, fill=False, edgecolor="#B8BEC6", linewidth=1, clip_on=False))
        if panel.framed:
            row, column = panel.framed
            axes.add_patch(
                Rectangle((column, row), 1, 1, fill=False, edgecolor=_GOAL, linewidth=2.2, clip_on=False, zorder=4)
            )
        if panel.title:
            axes.set_title(panel.title, fontsize=8.5, color=INK, pad=3)

    def _colour(self, name: str, state: Any) -> tuple[Any, bool]:
        """A cell's colour, and whether there is something to decide."""
        special = {"hole": _HOLE, "goal": _GOAL, "cliff": _CLIFF}.get(name)
        if special is not None:
            return special, False
        return (self.colours(self.scale(self.values[state])) if self.changed[state] else _NOTHING), True

    def _label(self, axes: Axes, panel: Panel, row: int, column: int, name: str, state: Any) -> None:
        """The value above the arrow, the name below it; on small maps the name alone, in the corner."""
        if self.size > 0.4 and self.changed[state]:
            axes.text(
                column + 0.5, row + 0.17, f"{self.values[state]:.{self.decimals}f}".replace("-", "−"),
                color=INK, fontsize=min(9.5, 15 * self.size), ha="center", va="center",
            )  # fmt: skip
        if name:
            place, size = ((0.5, 0.89), min(9.0, 14 * self.size)) if self.size > 0.4 else ((0.2, 0.24), 6.5)
            x, y = column + place[0], row + place[1]
            axes.text(x, y, name, color=INK, fontsize=size, fontstyle="italic", ha="center", va="center")

    def _arrows(self, axes: Axes, arrows: list[tuple[float, ...]], length: float, pivot: Any) -> None:
        if not arrows:
            return
        x, y, right, down = np.array(arrows).T
        roomy = self.size > 0.4
        if roomy:
            y = y + (0.1 if pivot == "tail" else 0.06)  # below the number
        axes.quiver(
            x, y, length * right, length * down, angles="xy", scale_units="xy", scale=1, units="x", pivot=pivot,
            width=0.055 if roomy else 0.07, headwidth=4.2 if roomy else 3.4, headlength=4.2 if roomy else 3,
            headaxislength=3.9 if roomy else 2.8, color=INK, zorder=3,
        )  # fmt: skip

    def _cliff(self, axes: Axes, panel: Panel) -> None:
        """One area, with one word."""
        from matplotlib.patches import Rectangle

        cells = np.array([cell for cell, name in panel.names.items() if name == "cliff"])
        if cells.size:
            (top, left), (bottom, right) = cells.min(axis=0), cells.max(axis=0) + 1
            axes.add_patch(Rectangle((left, top), right - left, bottom - top, facecolor=_CLIFF, zorder=2))
            x, y = (left + right) / 2, (top + bottom) / 2
            axes.text(x, y, "cliff", color="white", fontsize=10, fontweight="bold", ha="center", va="center")


def _draw_scale(figure: SubFigure, low: float, high: float, total: float, height: float, left: float) -> None:
    """The scale of colours, so many inches from the left."""
    from matplotlib.colors import LinearSegmentedColormap

    top = _BOTTOM_INCHES + height
    box = (left / _WIDTH_INCHES, (top - min(height, 3.8)) / total, 0.13 / _WIDTH_INCHES, min(height, 3.8) / total)
    axes = figure.add_axes(box)
    ramp = np.linspace(0, 1, 128)[:, None]
    colours = LinearSegmentedColormap.from_list("values", _SCALE)
    axes.imshow(ramp, aspect="auto", origin="lower", cmap=colours, extent=(0, 1, low, high if high > low else low + 1))
    axes.set_xticks([])
    axes.yaxis.tick_right()
    axes.tick_params(colors=INK, labelsize=9, length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _draw_plain(figure: SubFigure, picture: TableMap, total: float, height: float) -> None:
    """States from left to right, actions from top to bottom, a dot on the greedy ones."""
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.ticker import MaxNLocator

    num_states, num_actions = picture.table.shape
    values = np.where(picture.legal & picture.changed[:, None], picture.table, np.nan).T
    some = bool(np.isfinite(values).any())
    low, high = (np.nanmin(values), np.nanmax(values)) if some else (0.0, 1.0)
    colours = LinearSegmentedColormap.from_list("values", _SCALE).with_extremes(bad=_NOTHING)
    across, down = 1 - (_LEFT_INCHES + _RIGHT_INCHES) / _WIDTH_INCHES, (height - 0.25) / total
    axes = figure.add_axes((_LEFT_INCHES / _WIDTH_INCHES, (_BOTTOM_INCHES + 0.25) / total, across, down))
    first_state, first_action = picture.first_state, picture.first_action
    extent = (first_state - 0.5, first_state + num_states - 0.5, first_action + num_actions - 0.5, first_action - 0.5)
    axes.imshow(values, aspect="auto", cmap=colours, vmin=low, vmax=high, interpolation="nearest", extent=extent)
    states, actions = np.nonzero(picture.greedy())
    axes.plot(
        first_state + states,
        first_action + actions,
        ".",
        color=INK,
        markersize=float(np.clip(400 / num_states, 2.5, 9)),
    )
    axes.set_xlabel("state", color=INK, fontsize=10)
    axes.set_ylabel("action", color=INK, fontsize=10)
    axes.xaxis.set_major_locator(MaxNLocator(10, integer=True))
    axes.set_yticks(first_action + np.arange(num_actions)[:: 1 if num_actions <= 12 else num_actions - 1])
    axes.tick_params(colors=INK, labelsize=9, length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    if some:
        _draw_scale(figure, float(low), float(high), total, height, _WIDTH_INCHES - _RIGHT_INCHES + 0.25)
    _draw_caption(figure, picture, "colour: Q-value · dots: greedy actions", bool(picture.changed.all()), total)


def _draw_caption(figure: SubFigure, picture: TableMap, signs: str, complete: bool, total: float) -> None:
    """What the signs mean, or that there is nothing to show yet."""
    text = signs if complete else f"{signs} · grey: as at the start"
    if not picture.changed.any():
        text = f"nothing has been learned yet: all Q-values are still {picture.table.flat[0]:g}, as at the start"
    figure.text(_LEFT_INCHES / _WIDTH_INCHES, 0.12 / total, text, fontsize=9.5, color=SOFT_INK)


def read_table_map(run: SavedRun) -> TableMap | None:
    """What there is to draw of a run's table: that of the kept best agent, else the last. None for nothing legible.

    Args:
        run: a run with algorithm qtable; without the function of an environment of your own there is no map.
    """
    for which in ("best", "last"):
        try:
            kept = read_kept(run, which)
            agent = kept.agent()
            break
        except TensorqError:
            continue
    else:
        return None
    space = run.environment.observation_space
    first_state, num_states = int(getattr(space, "start", 0)), int(getattr(space, "n", 0))
    table = agent.q_values(np.arange(first_state, first_state + num_states))
    world, mask_of = None, None
    try:
        env = run.environment_maker()()
    except TensorqError:  # one that is not installed here, or of your own
        pass
    else:
        inner = getattr(env, "unwrapped", env)
        world, mask_of = find_world(inner), getattr(inner, "action_mask", None)
        close_or_warn(env, lambda text: None)  # it has told what it had to
    if world is None and len(table) > MOST_STATES:
        return None
    legal = np.ones(table.shape, bool)
    if callable(mask_of) and world is not None:
        legal = np.array([mask_of(state) for state in range(len(table))], bool)
    changed = (table != run.config.initial_value).any(axis=1)
    details = "kept best agent" if which == "best" else "last checkpoint"
    first_action = int(plain_action_space(run.environment.action_space).start)
    return TableMap(table, legal, changed, world, details, first_state, first_action)
