"""Learning curves as pictures: one run in detail, or many runs laid over each other."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tensorq.agents.settings import ExplorationSettings, QTableSettings
from tensorq.errors import TensorqError
from tensorq.evaluation.statistics import bootstrap_band
from tensorq.runs.history import FloatArray, History, SeedGroup, group_by_setting, read_history
from tensorq.runs.saved import SavedRun
from tensorq.show.style import BLUE, GREY, HEIGHT_INCHES, INK, VERMILION, check_output, dress_returns, new_page, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure

_CYCLE = (BLUE, "#E69F00", "#CC79A7", "#56B4E9", VERMILION, GREY, INK)
# Solid, dashed, dotted, dash-dotted, in multiples of the width: short enough to be told apart in a legend.
_LINES = tuple((0, pattern) for pattern in ((), (1.8, 1.2), (0.6, 1.0), (2.4, 0.9, 0.6, 0.9)))
_DOTS, _POINTS = 3000, 1500  # more than these look the same, and cost seconds
_MOST_MARKS = 60
_LABEL_LETTERS, _LEGEND_LINE_INCHES = 80, 0.22  # of a line of the legend: what fits into the width, and its height


def draw_run(saved: SavedRun, output: Path | None = None) -> Path:
    """Draw one run's episodes, their moving mean, greedy evaluations and epsilon to a .png, .svg or .pdf.

    If the run learns a table, the table is drawn below: over the environment's map, if it has one. An environment of
    the user's own needs the run's make_env for this. Raises TensorqError if the folder is no run, its tables are
    damaged or still empty, or output cannot be written.
    """
    run, output = read_history(saved), output or saved.files.curve_path
    check_output(output)
    _require_curve(run)
    config, table = saved.config, None
    if config.find(QTableSettings):
        from tensorq.show.table_map import read_table_map

        table = read_table_map(saved)
    page, parts = new_page([HEIGHT_INCHES, table.height_inches] if table else [HEIGHT_INCHES])
    _draw_returns(parts[0], run, config.part(ExplorationSettings))
    if table:
        table.draw(parts[1])
    return save(page, output)


def _draw_returns(figure: SubFigure, run: History, exploration: ExplorationSettings) -> None:
    steps, returns = _episodes(run)
    evaluation_steps, evaluation_returns = run.evaluations
    last_step = max(table["steps"].max(initial=0.0) for table in (run.metrics, run.episodes))
    axes, lowest = _axes_with_epsilon(figure, exploration, last_step)
    window = _window(returns.size)
    mean = moving_mean(returns, window)
    # Everything is shown but the very worst episodes: one disaster must not flatten the curve. The mean counts once it
    # is over a whole window: before, it may be the mean of a single disaster.
    lines = np.concatenate([mean[min(window, mean.size) - 1 :], evaluation_returns])
    floor = min(np.quantile(np.concatenate([returns, evaluation_returns]), 0.005), lines.min())
    floor -= 0.04 * (max(returns.max(initial=floor), lines.max()) - floor)
    if returns.size:
        dots: dict[str, Any] = {"color": BLUE, "markeredgewidth": 0, "rasterized": True}
        alpha = np.clip(8 / np.sqrt(returns.size), 0.18, 0.5)
        worst = returns < floor  # drawn as triangles at the floor
        axes.plot(*_thin(_DOTS, steps[~worst], returns[~worst]), ".", markersize=7, alpha=alpha, **dots)
        axes.plot([], [], ".", markersize=9, alpha=0.6, label="training episode", **dots)  # paler is hard to see
        line = _thin(_POINTS, steps, np.where(mean < floor, np.nan, mean))
        axes.plot(*line, color=BLUE, linewidth=2, label=f"mean of {window:,} episodes")
        axes.plot(steps[worst], np.full(worst.sum(), floor), "v", markersize=6, alpha=0.6, **dots)
    if evaluation_returns.size:  # if marks would hide everything, a moving mean in front of a thin line
        many = evaluation_returns.size // _MOST_MARKS
        axes.plot(evaluation_steps, evaluation_returns, color=VERMILION, linewidth=0.6, alpha=0.3, rasterized=True)
        axes.plot(
            evaluation_steps, moving_mean(evaluation_returns, many + 1), color=VERMILION, linewidth=1.8,
            marker="" if many else "o", markersize=4.5, clip_on=bool(many),
            label=f"greedy, mean of {many + 1}" if many else "greedy evaluation",
        )  # fmt: skip

    details = f"preset {run.settings.get('preset')}, seed {run.settings.get('seed')}"
    dress_returns(axes, lowest, run.env, details, "return", run.solved_return)


def _axes_with_epsilon(figure: SubFigure, exploration: ExplorationSettings, last_step: float) -> tuple[Axes, Axes]:
    """The axes of the returns, and the lowest ones: those of epsilon, or the same if epsilon is always 0."""
    # The schedule itself, not the rows of metrics.csv, because the schedule may end between two rows.
    steps = np.array([0.0, min(exploration.epsilon_anneal_steps, last_step), last_step])
    epsilon = np.array([exploration.epsilon_at(step) for step in steps])
    if not epsilon.any():
        axes = figure.subplots()
        return axes, axes
    axes, below = figure.subplots(2, 1, sharex=True, height_ratios=(6, 1))
    below.fill_between(steps, epsilon, color=GREY, alpha=0.5, linewidth=1.2)
    below.set(ylim=(0, 1.05), yticks=(0, 1), ylabel="epsilon")
    figure.align_ylabels()
    return axes, below


def draw_runs(run_dirs: Sequence[Path], output: Path) -> Path:
    """Draw runs over each other: one line for each setting, the mean over its seeds with a 95 % bootstrap interval.

    Each environment has a picture of its own, one below the other. The lines are greedy evaluations or, in a setting
    that has none, the moving means of training episodes. Before the first step of a run and after its last, the mean
    is over the other runs. Raises TensorqError as `draw_run` does.
    """
    check_output(output)
    by_environment: dict[str, list[SeedGroup]] = {}
    for setting in group_by_setting(run_dirs, _require_curve):
        by_environment.setdefault(setting.env, []).append(setting)
    # A legend of more than a few lines makes the picture higher, and leaves the curves their room.
    legend_lines = [
        sum(len(setting.label) // _LABEL_LETTERS + 1 for setting in settings) for settings in by_environment.values()
    ]
    page, parts = new_page([HEIGHT_INCHES + _LEGEND_LINE_INCHES * max(0, lines - 3) for lines in legend_lines])
    for figure, settings in zip(parts, by_environment.values(), strict=True):
        _overlay(figure.subplots(), settings)
    return save(page, output)


def _overlay(axes: Axes, settings: Sequence[SeedGroup]) -> None:
    """Draw the settings of one environment."""
    unit, details = "greedy return", ""
    for index, setting in enumerate(settings):
        curves = [run.evaluations for run in setting.runs if run.evaluations[0].size]
        if not curves:
            episodes = [_episodes(run) for run in setting.runs]
            curves = [(steps, moving_mean(returns, _window(returns.size))) for steps, returns in episodes]
            unit = "mean return"
        # Each seed at the steps of all, (seeds, points): NaN before its first step and after its last.
        (grid,) = _thin(_POINTS // 4, np.unique(np.concatenate([steps for steps, _ in curves])))
        values = np.stack([np.interp(grid, *curve, left=np.nan, right=np.nan) for curve in curves])
        mean, all_there = np.nanmean(values, axis=0), np.isfinite(values).all(axis=0)
        style: dict[str, Any] = {
            "color": _CYCLE[index % len(_CYCLE)],
            "linestyle": _LINES[index // len(_CYCLE) % len(_LINES)],
            "marker": "o" if grid.size <= _MOST_MARKS else "",
        }
        count = len(setting.runs)
        seeds = f"{'' if len(curves) == count else f'{len(curves)} of '}{count} seed{'' if count == 1 else 's'}"
        label = textwrap.fill(f"{setting.label}, {seeds}", _LABEL_LETTERS)
        axes.plot(grid, mean, linewidth=0.9, markersize=2.5, **style)
        axes.plot(grid, np.where(all_there, mean, np.nan), linewidth=2, markersize=4, label=label, **style)
        axes.fill_between(grid, *_band(values), color=style["color"], alpha=0.2, linewidth=0)
        if all_there.mean() < 0.98:  # a small part is normal: training ends within an episode
            details = "mean and 95 % bootstrap interval, thin: fewer seeds"
        elif len(curves) > 1:
            details = details or "mean over seeds and 95 % bootstrap interval"
    dress_returns(axes, axes, settings[0].env, details, unit, settings[0].runs[0].solved_return)


def moving_mean(values: FloatArray, window: int) -> FloatArray:
    """Mean of each value and the `window - 1` before it, or as many as there are."""
    sums = np.cumsum(values)
    sums[window:] = sums[window:] - sums[:-window]
    return sums / np.minimum(np.arange(1, values.size + 1), window)


def _episodes(run: History) -> tuple[FloatArray, FloatArray]:
    """Steps and returns of the training episodes."""
    done = np.isfinite(run.episodes["return"])
    return run.episodes["steps"][done], run.episodes["return"][done]


def _require_curve(run: History) -> None:
    """Raise TensorqError if there is nothing to draw of a run."""
    if not run.evaluations[0].size and not _episodes(run)[0].size:
        raise TensorqError(f"{run.path} has no finished episode and no evaluation to draw yet: train it for longer")


def _window(count: int) -> int:
    """The number of episodes to average: about a hundredth of all, but at least 20."""
    return max(20, int(float(f"{count // 100:.0e}")))


def _band(values: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The interval at each point of (seeds, points), of the seeds with a value; NaN if these are fewer than two."""
    there = np.isfinite(values)
    low, high = np.full((2, values.shape[1]), np.nan)
    for seeds in np.unique(there, axis=1).T:
        if seeds.sum() > 1:
            points = (there == seeds[:, None]).all(axis=0)
            low[points], high[points] = bootstrap_band(values[np.ix_(seeds, points)])
    return low, high


def _thin(most: int, *columns: FloatArray) -> list[FloatArray]:
    """At most `most` rows of the columns, evenly spread, with the first and the last."""
    size = columns[0].size
    kept = np.unique(np.linspace(0, size - 1, min(size, most)).astype(np.intp))
    return [column[kept] for column in columns]
