"""Text for a terminal, a pipe or a program: tables, the comparison of settings, the returns of greedy episodes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tensorq.evaluation.compare import ALL_ENVIRONMENTS, METRIC_NAMES, Metric
from tensorq.evaluation.statistics import bootstrap_interval
from tensorq.paths import shown
from tensorq.runs.history import short
from tensorq.show.numbers import format_number, format_return

if TYPE_CHECKING:
    from rich.table import Table

    from tensorq.evaluation.play import Episodes

_PIPE_COLUMNS = 200  # a pipe has no width, and lines cut at 80 columns would lose text


def new_table(*left: str, right: Iterable[str]) -> Table:
    """An empty table with these headings; the columns on the right hold numbers."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False, padding=(0, 1, 0, 0))
    for heading in left:
        table.add_column(heading, overflow="fold")
    for heading in right:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def print_table(table: Table) -> None:
    """Print a table."""
    from rich.console import Console

    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console.width = _PIPE_COLUMNS
    console.print(table)


def print_rows(rows: Sequence[dict[str, Any]], metric: Metric, *, as_json: bool = False) -> None:
    """Print the rows of `compare`, for a person or as a JSON list."""
    if as_json:
        print(json.dumps(rows, indent=2, allow_nan=False))
    else:
        print_table(table_of(rows, metric))


def table_of(rows: Sequence[dict[str, Any]], metric: Metric) -> Table:
    """The rows of `compare`, as a table to print."""
    title = f"{METRIC_NAMES[metric]}\nIQM, 95 % interval"  # interquartile mean
    table = new_table("setting", right=("seeds", "steps", title, "worst\nseed", "seconds\nsteps/s"))
    for row in rows:
        unusual = [f"  {name} {short(value)}" for name, value in row["unusual"].items()]
        unfinished = [f"{row['unfinished']} unfinished"] if row["unfinished"] else []
        table.add_row(
            "\n".join([f"{row['env']} {row['preset']}", *unusual]),
            "\n".join([str(len(row["seeds"])), *unfinished]),
            format_number(row["steps"], ",.0f"),
            "\n".join(mean_and_interval(row)),
            f"{_formatter(row)(row['worst_return'])}\n{'' if row['worst_seed'] is None else row['worst_seed']}",
            f"{format_number(row['seconds'], '.1f')}\n{format_number(row['steps_per_second'], ',.0f')}",
        )
    return table


def mean_and_interval(row: dict[str, Any]) -> tuple[str, str]:
    """The interquartile mean of a row of `compare` and its interval, as text; one seed has no interval."""
    as_text, low, high = _formatter(row), row["interquartile_low"], row["interquartile_high"]
    return as_text(row["interquartile_mean"]), "" if low is None else f"{as_text(low)} to {as_text(high)}"


def _formatter(row: dict[str, Any]) -> Callable[[Any], str]:
    """The function that writes a row's returns as text."""
    return (lambda value: format_number(value, ".3f")) if row["env"] == ALL_ENVIRONMENTS else format_return


def print_episodes(run: Path, which: str, played: Episodes, as_json: bool) -> None:
    """Print the mean return of a run's agent, "best" or "last", with its interval; as JSON with every return."""
    low, high = bootstrap_interval(played.returns)
    worst, best, count = float(played.returns.min()), float(played.returns.max()), len(played.returns)
    if as_json:
        result = {"run": str(run), "which": which, "episodes": count, "mean": played.mean}
        result |= {"std": float(played.returns.std()), "interval": [low, high], "min": worst, "max": best}
        print(json.dumps({**result, "unfinished": played.unfinished, "returns": played.returns.tolist()}))
        return
    mean, *others = (format_return(value) for value in (played.mean, low, high, worst, best))
    print(f"{shown(run)}: the {which} agent's mean return over {count} greedy episodes is {mean} ", end="")
    print("(95 % interval {} to {}, worst {}, best {})".format(*others))
    if played.unfinished:
        print(f"{played.unfinished} episodes were cut at the step limit and scored as they stood")
