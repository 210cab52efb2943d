"""Writes results into docs/methods.md and the pages of docs/methods, between the lines that ask for them and
`<!-- end -->`: `<!-- results: SETTING; SETTING -->`, of learning.csv beside dqn; `<!-- costs -->`, of switches.json;
`<!-- seconds -->`, of cartpole_seconds.csv.

python benchmarks/pages.py
"""

from __future__ import annotations

import json
import re
import shlex
from itertools import groupby
from operator import itemgetter
from typing import Any

import numpy as np

from learning import ENVS, OUTPUT, is_dqn, read
from measure import HERE, RESULTS
from tensorq.evaluation.statistics import interquartile_mean, interquartile_mean_interval

PLACE = re.compile(r"(<!-- (results|costs|seconds)(?:: (.*?))? -->\n).*?(<!-- end -->)", re.DOTALL)
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
        "the worst seed. Other work ran at the same time, so seconds are only rough: switches.py measures costs.",
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


def costs() -> str:
    """What each switch costs, by the network's hidden layers."""
    table = json.loads((RESULTS / "switches.json").read_text())["table"]
    sizes = list(dict.fromkeys(row["hidden_sizes"] for row in table))
    found = {(row["switch"], row["hidden_sizes"]): row for row in table}
    lines = [f"| | {' | '.join(sizes)} |", "|---" * (len(sizes) + 1) + "|"]
    for switch in dict.fromkeys(row["switch"] for row in table):
        rows = [found[switch, size] for size in sizes]
        cells = [f"{row['ratio']:.2f} ({row['microseconds_per_iteration']:.0f} us)" for row in rows]
        lines.append(f"| {switch} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def seconds() -> str:
    """What CartPole-v1 takes with each preset, medians over the seeds, the fastest first."""
    table = []
    by_preset = itemgetter("setting")
    for preset, rows in groupby(sorted(read(RESULTS / "cartpole_seconds.csv"), key=by_preset), by_preset):
        seeds = list(rows)
        # A seed that did not solve it counts as one that took for ever.
        solved = float(np.median([float(row["seconds_to_solved"] or "inf") for row in seeds]))
        table.append((solved, f"| `{preset}` | {solved:.1f} | {cost(seeds)} |"))
    heading = "| preset | seconds until solved, start included | steps, seconds of training |"
    return "\n".join([heading, "|---|---|---|", *(line for _, line in sorted(table))]) + "\n"


def _is_complete(env: str, settings: list[str], measured: set[Any]) -> bool:
    """Whether there is a row to show for each of them, and not for the base alone."""
    different = [name for name in settings if not is_dqn(env, name)]
    return different != [BASE] and all((env, name) in measured for name in different)


def _settings(names: str) -> list[str]:
    return list(dict.fromkeys([*names.split("; "), BASE]))


def main() -> None:
    """Rewrite the pages."""
    docs = HERE.parent / "docs"
    write = {
        "results": lambda names: results(_settings(names)),
        "costs": lambda _: costs(),
        "seconds": lambda _: seconds(),
    }
    for page in [docs / "methods.md", *sorted((docs / "methods").glob("*.md"))]:
        text = page.read_text()
        new = PLACE.sub(lambda at: at[1] + write[at[2]](at[3]) + at[4], text)
        if new != text:
            page.write_text(new)
            print(page.name)


if __name__ == "__main__":
    main()
