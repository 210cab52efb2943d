"""The summary of a run that is over."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from tensorq.config import SOLVED_EPISODES
from tensorq.events import Finished, Started
from tensorq.runs.directory import finite_number, python_arguments
from tensorq.show.numbers import format_return


def summary(event: Finished, started: Started) -> list[str]:
    """The lines of the summary: solved or not, at what cost, where the files are, what can be done next."""
    result, run_dir = event.result, event.run_dir
    counts = ", ".join(f"{result[name]:,} {name}" for name in ("steps", "updates", "episodes"))
    drawn = [path for name in ("curve.png", "video.gif", "video.mp4") if (path := run_dir / name).exists()]
    following = _following(event, started, films=any(path.stem == "video" for path in drawn))
    return [
        *_outcome(result, started),
        *([f"stopped before its end: {result['stopped']}"] if result["stopped"] else []),
        f"{counts} in {result['seconds']:.1f} s of training, {result['steps_per_second']:,.0f} steps/s",
        "",
        f"run    {run_dir}",
        *(f"{path.stem}  {path}" for path in drawn),
        "",
        f"next   {following[0]}",
        *(f"       {line}" for line in following[1:]),
    ]


def _outcome(result: Mapping[str, Any], started: Started) -> list[str]:
    """Whether the run is solved and when, in seconds only if it was in this process; which agent is kept."""
    best, goal = result["best"], finite_number(started.solved_return)
    if best is None:
        return ["finished; no greedy evaluation gave a finite return, so no agent was kept"]
    kept = f"best greedy return {format_return(best['mean_return'])} at step {best['steps']:,}"
    if goal is None:
        return [kept]
    if result["solved"] is None:
        few = f"{best['episodes']} episodes do not tell whether it is solved, {SOLVED_EPISODES} would"
        return [f"{kept} (goal {goal:g}; {few})"]
    if not result["solved"]:
        return [f"not solved: {kept} (goal {goal:g})"]
    text, steps = f"solved: the goal of {goal:g} was reached", result["steps_to_solved"]
    if steps is not None:  # else the goal was another one before this process
        clock = "over all processes, start included" if started.steps_done else "after the start"
        when = f"{result['seconds_to_solved']:.1f} s {clock}" if steps > started.steps_done else "before this process"
        text += f" at step {steps:,}, {when}"
    return [text, f"kept the agent with the {kept}"]


def _following(event: Finished, started: Started, films: bool) -> list[str]:
    """What can be done next: commands, or Python if the run needs functions that commands cannot take.

    `films`: whether it can be filmed. A run that was stopped continues to its own end; a run that reached its limit of
    episodes needs more of them.
    """
    limit, number = "steps", 2 * event.result["steps"]
    if 0 < started.config.episodes <= event.result["episodes"]:
        limit, number = "episodes", 2 * started.config.episodes
    if started.named is None:
        run = python_arguments(event.run_dir, started.needs)
        looks = [f"run = tq.open_run({run})", "run.evaluate().mean", *(["run.record()"] if films else [])]
        return [*looks, f"tq.resume({run})" if event.result["stopped"] else f"tq.resume({run}, {limit}={number})"]
    run = f"{shlex.quote(str(event.run_dir))}{started.named}"
    looks = [f"tensorq evaluate {run}", *([f"tensorq record {run}"] if films else [])]
    return [*looks, f"tensorq resume {run}" + ("" if event.result["stopped"] else f" --{limit} {number}")]
