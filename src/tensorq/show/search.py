"""The picture of a search: its trials in their order, which settings mattered, and the trials by each of these."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tensorq.evaluation.compare import METRIC_NAMES, Metric
from tensorq.runs.history import short
from tensorq.show.style import BLUE, GREY, INK, VERMILION, WIDTH_INCHES, dress, new_page, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SLICES = 4  # settings that are drawn one by one: the most important


def draw_search(
    trials: Sequence[Mapping[str, Any]],
    best: int,
    importances: Mapping[str, float],
    metric: Metric,
    output: Path,
) -> None:
    """Draw the trials of a search.

    Args:
        trials: as Search.trials has them.
        best: the number of the trial that was chosen.
        importances: of each setting, adding up to 1; nothing if they are unknown.
        metric: which return `value` is.
        output: the file.
    """
    shown = [each for each in trials if each["value"] is not None]
    slices = sorted(importances, key=lambda name: -importances[name])[:_SLICES]
    page, parts = new_page([3.4, *([2.6] if slices else [])], WIDTH_INCHES + 1)
    history, *others = np.ravel(
        parts[0].subplots(1, 2 if importances else 1, squeeze=False, width_ratios=[2, 1] if importances else [1])
    )
    _draw_trials(history, shown, best, [each["number"] for each in shown], labels=True)
    finished = [each for each in shown if each["state"] == "finished"]
    so_far = np.maximum.accumulate([each["value"] for each in finished])
    history.step([each["number"] for each in finished], so_far, where="post", color=BLUE, linewidth=1.2, alpha=0.6)
    history.set_title(f"{METRIC_NAMES[metric]}, mean over seeds", fontsize=11, color=INK, loc="left")
    history.set_xlabel("trial", fontsize=10)
    history.legend(fontsize=9, frameon=False, loc="lower right")
    dress(history.xaxis, 6)
    dress(history.yaxis, 5)
    for axes in others:
        names = sorted(importances, key=lambda name: importances[name])
        axes.barh(names, [importances[name] for name in names], color=BLUE, alpha=0.7)
        axes.set_title("importance (PED-ANOVA)", fontsize=11, color=INK, loc="left")
        dress(axes.xaxis, 3)
        axes.tick_params(labelsize=9)
    if slices:
        panels = np.ravel(parts[1].subplots(1, len(slices), sharey=True, squeeze=False))
        for axes, name in zip(panels, slices, strict=True):
            _draw_slice(axes, [each for each in shown if name in each["settings"]], name, best)
            dress(axes.yaxis, 4)
    save(page, output)


def _draw_slice(axes: Axes, trials: Sequence[Mapping[str, Any]], name: str, best: int) -> None:
    """The trials by their value of a setting: by its size if it is a number, else in columns."""
    values = [each["settings"][name] for each in trials]
    distinct = sorted(set(values))
    if all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values) and len(distinct) > 5:
        positions: list[float] = values
        if min(values) > 0 and max(values) > 20 * min(values):
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter("{x:g}")
            axes.xaxis.set_minor_formatter("")
            axes.grid(axis="x", color="#E4E7EB", linewidth=0.8)
        else:
            dress(axes.xaxis, 3)
    else:
        positions = [distinct.index(value) + 0.04 * (index % 7 - 3) for index, value in enumerate(values)]
        axes.set_xticks(range(len(distinct)), [str(short(value)) for value in distinct])
    _draw_trials(axes, trials, best, positions)
    axes.tick_params(labelsize=8)
    axes.set_title(name, fontsize=10, color=INK, loc="left")


def _draw_trials(
    axes: Axes, trials: Sequence[Mapping[str, Any]], best: int, positions: Sequence[float], *, labels: bool = False
) -> None:
    """Each trial as a mark at its position; the chosen one is a star."""
    looks: dict[str, tuple[list[bool], dict[str, Any]]] = {
        "given up": ([each["state"] == "pruned" for each in trials], {"marker": "x", "color": GREY, "s": 16}),
        "finished": ([each["state"] == "finished" for each in trials], {"color": BLUE, "s": 16, "alpha": 0.7}),
        "chosen": ([each["number"] == best for each in trials], {"marker": "*", "color": VERMILION, "s": 90}),
    }
    for label, (chosen, look) in looks.items():
        marks = [(x, each["value"]) for x, each, wanted in zip(positions, trials, chosen, strict=True) if wanted]
        if marks:
            axes.scatter(*zip(*marks, strict=True), label=label if labels else None, zorder=3, **look)
