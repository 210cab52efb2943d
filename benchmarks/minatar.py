"""MinAtar's Breakout with DQN as CleanRL and rejax publish it: seconds from the start of the process to an evaluated
agent after 1 000 000 steps, where the time goes, and how close learning comes to the machine's matrix product.

python benchmarks/minatar.py [--steps 1000000] [--threads 1] [--seed 0]
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from measure import last_json_line, write

TENSORQ = str(Path(sys.executable).parent / "tensorq")
ENV = "tensorq/MinAtar-Breakout-v1"
BATCH, HIDDEN, CHANNELS, ACTIONS = 32, 128, 16, 3
# Replay 100 000, one update of 32 for 4 steps, 16 kernels of 3x3 and 128 units; 16 environments are our own choice.
SETTINGS: dict[str, Any] = {
    "double": False, "batch_size": BATCH, "replay_capacity": 100_000, "replay_ratio": 0.25, "hidden_sizes": (HIDDEN,),
    "num_envs": 16, "update_period_steps": 16, "learning_rate": 0.00025, "max_gradient_norm": 0.0, "loss": "mse",
    "target_sync_updates": 250, "learning_starts_steps": 5_000, "epsilon_final": 0.01, "epsilon_anneal_steps": 250_000,
    "evaluation_period_steps": 250_000, "checkpoint_period_steps": 250_000,
}  # fmt: skip
# Multiplications and additions of a forward pass of one observation. A batch has four: of the target network, of the
# online network, and twice as much for the gradient, but none for that of the pixels.
CONVOLUTION, DENSE = 2 * 64 * 9 * 4 * CHANNELS, 2 * (64 * CHANNELS * HIDDEN + HIDDEN * ACTIONS)
OPERATIONS = BATCH * (3 * CONVOLUTION + 4 * DENSE)


def train(steps: int, threads: int, seed: int) -> dict[str, Any]:
    """The command as a user gives it, and 100 games of the agent that it keeps."""
    with tempfile.TemporaryDirectory() as folder:
        run = str(Path(folder) / "run")
        command = [TENSORQ, "train", ENV, "--quiet", "--run-dir", run, "--steps", str(steps), "--seed", str(seed)]
        for name, value in {**SETTINGS, "threads": threads}.items():
            option = name.replace("_", "-")
            values = map(str, value if isinstance(value, tuple) else (value,))
            command += [f"--no-{option}"] if value is False else [f"--{option}", *values]
        began = time.perf_counter()
        subprocess.run(command, check=True)
        seconds = time.perf_counter() - began
        result = json.loads((Path(run) / "result.json").read_text())
        played = last_json_line([TENSORQ, "evaluate", run, "--json"])
    return {
        "process_seconds": round(seconds, 1),
        "steps_per_second": result["steps_per_second"],
        "updates": result["updates"],
        "mean_return_of_100": played["mean"],
    }


def median_microseconds(count: int, call: Callable[[], object]) -> float:
    """The median time of a call that makes `count` of something, for each of them."""
    call()
    windows = []
    for _ in range(9):
        began = time.perf_counter()
        call()
        windows.append((time.perf_counter() - began) / count * 1e6)
    return statistics.median(windows)


def parts(threads: int) -> dict[str, float]:
    """Microseconds of an update and its four steps: in all, without learning, of sampling alone."""
    from tensorq.process import import_tensorflow

    import_tensorflow(threads)
    import tensorflow as tf

    from tensorq.core import random, xla
    from tensorq.envs.description import describe
    from tensorq.loops.build import build_loop
    from tensorq.presets import resolve

    def measured(folder: str, learning_starts_steps: int) -> tuple[Any, float]:
        changed = {"log_period_steps": 4_000, "steps": 10**9, "learning_starts_steps": learning_starts_steps}
        config = resolve(ENV, "dqn", **{**SETTINGS, **changed})
        loop = build_loop(config, describe(ENV), None, Path(folder) / "replay.bin")
        loop.advance(10_000, None, lambda: False)
        return loop, median_microseconds(1_000, lambda: loop.advance(loop.steps + 4_000, None, lambda: False))

    found = {}
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        _, found["in_all"] = measured(one, 5_000)
        made, found["without_learning"] = measured(other, 5 * 10**8)
        seed, exponent, memory = tf.constant(0, tf.int64), tf.constant(1.0, tf.float64), made.memory

        def sample(first: Any) -> Any:
            state = tf.nest.map_structure(lambda part: part.read_value(), memory)

            def body(index: Any, total: Any) -> Any:
                bits = random.random_bits(seed, random.REPLAY, first + index, BATCH)
                batch, _ = made.learning.replay.sample(state, bits, exponent)
                pixels = tf.cast(batch.obs, tf.float32) + tf.cast(batch.next_obs, tf.float32)
                return index + 1, total + pixels + batch.reward[:, None, None, None]

            zero = tf.constant(0, tf.int64)
            return tf.while_loop(lambda index, _: index < 1_000, body, (zero, tf.zeros((BATCH, 10, 10, 4))))[1]

        program = xla.compiled(sample)
        found["sampling"] = median_microseconds(1_000, lambda: program(tf.constant(0, tf.int64)).numpy())

        def product(matrix: Any) -> Any:
            return tf.while_loop(lambda index, _: index < 3, lambda index, x: (index + 1, x @ matrix), (0, matrix))[1]

        program, matrix = xla.compiled(product), tf.eye(1_024)
        seconds = median_microseconds(3, lambda: program(matrix).numpy()) / 1e6
    learning = found["in_all"] - found["without_learning"] - found["sampling"]
    found |= {
        "learning": learning,
        "gflops_of_learning": OPERATIONS / learning / 1e3,
        "gflops_of_matrix_product": 2 * 1_024**3 / seconds / 1e9,
    }
    return {name: round(value, 1) for name, value in found.items()}


def main() -> None:
    """Measure, print, and write results/minatar_breakout.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=1_000_000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    trained = train(arguments.steps, arguments.threads, arguments.seed)
    print(json.dumps(trained), flush=True)
    result = {"settings": SETTINGS, "steps": arguments.steps, "training": trained, "parts": parts(arguments.threads)}
    print(json.dumps(result["parts"]))
    print(write("minatar_breakout.json", result))


if __name__ == "__main__":
    main()
