"""The runs in a folder as a table, as JSON or in a notebook, and freeing the disk space of their replays."""

from __future__ import annotations

import base64
import html
import json
import sys
import tempfile
from pathlib import Path

from tensorq.errors import TensorqError
from tensorq.paths import shown
from tensorq.runs.directory import plain_data
from tensorq.runs.freeing import free_replay, replay_bytes
from tensorq.runs.saved import SavedRun
from tensorq.runs.state import RunState, find_runs, look
from tensorq.show.numbers import format_bytes, format_return
from tensorq.show.tables import new_table, print_table


def print_runs(folder: Path, *, as_json: bool = False) -> None:
    """Print the runs in a folder, for a person or as a JSON list."""
    runs = [look(run) for run in find_runs(folder)]
    if as_json:
        print(json.dumps(plain_data(runs), indent=2, allow_nan=False))
        return
    if not runs:
        print(f"no runs in {shown(folder)}: `tensorq train CartPole-v1` makes one")
        return
    table = new_table("run", "state", right=("steps", "best return", "on disk"))
    for run in runs:
        steps, best = ("-", "-") if run.problem else (run.steps_text, format_return(run.best_return))
        table.add_row(_printable(run.run), run.state, steps, best, format_bytes(run.disk_bytes))
    print_table(table)
    for run in runs:
        if run.problem:
            print(f"{_printable(run.run)} is damaged: {_printable(run.problem)}")
    total = sum(run.disk_bytes for run in runs)
    print(f"{_count(len(runs))}, {format_bytes(total)} on disk")


def free_replays(folder: Path, agreed: bool) -> None:
    """List the replays of finished runs, and delete them if the user has agreed or agrees now."""
    finished = [run for run in find_runs(folder) if look(run).state == "finished"]
    sizes = [(run, size) for run in finished if (size := replay_bytes(run))]
    if not sizes:
        print(f"nothing to free in {shown(folder)}: only finished runs that learned from replay have a replay")
        return
    for run, size in sizes:
        print(f"{format_bytes(size):>10}  {_printable(run.path)}")
    total = f"{format_bytes(sum(size for _, size in sizes))} of {_count(len(sizes))}"
    print("Only `tensorq resume` uses these replays: without them it fills a new one, and is not exact.")
    if not agreed:
        if not sys.stdin.isatty():
            raise TensorqError(f"nothing was freed: give --yes to free {total}, as no terminal can ask you")
        print(f"free {total}? [y/N] ", end="", flush=True)
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            print("nothing was freed")
            return
    freed = 0
    for run, size in sizes:
        try:
            free_replay(run)
            freed += size
        except (TensorqError, OSError) as error:  # the others can still be freed
            print(f"warning: {_printable(run.path)} keeps its replay: {shown(str(error))}", file=sys.stderr)
    print(f"freed {format_bytes(freed)}")


def in_a_line(run: RunState) -> str:
    """State, steps and best return of a run."""
    if run.problem:
        return f"damaged ({run.problem})"
    best = "no greedy evaluation" if run.best_return is None else f"best return {format_return(run.best_return)}"
    return f"{run.state}, {run.steps_text} steps, {best}"


def to_html(saved: SavedRun) -> str:
    """A run as a notebook shows it, with the curve inside. Like `look` it raises nothing."""
    run = look(saved)
    rows: dict[str, object] = {"run": run.run, "state": in_a_line(run)}
    if not run.problem:
        rows |= {"environment": run.env, "preset": run.preset, "seed": run.seed}
    if run.seconds is not None:
        rows |= {"solved": {True: "yes", False: "no", None: "-"}[run.solved], "training": f"{run.seconds:,.1f} seconds"}
    cells = "".join(
        f"<tr><th>{name}</th><td>{html.escape(_printable(value))}</td></tr>" for name, value in rows.items()
    )
    return f"<div><table>{cells}</table>{_curve_as_html(saved)}</div>"


def _curve_as_html(run: SavedRun) -> str:
    from tensorq.show.curve import draw_run

    try:
        with tempfile.TemporaryDirectory() as folder:
            picture = draw_run(run, Path(folder) / "curve.png").read_bytes()
    except Exception:  # nothing to draw yet, a damaged table, a full disk: a notebook would show a traceback
        return ""
    return f'<img alt="learning curve" width="700" src="data:image/png;base64,{base64.b64encode(picture).decode()}">'


def _count(runs: int) -> str:
    return f"{runs} run{'' if runs == 1 else 's'}"


def _printable(text: object) -> str:
    """Text from a folder, with "?" for letters that cannot be printed or that control the terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in shown(str(text)))
