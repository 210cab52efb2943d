"""CarRacing from pixels: the time outside of the environment, beside Stable-Baselines3's, and the memory of a run.

Both have the network of Nature DQN, batches of 32, one update for 4 steps, a replay of 10 000 steps, one environment.
They run in processes of their own, in turns; a figure is the median over the rounds. The clock begins 200 steps after
learning has. With overlap_learning, one thread learns while another steps the environment; the others learn with two.
The environment makes a picture of 96x96 pixels in each step, which takes longer while another thread learns.

python benchmarks/carracing.py [--rounds 3] [--steps 1000] [--threads 2]
python benchmarks/carracing.py --memory    # preflight's figure, and what a process takes with a full replay
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import gymnasium

from measure import HERE, SB3_PYTHON, has_module, last_json_line, write
from peers.outside import Outside
from tensorq.config import Config
from tensorq.envs.description import describe
from tensorq.loops.build import build_loop
from tensorq.preflight import demands
from tensorq.presets import resolve
from tensorq.process import import_tensorflow

ENV = "CarRacing-v3"
WARM_UP_STEPS = 200
OVERLAPPED = "tensorq, overlap_learning"


def settings(threads: int, learning_starts_steps: int, overlap: bool) -> Config:
    """The settings of peers/sb3_carracing.py; its DQN is not double, and its loss is Huber's."""
    return resolve(
        ENV, steps=10_000_000, env_args={"continuous": False}, encoder="nature", hidden_sizes=(512,), double=False,
        loss="huber", learning_rate=1e-4, replay_capacity=10_000, learning_starts_steps=learning_starts_steps,
        batch_size=32, gamma=0.99, replay_ratio=0.25, target_sync_updates=1_000, epsilon_start=0.05,
        epsilon_final=0.05, max_gradient_norm=10.0, threads=threads, overlap_learning=overlap,
    )  # fmt: skip


def ours(steps: int, untimed_steps: int, threads: int, overlap: bool) -> dict[str, Any]:
    """Train in this process."""
    import_tensorflow(threads, calls=1 + overlap)
    config, envs = settings(threads, untimed_steps - WARM_UP_STEPS, overlap), list[Outside]()

    def make() -> gymnasium.Env:
        envs.append(Outside(gymnasium.make(ENV, continuous=False)))
        return envs[-1]

    environment = describe(ENV, make, {})
    with tempfile.TemporaryDirectory() as folder:
        loop = build_loop(config, environment, None, Path(folder) / "replay.bin")
        loop.advance(untimed_steps + steps, None, lambda: False)
        parameters = len(loop.kept()["agent.params"])
        loop.close()
    env = max(envs, key=lambda env: len(env.inside))
    return {
        "name": OVERLAPPED if overlap else "tensorq",
        **env.result(steps, 4),
        "threads": threads,
        "parameters": parameters,
        "largest_resident_mebibytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


def memory(capacity: int) -> dict[str, Any]:
    """What preflight computes for a run with its defaults and this capacity, and what it takes with a full replay."""
    config = resolve(ENV, env_args={"continuous": False}, replay_capacity=capacity, steps=10_000_000)
    environment = describe(ENV, None, config.env_args)
    space, num_actions = environment.observation_space, int(environment.action_space.n)
    computed = sum(demand.bytes(config) for demand in demands(space, num_actions, False, None))
    import_tensorflow(config.threads)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with tempfile.TemporaryDirectory() as folder:
        loop = build_loop(config, environment, None, Path(folder) / "replay.bin")
        loop.advance(capacity, None, lambda: False)
        loop.close()
    taken = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return {
        "replay_capacity": capacity,
        "computed_mebibytes": round(computed / 2**20),
        "taken_mebibytes": taken // 1024,
        "before_mebibytes": before // 1024,
    }


def main() -> None:
    """Run the rounds, and write results/carracing.json or results/carracing_memory.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--untimed-steps", type=int, default=1200, help="steps before, without updates in all but 200")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", action="store_true", help="measure tensorq in this process, and print it")
    parser.add_argument("--overlap", action="store_true", help="with --only: learn beside the environment")
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--capacity", type=int, default=5_000, help="replay_capacity with --memory")
    arguments = parser.parse_args()
    if arguments.only:
        print(json.dumps(ours(arguments.steps, arguments.untimed_steps, arguments.threads, arguments.overlap)))
        return
    if arguments.memory:
        found = memory(arguments.capacity)
        print(found)
        print(write("carracing_memory.json", found))
        return
    numbers = {"--steps": arguments.steps, "--untimed-steps": arguments.untimed_steps, "--threads": arguments.threads}
    options = [word for name, number in numbers.items() for word in (name, str(number))]
    own = [sys.executable, str(HERE / "carracing.py"), "--only", *options]
    commands = {"tensorq": own, OVERLAPPED: [*own, "--overlap", "--threads", "1"]}  # and one for the environment
    if has_module(SB3_PYTHON, "stable_baselines3"):
        commands["Stable-Baselines3"] = [SB3_PYTHON, str(HERE / "peers" / "sb3_carracing.py"), *options]
    else:
        venv = Path(SB3_PYTHON).parents[1]
        print(f"left out: {venv}/bin/pip install torch==2.13.0 stable-baselines3 'gymnasium[box2d]'")
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in commands}
    for number in range(arguments.rounds):
        for name, command in commands.items():
            runs[name].append(last_json_line(command))
            last = runs[name][-1]
            print(
                f"round {number + 1}: {name:<25}{last['outside_milliseconds']:>9.3f} ms outside,"
                f"{last['inside_milliseconds']:>9.3f} ms inside a step",
                flush=True,
            )
    medians = {
        name: statistics.median(run["outside_milliseconds"] for run in results) for name, results in runs.items()
    }
    result: dict[str, Any] = {"rounds": arguments.rounds, "outside_milliseconds": medians, "runs": runs}
    if (peer := medians.get("Stable-Baselines3")) is not None:
        result["ratios"] = {name: round(peer / medians[name], 2) for name in ("tensorq", OVERLAPPED)}
    print(medians, result.get("ratios", ""))
    print(write("carracing.json", result))


if __name__ == "__main__":
    main()
