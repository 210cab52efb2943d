"""How well settings learn over many seeds: `tensorq train` as a user runs it, then 100 greedy episodes of the kept best
agent and of the final one, in Gymnasium's own environment or, in worlds of tensorq's own, compiled.

Each environment takes the section that a preset has for it. A setting is a preset, or the default one with an option.
Appends a row a seed to results/learning.csv and goes on where it was interrupted; several processes may do so at once.
`tensorq compare results/learning.csv` prints and draws it, next to results/sb3_cartpole.csv from peers/sb3_learning.py.

python benchmarks/learning.py [--envs CartPole-v1 ...] [--settings dqn ...] [--seeds 10] [--first-seed 0] [--table NAME]
python benchmarks/learning.py --table minatar --envs minatar --settings pqn --seeds 5
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import tempfile
from itertools import groupby
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from measure import RESULTS, last_json_line, write
from tensorq.evaluation.statistics import interquartile_mean, interquartile_mean_interval
from tensorq.presets import preset_names, resolve
from tensorq.runs.tables import read_table

TENSORQ = str(Path(sys.executable).parent / "tensorq")
ENVS = ("CartPole-v1", "Acrobot-v1", "MountainCar-v0", "LunarLander-v3")
MINATAR = [f"tensorq/MinAtar-{game}-v0" for game in ("Asterix", "Breakout", "Freeway", "Seaquest", "SpaceInvaders")]
ATARI = ["ALE/Pong-v5"]
# Few steps for an Atari game. Epsilon falls slowly: with the few points of random games gone from replay, an agent that
# loses every ball learns nothing (seed 1000: 0.02 after 50 000 steps stayed at -21 for 150 000).
ATARI_OPTIONS = {
    "steps": 500_000, "learning_rate": 0.0001, "batch_size": 32, "n_step": 3, "replay_ratio": 0.25,
    "update_period_steps": 4, "learning_starts_steps": 5_000, "target_sync_updates": 500, "epsilon_final": 0.05,
    "epsilon_anneal_steps": 200_000, "evaluation_period_steps": 50_000, "checkpoint_period_steps": 50_000,
    "overlap_learning": True,
}  # fmt: skip
LONG = {"steps": 5_000_000, "learning_rate_anneal_updates": 78_000}
# What is no preset, but worth a look: a preset with other options.
OPTIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "dqn without double": ("dqn", {"double": False}),
    "dqn without layer norm": ("dqn", {"layer_norm": False}),
    "dqn, 1 step": ("dqn", {"n_step": 1}),
    "dqn, 3 steps": ("dqn", {"n_step": 3}),
    "pqn, 5 million steps": ("pqn", LONG),
    "dqn, Atari": ("dqn", ATARI_OPTIONS),
}
SETTINGS = [name for name in preset_names() if name not in ("blog", "double", "qtable", "snake")] + list(OPTIONS)
OUTPUT = RESULTS / "learning.csv"
COLUMNS = (
    "env", "setting", "seed", "steps", "best_return", "final_return", "average_return", "seconds", "seconds_to_solved",
    "process_seconds",
)  # fmt: skip


def train(env: str, setting: str, seed: int) -> dict[str, object]:
    """One seed, through the command line."""
    preset, options = OPTIONS.get(setting, (setting, {}))
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        command = [TENSORQ, "train", env, "--preset", preset, "--seed", str(seed), "--run-dir", str(run), "--quiet"]
        for name, value in options.items():
            option = name.replace("_", "-")
            switch = f"--{option}" if value else f"--no-{option}"
            command += [switch] if isinstance(value, bool) else [f"--{option}", str(value)]
        subprocess.run(command, check=True)
        result = json.loads((run / "result.json").read_text())
        best, final = (
            last_json_line([TENSORQ, "evaluate", str(run), "--which", which, "--episodes", "100", "--json"])["mean"]
            for which in ("best", "last")
        )
        average = float(np.nanmean(read_table(run / "metrics.csv")["evaluation_return"]))
    row = {"env": env, "setting": setting, "seed": seed, "best_return": best, "final_return": final}
    return row | {
        "average_return": round(average, 2),
        **{key: result[key] for key in ("steps", "seconds", "seconds_to_solved", "process_seconds")},
    }


def changes_nothing(env: str, setting: str) -> bool:
    """Whether a setting's options are those of its preset here."""
    preset, options = OPTIONS.get(setting, (setting, {}))
    return bool(options) and resolve(env, preset, **options) == resolve(env, preset)


def read(path: Path) -> list[dict[str, str]]:
    """Rows of a CSV file, none if there is no such file."""
    if not path.exists():
        return []
    with path.open() as file:
        return list(csv.DictReader(file))


def summary(env: str, setting: str, rows: list[dict[str, str]]) -> dict[str, object]:
    """A line of the table: means and worst seeds, of the kept best agents and of the final ones."""
    line: dict[str, object] = {"env": env, "setting": setting, "seeds": len(rows)}
    for which in ("best", "final"):
        returns = np.array([float(row[f"{which}_return"]) for row in rows])
        if env in ENVS:
            line[f"{which}_solved"] = int((returns >= gymnasium.spec(env).reward_threshold).sum())
        line |= {f"{which}_mean": round(float(returns.mean()), 1), f"{which}_worst": round(float(returns.min()), 1)}
        if env in MINATAR:
            low, high = interquartile_mean_interval([returns])
            line[f"{which}_interquartile_mean"] = round(interquartile_mean(returns), 1)
            line[f"{which}_interval"] = [round(low, 1), round(high, 1)]
    seconds = [float(row.get("seconds") or row["train_seconds"]) for row in rows]
    return line | {"median_training_seconds": round(float(np.median(seconds)), 1)}


def main() -> None:
    """Train what is missing, then print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--envs", nargs="+", choices=[*ENVS, *MINATAR, *ATARI, "minatar"], default=ENVS)
    usual = [name for name in SETTINGS if name not in ("pqn, 5 million steps", "dqn, Atari")]
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=usual)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--table", default=OUTPUT.stem, help="name in results/")
    arguments = parser.parse_args()
    envs = [each for env in arguments.envs for each in (MINATAR if env == "minatar" else [env])]
    output = RESULTS / f"{arguments.table}.csv"
    have = {(row["env"], row["setting"], int(row["seed"])) for row in read(output)}
    with output.open("a", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        if file.tell() == 0:
            writer.writeheader()
        for env in envs:
            for setting in arguments.settings:
                for seed in range(arguments.first_seed, arguments.first_seed + arguments.seeds):
                    if (env, setting, seed) not in have and not changes_nothing(env, setting):
                        row = train(env, setting, seed)
                        writer.writerow(row)
                        file.flush()
                        print(row, flush=True)
    rows = read(output) + (read(RESULTS / "sb3_cartpole.csv") if output == OUTPUT else [])
    rows.sort(key=lambda row: ([*ENVS, *MINATAR, *ATARI].index(row["env"]), row["setting"]))
    cells = groupby(rows, lambda row: (row["env"], row["setting"]))
    table = [summary(*cell, list(its_rows)) for cell, its_rows in cells]
    for line in table:
        print(line)
    print(write(f"{arguments.table}.json", {"table": table}))


if __name__ == "__main__":
    main()
