"""The comparison of settings, as a table in a terminal or as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from tensorq.evaluation.compare import ALL_ENVIRONMENTS, METRIC_NAMES, Metric
from tensorq.runs.history import short
from tensorq.show.console import new_table, print_table
from tensorq.show.numbers import format_number, format_return

if TYPE_CHECKING:
    from rich.table import Table


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
        low, high = row["interquartile_low"], row["interquartile_high"]
        as_text = formatter(row["env"])
        interval = "" if low is None else f"{as_text(low)} to {as_text(high)}"
        unusual = [f"  {name} {short(value)}" for name, value in row["unusual"].items()]
        unfinished = [f"{row['unfinished']} unfinished"] if row["unfinished"] else []
        table.add_row(
            "\n".join([f"{row['env']} {row['preset']}", *unusual]),
            "\n".join([str(len(row["seeds"])), *unfinished]),
            format_number(row["steps"], ",.0f"),
            f"{as_text(row['interquartile_mean'])}\n{interval}",
            f"{as_text(row['worst_return'])}\n{'' if row['worst_seed'] is None else row['worst_seed']}",
            f"{format_number(row['seconds'], '.1f')}\n{format_number(row['steps_per_second'], ',.0f')}",
        )
    return table


def formatter(env: str) -> Callable[[Any], str]:
    """The function that writes returns of an environment as text."""
    return (lambda value: format_number(value, ".3f")) if env == ALL_ENVIRONMENTS else format_return
