"""Runs side by side: from their folders or a table of returns, gathered by setting, shown as a table or as JSON."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from tensorq.errors import TensorqError
from tensorq.evaluation.statistics import interquartile_mean, interquartile_mean_interval
from tensorq.runs import directory
from tensorq.runs.directory import read_config, read_result
from tensorq.runs.tables import read_table
from tensorq.show.numbers import finite_number, format_number

if TYPE_CHECKING:
    from rich.table import Table

FloatArray = npt.NDArray[np.float64]
Metric = Literal["best", "final", "average"]
METRIC_NAMES = {"best": "best greedy return", "final": "last greedy return", "average": "mean of greedy returns"}
ALL_ENVIRONMENTS = "all, normalised:"


@dataclass(frozen=True)
class SavedRun:
    """What a run folder says: its settings, tables and, once it is finished, its result."""

    path: Path
    config: dict[str, Any]
    setting: dict[str, Any]  # config without the seed, and what else makes runs differ in more than luck
    solved_return: float | None
    metrics: dict[str, FloatArray]
    episodes: dict[str, FloatArray]
    result: dict[str, Any] | None

    @property
    def evaluations(self) -> tuple[FloatArray, FloatArray]:
        """Steps and mean returns of the greedy evaluations."""
        done = np.isfinite(self.metrics["evaluation_return"])
        return self.metrics["steps"][done], self.metrics["evaluation_return"][done]


@dataclass(frozen=True)
class Setting:
    """Runs that differ in nothing but their seed.

    `changes` is what sets them apart from others of their environment and preset, `unusual` the part of it that most of
    those do otherwise.
    """

    env: str
    preset: str
    changes: dict[str, Any]
    unusual: dict[str, Any]
    runs: list[SavedRun]

    @property
    def label(self) -> str:
        """How to call it in a legend that names the environment elsewhere."""
        return label(self.preset, self.unusual)


def read_run(run_dir: Path) -> SavedRun:
    """Read a run folder, finished or not; raises TensorqError for what is not one, or is damaged."""
    document = read_config(directory.open(run_dir).path)
    environment = document.get("environment")
    solved_return = environment.get("solved_return") if isinstance(environment, dict) else None
    if not (run_dir / "metrics.csv").exists():
        raise TensorqError(f"{run_dir} has no metrics.csv: its training never began, or the file was removed")
    metrics = read_table(run_dir / "metrics.csv")
    episodes = read_table(run_dir / "episodes.csv")
    for name, table, columns in (
        ("metrics.csv", metrics, ("steps", "epsilon", "evaluation_return")),
        ("episodes.csv", episodes, ("steps", "return")),
    ):
        missing = [column for column in columns if column not in table]
        if missing:
            raise TensorqError(f"{run_dir / name} has no column {missing[0]!r}; is it what `tensorq train` wrote?")
    config = document["config"]
    try:
        result = read_result(run_dir)
    except TensorqError as error:  # the tables say what it would
        print(f"warning: {error}", file=sys.stderr)
        result = {}
    return SavedRun(
        path=run_dir,
        config=config,
        setting={
            **{name: value for name, value in config.items() if name != "seed"},
            "network": document.get("network"),
            **(
                {f"environment.{name}": value for name, value in environment.items()}
                if isinstance(environment, dict)
                else {}
            ),
        },
        solved_return=finite_number(solved_return),
        metrics=metrics,
        episodes=episodes,
        result=result,
    )


def group_by_setting(run_dirs: Sequence[Path], check: Callable[[SavedRun], object] = lambda run: None) -> list[Setting]:
    """Read runs and gather those whose settings are equal apart from the seed, in the order given.

    Runs that cannot be read, or that `check` raises TensorqError for, are left out, and so is a seed that comes again
    in a setting: the same run twice would make an interval look too narrow. A line on stderr says so.
    """
    if not run_dirs:
        raise TensorqError("no runs given: name one or more run folders, such as runs/*")
    groups: dict[str, dict[Any, SavedRun]] = {}
    errors: list[TensorqError] = []
    for run_dir in run_dirs:
        try:
            run = read_run(run_dir)
            check(run)
        except TensorqError as error:
            errors.append(error)
            continue
        seed, group = run.config.get("seed"), groups.setdefault(json.dumps(run.setting, sort_keys=True), {})
        if (kept := group.setdefault(seed, run)) is not run:
            print(f"warning: {run_dir} is left out: the same setting and seed as {kept.path}", file=sys.stderr)
    if not groups and len(errors) == 1:
        raise errors[0]
    for left_out in errors:
        print(f"warning: left out: {left_out}", file=sys.stderr)
    if not groups:
        raise TensorqError(f"none of these {len(errors)} runs can be used")
    gathered = [list(group.values()) for group in groups.values()]
    settings = [runs[0].setting for runs in gathered]
    return [
        Setting(
            env=str(runs[0].config.get("env", "?")),
            preset=str(runs[0].config.get("preset", "?")),
            changes=_changes(runs[0].setting, settings, unusual=False),
            unusual=_changes(runs[0].setting, settings, unusual=True),
            runs=runs,
        )
        for runs in gathered
    ]


def _changes(setting: dict[str, Any], settings: Sequence[dict[str, Any]], *, unusual: bool) -> dict[str, Any]:
    """The fields in which settings of the same environment and preset differ, with their values in this one.

    `unusual` leaves out those whose value more than half of the settings have.
    """
    kin = [other for other in settings if all(other.get(name) == setting.get(name) for name in ("env", "preset"))]
    same = {name: sum(other.get(name) == value for other in kin) for name, value in setting.items()}
    most = len(kin) / 2 if unusual else len(kin) - 1
    return {name: value for name, value in setting.items() if same[name] <= most}


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
        form = ".3f" if row["env"] == ALL_ENVIRONMENTS else ".1f"
        interval = "" if low is None else f"{low:{form}} to {high:{form}}"
        unusual = [f"  {name} {short(value)}" for name, value in row["unusual"].items()]
        table.add_row(
            "\n".join([f"{row['env']} {row['preset']}", *unusual]),
            "\n".join([f"{len(row['seeds'])}", *([f"{row['unfinished']} unfinished"] if row["unfinished"] else [])]),
            format_number(row["steps"], ",.0f"),
            f"{format_number(row['interquartile_mean'], form)}\n{interval}",
            f"{format_number(row['worst_return'], form)}\n{'' if row['worst_seed'] is None else row['worst_seed']}",
            f"{format_number(row['seconds'], '.1f')}\n{format_number(row['steps_per_second'], ',.0f')}",
        )
    return table, rows


def print_table(paths: Sequence[Path], metric: Metric = "best") -> None:
    """Print the comparison for a person."""
    from rich.console import Console

    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console.width = 200  # a pipe has no width, and lines that are cut at 80 are of no use to anybody
    console.print(compare(paths, metric)[0])


def print_json(paths: Sequence[Path], metric: Metric = "best") -> None:
    """Print the comparison as a JSON list."""
    sys.stdout.write(json.dumps(compare(paths, metric)[1], indent=2, allow_nan=False) + "\n")


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
    try:
        with file.open(newline="", encoding="utf-8") as lines:
            reader = csv.DictReader(lines)
            found = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise TensorqError(f"{file} cannot be read: {error}") from error
    missing = [name for name in ("env", "setting", "seed", column) if name not in (reader.fieldnames or ())]
    if missing:
        raise TensorqError(f"{file} has no column {missing[0]!r}; expected env, setting, seed and {column}")
    cells: dict[tuple[str, str], list[dict[str, str]]] = {}
    for row in found:
        cells.setdefault((row["env"], row["setting"]), []).append(row)
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
        for (env, setting), cell in cells.items()
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
            bounds = interquartile_mean_interval(strata)
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
                    "interquartile_mean": interquartile_mean(pooled),
                    **dict(zip(("interquartile_low", "interquartile_high"), bounds, strict=True)),
                    "worst_return": min(pooled),
                    "worst_seed": None,
                    "seconds": None,
                    "steps_per_second": None,
                    "runs": [run for row in found for run in row["runs"]],
                }
            )
    return together


def _statistics(returns: Sequence[tuple[Any, float | None]]) -> dict[str, Any]:
    """What a row says of (seed, return); one seed has no spread to speak of, so it gets no interval."""
    there = [(value, seed) for seed, value in returns if value is not None]
    values = [value for value, _ in there]
    low, high = interquartile_mean_interval([values]) if len(values) > 1 else (None, None)
    worst_return, worst_seed = min(there, key=lambda pair: pair[0]) if there else (None, None)
    return {
        "seeds": [seed for seed, _ in returns],
        "returns": values,
        "mean": _mean(values),
        "interquartile_mean": interquartile_mean(values) if values else None,
        "interquartile_low": low,
        "interquartile_high": high,
        "worst_return": worst_return,
        "worst_seed": worst_seed,
    }


def label(preset: str, unusual: dict[str, Any]) -> str:
    """A setting in a line: its preset, and what sets it apart."""
    return " ".join([preset, *(f"{name}={short(value)}" for name, value in unusual.items())])


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


def short(value: Any) -> str:
    """A setting's value in few letters: sizes as 256x256, numbers without the digits that rounding has left."""
    if isinstance(value, (list, tuple)):
        return "x".join(map(str, value)) or "none"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
