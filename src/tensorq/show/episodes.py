"""What greedy episodes have come to, in a line or as JSON."""

from __future__ import annotations

import json
from pathlib import Path

from tensorq.evaluation.play import Episodes
from tensorq.evaluation.statistics import bootstrap_interval
from tensorq.paths import shown
from tensorq.show.numbers import format_return


def print_episodes(run: Path, which: str, played: Episodes) -> None:
    """Print the mean return of a run's agent, "best" or "last", with its interval, for a person."""
    low, high = bootstrap_interval(played.returns)
    numbers = [format_return(x) for x in (played.mean, low, high, played.returns.min(), played.returns.max())]
    print(
        f"{shown(run)}: the {which} agent's mean return over {len(played.returns)} greedy episodes is {numbers[0]} "
        f"(95 % interval {numbers[1]} to {numbers[2]}, worst {numbers[3]}, best {numbers[4]})"
    )
    if played.unfinished:
        print(f"{played.unfinished} episodes were cut at the step limit and scored as they stood")


def print_json(run: Path, which: str, played: Episodes) -> None:
    """Print the same, and every return, as one JSON object."""
    low, high = bootstrap_interval(played.returns)
    result = {
        "run": str(run),
        "which": which,
        "episodes": len(played.returns),
        "mean": played.mean,
        "std": float(played.returns.std()),
        "interval": [low, high],
        "min": float(played.returns.min()),
        "max": float(played.returns.max()),
        "unfinished": played.unfinished,
        "returns": played.returns.tolist(),
    }
    print(json.dumps(result))
