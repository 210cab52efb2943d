"""What each switch costs: time an update of the compiled loop, against DQN with every switch off, in one run.

The same network for all, of two sizes; one environment, one update a step, batches of 64. The host loop, there for its
sum tree, holds a million transitions. The cases take turns, round by round; a ratio is of medians over the rounds.

python benchmarks/switches.py [--rounds 5] [--hidden-sizes 256x256 256]
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from typing import Any

from measure import HERE, last_json_line, write

DISTRIBUTION = {"num_atoms": 51, "value_min": 0.0, "value_max": 100.0}
RAINBOW = {
    "double": True, "dueling": True, "n_step": 3, "priority_exponent": 0.5, "noisy": True, "head": "categorical",
}  # fmt: skip
COMPILED: dict[str, dict[str, Any]] = {
    "every switch off": {},
    "double": {"double": True},
    "dueling": {"dueling": True},
    "n-step 3": {"n_step": 3},
    "priorities": {"priority_exponent": 0.5},
    "noisy": {"noisy": True},
    "munchausen": {"munchausen": True},
    "C51": {"head": "categorical", **DISTRIBUTION},
    "HL-Gauss": {"head": "hl_gauss", **DISTRIBUTION},
    "QR-DQN": {"head": "quantile", **DISTRIBUTION},
    "IQN, 8 fractions": {"head": "implicit_quantile", **DISTRIBUTION, "num_atoms": 8},
    "rainbow": RAINBOW | DISTRIBUTION,
}
MILLION = {"replay_capacity": 1_000_000}
HOST = {"host, every switch off": MILLION, "host, priorities": MILLION | {"priority_exponent": 0.5}}


def main() -> None:
    """Time every case in turn, then print and write the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--hidden-sizes", nargs="+", default=["256x256", "256"])
    arguments = parser.parse_args()
    cases = [("compiled", *case) for case in COMPILED.items()] + [("host", *case) for case in HOST.items()]
    found: dict[str, dict[str, list[float]]] = {sizes: {} for sizes in arguments.hidden_sizes}
    for number in range(1, arguments.rounds + 1):
        for sizes, times in found.items():
            for loop, name, changes in cases:
                changed = json.dumps({"hidden_sizes": [int(size) for size in sizes.split("x")], **changes})
                timed = last_json_line([sys.executable, str(HERE / "ours.py"), loop, "--changes", changed])
                times.setdefault(name, []).append(timed["microseconds_per_iteration"])
                print(f"round {number}, {sizes}: {name:<24} {times[name][-1]:>8.1f} us", flush=True)
    table = []
    for sizes, times in found.items():
        for loop, name, _ in cases:
            median = statistics.median(times[name])
            first = next(case for kind, case, _ in cases if kind == loop)
            row = {"hidden_sizes": sizes, "switch": name, "microseconds_per_iteration": round(median, 2)}
            table.append(row | {"ratio": round(median / statistics.median(times[first]), 3)})
            print(f"{sizes:<8} {name:<24} {median:>8.1f} us {table[-1]['ratio']:>6.2f}")
    print(write("switches.json", {"rounds": arguments.rounds, "table": table, "times": found}))


if __name__ == "__main__":
    main()
