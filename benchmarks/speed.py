"""Steps a second of one algorithm in five systems, in one run: `make bench`.

The blog post's hyperparameters, one update per environment step, one environment. Each system runs in a process and an
environment of its own; the systems take turns, round by round, and a system's figure is its median over the rounds.
What is not installed is left out, with the command that installs it.

python benchmarks/speed.py [--rounds 5] [--prototypes FOLDER]
"""

from __future__ import annotations

import argparse
import re
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from measure import HERE, JAX_PYTHON, SB3_PYTHON, has_module, last_json_line, write

PYTHON = sys.executable
SINGLE = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


def prototype(file: Path, *arguments: str) -> dict[str, Any]:
    """Run one of the prototypes that tensorq was designed from, and read its last line."""
    done = subprocess.run([PYTHON, str(file), *arguments], capture_output=True, text=True, check=True)
    microseconds, steps = re.search(r"([\d.]+) us per agent and iteration, ([\d,]+) env steps/s", done.stdout).groups()
    return {
        "steps_per_second": float(steps.replace(",", "")),
        "microseconds_per_iteration": float(microseconds),
    }


def systems(prototypes: Path | None) -> dict[str, Callable[[], dict[str, Any]]]:
    """Every system that is installed, by name."""
    ours, peers = str(HERE / "ours.py"), HERE / "peers"
    found: dict[str, Callable[[], dict[str, Any]]] = {
        "tensorq, compiled loop": lambda: last_json_line([PYTHON, ours, "compiled"]),
        "tensorq, compiled loop, 16 environments": lambda: last_json_line(
            [PYTHON, ours, "compiled", "--num-envs", "16"]
        ),
        "tensorq, host loop": lambda: last_json_line([PYTHON, ours, "host"]),
        "matrix products alone": lambda: last_json_line([PYTHON, ours, "floor"], SINGLE),
        "the post's eager loop": lambda: last_json_line([PYTHON, str(peers / "eager_blog_loop.py"), "--steps", "1000"]),
    }
    if prototypes:
        file = prototypes / "compiled_loop.py"
        found["prototype, compiled loop"] = lambda: prototype(file)
        found["prototype, compiled loop, 16 environments"] = lambda: prototype(file, "--envs", "16")
    for name, python, module, script, install in (
        ("Stable-Baselines3 DQN", SB3_PYTHON, "stable_baselines3", "sb3_speed.py", "torch stable-baselines3"),
        ("JAX, one jitted scan", JAX_PYTHON, "jax", "jax_scan.py", "jax"),
    ):
        if has_module(python, module):
            found[name] = lambda python=python, script=script: last_json_line([python, str(peers / script)])
        else:
            venv = Path(python).parents[1]
            print(f"left out: {name}; python3 -m venv {venv} && {venv}/bin/pip install {install}")
    return found


def main() -> None:
    """Run the rounds, print the table, write results/speed.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--prototypes", type=Path, help="folder with compiled_loop.py, to compare with")
    arguments = parser.parse_args()
    if arguments.prototypes and not (arguments.prototypes / "compiled_loop.py").exists():
        parser.error(f"{arguments.prototypes} has no compiled_loop.py")
    found = systems(arguments.prototypes)
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in found}
    for number in range(arguments.rounds):
        for name, run in found.items():
            runs[name].append(run())
            rate = runs[name][-1].get("steps_per_second")
            print(f"round {number + 1}: {name:<42}{f'{rate:>12,.0f} steps/s' if rate else ''}", flush=True)
    table = [summary(name, results) for name, results in runs.items()]
    reference = next(row for row in table if row["system"] == "tensorq, compiled loop")["steps_per_second"]
    print(f"\n{'system':<44}{'steps/s':>12}{'us/iteration':>14}{'compiled loop is':>18}")
    for row in table:
        rate = row["steps_per_second"]
        ratio = f"{reference / rate:.2f}x" if rate else ""
        print(f"{row['system']:<44}{rate or 0:>12,.0f}{row['microseconds_per_iteration'] or 0:>14.1f}{ratio:>18}")
    print(write("speed.json", {"rounds": arguments.rounds, "medians": table, "runs": runs}))


def summary(name: str, results: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians over the rounds."""

    def median(key: str) -> float | None:
        values = [result[key] for result in results if result.get(key)]
        return statistics.median(values) if values else None

    rate, microseconds = median("steps_per_second"), median("microseconds_per_iteration")
    if rate and not microseconds:
        microseconds = round(1e6 / rate, 1)
    return {"system": name, "steps_per_second": rate, "microseconds_per_iteration": microseconds}


if __name__ == "__main__":
    main()
