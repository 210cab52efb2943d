"""Settings side by side, from runs' folders or tables of returns: as a table or as JSON."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from tensorq.errors import TensorqError
from tensorq.evaluation.statistics import interquartile_mean, interquartile_mean_interval
from tensorq.paths import shown
from tensorq.show.numbers import finite_number, format_number, format_return
from tensorq.show.settings import SavedRun, Setting, group_by_setting, label, short

if TYPE_CHECKING:
    from rich.table import Table

Metric = Literal["best", "final", "average"]
METRIC_NAMES = {"best": "best greedy return", "final": "last greedy return", "average": "mean of greedy returns"}
ALL_ENVIRONMENTS = "all, normalised:"


# What uniformly random actions earn (means of 1 000 episodes, seeds 0 to 999), and the reward threshold that Gymnasium
# registers: 0 and 1 of the normalised return, in which environments can be put together.
REFERENCE_RETURNS = {
    "CartPole-v1": (22.2, 475.0),
    "Acrobot-v1": (-499.1, -100.0),
    "MountainCar-v0": (-200.0, -110.0),
    "LunarLander-v3": (-181.7, 200.0),
}


def compare(paths: Sequence[Path], metric: Metric = "best") -> tuple[Table, list[dict[str, Any]]]:
    """One row for each setting: as a table to print, and as plain dicts (None where there is nothing to say).

    Args:
        paths: run folders, and tables of returns: .csv files with the columns env, setting, seed and METRIC_return.
        metric: which greedy return of a seed counts: the kept best agent's, the last one, or the mean of all.

    A setting that has been tried in several environments of REFERENCE_RETURNS, as each of them has, gets one more row
    for all of them, of normalised returns: the first ones of each, as many as the least tried has.
    """
    from rich import box
    from rich.table import Table

    rows = _rows(paths, metric)
    table = Table(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("setting", overflow="fold")
    title = f"{METRIC_NAMES[metric]}\nIQM, 95 % interval"  # interquartile mean
    for head in ("seeds", "steps", title, "worst\nseed", "seconds\nsteps/s"):
        table.add_column(head, justify="right", no_wrap=True)
    for row in rows:
        low, high = row["interquartile_low"], row["interquartile_high"]
        as_text = formatter(row["env"])
        interval = "" if low is None else f"{as_text(low)} to {as_text(high)}"
        unusual = [f"  {name} {short(value)}" for name, value in row["unusual"].items()]
        table.add_row(
            "\n".join([f"{row['env']} {row['preset']}", *unusual]),
            "\n".join([f"{len(row['seeds'])}", *([f"{row['unfinished']} unfinished"] if row["unfinished"] else [])]),
            format_number(row["steps"], ",.0f"),
            f"{as_text(row['interquartile_mean'])}\n{interval}",
            f"{as_text(row['worst_return'])}\n{'' if row['worst_seed'] is None else row['worst_seed']}",
            f"{format_number(row['seconds'], '.1f')}\n{format_number(row['steps_per_second'], ',.0f')}",
        )
    return table, rows


def formatter(env: str) -> Callable[[Any], str]:
    """What writes returns of an environment as text."""
    return (lambda value: format_number(value, ".3f")) if env == ALL_ENVIRONMENTS else format_return


def print_table(paths: Sequence[Path], metric: Metric = "best") -> list[dict[str, Any]]:
    """Print the comparison for a person; returns the rows."""
    from rich.console import Console

    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console.width = 200  # a pipe has no width, and lines that are cut at 80 are of no use to anybody
    table, rows = compare(paths, metric)
    console.print(table)
    return rows


def print_json(paths: Sequence[Path], metric: Metric = "best") -> list[dict[str, Any]]:
    """Print the comparison as a JSON list; returns the rows."""
    rows = compare(paths, metric)[1]
    sys.stdout.write(json.dumps(rows, indent=2, allow_nan=False) + "\n")
    return rows


def _rows(paths: Sequence[Path], metric: Metric) -> list[dict[str, Any]]:
    files = [path for path in paths if path.suffix == ".csv"]
    folders = [path for path in paths if path.suffix != ".csv"]
    rows = [_row(setting, metric) for setting in group_by_setting(folders)] if folders or not files else []
    for file in files:
        rows += _rows_of_file(file, metric)
    return rows + _rows_of_all_environments(rows)


def _row(setting: Setting, metric: Metric) -> dict[str, Any]:
    runs = setting.runs
    results = [run.result for run in runs if run.result is not None]
    return {
        "env": setting.env,
        "preset": setting.preset,
        "changes": setting.changes,
        "unusual": setting.unusual,
        "unfinished": len(runs) - len(results),
        "steps": _mean([float(run.metrics["steps"].max(initial=0.0)) for run in runs]),
        **_statistics([(run.config.get("seed"), _greedy_return(run, metric)) for run in runs]),
        "seconds": _mean([finite_number(result.get("seconds")) for result in results]),
        "steps_per_second": _mean([finite_number(result.get("steps_per_second")) for result in results]),
        "runs": [str(run.path) for run in runs],
    }


def _rows_of_file(file: Path, metric: Metric) -> list[dict[str, Any]]:
    """The rows of a table of returns; raises TensorqError for a file that is not one."""
    column = f"{metric}_return"
    if file.exists() and not file.is_file():
        raise TensorqError(f"{file} is not a regular file; expected a table of returns")
    try:
        with file.open(newline="", encoding="utf-8") as lines:
            reader = csv.DictReader(lines, restval="")
            numbered = [(reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise TensorqError(f"{file} cannot be read: {why}") from error
    missing = [name for name in ("env", "setting", "seed", column) if name not in (reader.fieldnames or ())]
    if missing:
        raise TensorqError(f"{file} has no column {missing[0]!r}; expected env, setting, seed and {column}")
    first_lines: dict[tuple[str, str, str], int] = {}
    cells: dict[tuple[str, str], list[dict[str, str]]] = {}
    for line, row in numbered:
        env, setting, seed = row["env"], row["setting"], row["seed"]
        if not (env and setting):
            raise TensorqError(f"line {line} of {file} has no env and setting")
        if (first := first_lines.setdefault((env, setting, seed), line)) != line:
            text = f"warning: line {line} of {file} is left out: env, setting and seed of line {first}"
            print(shown(text), file=sys.stderr)
        else:
            cells.setdefault((env, setting), []).append(row)
    environments = list(dict.fromkeys(env for env, _ in cells))  # one after the other, whatever was appended when
    return [
        {
            "env": env,
            "preset": setting,
            "changes": {},
            "unusual": {},
            "unfinished": 0,
            "steps": _mean([finite_number(row.get("steps")) for row in cell]),
            **_statistics([(row["seed"], finite_number(row[column])) for row in cell]),
            "seconds": _mean([finite_number(row.get("seconds")) for row in cell]),
            "steps_per_second": None,
            "runs": [str(file)],
        }
        for (env, setting), cell in sorted(cells.items(), key=lambda named: environments.index(named[0][0]))
    ]


def _rows_of_all_environments(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Normalised returns of the settings that were tried in every environment whose references are known."""
    by_setting: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        if row["env"] in REFERENCE_RETURNS and row["returns"]:
            by_setting.setdefault(label(row["preset"], row["unusual"]), []).append(row)
    environments = {row["env"] for found in by_setting.values() for row in found}
    together = []
    for found in by_setting.values():
        if len(environments) > 1 and {row["env"] for row in found} == environments and len(found) == len(environments):
            count = min(len(row["returns"]) for row in found)  # no environment may count for more than another
            strata = []
            for row in found:
                low, high = REFERENCE_RETURNS[row["env"]]
                strata.append([(value - low) / (high - low) for value in row["returns"][:count]])
            pooled = [value for values in strata for value in values]
            together.append(
                {
                    **found[0],
                    "env": ALL_ENVIRONMENTS,
                    "changes": {},
                    "unfinished": sum(row["unfinished"] for row in found),
                    "steps": None,
                    "seeds": [seed for row in found for seed in row["seeds"][:count]],
                    "returns": pooled,
                    "mean": _mean(pooled),
                    **_interquartile(strata),
                    "worst_return": min(pooled),
                    "worst_seed": None,
                    "seconds": None,
                    "steps_per_second": None,
                    "runs": [run for row in found for run in row["runs"]],
                }
            )
    return together


def _statistics(returns: Sequence[tuple[Any, float | None]]) -> dict[str, Any]:
    """What a row says of (seed, return); `seeds` are those that have a return, in the order of `returns`."""
    there = [(value, seed) for seed, value in returns if value is not None]
    values = [value for value, _ in there]
    worst_return, worst_seed = min(there, key=lambda pair: pair[0]) if there else (None, None)
    return {
        "seeds": [seed for _, seed in there],
        "returns": values,
        "mean": _mean(values),
        **_interquartile([values]),
        "worst_return": worst_return,
        "worst_seed": worst_seed,
    }


def _interquartile(strata: Sequence[Sequence[float]]) -> dict[str, Any]:
    """The interquartile mean of all values, and its interval; one seed has no spread to speak of, so it gets none."""
    values = [value for stratum in strata for value in stratum]
    low, high = interquartile_mean_interval(strata) if min(map(len, strata)) > 1 else (None, None)
    return {
        "interquartile_mean": interquartile_mean(values) if values else None,
        "interquartile_low": low,
        "interquartile_high": high,
    }


def _greedy_return(run: SavedRun, metric: Metric) -> float | None:
    returns = run.evaluations[1]
    if metric == "best":
        best = (run.result or {}).get("best")
        kept = finite_number(best.get("mean_return")) if isinstance(best, dict) else None
        return kept if kept is not None or not returns.size else float(returns.max())
    if not returns.size:
        return None
    return float(returns[-1] if metric == "final" else returns.mean())


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
