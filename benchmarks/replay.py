"""What a replay costs, of two checkouts in one run: speed, checkpoints, memory, the host loop's own work.

python benchmarks/replay.py OLD NEW [--rounds 3] [--only bench speed checkpoint memory host]
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from measure import last_json_line, write

CAPACITIES = (10_000, 100_000, 1_000_000)
FRAME = (84, 84)
MEASURES: dict[str, list[tuple[str, ...]]] = {
    "bench": [("bench", "compiled", "1"), ("bench", "compiled", "16"), ("bench", "host", "1")],
    "speed": [("speed", str(capacity)) for capacity in CAPACITIES],
    "checkpoint": [("checkpoint", loop, str(capacity)) for loop in ("compiled", "host") for capacity in CAPACITIES],
    "memory": [("memory", loop, kind) for loop in ("compiled", "host") for kind in ("vectors", "frames")],
    "host": [("host", str(count), mask) for count in (1, 8, 64) for mask in ("unmasked", "masked")],
}


def resident_gibibytes() -> float:
    """Resident memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**30


def idle_vector(count: int, shape: tuple[int, ...], masked: bool = False) -> Any:
    """A vector environment that does nothing, so that the loop's own time is left; episodes end after 100 steps."""
    import gymnasium as gym
    import numpy as np
    from gymnasium.vector import AutoresetMode, VectorEnv

    class Idle(VectorEnv):
        metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP}

        def __init__(self) -> None:
            self.num_envs, self.steps = count, 0
            box = gym.spaces.Box(0, 255, shape, np.uint8 if len(shape) == 2 else np.float32)
            self.single_observation_space, self.single_action_space = box, gym.spaces.Discrete(4)
            self.observation_space = gym.vector.utils.batch_space(box, count)
            self.action_space = gym.vector.utils.batch_space(self.single_action_space, count)
            self.obs = np.ones((count, *shape), box.dtype)
            self.info = {"action_mask": np.ones((count, 4), np.int8)} if masked else {}

        def reset(self, *, seed: Any = None, options: Any = None) -> tuple[Any, dict]:
            return self.obs, self.info

        def step(self, actions: Any) -> tuple[Any, ...]:
            self.steps += 1
            no, ones = np.zeros(count, bool), np.ones(count)
            return self.obs, ones, no, np.full(count, self.steps % 100 == 0), self.info

    return Idle()


class Idle:
    """A compiled world that does nothing, with observations of one shape."""

    reset_uniforms, step_uniforms, max_episode_steps, solved_return = 1, 0, 100, None

    def __init__(self, shape: tuple[int, ...]) -> None:
        import gymnasium as gym
        import numpy as np

        self.observation_space = gym.spaces.Box(0, 255, shape, np.uint8 if len(shape) == 2 else np.float32)
        self.action_space = gym.spaces.Discrete(4)

    def reset(self, u: Any) -> Any:
        """One number for each environment."""
        return u

    def observe(self, state: Any) -> Any:
        """Ones."""
        import tensorflow as tf

        return tf.ones((state.shape[0], *self.observation_space.shape), self.observation_space.dtype)

    def step(self, state: Any, action: Any, u: Any) -> tuple[Any, ...]:
        """Nothing happens."""
        import tensorflow as tf

        no = tf.zeros(state.shape[0], tf.bool)
        return state, tf.ones(state.shape[0]), no, no


def make_loop(folder: Path, loop: str, shape: tuple[int, ...] | None, count: int, masked: bool, **settings: Any) -> Any:
    """A loop on CartPole-v1, or on observations of a shape. It never learns, unless settings say so."""
    from tensorq.envs import world
    from tensorq.envs.description import describe
    from tensorq.loops.build import build_loop
    from tensorq.presets import resolve
    from tensorq.process import load_tensorflow

    load_tensorflow()
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    settings = {"loop": loop, "num_envs": count, "steps": 10**9, "learning_starts_steps": 10**9 - 1, **settings}
    config = resolve("CartPole-v1", "blog", checkpoint_period_steps=10_000, episodes=0, **settings)
    made = (lambda: idle_vector(count, shape, masked)) if shape and loop == "host" else None
    environment = describe("CartPole-v1", made, {})
    if shape and loop == "compiled":
        world.make_world = lambda *_: Idle(shape)
        space, actions = Idle(shape).observation_space, Idle(shape).action_space
        environment = dataclasses.replace(environment, native_observation_space=space, native_action_space=actions)
    return build_loop(config, environment, None, folder / "replay.bin")


def bench(folder: Path, loop: str, count: str) -> dict[str, float]:
    """Steps per second as `make bench` has them."""
    from ours import time_loop

    return {"steps_per_second": time_loop(loop, int(count), {})["steps_per_second"]}


def speed(folder: Path, capacity: str) -> dict[str, float]:
    """Steps per second of training without evaluations and checkpoints, as result.json has it."""
    from tensorq import trainer
    from tensorq.presets import resolve

    steps = 600_000
    config = resolve(
        "CartPole-v1", "blog", num_envs=16, replay_ratio=1 / 16, update_period_steps=16, replay_capacity=int(capacity),
        steps=steps, learning_starts_steps=1_000, evaluation_period_steps=0, checkpoint_period_steps=steps,
        log_period_steps=100_000, evaluation_episodes=1, episodes=0,
    )  # fmt: skip
    path = trainer.train(config, run_dir=folder / "run")
    return {"steps_per_second": json.loads((path / "result.json").read_text())["steps_per_second"]}


def checkpoint(folder: Path, loop: str, capacity: str) -> dict[str, float]:
    """Seconds and bytes of a checkpoint, 10 000 steps after the one before, with a full replay."""
    from tensorq.runs.checkpoint import Checkpoints

    size, period = int(capacity), 10_000
    count = 16 if loop == "compiled" else 64
    trained = make_loop(folder, loop, None if loop == "compiled" else (4,), count, False, replay_capacity=size)
    kept, seconds, written = Checkpoints(folder / "checkpoints"), [], []
    trained.advance(size + 3 * period, None, lambda: False)
    for index in range(4):
        trained.advance(trained.steps + period, None, lambda: False)
        trained.boundary()
        began, before = time.perf_counter(), write_bytes()
        path = kept.save(trained.steps, trained.save(), {})
        if index:  # the first writes what came before it, too
            seconds.append(time.perf_counter() - began)
            written.append(write_bytes() - before)
    return {
        "seconds": statistics.median(seconds),
        "bytes_written": statistics.median(written),
        "checkpoint_bytes": path.stat().st_size,
    }


def write_bytes() -> int:
    """Bytes that this process gave to write calls; a mapped file's pages are not among them."""
    fields = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(fields["wchar"])


def memory(folder: Path, loop: str, kind: str) -> dict[str, float]:
    """Memory that a full replay of 1 000 000 takes; of 100 000 frames if a checkout would need too much."""
    shape = (4,) if kind == "vectors" else FRAME
    new = (Path(sys.path[0]) / "tensorq" / "replay" / "columns.py").exists()
    size = 1_000_000 if kind == "vectors" or new else 100_000 if loop == "host" else 10_000
    before = resident_gibibytes()
    trained = make_loop(folder, loop, shape, 64, False, replay_capacity=size, hidden_sizes=(8,))
    trained.advance(64, None, lambda: False)
    trained.advance(size + 10_000, None, lambda: False)
    after = resident_gibibytes()
    peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return {
        "capacity": size,
        "bytes_per_step": (after - before) * 2**30 / size,
        "resident_gibibytes": after,
        "peak_gibibytes": int(peak.split()[1]) / 2**20,
        "before_gibibytes": before,
    }


def host(folder: Path, count: str, mask: str) -> dict[str, float]:
    """Microseconds of the host loop's own work for a step of all environments: act, store, count episodes.

    The lower quartile of 80 short windows: most of them fall between the interruptions by other programs.
    """
    trained = make_loop(folder, "host", (4,), int(count), mask == "masked", epsilon_final=0.1, epsilon_anneal_steps=1)
    trained.advance(2_000 * int(count), None, lambda: False)
    rounds = []
    for _ in range(80):
        began, first = time.perf_counter(), trained.steps
        trained.advance(first + 200 * int(count), None, lambda: False)
        rounds.append((time.perf_counter() - began) / (trained.steps - first) * int(count))
    return {"microseconds": 1e6 * statistics.quantiles(rounds)[0]}


def main() -> None:
    """Every measurement with every checkout in turns, each in a process of its own."""
    if sys.argv[1:2] == ["--one"]:
        sys.path.insert(0, str(Path(os.environ["PYTHONPATH"])))
        name, *arguments = sys.argv[2:]
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(globals()[name](Path(folder), *arguments)))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkouts", type=Path, nargs=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=MEASURES, default=list(MEASURES))
    arguments = parser.parse_args()
    for name in arguments.only:
        table = [compared(measure, arguments) for measure in MEASURES[name]]
        print(write(f"replay_{name}.json", {"rounds": arguments.rounds, "table": table}), flush=True)


def compared(measure: tuple[str, ...], arguments: argparse.Namespace) -> dict[str, Any]:
    """A row of the table: the medians of one measurement with both checkouts, and all of its runs."""
    found: dict[str, list[dict[str, float]]] = {"old": [], "new": []}
    for _ in range(1 if measure[0] == "memory" else arguments.rounds):
        for name, checkout in zip(found, arguments.checkouts, strict=True):
            path = {"PYTHONPATH": str(checkout / "src")}
            found[name].append(last_json_line([sys.executable, __file__, "--one", *measure], path))
    row: dict[str, Any] = {"measure": " ".join(measure)}
    for name, results in found.items():
        row[name] = {key: round(statistics.median(each[key] for each in results), 4) for key in results[0]}
    print(json.dumps(row), flush=True)
    return {**row, "runs": found}


if __name__ == "__main__":
    main()
