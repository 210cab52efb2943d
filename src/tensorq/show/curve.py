"""Learning curves as pictures: one run in detail, or many runs laid over each other."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tensorq.agents.settings import ExplorationSettings, QTableSettings
from tensorq.config import Config
from tensorq.errors import TensorqError
from tensorq.evaluation.statistics import bootstrap_band
from tensorq.runs.history import History, Setting, group_by_setting, read_history, short
from tensorq.runs.saved import SavedRun
from tensorq.show.style import (
    BLUE,
    GREY,
    INK,
    LEFT,
    SIZE_INCHES,
    VERMILION,
    WIDTH,
    check_output,
    draw_solved,
    dress,
    escaped,
    limit_returns,
    new_figure,
    save,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

FloatArray = npt.NDArray[np.float64]

_CYCLE = (BLUE, "#E69F00", "#CC79A7", "#56B4E9", VERMILION, GREY, INK)
# Solid, dashed, dotted, dash-dotted, in multiples of the width: short enough to be told apart in a legend.
_LINES = tuple((0, pattern) for pattern in ((), (1.8, 1.2), (0.6, 1.0), (2.4, 0.9, 0.6, 0.9)))
_DOTS, _POINTS = 3000, 1500  # more than these cannot be told apart, and cost seconds
_MOST_MARKS = 60
_MOST_LETTERS = 44  # of a title, beside which the preset and the seed stand
_LEGEND_LETTERS, _ROW_INCHES = 76, 0.216  # what fits into the width, and the height of a row


def draw_run(saved: SavedRun, output: Path | None = None) -> Path:
    """Draw one run's episodes, their moving mean, greedy evaluations and epsilon to a .png, .svg or .pdf.

    Below them, of a run that learns a table, the table: over the environment's map where it has one, which for an
    environment of the user's own the run's make_env tells.

    Raises TensorqError when the folder is no run, its tables are damaged or
    still empty, or output cannot be written.
    """
    run, output = read_history(saved), output or saved.files.curve_path
    check_output(output)
    steps, returns = _finite(run.episodes["steps"], run.episodes["return"])
    evaluation_steps, evaluation_returns = run.evaluations
    _require_curve(run)
    plan, table = Config.from_saved(run.config), None
    if plan.find(QTableSettings):
        from tensorq.show.table_map import read_table_map

        table = read_table_map(saved)
    page = new_figure(SIZE_INCHES[1] + (table.height_inches if table else 0.0))
    figure: Figure | SubFigure = page
    if table:
        parts: Any = page.subfigures(2, 1, height_ratios=(SIZE_INCHES[1], table.height_inches))
        figure = parts[0]
        table.draw(parts[1])
    last_step = max(float(run.metrics["steps"].max(initial=0.0)), float(steps.max(initial=0.0)))
    axes, lowest = _axes_with_epsilon(figure, plan, last_step)
    if returns.size:
        window = _window(returns.size)
        mean = moving_mean(returns, window)
        dots, line = _thin(returns.size, _DOTS), _thin(returns.size, _POINTS)
        few = np.interp(dots.size, (200, _DOTS), (1.0, 0.0))  # these want larger dots: they stick out from under lines
        alpha = float(np.clip(8 / np.sqrt(dots.size), 0.18, 0.5))
        style: dict[str, Any] = {"color": BLUE, "alpha": alpha, "markeredgewidth": 0, "rasterized": True}
        axes.plot(steps[dots], returns[dots], ".", markersize=6 + 3 * few, label="training episode", **style)
        axes.plot(steps[line], mean[line], color=BLUE, linewidth=2, label=f"mean of {window:,} episodes")
    if evaluation_returns.size > _MOST_MARKS:  # so many would hide everything: their mean in front of a thin line
        axes.plot(evaluation_steps, evaluation_returns, color=VERMILION, linewidth=0.6, alpha=0.3, rasterized=True)
    if evaluation_returns.size:
        many = evaluation_returns.size // _MOST_MARKS
        axes.plot(
            evaluation_steps, moving_mean(evaluation_returns, many + 1), color=VERMILION, linewidth=1.8,
            marker="" if many else "o", markersize=4.5,
            label=f"greedy, mean of {many + 1}" if many else "greedy evaluation",
        )  # fmt: skip
    draw_solved(axes, run.solved_return)
    # The mean from where it is one of so many episodes: before, it may be that of a single disaster.
    whole = [mean[min(window, mean.size) - 1 :], evaluation_returns] if returns.size else [evaluation_returns]
    limit_returns(axes, np.concatenate([returns, evaluation_returns]), np.concatenate(whole), run.solved_return)
    if (worst := returns < axes.get_ylim()[0]).any():  # these point down from the lower end
        floor = np.full(worst.sum(), axes.get_ylim()[0])
        axes.plot(steps[worst], floor, "v", markersize=6, clip_on=False, zorder=3, **{**style, "alpha": 0.6})
    end = max(1.0, last_step, float(evaluation_steps.max(initial=0.0)))
    axes.set_xlim(-0.01 * end, 1.01 * end)
    details = f"preset {run.config.get('preset')}, seed {run.config.get('seed')}"
    title = " ".join([run.env, *run.arguments])
    title = title if len(title) <= _MOST_LETTERS else f"{title[: _MOST_LETTERS - 3]}..."
    dress(figure, axes, lowest, title, details, "return")
    return save(page, output)


def _axes_with_epsilon(figure: Figure | SubFigure, plan: Config, last_step: float) -> tuple[Axes, Axes]:
    """The axes of the returns, and the lowest ones: those of epsilon, or the same where epsilon is always 0."""
    # The schedule itself, not the rows of metrics.csv: between two of those it may have come to its end.
    exploration = plan.part(ExplorationSettings)
    steps = np.array([0.0, min(exploration.epsilon_anneal_steps, last_step), last_step])
    epsilon = np.array([exploration.epsilon_at(step) for step in steps])
    if not epsilon.any():
        axes = figure.add_axes((LEFT, 0.125, WIDTH, 0.74))
        return axes, axes
    axes = figure.add_axes((LEFT, 0.265, WIDTH, 0.6))
    axes.tick_params(labelbottom=False)
    below = figure.add_axes((LEFT, 0.125, WIDTH, 0.105), sharex=axes)
    below.fill_between(steps, epsilon, color=GREY, alpha=0.35, linewidth=0)
    below.plot(steps, epsilon, color=GREY, linewidth=1.2)
    below.set(ylim=(0, 1.05), yticks=(0, 1))
    below.set_ylabel("epsilon", color=INK, fontsize=10)
    return axes, below


def draw_runs(run_dirs: Sequence[Path], output: Path) -> Path:
    """Draw runs over each other: one line for each setting, the mean over its seeds with a 95 % bootstrap interval.

    Each environment has a picture of its own, one below the other. The lines are greedy evaluations or, in a setting
    that has none, the moving means of training episodes. Where a run has not begun or has ended, the others go on
    without it. Raises TensorqError as `draw_run` does.
    """
    check_output(output)
    by_environment: dict[str, list[Setting]] = {}
    for setting in group_by_setting(run_dirs, _require_curve):
        by_environment.setdefault(setting.env, []).append(setting)
    legends = [_legend(settings) for settings in by_environment.values()]
    # A legend of more than a few rows makes the picture higher, and leaves the curves their room.
    heights = [SIZE_INCHES[1] + _ROW_INCHES * max(0, rows - 4) for _, _, rows in legends]
    page = new_figure(sum(heights))
    parts = page.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    for figure, settings, legend, height in zip(parts, by_environment.values(), legends, heights, strict=True):
        _overlay(figure, settings, legend, height)
    return save(page, output)


def _overlay(figure: SubFigure, settings: Sequence[Setting], legend: tuple[list[str], int, int], height: float) -> None:
    """The settings of one environment, in a part of the page that is `height` inches high."""
    labels, columns, rows = legend
    inch = 1.0 / height
    axes = figure.add_axes((LEFT, 0.575 * inch, WIDTH, 1.0 - (0.966 + _ROW_INCHES * rows) * inch))
    greedy, thin, drawn, end = True, False, [], 1.0
    for index, setting in enumerate(settings):
        curves, is_greedy = _curves(setting)
        greedy = greedy and is_greedy
        grid, values = _on_one_grid(curves)
        colour, style = _CYCLE[index % len(_CYCLE)], _LINES[index // len(_CYCLE) % len(_LINES)]
        mean, all_there = np.nanmean(values, axis=0), np.isfinite(values).all(axis=0)
        marker = "o" if grid.size <= _MOST_MARKS else ""
        axes.plot(grid, mean, linestyle=style, color=colour, linewidth=0.9, marker=marker, markersize=2.5)
        axes.plot(
            grid, np.where(all_there, mean, np.nan), linestyle=style, color=colour, linewidth=2, marker=marker,
            markersize=4, label=escaped(labels[index]),
        )  # fmt: skip
        low, high = _band(values)
        axes.fill_between(grid, low, high, color=colour, alpha=0.2, linewidth=0)
        drawn += [mean, low[np.isfinite(low)], high[np.isfinite(high)]]
        end, thin = max(end, float(grid[-1])), thin or all_there.mean() < 0.98  # training ends within an episode
    solved_return = settings[0].runs[0].solved_return
    draw_solved(axes, solved_return)
    limit_returns(axes, np.concatenate(drawn), np.concatenate(drawn), solved_return)
    axes.set_xlim(-0.01 * end, 1.01 * end)
    several = any(len(setting.runs) > 1 for setting in settings)
    details = "mean over seeds and 95 % bootstrap interval" if several else ""
    details = "mean and 95 % bootstrap interval, thin: of fewer seeds" if thin else details
    unit = "greedy return" if greedy else "mean return"
    dress(figure, axes, axes, settings[0].env, details, unit, columns=columns)


def _legend(settings: Sequence[Setting]) -> tuple[list[str], int, int]:
    """A name for each setting, of nothing but what sets it apart, and its number of seeds; columns and rows of them."""
    several_presets = len({setting.preset for setting in settings}) > 1
    labels = []
    for setting in settings:
        parts = [setting.preset] if several_presets else []
        parts += [f"{name}={short(value)}" for name, value in setting.unusual.items()]
        count, drawn = len(setting.runs), len(_curves(setting)[0])
        seeds = f"{'' if drawn == count else f'{drawn} of '}{count} seed{'' if count == 1 else 's'}"
        labels.append(f"{' '.join(parts or [setting.preset])}, {seeds}")
    columns = max(1, min(3, _LEGEND_LETTERS // (max(map(len, labels)) + 5)))
    labels = ["\n".join(textwrap.wrap(label, _LEGEND_LETTERS)) for label in labels]
    solved = settings[0].runs[0].solved_return is not None
    return labels, columns, sum(label.count("\n") for label in labels) - (-(len(settings) + solved) // columns)


def moving_mean(values: FloatArray, window: int) -> FloatArray:
    """Mean of each value and the `window - 1` before it, or as many as there are."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    ends = np.arange(1, values.size + 1)
    starts = np.maximum(ends - window, 0)
    means: FloatArray = (sums[ends] - sums[starts]) / (ends - starts)
    return means


def _curves(setting: Setting) -> tuple[list[tuple[FloatArray, FloatArray]], bool]:
    """The curves of the runs that have one, all of the same kind, and whether they are greedy evaluations."""
    evaluations = [run.evaluations for run in setting.runs]
    curves = evaluations if any(steps.size for steps, _ in evaluations) else list(map(_training_curve, setting.runs))
    return [curve for curve in curves if curve[0].size], curves is evaluations


def _require_curve(run: History) -> None:
    """Raise TensorqError for a run of which there is nothing to draw."""
    if not run.evaluations[0].size and not np.isfinite(run.episodes["return"]).any():
        raise TensorqError(f"{run.path} has no finished episode and no evaluation to draw yet: train it for longer")


def _training_curve(run: History) -> tuple[FloatArray, FloatArray]:
    steps, returns = _finite(run.episodes["steps"], run.episodes["return"])
    return steps, moving_mean(returns, _window(returns.size))


def _window(count: int) -> int:
    """How many episodes to average: 20, or some hundredth of very many."""
    return max(20, int(float(f"{count // 100:.0e}")))


def _on_one_grid(curves: Sequence[tuple[FloatArray, FloatArray]]) -> tuple[FloatArray, FloatArray]:
    """The steps of all curves, and each curve there, (seeds, points): NaN before its first step and after its last."""
    grid = np.unique(np.concatenate([steps for steps, _ in curves]))
    grid = grid[_thin(grid.size, _POINTS // 4)]
    return grid, np.stack([np.interp(grid, steps, values, left=np.nan, right=np.nan) for steps, values in curves])


def _band(values: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The interval at each point (seeds, points) of the seeds that are there; NaN where these are fewer than two."""
    there = np.isfinite(values)
    low, high = np.full((2, values.shape[1]), np.nan)
    for seeds in np.unique(there, axis=1).T:
        if seeds.sum() > 1:
            points = (there == seeds[:, None]).all(axis=0)
            low[points], high[points] = bootstrap_band(values[np.ix_(seeds, points)])
    return low, high


def _finite(steps: FloatArray, values: FloatArray) -> tuple[FloatArray, FloatArray]:
    good = np.isfinite(steps) & np.isfinite(values)
    return steps[good], values[good]


def _thin(size: int, most: int) -> npt.NDArray[np.intp]:
    """Indices of at most so many points, evenly spread, the first and the last among them."""
    return np.unique(np.linspace(0, size - 1, min(size, most)).astype(np.intp))
