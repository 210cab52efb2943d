"""Resident memory over a long run: 2 million steps of the compiled loop, 200 000 of the host loop.

python benchmarks/memory.py [--compiled-steps 2000000] [--host-steps 200000]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from measure import write
from tensorq import trainer
from tensorq.events import Event, Progress
from tensorq.presets import resolve


def resident_mebibytes() -> float:
    """Resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def one(loop: str, steps: int) -> dict[str, Any]:
    """Train in this process and note the memory at each hundredth of the run."""
    seen: list[tuple[int, float]] = []

    def observe(event: Event) -> None:
        if isinstance(event, Progress):
            seen.append((event.steps, resident_mebibytes()))

    period = steps // 100
    config = resolve(
        "CartPole-v1", loop=loop, steps=steps, log_period_steps=period, evaluation_period_steps=10 * period
    )
    with tempfile.TemporaryDirectory() as folder:
        trainer.train(config, run_dir=Path(folder) / "run", observers=[observe])
    start = next(memory for at, memory in seen if at >= steps // 10)
    return {
        "loop": loop,
        "steps": steps,
        "mebibytes_after_a_tenth": round(start, 1),
        "growth_mebibytes": round(max(memory for at, memory in seen if at >= steps // 10) - start, 1),
        "samples": [(at, round(memory, 1)) for at, memory in seen[:: len(seen) // 20]],
    }


def main() -> None:
    """Each loop in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--compiled-steps", type=int, default=2_000_000)
    parser.add_argument("--host-steps", type=int, default=200_000)
    parser.add_argument("--only", choices=["compiled", "host"], help="measure one, in this process, and print it")
    arguments = parser.parse_args()
    steps = {"compiled": arguments.compiled_steps, "host": arguments.host_steps}
    if arguments.only:
        print(json.dumps(one(arguments.only, steps[arguments.only])))
        return
    results = []
    for loop in steps:
        done = subprocess.run([sys.executable, *sys.argv, "--only", loop], capture_output=True, text=True, check=True)
        results.append(json.loads(done.stdout.splitlines()[-1]))
        print({key: value for key, value in results[-1].items() if key != "samples"}, flush=True)
    print(write("memory.json", {"loops": results}))


if __name__ == "__main__":
    main()
