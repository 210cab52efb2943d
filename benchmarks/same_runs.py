"""Whether two checkouts train the same: the same short runs with both, and their tables compared byte for byte.

Prints a row a run, and of those that differ the first episode that does. Both checkouts run in this environment, so
nothing differs but their code. It exits with 1 where a run differs.

python benchmarks/same_runs.py OLD NEW [--runs dqn "dqn host" ...]
"""

from __future__ import annotations

import argparse
import csv
import os
import subprocess
import sys
import tempfile
from pathlib import Path

COMPILED = (
    "blog",
    "dqn",
    "double",
    "dueling",
    "per",
    "c51",
    "qrdqn",
    "iqn",
    "mdqn",
    "noisy",
    "rainbow",
    "combined",
    "pqn",
)
HOST = ("dqn", "per", "rainbow", "pqn")
CARTPOLE = ["CartPole-v1", "--seed", "7"]
RUNS = {
    **{preset: [*CARTPOLE, "--preset", preset, "--steps", "20000"] for preset in COMPILED},
    **{f"{preset} host": [*CARTPOLE, "--preset", preset, "--steps", "6000", "--loop", "host"] for preset in HOST},
    "qtable": ["FrozenLake-v1", "--seed", "7", "--preset", "qtable"],
}
TABLES = ("episodes.csv", "metrics.csv")


def train(checkout: Path, arguments: list[str], run_dir: Path) -> None:
    """One run with the code of a checkout."""
    command = [sys.executable, "-m", "tensorq", "train", *arguments, "--run-dir", str(run_dir), "--quiet"]
    subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": str(checkout / "src")})


def first_difference(one: Path, other: Path) -> str:
    """The first row in which two tables differ, with both rows; nothing where they do not."""
    if one.read_bytes() == other.read_bytes():
        return ""
    tables = [list(csv.reader(path.read_text().splitlines())) for path in (one, other)]
    rows = zip(*tables, strict=False)
    place, pair = next(((place, pair) for place, pair in enumerate(rows) if pair[0] != pair[1]), (0, ("", "")))
    if not place:
        return f"{len(tables[0]) - 1} rows, then {len(tables[1]) - 1}"
    return f"row {place} of {len(tables[0]) - 1}: {','.join(pair[0])} then {','.join(pair[1])}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkouts", nargs=2, type=Path, metavar=("OLD", "NEW"))
    parser.add_argument("--runs", nargs="+", choices=RUNS, default=list(RUNS))
    options = parser.parse_args()
    different = 0
    with tempfile.TemporaryDirectory() as folder:
        for name in options.runs:
            runs = [Path(folder) / f"{name}-{index}" for index in range(2)]
            for checkout, run in zip(options.checkouts, runs, strict=True):
                train(checkout.resolve(), RUNS[name], run)
            found = {table: first_difference(runs[0] / table, runs[1] / table) for table in TABLES}
            told = "; ".join(f"{table}: {text}" for table, text in found.items() if text)
            different += bool(told)
            print(f"{name:<14}{told or 'the same'}", flush=True)
    sys.exit(different > 0)


if __name__ == "__main__":
    main()
