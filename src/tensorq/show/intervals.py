"""Settings side by side as a picture: a panel for each environment, an interval for each setting."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tensorq.errors import TensorqError
from tensorq.show.curve import BLUE, GREY, INK, check_output, save
from tensorq.show.settings import label
from tensorq.show.tables import ALL_ENVIRONMENTS

_PANEL_INCHES, _LABEL_INCHES_A_LETTER, _ROW_INCHES, _DPI = 2.9, 0.082, 0.27, 150
_GAP_INCHES = 0.3
_TITLE_INCHES_A_LETTER = 0.07


def draw_intervals(rows: list[dict[str, Any]], title: str, output: Path) -> Path:
    """Draw the rows that tables.compare returns: interquartile means, their 95 % intervals, and each seed as a dot.

    Raises TensorqError where there is nothing to draw, or output is no .png, .svg or .pdf that can be written.
    """
    from matplotlib.figure import Figure

    check_output(output)
    rows = [row for row in rows if row["returns"]]
    if not rows:
        raise TensorqError("nothing to draw: none of these runs has been evaluated yet")
    environments = list(dict.fromkeys(row["env"] for row in rows))
    labels = list(dict.fromkeys(label(row["preset"], row["unusual"]) for row in rows))
    left = 0.3 + _LABEL_INCHES_A_LETTER * max(map(len, labels))
    width = left + max(_PANEL_INCHES * len(environments), _TITLE_INCHES_A_LETTER * len(title))
    height = 0.95 + _ROW_INCHES * len(labels)
    figure = Figure(figsize=(width, height), dpi=_DPI, facecolor="white")
    for index, env in enumerate(environments):
        x = (left + _PANEL_INCHES * index) / width
        axes = figure.add_axes((x, 0.55 / height, (_PANEL_INCHES - _GAP_INCHES) / width, 1 - 0.95 / height))
        for row in (row for row in rows if row["env"] == env):
            y = labels.index(label(row["preset"], row["unusual"]))
            axes.plot(row["returns"], [y] * len(row["returns"]), ".", color=GREY, alpha=0.45, markeredgewidth=0)
            if row["interquartile_low"] is not None:
                axes.plot([row["interquartile_low"], row["interquartile_high"]], [y, y], color=BLUE, linewidth=6,
                          alpha=0.45, solid_capstyle="butt")  # fmt: skip
            axes.plot(row["interquartile_mean"], y, "|", color=BLUE, markersize=11, markeredgewidth=2.2)
        axes.set(ylim=(len(labels) - 0.4, -0.6), yticks=range(len(labels)))
        axes.set_yticklabels([name.replace("$", r"\$") for name in labels] if index == 0 else [], color=INK)
        name = "all, normalised" if env == ALL_ENVIRONMENTS else env
        axes.set_title(name, fontsize=11, color=INK, loc="left")
        axes.grid(axis="x", color=GREY, alpha=0.25)
        axes.locator_params(axis="x", nbins=5)
        axes.tick_params(length=0, labelsize=9, colors=INK)
        for spine in axes.spines.values():
            spine.set(color=GREY, alpha=0.25)
    figure.text(left / width, 0.12 / height, title, fontsize=9, color=INK)
    return save(figure, output)
