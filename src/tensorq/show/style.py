"""How the pictures of returns look: their colours, axes and texts, and how they are written."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tensorq.errors import TensorqError
from tensorq.runs.checkpoint import require_folder, write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

FloatArray = npt.NDArray[np.float64]

# Okabe and Ito's colours, which colour-blind eyes can tell apart.
BLUE, VERMILION, GREEN, GREY, INK, SOFT_INK = "#0072B2", "#D55E00", "#009E73", "#8A919B", "#2B3036", "#5B626B"
SIZE_INCHES, DPI = (8.0, 4.6), 150  # text keeps a legible size when a page shows the picture 700 pixels wide
LEFT, WIDTH = 0.104, 0.861  # of the axes, as shares of the width


def new_figure(height_inches: float = SIZE_INCHES[1]) -> Figure:
    """A white page of the width that all curves have."""
    # Not pyplot: it keeps figures alive, looks for a display, and takes longer to import.
    from matplotlib.figure import Figure

    return Figure(figsize=(SIZE_INCHES[0], height_inches), dpi=DPI, facecolor="white")


def draw_solved(axes: Axes, solved_return: float | None) -> None:
    """A line at the return from which an environment counts as solved, where it has one."""
    if solved_return is not None:
        axes.axhline(
            solved_return, color=GREEN, linewidth=1.4, linestyle=(0, (5, 3)), label=f"solved, {solved_return:g}"
        )


def limit_returns(axes: Axes, values: FloatArray, lines: FloatArray, solved_return: float | None) -> None:
    """Show the lines whole, and all but the very worst values: one disaster must not flatten the curve."""
    low, high = min(float(np.quantile(values, 0.005)), float(lines.min())), float(max(values.max(), lines.max()))
    if solved_return is not None:
        low, high = min(low, solved_return), max(high, solved_return)
    room = 0.04 * (high - low) or 0.9
    axes.set_ylim(low - room, high + room)


def dress(
    figure: Figure | SubFigure,
    axes: Axes,
    lowest: Axes,
    title: str,
    details: str,
    unit: str,
    columns: int | None = None,
) -> None:
    """Title, legend, labels and grid, the same for all pictures."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    right, top = LEFT + WIDTH, 1.0 - 0.253 * DPI / figure.bbox.height
    figure.text(LEFT, top, escaped(title), fontsize=14, fontweight="bold", color=INK)
    figure.text(right, top, escaped(details), fontsize=10, color=SOFT_INK, ha="right")
    handles, labels = axes.get_legend_handles_labels()
    legend = figure.legend(
        handles, labels, loc="upper left", bbox_to_anchor=(LEFT - 0.012, top), ncols=columns or len(handles),
        fontsize=10, frameon=False, handlelength=1.6, columnspacing=1.6, borderaxespad=0.3,
    )  # fmt: skip
    for handle in legend.legend_handles:
        if handle is not None and handle.get_alpha():
            handle.set_alpha(0.6)  # a single dot as pale as those of the cloud could not be seen
    axes.set_ylabel(unit, color=INK, fontsize=11)
    lowest.set_xlabel("environment steps", color=INK, fontsize=11)
    lowest.xaxis.set_major_locator(MaxNLocator(6))
    lowest.xaxis.set_major_formatter(
        FuncFormatter(lambda value, _: f"{value:,.0f}" if value < 1e6 else f"{value / 1e6:g} M")
    )
    largest = max(map(abs, axes.get_ylim()))
    axes.yaxis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 5, 10]))  # a step of 2.5 would take more digits
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: tick(value, largest)))
    for part in {axes, lowest}:
        part.grid(axis="y" if part is axes else "x", color="#E4E7EB", linewidth=0.8)
        part.set_axisbelow(True)
        part.tick_params(colors=INK, labelsize=10, length=0)
        for side, spine in part.spines.items():
            spine.set_visible(side == "bottom")
            spine.set_color("#B8BEC6")


def tick(value: float, largest: float) -> str:
    """A number on an axis, in as few letters as tell it from the next."""
    size, unit = next((pair for pair in ((1e9, " G"), (1e6, " M"), (1e3, " k")) if largest >= 10 * pair[0]), (1, ""))
    return f"{value / size:.6g}{unit if value else ''}".replace("-", "\N{MINUS SIGN}")


def escaped(text: str) -> str:
    """The text as it is: matplotlib would take what stands between two $ for mathematics."""
    return text.replace("$", r"\$")


def check_output(output: Path) -> None:
    """Raise TensorqError for a file that cannot be drawn to."""
    if output.suffix.lower() not in (".png", ".svg", ".pdf"):
        raise TensorqError(f"cannot draw to {str(output)!r}: give a file name that ends in .png, .svg or .pdf")
    require_folder(output)


def save(figure: Figure, output: Path) -> Path:
    """Write a figure in the format of the file's name, whole or not at all; returns the file."""
    picture = io.BytesIO()
    options: dict[str, Any] = {"pil_kwargs": {"compress_level": 5}} if output.suffix.lower() == ".png" else {}
    figure.savefig(picture, format=output.suffix[1:].lower(), **options)
    write_atomically(output, picture.getvalue())
    return output
