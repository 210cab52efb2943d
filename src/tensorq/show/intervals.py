"""A picture that compares settings: a panel for each environment, an interval and its numbers for each setting."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tensorq.errors import TensorqError
from tensorq.evaluation.compare import METRIC_NAMES, Metric
from tensorq.runs.history import label
from tensorq.show.style import BLUE, GREY, INK, SOFT_INK, WIDTH_INCHES, dress, new_page, save
from tensorq.show.tables import mean_and_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLUMNS = 3  # panels in a row; with more, the text is too small on a page 900 pixels wide
_POINTS, _LETTER_INCHES, _LINE_INCHES = 9.0, 0.078, 0.16  # the size of the text, and of a letter and a line, roughly
_LABEL_LETTERS, _TITLE_LETTERS, _PANEL_LETTERS = 44, 25, 30  # letters in a line; width of a panel without its numbers


def draw_intervals(rows: list[dict[str, Any]], metric: Metric, output: Path) -> Path:
    """Draw the rows of compare.compare: interquartile means, their 95 % intervals, and each seed as a dot.

    Raises TensorqError if there is nothing to draw, or output cannot be written.
    """
    rows = [row for row in rows if row["returns"]]
    if not rows:
        raise TensorqError("nothing to draw: none of these runs has been evaluated yet")
    names = [label(row["preset"], row["unusual"]) for row in rows]
    labels = {name: textwrap.fill(name, _LABEL_LETTERS) for name in names}
    titles = {row["env"]: textwrap.fill(row["env"].removesuffix(":"), _TITLE_LETTERS) for row in rows}
    down = -(-len(titles) // _COLUMNS)
    columns = -(-len(titles) // down)
    # The page is about as large as its texts need; matplotlib places them.
    mean_letters, interval_letters = (max(map(len, texts)) for texts in zip(*map(_numbers, rows), strict=True))
    title_lines, label_lines = (max(text.count("\n") + 1 for text in texts.values()) for texts in (titles, labels))
    letters = min(_LABEL_LETTERS, max(map(len, names))) + columns * (_PANEL_LETTERS + mean_letters + interval_letters)
    height = 0.4 + down * (0.6 + _LINE_INCHES * (title_lines + len(labels) * (label_lines + 0.6)))
    page, (figure,) = new_page([height], max(WIDTH_INCHES, _LETTER_INCHES * letters))
    panels: dict[str, Axes] = {}
    for index, (env, title) in enumerate(titles.items()):
        panels[env] = axes = figure.add_subplot(down, columns, index + 1)
        axes.set(ylim=(len(labels) - 0.5, -0.5), yticks=range(len(labels)))
        axes.set_yticklabels(labels.values() if index % columns == 0 else [])
        axes.set_title(title, fontsize=11, color=INK, loc="left")
        dress(axes.xaxis, 3)
        axes.tick_params(labelsize=_POINTS)
    for row, name in zip(rows, names, strict=True):
        _draw_row(panels[row["env"]], row, list(labels).index(name), 9 + 0.64 * _POINTS * mean_letters)
    figure.supxlabel(_caption(rows, metric), fontsize=_POINTS, color=INK)
    return save(page, output)


def _draw_row(axes: Axes, row: dict[str, Any], y: int, beside_points: float) -> None:
    """Draw the seeds, interval and mean of a setting at height y, and the numbers so many points beside the axes."""
    axes.plot(row["returns"], [y] * len(row["returns"]), ".", color=GREY, alpha=0.6, markeredgewidth=0)
    if row["interquartile_low"] is not None:
        interval = row["interquartile_low"], row["interquartile_high"]
        axes.plot(interval, [y, y], color=BLUE, linewidth=6, alpha=0.45, solid_capstyle="butt")
    axes.plot(row["interquartile_mean"], y, "|", color=BLUE, markersize=11, markeredgewidth=2.2)
    for text, side, points, colour in zip(_numbers(row), ("right", "left"), (0, 9), (INK, SOFT_INK), strict=True):
        axes.annotate(
            text, (1, y), (beside_points + points, 0), ("axes fraction", "data"), "offset points", fontsize=_POINTS,
            color=colour, ha=side, va="center_baseline", annotation_clip=False,
        )  # fmt: skip


def _numbers(row: dict[str, Any]) -> list[str]:
    """The interquartile mean and its interval, as text with minus signs."""
    return [text.replace("-", "\N{MINUS SIGN}") for text in mean_and_interval(row)]


def _caption(rows: list[dict[str, Any]], metric: Metric) -> str:
    """The caption, which mentions intervals only if there are some."""
    several = [row["interquartile_low"] is not None for row in rows]
    if not any(several):
        return f"{METRIC_NAMES[metric]} of one seed"
    of_which = "" if all(several) else " if there are several"
    return f"{METRIC_NAMES[metric]}: interquartile mean over seeds, 95 % bootstrap interval{of_which}"
