"""Two runs beside each other, in the time of one: `tensorq train CartPole-v1 --seeds 0-1 --jobs 2` next to `--seeds 0`.

The commands take turns; a figure is the median over the rounds, of the whole command: its start, its processes,
the import of TensorFlow, and the pictures. Writes results/many.json.

python benchmarks/many.py [--rounds 5] [--steps 50000]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measure import write

TENSORQ = str(Path(sys.executable).parent / "tensorq")


def seconds(seeds: str, jobs: int, steps: int) -> float:
    """Wall time of the command."""
    with tempfile.TemporaryDirectory() as folder:
        command = [TENSORQ, "train", "CartPole-v1", "--seeds", seeds, "--jobs", str(jobs), "--steps", str(steps)]
        begin = time.perf_counter()
        subprocess.run([*command, "--run-dir", f"{folder}/runs", "--quiet"], check=True)
        return time.perf_counter() - begin


def main() -> None:
    """Measure, then print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=50_000)
    arguments = parser.parse_args()
    one, two = [], []
    for number in range(arguments.rounds):
        one.append(seconds("0", 1, arguments.steps))
        two.append(seconds("0-1", 2, arguments.steps))
        print(f"round {number + 1}: one {one[-1]:.1f} s, two beside each other {two[-1]:.1f} s", flush=True)
    result = {
        "steps": arguments.steps,
        "rounds": arguments.rounds,
        "one_seconds": round(statistics.median(one), 2),
        "two_seconds": round(statistics.median(two), 2),
        "times": round(statistics.median(two) / statistics.median(one), 3),
        "one": [round(each, 2) for each in one],
        "two": [round(each, 2) for each in two],
    }
    print(result)
    print(write("many.json", result))


if __name__ == "__main__":
    main()
