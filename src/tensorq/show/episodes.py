"""The results of greedy episodes, in a line or as JSON."""

from __future__ import annotations

import json
from pathlib import Path

from tensorq.evaluation.play import Episodes
from tensorq.evaluation.statistics import bootstrap_interval
from tensorq.paths import shown
from tensorq.show.numbers import format_return


def print_episodes(run: Path, which: str, played: Episodes, as_json: bool) -> None:
    """Print the mean return of a run's agent, "best" or "last", with its interval; as JSON with every return."""
    low, high = bootstrap_interval(played.returns)
    worst, best, count = float(played.returns.min()), float(played.returns.max()), len(played.returns)
    if as_json:
        result = {"run": str(run), "which": which, "episodes": count, "mean": played.mean}
        result |= {"std": float(played.returns.std()), "interval": [low, high], "min": worst, "max": best}
        print(json.dumps({**result, "unfinished": played.unfinished, "returns": played.returns.tolist()}))
        return
    mean, *others = (format_return(value) for value in (played.mean, low, high, worst, best))
    print(f"{shown(run)}: the {which} agent's mean return over {count} greedy episodes is {mean} ", end="")
    print("(95 % interval {} to {}, worst {}, best {})".format(*others))
    if played.unfinished:
        print(f"{played.unfinished} episodes were cut at the step limit and scored as they stood")
