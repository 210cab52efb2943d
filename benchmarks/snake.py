"""How often agents of the preset snake fill their board: `tensorq train` as a user runs it, then 200 unseen games.

Adds a row for each board and seed to results/snake.json, and replaces an older row of the same board and seed.

python benchmarks/snake.py [--boards 6x6 8x8] [--seeds 0 1] [--keep FOLDER]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from measure import RESULTS, last_json_line, write

TENSORQ = str(Path(sys.executable).parent / "tensorq")
GAMES = 200


def measure(board: str, seed: int, folder: Path) -> dict[str, Any]:
    """Train one agent and play with it."""
    run, cells = folder / f"{board}-seed{seed}", int(board.split("x")[0]) * int(board.split("x")[1])
    command = [TENSORQ, "train", f"tensorq/Snake{board}-v0", "--preset", "snake", "--quiet"]
    began = time.perf_counter()
    subprocess.run([*command, "--seed", str(seed), "--run-dir", str(run)], check=True)
    seconds = time.perf_counter() - began
    played = last_json_line([TENSORQ, "evaluate", str(run), "--episodes", str(GAMES), "--json"])
    result = json.loads((run / "result.json").read_text())
    return {
        "board": board,
        "seed": seed,
        "steps": result["steps"],
        "process_minutes": round(seconds / 60, 1),
        "full_boards": sum(each == cells - 1 for each in played["returns"]) / GAMES,
        "mean_return": played["mean"],
        "best_possible": cells - 1,
        "worst_return": played["min"],
    }


def main() -> None:
    """Measure each board and seed, and write the table after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--boards", nargs="+", default=["6x6", "8x8", "10x10"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    parser.add_argument("--keep", type=Path, help="a folder in which the runs stay")
    arguments = parser.parse_args()
    path = RESULTS / "snake.json"
    for board in arguments.boards:
        for seed in arguments.seeds:
            with tempfile.TemporaryDirectory() as folder:
                row = measure(board, seed, arguments.keep or Path(folder))
            print(json.dumps(row), flush=True)
            old = json.loads(path.read_text())["table"] if path.exists() else []
            others = [each for each in old if (each["board"], each["seed"]) != (board, seed)]
            table = sorted([*others, row], key=lambda each: (each["best_possible"], each["seed"]))
            write("snake.json", {"games": GAMES, "table": table})


if __name__ == "__main__":
    main()
