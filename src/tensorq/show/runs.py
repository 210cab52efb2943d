"""The runs in a folder at a glance: how far each has come, what it reached and what it takes on disk."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import html
import json
import os
import re
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from tensorq.config import Config
from tensorq.errors import TensorqError
from tensorq.paths import shown
from tensorq.runs.checkpoint import Checkpoints
from tensorq.runs.directory import RunDirectory, plain_data, read_config, read_result
from tensorq.runs.freeing import free_replay, replay_bytes
from tensorq.runs.tables import read_table
from tensorq.show.numbers import finite_number, format_bytes, format_return

if TYPE_CHECKING:
    from tensorq.envs.calls import EnvironmentMaker


@dataclass(frozen=True)
class RunState:
    """A run at a glance. `stopped` is a run that can be resumed; of a damaged one, `problem` says what is wrong."""

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

    def __str__(self) -> str:
        """State, steps and best return in a line."""
        if self.problem:
            return f"damaged ({self.problem})"
        best = "no greedy evaluation" if self.best_return is None else f"best return {format_return(self.best_return)}"
        return f"{self.state}, {self.steps_text} steps, {best}"

    @property
    def steps_text(self) -> str:
        """Steps done, and of how many where they are not all."""
        planned = "" if self.state == "finished" or not self.planned_steps else f" of {self.planned_steps:,}"
        return f"{self.steps:,}{planned}"


def look(run_dir: Path) -> RunState:
    """What a run's folder says, whatever state it is in: what cannot be read makes it damaged, and raises nothing."""
    run, disk_bytes = RunDirectory(run_dir), _disk_bytes(run_dir)
    try:
        config = Config.from_saved(read_config(run_dir)["config"])
        result = read_result(run_dir)
        locked = run.is_locked()
        reached = _progress(run) if locked or result is None else _reached(result)
    except TensorqError as error:
        return RunState(run_dir, "damaged", disk_bytes=disk_bytes, problem=str(error))
    return RunState(
        run=run_dir,
        state="training" if locked else "stopped" if result is None else "finished",
        planned_steps=config.steps,
        env=config.env,
        preset=config.preset,
        seed=config.seed,
        disk_bytes=disk_bytes,
        **reached,
    )


def _reached(result: Mapping[str, Any]) -> dict[str, Any]:
    """What a finished run has come to."""
    best, solved = result.get("best"), result.get("solved")
    return {
        "steps": int(finite_number(result.get("steps")) or 0),
        "best_return": finite_number(best.get("mean_return")) if isinstance(best, Mapping) else None,
        "solved": solved if isinstance(solved, bool) else None,
        "seconds": finite_number(result.get("seconds")),
    }


def _progress(run: RunDirectory) -> dict[str, Any]:
    """What a run has come to that is not finished; its first rows may not be written yet."""
    steps = Checkpoints(run.checkpoints_path).newest_steps()
    if not os.path.lexists(run.metrics_path):
        return {"steps": steps}
    table = read_table(run.metrics_path)
    columns = (table.get(name, np.empty(0)) for name in ("steps", "evaluation_return"))
    done, returns = (column[np.isfinite(column)] for column in columns)
    return {
        "steps": max(steps, int(done.max(initial=0))),
        "best_return": float(returns.max()) if returns.size else None,
    }


def _disk_bytes(folder: Path) -> int:
    """Bytes that a folder takes on disk; links are not followed, and files that vanish meanwhile take none."""
    total = 0
    for place, _, files in os.walk(folder):
        for name in files:
            with contextlib.suppress(OSError):
                status = os.lstat(os.path.join(place, name))
                total += 512 * status.st_blocks if hasattr(status, "st_blocks") else status.st_size
    return total


def find_runs(folder: Path) -> list[Path]:
    """The runs in a folder and in its subfolders, or the folder itself if it is one; seed 2 comes before seed 10."""
    if not folder.is_dir():
        raise TensorqError(f"there is no folder {folder}; expected one that holds runs, as `tensorq train` makes it")
    if _is_run(folder):
        return [folder]
    found = []
    for entry in _folders(folder):
        found += [entry] if _is_run(entry) else [inner for inner in _folders(entry) if _is_run(inner)]
    return sorted(found, key=_natural)


def _natural(path: Path) -> list[str | int]:
    """What sorts seed2 before seed10: text and numbers in turn."""
    return [int(part) if place % 2 else part for place, part in enumerate(re.split("([0-9]+)", str(path)))]


def _is_run(folder: Path) -> bool:
    return any(os.path.lexists(folder / name) for name in ("config.json", "metrics.csv"))


def _folders(folder: Path) -> list[Path]:
    try:
        return [entry for entry in folder.iterdir() if entry.is_dir()]
    except OSError as error:
        print(shown(f"warning: {folder} is left out: {error.strerror}"), file=sys.stderr)
        return []


def print_table(folder: Path) -> None:
    """Print the runs in a folder for a person."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    runs = [look(path) for path in find_runs(folder)]
    if not runs:
        print(f"no runs in {shown(folder)}: `tensorq train CartPole-v1` makes one")
        return
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console.width = 200
    table = Table(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("run", overflow="fold")
    table.add_column("state")
    for head in ("steps", "best return", "on disk"):
        table.add_column(head, justify="right", no_wrap=True)
    for run in runs:
        steps, best = ("-", "-") if run.problem else (run.steps_text, format_return(run.best_return))
        table.add_row(_printable(run.run), run.state, steps, best, format_bytes(run.disk_bytes))
    console.print(table)
    for run in runs:
        if run.problem:
            print(f"{_printable(run.run)} is damaged: {_printable(run.problem)}")
    total = sum(run.disk_bytes for run in runs)
    print(f"{len(runs)} run{'' if len(runs) == 1 else 's'}, {format_bytes(total)} on disk")


def print_json(folder: Path) -> None:
    """Print the runs in a folder as a JSON list."""
    runs = [plain_data(dataclasses.asdict(look(path))) for path in find_runs(folder)]
    print(json.dumps(runs, indent=2, allow_nan=False))


def free_replays(folder: Path, agreed: bool) -> None:
    """List the replays of finished runs, and drop them if the user has agreed or says yes now."""
    sizes = _replays(find_runs(folder))
    if not sizes:
        print(f"nothing to free in {shown(folder)}: only finished runs that learned from replay have something")
        return
    for run, size in sizes.items():
        print(f"{format_bytes(size):>10}  {_printable(run)}")
    total = f"{format_bytes(sum(sizes.values()))} of {len(sizes)} run{'' if len(sizes) == 1 else 's'}"
    print("These replays are of use to `tensorq resume` alone: without them it fills a new one, and is not exact.")
    if not agreed:
        if not sys.stdin.isatty():
            raise TensorqError(f"nothing was freed: give --yes to free {total}, as there is no terminal to ask on")
        print(f"free {total}? [y/N] ", end="", flush=True)
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            print("nothing was freed")
            return
    freed = 0
    for run, size in sizes.items():
        try:
            free_replay(run)
            freed += size
        except (TensorqError, OSError) as error:  # the others can still be freed
            print(f"warning: {_printable(run)} keeps its replay: {shown(str(error))}", file=sys.stderr)
    print(f"freed {format_bytes(freed)}")


def _replays(runs: Sequence[Path]) -> dict[Path, int]:
    """Bytes to free in each finished run."""
    finished = [run for run in runs if look(run).state == "finished"]
    return {run: size for run in finished if (size := replay_bytes(run))}


def to_html(run_dir: Path, make: EnvironmentMaker | None = None) -> str:
    """A run as a notebook shows it, the curve within the text. Like `look` it raises nothing, whatever is there."""
    run = look(run_dir)
    rows: dict[str, object] = {"run": run.run, "state": run}
    if not run.problem:
        rows |= {"environment": run.env, "preset": run.preset, "seed": run.seed}
    if run.seconds is not None:
        rows |= {"solved": {True: "yes", False: "no", None: "-"}[run.solved], "training": f"{run.seconds:,.1f} seconds"}
    cells = "".join(
        f"<tr><th>{name}</th><td>{html.escape(_printable(value))}</td></tr>" for name, value in rows.items()
    )
    return f"<div><table>{cells}</table>{_curve_as_html(run_dir, make)}</div>"


def _curve_as_html(run_dir: Path, make: EnvironmentMaker | None) -> str:
    from tensorq.show.curve import draw_run

    try:
        with tempfile.TemporaryDirectory() as folder:
            picture = draw_run(run_dir, Path(folder) / "curve.png", make).read_bytes()
    except (
        Exception
    ):  # nothing to draw yet, a damaged table, a full disk: a notebook would show a traceback for the run
        return ""
    return f'<img alt="learning curve" width="700" src="data:image/png;base64,{base64.b64encode(picture).decode()}">'


def _printable(text: object) -> str:
    """Text from a folder without what could not be printed, or would be an order to the terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in shown(str(text)))
