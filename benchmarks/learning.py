"""CartPole-v1 over many seeds: `tensorq train` as a user runs it, then 100 greedy episodes in Gymnasium's environment.

Appends a row a seed, and goes on where it was interrupted. Ends with the table, next to Stable-Baselines3's, whose rows
peers/sb3_learning.py writes.

python benchmarks/learning.py [--seeds 30] [--preset dqn] [--output results/cartpole_dqn.csv] [-- further train options]
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from measure import RESULTS, last_json_line, write

TENSORQ = str(Path(sys.executable).parent / "tensorq")
COLUMNS = ("seed", "steps", "best_mean_return", "final_mean_return", "seconds", "seconds_to_solved", "process_seconds")


def train(seed: int, preset: str, options: list[str]) -> dict[str, object]:
    """One seed, through the command line."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        command = [TENSORQ, "train", "CartPole-v1", "--preset", preset, "--seed", str(seed), "--run-dir", str(run)]
        subprocess.run([*command, "--quiet", *options], check=True)
        result = json.loads((run / "result.json").read_text())
        best, final = (
            last_json_line([TENSORQ, "evaluate", str(run), "--which", which, "--episodes", "100", "--json"])["mean"]
            for which in ("best", "last")
        )
    return {"seed": seed, "best_mean_return": best, "final_mean_return": final} | {
        key: result[key] for key in ("steps", "seconds", "seconds_to_solved", "process_seconds")
    }


def read(path: Path) -> list[dict[str, str]]:
    """Rows of a CSV file, none if there is no such file."""
    if not path.exists():
        return []
    with path.open() as file:
        return list(csv.DictReader(file))


def summary(name: str, rows: list[dict[str, str]], seconds: str) -> dict[str, object]:
    """How many seeds solve it, by the kept best agent and by the final one."""
    best = np.array([float(row["best_mean_return"]) for row in rows])
    final = np.array([float(row["final_mean_return"]) for row in rows])
    return {
        "system": name,
        "seeds": len(rows),
        "best_solved": int((best >= 475).sum()),
        "best_mean": round(float(best.mean()), 1),
        "best_worst": float(best.min()),
        "final_solved": int((final >= 475).sum()),
        "final_mean": round(float(final.mean()), 1),
        "final_worst": float(final.min()),
        "median_training_seconds": round(float(np.median([float(row[seconds]) for row in rows])), 2),
    }


def main() -> None:
    """Train what is missing, then print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--preset", default="dqn")
    parser.add_argument("--output", type=Path)
    parser.add_argument("options", nargs="*", help="further options of tensorq train, after --")
    arguments = parser.parse_args()
    output = arguments.output or RESULTS / f"cartpole_{arguments.preset}.csv"
    output.parent.mkdir(parents=True, exist_ok=True)
    have = {int(row["seed"]) for row in read(output)}
    with output.open("a", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        if not have:
            writer.writeheader()
        for seed in range(arguments.first_seed, arguments.first_seed + arguments.seeds):
            if seed not in have:
                row = train(seed, arguments.preset, arguments.options)
                writer.writerow(row)
                file.flush()
                print(row, flush=True)
    table = [summary(f"tensorq, preset {arguments.preset}", read(output), "seconds")]
    if sb3 := read(RESULTS / "sb3_cartpole.csv"):
        table.append(summary("Stable-Baselines3 DQN, RL Zoo's hyperparameters", sb3, "train_seconds"))
    print(json.dumps(table, indent=2))
    print(write(output.with_suffix(".json").name, {"table": table}))


if __name__ == "__main__":
    main()
