"""What is said of a run when it is over."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tensorq.config import SOLVED_EPISODES
from tensorq.events import Finished, Started
from tensorq.runs.directory import finite_number, python_arguments
from tensorq.show.numbers import format_number, format_return


def summary(event: Finished, started: Started | None) -> list[str]:
    """What a person wants to know when a run is over: solved or not, at what cost, where things are, what next."""
    result, run_dir = event.result, event.run_dir
    best = result.get("best")
    best = best if isinstance(best, Mapping) else {}
    solved_return = None if started is None else finite_number(started.solved_return)
    best_return = finite_number(best.get("mean_return"))
    resumed_steps = 0 if started is None else started.steps_done
    kept = f"best greedy return {format_return(best_return)} at step {format_number(best.get('steps'), ',.0f')}"
    stopped = result.get("stopped")
    if best_return is None:
        first = ["finished; no greedy evaluation gave a finite return, so no agent was kept"]
    elif solved_return is None:
        first = [kept]
    elif result.get("solved") is None:
        count = f"{format_number(best.get('episodes'), '.0f')} episodes"
        first = [f"{kept} (goal {solved_return:g}; {count} do not tell whether it is solved, {SOLVED_EPISODES} would)"]
    elif not result["solved"]:
        first = [f"not solved: {kept} (goal {solved_return:g})"]
    else:
        first = [_solved(result, solved_return, resumed_steps), f"kept the agent with the {kept}"]
    seconds = f"{format_number(result.get('seconds'), '.1f')} s of training"
    counts = [f"{format_number(result.get(name), ',.0f')} {name}" for name in ("steps", "updates", "episodes")]
    lines = [
        *first,
        *([f"stopped before its end: {stopped}"] if stopped else []),
        f"{', '.join(counts)} in {seconds}, {format_number(result.get('steps_per_second'), ',.0f')} steps/s",
        "",
    ]
    lines.append(f"run    {run_dir}")
    present = [file for file in ("curve.png", "video.gif", "video.mp4") if (run_dir / file).exists()]
    lines += [f"{Path(file).stem}  {run_dir / file}" for file in present]
    films = any(file.startswith("video") for file in present)  # else it cannot be filmed, and was said to
    steps = finite_number(result.get("steps"))
    run, needs = shlex.quote(str(run_dir)), () if started is None else started.needs
    given = python_arguments(run_dir, needs)
    named = "" if started is None else started.named
    if named is None:  # functions, which the command line cannot be given
        following = [f"run = tq.open_run({given})", "run.evaluate().mean"] + (["run.record()"] if films else [])
    else:
        following = [f"tensorq evaluate {run}{named}"] + ([f"tensorq record {run}{named}"] if films else [])
    if stopped:  # it goes on to the end that it was given
        following.append(f"tq.resume({given})" if named is None else f"tensorq resume {run}{named}")
    elif steps is not None:
        # A run that was ended by its episodes goes on when it is given more of those.
        limit = 0 if started is None else started.config.episodes
        ended = limit and (finite_number(result.get("episodes")) or 0) >= limit
        name, number = ("episodes", 2 * limit) if ended else ("steps", 2 * int(steps))
        following.append(
            f"tq.resume({given}, {name}={number})"
            if named is None
            else f"tensorq resume {run}{named} --{name} {number}"
        )
    return [*lines, "", f"next   {following[0]}", *(f"       {line}" for line in following[1:])]


def _solved(result: Mapping[str, Any], goal: float, resumed_steps: int) -> str:
    """When the goal was reached for the first time, on the clock only if it was in this process."""
    steps, seconds = (finite_number(result.get(f"{unit}_to_solved")) for unit in ("steps", "seconds"))
    text = f"solved: the goal of {goal:g} was reached"
    if steps is not None:
        text += f" at step {steps:,.0f}"
    if resumed_steps and (steps is None or steps <= resumed_steps):
        return f"{text}, before this process"
    if seconds is None:
        return text
    return f"{text}, {seconds:.1f} s {'of all processes, start included' if resumed_steps else 'after the start'}"
