"""How the pictures of returns look: their colours, axes and texts, and how they are written."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tensorq.errors import TensorqError
from tensorq.runs.checkpoint import require_folder, write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure, SubFigure

# Okabe and Ito's colours, which colour-blind eyes can tell apart.
BLUE, VERMILION, GREEN, GREY, INK, SOFT_INK = "#0072B2", "#D55E00", "#009E73", "#8A919B", "#2B3036", "#5B626B"
WIDTH_INCHES, HEIGHT_INCHES, DPI = 8.0, 4.6, 150  # text stays legible when a page shows a picture 700 pixels wide
LEGEND_LETTERS = 92  # of all labels, with 6 for the line before each: so many fit into the width


def new_page(heights_inches: Sequence[float], width_inches: float = WIDTH_INCHES) -> tuple[Figure, list[SubFigure]]:
    """A white page of parts below each other; matplotlib makes room for the texts of their subplots."""
    # Not pyplot: it keeps figures alive, looks for a display, and takes longer to import.
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    layout = ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.08, wspace=0.0, hspace=0.0)
    page = Figure(figsize=(width_inches, sum(heights_inches)), dpi=DPI, facecolor="white", layout=layout)
    parts = page.subfigures(len(heights_inches), 1, height_ratios=heights_inches, squeeze=False)
    return page, list(parts[:, 0])


def dress_returns(axes: Axes, lowest: Axes, title: str, details: str, unit: str, solved_return: float | None) -> None:
    """Add title, legend, labels and the line of the solved return; `lowest` are the axes with the steps' numbers."""
    if solved_return is not None:
        label = f"solved, {solved_return:g}"
        axes.axhline(solved_return, color=GREEN, linewidth=1.4, linestyle=(0, (5, 3)), label=label)
    labels = axes.get_legend_handles_labels()[1]
    title = textwrap.fill(title, 52 - 3 * len(details) // 5, max_lines=2, placeholder="...")  # beside the details
    axes.legend(
        title=title, title_fontproperties={"size": 14, "weight": "bold"}, alignment="left", fontsize=10,
        ncols=len(labels) if sum(len(label) + 6 for label in labels) <= LEGEND_LETTERS else 1,
        loc="lower left", bbox_to_anchor=(0, 1), handlelength=1.6, handletextpad=0.6, columnspacing=1.2, borderpad=0,
        frameon=False,
    )  # fmt: skip
    axes.annotate(
        details, (1, 1), (0, -18), ("axes fraction", "subfigure fraction"), "offset points", color=SOFT_INK,
        fontsize=10, ha="right", annotation_clip=False, in_layout=False,
    )  # fmt: skip
    axes.set_ylabel(unit, fontsize=11)
    lowest.set_xlabel("environment steps", fontsize=11)
    axes.margins(x=0.01, y=0.04)
    axes.set_xlim(left=0)
    dress(axes.yaxis, 6)
    dress(lowest.xaxis, 6)


def dress(axis: Axis, most_numbers: int) -> None:
    """Give an axis its grid and short, round numbers, and its axes the look of all pictures."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    def write(value: float, _: int) -> str:
        largest = max(map(abs, axis.get_view_interval()))
        units = ((1e9, " G"), (1e6, " M"), (1e3, " k"))
        size, unit = next((pair for pair in units if largest >= max(pair[0], 1e4)), (1, ""))
        return f"{value / size:.6g}{unit if value else ''}".replace("-", "\N{MINUS SIGN}")

    axis.set_major_locator(MaxNLocator(most_numbers, steps=[1, 2, 5, 10]))  # a step of 2.5 would take more digits
    axis.set_major_formatter(FuncFormatter(write))
    axis.grid(color="#E4E7EB", linewidth=0.8)
    axis.axes.set_axisbelow(True)
    axis.axes.tick_params(colors=INK, labelsize=10, length=0)
    axis.axes.spines[:].set(visible=False, color="#B8BEC6")
    axis.axes.spines.bottom.set_visible(True)


def check_output(output: Path) -> None:
    """Raise TensorqError for a file to which no picture can be written."""
    if output.suffix.lower() not in (".png", ".svg", ".pdf"):
        raise TensorqError(f"cannot draw to {str(output)!r}: give a file name that ends in .png, .svg or .pdf")
    require_folder(output)


def save(figure: Figure, output: Path) -> Path:
    """Write a figure in the format of the file's name, whole or not at all; returns the file."""
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        text.set_parse_math(False)  # text between two $ is not mathematics
    picture = io.BytesIO()
    figure.savefig(picture, format=output.suffix[1:].lower())
    write_atomically(output, picture.getvalue())
    return output
