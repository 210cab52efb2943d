"""Settings side by side as a picture: a panel for each environment, an interval and its numbers for each setting."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tensorq.errors import TensorqError
from tensorq.evaluation.compare import ALL_ENVIRONMENTS, METRIC_NAMES, Metric
from tensorq.runs.history import label
from tensorq.show.style import BLUE, DPI, GREY, INK, SOFT_INK, escaped, save, tick
from tensorq.show.tables import formatter

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLUMNS = 3  # panels in a row: more, and a page that is 900 pixels wide makes the text too small to read
_WIDTH_INCHES, _LEAST_AXES_INCHES, _MOST_LABEL_INCHES = 8.0, 1.6, 3.0
_MARGIN_INCHES, _GAP_INCHES, _BELOW_INCHES = 0.2, 0.12, 0.36  # round the picture, beside axes, for ticks
_LINE_INCHES, _TITLE_LINE_INCHES, _ROW_GAP_INCHES = 0.16, 0.19, 0.09
_TEXT_POINTS, _TITLE_POINTS = 9.0, 11.0


def draw_intervals(rows: list[dict[str, Any]], metric: Metric, output: Path) -> Path:
    """Draw the rows that tables.compare returns: interquartile means, their 95 % intervals, and each seed as a dot.

    Raises TensorqError where there is nothing to draw, or output cannot be written.
    """
    from matplotlib.figure import Figure

    rows = [row for row in rows if row["returns"]]
    if not rows:
        raise TensorqError("nothing to draw: none of these runs has been evaluated yet")
    environments = list(dict.fromkeys(row["env"] for row in rows))
    names = list(dict.fromkeys(map(_name, rows)))
    labels = [_wrap(name, _TEXT_POINTS, _MOST_LABEL_INCHES) for name in names]
    down_panels = -(-len(environments) // _COLUMNS)
    columns = -(-len(environments) // down_panels)
    # Inches, from left to right: labels, and for each panel the axes, the means and the intervals.
    left = _MARGIN_INCHES + _widest(labels) + _GAP_INCHES
    means, intervals = (_widest(texts) for texts in zip(*map(_numbers, rows), strict=True))
    beside = means + (intervals + _GAP_INCHES if intervals else 0.0) + 2 * _GAP_INCHES + 0.1
    across = max(_LEAST_AXES_INCHES, (_WIDTH_INCHES - left) / columns - beside)
    width = left + columns * (across + beside)
    # From top to bottom: in each row of panels its title and a line for each setting; then the caption.
    titles = [_wrap("all, normalised" if env == ALL_ENVIRONMENTS else env, _TITLE_POINTS, across + beside - _GAP_INCHES)
              for env in environments]  # fmt: skip
    above = _TITLE_LINE_INCHES * max(title.count("\n") + 1 for title in titles) + 0.1
    down = len(names) * (_LINE_INCHES * max(text.count("\n") + 1 for text in labels) + _ROW_GAP_INCHES)
    caption = _wrap(_caption(rows, metric), _TEXT_POINTS, width - left - _MARGIN_INCHES)
    bottom = _LINE_INCHES * (caption.count("\n") + 1) + _MARGIN_INCHES
    height = bottom + down_panels * (above + down + _BELOW_INCHES)
    figure = Figure(figsize=(width, height), dpi=DPI, facecolor="white")
    for index, (env, title) in enumerate(zip(environments, titles, strict=True)):
        row, column = divmod(index, columns)
        x, y = left + column * (across + beside), height - (row + 1) * (above + down) - row * _BELOW_INCHES
        axes = figure.add_axes((x / width, y / height, across / width, down / height))
        axes.set(ylim=(len(names) - 0.5, -0.5), yticks=range(len(names)))
        axes.set_yticklabels(map(escaped, labels) if column == 0 else [])
        axes.set_title(escaped(title), fontsize=_TITLE_POINTS, color=INK, loc="left")
        for found in rows:
            if found["env"] == env:
                _draw_row(axes, found, names.index(_name(found)), means)
        _dress(axes)
    figure.text(left / width, 0.5 * _MARGIN_INCHES / height, caption, fontsize=_TEXT_POINTS, color=INK, va="bottom")
    return save(figure, output)


def _draw_row(axes: Axes, row: dict[str, Any], y: int, means_inches: float) -> None:
    """The seeds, interval and mean of a setting at height y, and the numbers beside the axes."""
    axes.plot(row["returns"], [y] * len(row["returns"]), ".", color=GREY, alpha=0.6, markeredgewidth=0)
    if row["interquartile_low"] is not None:
        axes.plot([row["interquartile_low"], row["interquartile_high"]], [y, y], color=BLUE, linewidth=6, alpha=0.45,
                  solid_capstyle="butt")  # fmt: skip
    axes.plot(row["interquartile_mean"], y, "|", color=BLUE, markersize=11, markeredgewidth=2.2)
    mean, interval = _numbers(row)
    end = _GAP_INCHES + means_inches
    for text, inches, side, colour in ((mean, end, "right", INK), (interval, end + _GAP_INCHES, "left", SOFT_INK)):
        axes.annotate(
            text, (1.0, y), xycoords=("axes fraction", "data"), xytext=(72 * inches, 0), textcoords="offset points",
            ha=side, va="center_baseline", fontsize=_TEXT_POINTS, color=colour, annotation_clip=False,
        )  # fmt: skip


def _dress(axes: Axes) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    largest = max(map(abs, axes.get_xlim()))
    axes.xaxis.set_major_locator(MaxNLocator(3, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: tick(value, largest)))
    axes.grid(axis="x", color=GREY, alpha=0.25)
    axes.tick_params(length=0, labelsize=_TEXT_POINTS, labelcolor=INK)
    for spine in axes.spines.values():
        spine.set(color=GREY, alpha=0.25)


def _name(row: dict[str, Any]) -> str:
    return label(row["preset"], row["unusual"])


def _numbers(row: dict[str, Any]) -> tuple[str, str]:
    """The interquartile mean and its interval, as text; of one seed there is no interval."""
    shown, low, high = formatter(row["env"]), row["interquartile_low"], row["interquartile_high"]
    interval = "" if low is None else f"{shown(low)} to {shown(high)}"
    mean = shown(row["interquartile_mean"])
    return mean.replace("-", "\N{MINUS SIGN}"), interval.replace("-", "\N{MINUS SIGN}")


def _caption(rows: list[dict[str, Any]], metric: Metric) -> str:
    """What is drawn: intervals only where there are some."""
    several = [row["interquartile_low"] is not None for row in rows]
    what = f"{METRIC_NAMES[metric]}: interquartile mean over seeds"
    if all(several):
        return f"{what}, 95 % bootstrap interval"
    return (
        f"{what}, 95 % bootstrap interval of more than one" if any(several) else f"{METRIC_NAMES[metric]} of one seed"
    )


def _wrap(text: str, points: float, inches: float) -> str:
    """The text in as many lines as its width needs at a size of letters."""
    lines: list[str] = []
    for letters in range(min(len(text), int(300 * inches / points)), 0, -1):
        lines = textwrap.wrap(text, letters)
        if all(_inches(line, points) <= inches for line in lines):
            break
    return "\n".join(lines)


def _widest(texts: Iterable[str]) -> float:
    return max(_inches(line, _TEXT_POINTS) for text in texts for line in text.split("\n"))


def _inches(line: str, points: float) -> float:
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    return float(text_to_path.get_text_width_height_descent(line, FontProperties(size=points), ismath=False)[0]) / 72
