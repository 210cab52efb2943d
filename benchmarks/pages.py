"""Writes the results of results/learning.csv into the pages of docs/methods, between the lines that ask for them:
`<!-- results: SETTING; SETTING -->` and `<!-- end -->`. Settings are compared with dqn.

python benchmarks/pages.py
"""

from __future__ import annotations

import re
import shlex
from typing import Any

import numpy as np

from learning import ENVS, OUTPUT, is_dqn, read
from measure import HERE
from tensorq.evaluation.statistics import interquartile_mean, interquartile_mean_interval

PLACE = re.compile(r"(<!-- results: (.*?) -->\n).*?(<!-- end -->)", re.DOTALL)
SEEDS = 10
BASE = "dqn"


def cell(rows: list[dict[str, str]], metric: str) -> str:
    """Interquartile mean, its interval and the worst seed."""
    returns = np.array([float(row[f"{metric}_return"]) for row in rows])
    low, high = interquartile_mean_interval([returns])
    return f"**{interquartile_mean(returns):.1f}** ({low:.1f} to {high:.1f}), worst {returns.min():.1f}"


def cost(rows: list[dict[str, str]]) -> str:
    """Environment steps of a seed, and the median seconds that they took."""
    steps = f"{int(rows[0]['steps']):,}".replace(",", " ")
    return f"{steps}, {np.median([float(row['seconds']) for row in rows]):.0f} s"


def results(settings: list[str]) -> str:
    """A page's tables and how to have them again."""
    data = [row for row in read(OUTPUT) if int(row["seed"]) < SEEDS]
    found: dict[Any, list[dict[str, str]]] = {}
    for row in data:
        found.setdefault((row["env"], row["setting"]), []).append(row)
    measured = {cell for cell, rows in found.items() if len(rows) == SEEDS}
    columns = [env for env in ENVS if _is_complete(env, settings, measured)]
    if not columns:
        return "Not measured yet.\n"
    lines = [
        "Seeds 0-9: interquartile mean of 100 greedy episodes in Gymnasium's own environment, its 95 % interval and",
        "the worst seed. Seconds were taken beside other work and say little: switches.py measures costs.",
        f"`python benchmarks/learning.py --settings {shlex.join(settings)}`",
    ]
    titles = {"best": "kept best agent", "final": "final agent", "average": "mean over training's greedy evaluations"}
    for metric, title in titles.items():
        lines += ["", f"| {title} | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
        for name in settings:
            cells = ["the same" if is_dqn(env, name) else cell(found[env, name], metric) for env in columns]
            lines.append(f"| `{name}` | {' | '.join(cells)} |")
    lines += ["", f"| steps, seconds of training | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for name in settings:
        cells = ["" if is_dqn(env, name) else cost(found[env, name]) for env in columns]
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _is_complete(env: str, settings: list[str], measured: set[Any]) -> bool:
    """Whether there is a row to show for each of them, and not for the base alone."""
    different = [name for name in settings if not is_dqn(env, name)]
    return different != [BASE] and all((env, name) in measured for name in different)


def _settings(names: str) -> list[str]:
    return list(dict.fromkeys([*names.split("; "), BASE]))


def main() -> None:
    """Rewrite the pages."""
    for page in sorted((HERE.parent / "docs" / "methods").glob("*.md")):
        text = page.read_text()
        new = PLACE.sub(lambda match: match[1] + results(_settings(match[2])) + match[3], text)
        if new != text:
            page.write_text(new)
            print(page.name)


if __name__ == "__main__":
    main()
