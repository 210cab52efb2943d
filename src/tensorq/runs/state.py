"""An overview of the runs in a folder: the progress, best return and disk space of each."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tensorq.errors import TensorqError
from tensorq.paths import shown
from tensorq.runs.checkpoint import Checkpoints
from tensorq.runs.directory import finite_number, read_result
from tensorq.runs.saved import SavedRun


@dataclass(frozen=True)
class RunState:
    """An overview of one run. A `stopped` run can be resumed; `problem` says what is wrong with a `damaged` one."""

    run: Path
    state: Literal["finished", "stopped", "training", "damaged"]
    steps: int = 0
    planned_steps: int | None = None
    best_return: float | None = None
    solved: bool | None = None
    seconds: float | None = None
    env: str | None = None
    preset: str | None = None
    seed: int | None = None
    disk_bytes: int = 0
    problem: str | None = None

    @property
    def steps_text(self) -> str:
        """Steps done, and the planned steps if the run is not finished."""
        planned = "" if self.state == "finished" or not self.planned_steps else f" of {self.planned_steps:,}"
        return f"{self.steps:,}{planned}"


def look(run: SavedRun) -> RunState:
    """Read the state of a run from its folder. Never raises TensorqError: a run that cannot be read is `damaged`."""
    disk_bytes = _disk_bytes(run.path)
    try:
        config, result, locked = run.config, read_result(run.path), run.files.is_locked()
        reached = _progress(run) if locked or result is None else _reached(result)
    except TensorqError as error:
        return RunState(run.path, "damaged", disk_bytes=disk_bytes, problem=str(error))
    return RunState(
        run=run.path,
        state="training" if locked else "stopped" if result is None else "finished",
        planned_steps=config.steps,
        env=config.environment_name,
        preset=config.preset,
        seed=config.seed,
        disk_bytes=disk_bytes,
        **reached,
    )


def _reached(result: Mapping[str, Any]) -> dict[str, Any]:
    """The outcome of a finished run."""
    best, solved = result.get("best"), result.get("solved")
    return {
        "steps": int(finite_number(result.get("steps")) or 0),
        "best_return": finite_number(best.get("mean_return")) if isinstance(best, Mapping) else None,
        "solved": solved if isinstance(solved, bool) else None,
        "seconds": finite_number(result.get("seconds")),
    }


def _progress(run: SavedRun) -> dict[str, Any]:
    """The progress of an unfinished run; its first rows may not be written yet."""
    steps = Checkpoints(run.files.checkpoints_path).newest_steps()
    if not os.path.lexists(run.files.metrics_path):
        return {"steps": steps}
    table = run.metrics
    columns = (table.get(name, np.empty(0)) for name in ("steps", "evaluation_return"))
    done, returns = (column[np.isfinite(column)] for column in columns)
    return {
        "steps": max(steps, int(done.max(initial=0))),
        "best_return": float(returns.max()) if returns.size else None,
    }


def _disk_bytes(folder: Path) -> int:
    """Bytes that a folder takes on disk; links are not followed, and files that are deleted meanwhile do not count."""
    total = 0
    for place, _, files in os.walk(folder):
        for name in files:
            with contextlib.suppress(OSError):
                status = os.lstat(os.path.join(place, name))
                total += 512 * status.st_blocks if hasattr(status, "st_blocks") else status.st_size
    return total


def find_runs(folder: Path) -> list[SavedRun]:
    """The runs in a folder and its subfolders, or the folder itself if it is a run; seed 2 comes before seed 10."""
    if not folder.is_dir():
        raise TensorqError(f"there is no folder {folder}; expected a folder of runs, as `tensorq train` makes it")
    if _is_run(folder):
        return [SavedRun(folder)]
    found = []
    for entry in _folders(folder):
        found += [entry] if _is_run(entry) else [inner for inner in _folders(entry) if _is_run(inner)]
    return [SavedRun(path) for path in sorted(found, key=_natural)]


def _natural(path: Path) -> list[str | int]:
    """A key that sorts seed2 before seed10: text and numbers in turn."""
    return [int(part) if place % 2 else part for place, part in enumerate(re.split("([0-9]+)", str(path)))]


def _is_run(folder: Path) -> bool:
    return any(os.path.lexists(folder / name) for name in ("config.json", "metrics.csv"))


def _folders(folder: Path) -> list[Path]:
    try:
        return [entry for entry in folder.iterdir() if entry.is_dir()]
    except OSError as error:
        print(shown(f"warning: {folder} is left out: {error.strerror}"), file=sys.stderr)
        return []
