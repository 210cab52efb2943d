"""Comparison of settings, read from run folders or tables of returns."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tensorq.errors import TensorqError
from tensorq.evaluation.statistics import interquartile_mean, interquartile_mean_interval
from tensorq.paths import shown
from tensorq.runs.directory import finite_number
from tensorq.runs.history import History, SeedGroup, group_by_setting, label

Metric = Literal["best", "final", "average"]
METRIC_NAMES = {"best": "best greedy return", "final": "last greedy return", "average": "mean of greedy returns"}
ALL_ENVIRONMENTS = "all, normalised:"

# The return of uniformly random actions (mean of 1 000 episodes, seeds 0 to 999), and Gymnasium's reward threshold.
# They are 0 and 1 of the normalised return, which makes environments comparable.
REFERENCE_RETURNS = {
    "CartPole-v1": (22.2, 475.0),
    "Acrobot-v1": (-499.1, -100.0),
    "MountainCar-v0": (-200.0, -110.0),
    "LunarLander-v3": (-181.7, 200.0),
}


def compare(paths: Sequence[Path], metric: Metric = "best") -> list[dict[str, Any]]:
    """One row for each setting, as a plain dict (None for missing values).

    Args:
        paths: run folders, and tables of returns: .csv files with the columns env, setting, seed and METRIC_return.
        metric: which greedy return of a seed counts: the kept best agent's, the last one, or the mean of all.

    If `paths` have several environments of REFERENCE_RETURNS, a setting that was run in all of them gets one more row,
    of normalised returns. It takes the first seeds of each environment, as many as the one with the fewest has.
    """
    files = [path for path in paths if path.suffix == ".csv"]
    folders = [path for path in paths if path.suffix != ".csv"]
    rows = [_row_of_setting(each, metric) for each in group_by_setting(folders)] if folders or not files else []
    for file in files:
        rows += _rows_of_file(file, metric)
    return rows + _rows_of_all_environments(rows)


def _row(
    env: str,
    preset: str,
    returns: Sequence[tuple[Any, float | None]],
    runs: list[str],
    strata: Sequence[Sequence[float]] | None = None,
    **others: Any,
) -> dict[str, Any]:
    """Make a row of statistics of pairs (seed, return). `seeds` are those with a return, in the order of `returns`.

    The interval is that of `strata`, which together are all returns. One seed has no spread, and so no interval.
    """
    known = [(value, seed) for seed, value in returns if value is not None]
    values = [value for value, _ in known]
    worst_return, worst_seed = min(known, key=lambda pair: pair[0], default=(None, None))
    strata = strata or [values]
    low, high = interquartile_mean_interval(strata) if min(map(len, strata)) > 1 else (None, None)
    return {
        "env": env,
        "preset": preset,
        "changes": {},
        "unusual": {},
        "unfinished": 0,
        "steps": None,
        "seeds": [seed for _, seed in known],
        "returns": values,
        "mean": _mean(values),
        "interquartile_mean": interquartile_mean(values) if values else None,
        "interquartile_low": low,
        "interquartile_high": high,
        "worst_return": worst_return,
        "worst_seed": worst_seed,
        "seconds": None,
        "steps_per_second": None,
        "runs": runs,
        **others,
    }


def _row_of_setting(setting: SeedGroup, metric: Metric) -> dict[str, Any]:
    runs = setting.runs
    results = [run.result for run in runs if run.result is not None]
    return _row(
        setting.env,
        setting.preset,
        [(run.settings.get("seed"), greedy_return(run, metric)) for run in runs],
        [str(run.path) for run in runs],
        changes=setting.changes,
        unusual=setting.unusual,
        unfinished=len(runs) - len(results),
        steps=_mean(run.metrics["steps"].max(initial=0.0) for run in runs),
        seconds=_mean(result.get("seconds") for result in results),
        steps_per_second=_mean(result.get("steps_per_second") for result in results),
    )


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
    cells: dict[tuple[str, str], dict[str, tuple[int, dict[str, str]]]] = {}  # (env, setting) -> seed -> line and row
    for line, row in numbered:
        if not (row["env"] and row["setting"]):
            raise TensorqError(f"line {line} of {file} has no env and setting")
        first, _ = cells.setdefault((row["env"], row["setting"]), {}).setdefault(row["seed"], (line, row))
        if first != line:
            text = f"warning: line {line} of {file} is left out: line {first} has the same env, setting and seed"
            print(shown(text), file=sys.stderr)
    environments = list(dict.fromkeys(env for env, _ in cells))  # rows of one environment stay together
    return [
        _row(
            env,
            setting,
            [(seed, finite_number(row[column])) for seed, (_, row) in cell.items()],
            [str(file)],
            steps=_mean(row.get("steps") for _, row in cell.values()),
            seconds=_mean(row.get("seconds") for _, row in cell.values()),
        )
        for (env, setting), cell in sorted(cells.items(), key=lambda named: environments.index(named[0][0]))
    ]


def _rows_of_all_environments(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of normalised returns, for settings that were run in every environment with reference returns."""
    by_setting: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        if row["env"] in REFERENCE_RETURNS and row["returns"]:
            by_setting.setdefault(label(row["preset"], row["unusual"]), []).append(row)
    environments = {row["env"] for found in by_setting.values() for row in found}
    together = []
    for found in by_setting.values():
        if len(environments) < 2 or sorted(row["env"] for row in found) != sorted(environments):
            continue
        count = min(len(row["returns"]) for row in found)  # all environments count equally
        strata, pooled = [], []
        for row in found:
            low, high = REFERENCE_RETURNS[row["env"]]
            strata.append([(value - low) / (high - low) for value in row["returns"][:count]])
            pooled += list(zip(row["seeds"][:count], strata[-1], strict=True))
        together.append(
            _row(
                ALL_ENVIRONMENTS,
                found[0]["preset"],
                pooled,
                [run for row in found for run in row["runs"]],
                strata,
                unusual=found[0]["unusual"],
                unfinished=sum(row["unfinished"] for row in found),
                worst_seed=None,
            )
        )
    return together


def greedy_return(run: History, metric: Metric) -> float | None:
    """The greedy return of a run that counts by this metric; None if it has not been evaluated."""
    returns = run.evaluations[1]
    if metric == "best":
        best = (run.result or {}).get("best")
        kept = finite_number(best.get("mean_return")) if isinstance(best, dict) else None
        return kept if kept is not None or not returns.size else float(returns.max())
    if not returns.size:
        return None
    return float(returns[-1] if metric == "final" else returns.mean())


def _mean(values: Iterable[Any]) -> float | None:
    """The mean of the values that are finite numbers; None if there are none."""
    known = [number for value in values if (number := finite_number(value)) is not None]
    return float(np.mean(known)) if known else None
