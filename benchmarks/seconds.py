"""Seconds from the start of the process to a solved CartPole agent on disk, against `import tensorflow` alone.

Rounds alternate; the ratios are of medians. A run counts as solved when its kept agent also averages >= 475 over 100
greedy episodes of Gymnasium's own CartPole-v1.

Ends with one seed of Stable-Baselines3's DQN with the RL Zoo's hyperparameters, if that is installed.

python benchmarks/seconds.py [--rounds 7]
"""

from __future__ import annotations

import argparse
import csv
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from measure import HERE, SB3_PYTHON, has_module, last_json_line, write

TENSORQ = str(Path(sys.executable).parent / "tensorq")


def seconds_of(command: list[str]) -> float:
    """Wall time of a command that must succeed."""
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - started


def one_round(seed: int) -> dict[str, Any]:
    """`import tensorflow`, then the whole command, then an evaluation that is not timed."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        importing = seconds_of([sys.executable, "-c", "import tensorflow"])
        whole = seconds_of([TENSORQ, "train", "CartPole-v1", "--seed", str(seed), "--run-dir", str(run)])
        result = json.loads((run / "result.json").read_text())
        evaluation = last_json_line([TENSORQ, "evaluate", str(run), "--json"])
        left = sorted(path.name for path in run.iterdir() if path.suffix in (".png", ".gif"))
    return {
        "seed": seed,
        "import_tensorflow_seconds": importing,
        "seconds_to_solved": result["seconds_to_solved"],
        "whole_command_seconds": whole,
        "training_seconds": result["seconds"],
        "gymnasium_mean_return": evaluation["mean"],
        "files": left,
    }


def main() -> None:
    """Run the rounds, print the ratios, write results/seconds.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    seconds_of([sys.executable, "-c", "import tensorflow"])  # so that the first round reads warm files too
    rounds = []
    for seed in range(arguments.rounds):
        rounds.append(one_round(seed))
        print(rounds[-1], flush=True)

    def median(key: str) -> float:
        return statistics.median(each[key] if each[key] is not None else float("inf") for each in rounds)

    importing = median("import_tensorflow_seconds")
    result: dict[str, Any] = {
        "import_tensorflow_seconds": importing,
        "seconds_to_solved": median("seconds_to_solved"),
        "seconds_to_solved_ratio": median("seconds_to_solved") / importing,
        "whole_command_seconds": median("whole_command_seconds"),
        "whole_command_ratio": median("whole_command_seconds") / importing,
    }
    if has_module(SB3_PYTHON, "stable_baselines3"):
        with tempfile.TemporaryDirectory() as folder:
            output = Path(folder) / "sb3.csv"
            command = [SB3_PYTHON, str(HERE / "peers" / "sb3_learning.py"), "--seeds", "1000", "--output", str(output)]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            with output.open() as file:
                row = next(csv.DictReader(file))
        result["sb3_process_seconds"], result["sb3_final_mean_return"] = (
            float(row[key]) for key in ("process_seconds", "final_return")
        )
    print(json.dumps(result, indent=2))
    print(write("seconds.json", {**result, "rounds": rounds}))


if __name__ == "__main__":
    main()
