"""Steps a second of the compiled worlds alone, beside other people's, in one run: 1024 environments, random actions,
automatic resets, and an observation at each step.

The peers are the package minatar (a loop over one game, and Gymnasium's SyncVectorEnv of 1024), gymnax (one jitted JAX
scan) and Gymnasium's own vector CartPole. Each system has a process of its own that stays alive and waits; for each
world they take turns, round by round, and a figure is the median over the rounds. The minimal action sets (-v1) are
played, as gymnax has them. What is not installed is left out, with the command that installs it.

python benchmarks/worlds.py [--rounds 5] [--seconds 1] [--only WORLD...]
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import statistics
import subprocess
import sys
import time
from typing import Any

from measure import HERE, JAX_PYTHON, has_module, write

COUNT, VECTOR_STEPS = 1024, 256  # environments, and their steps in one call of the program
GYMNAX_VECTOR_STEPS = 64  # fewer, because its Seaquest makes a few thousand steps a second
GAMES = [f"tensorq/MinAtar-{game}-v1" for game in ("Asterix", "Breakout", "Freeway", "Seaquest", "SpaceInvaders")]
SNAKES = [f"tensorq/Snake{side}x{side}-v0" for side in (6, 8, 10)]
WORLDS = [*GAMES, *SNAKES, "CartPole-v1", "Acrobot-v1", "MountainCar-v0"]
GYMNAX = [*GAMES, "CartPole-v1", "Acrobot-v1", "MountainCar-v0"]  # what gymnax has
ONE_THREAD = {"NPROC": "1", "PJRT_NPROC": "1", "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false"}  # for JAX


class System:
    """A process that answers the name of a world with the steps a second that it just made in it."""

    def __init__(self, command: list[str], worlds: list[str], environment: dict[str, str] | None = None) -> None:
        """Start it."""
        self.worlds = worlds
        variables = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **(environment or {})}
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=variables)
        self.versions: dict[str, str] = self._answer()

    def measure(self, world: str, seconds: float) -> float:
        """Steps a second in a window of at least so many seconds."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{world} {seconds}\n")
        self._process.stdin.flush()
        return float(self._answer())

    def close(self) -> None:
        """End the process."""
        self._process.communicate()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._process.args} ended with {self._process.wait()}")
        return json.loads(line)


def systems() -> dict[str, System]:
    """Every system that is installed, by name."""
    python, peers = sys.executable, HERE / "peers"
    found = {}
    for threads in (1, 2):
        found[f"tensorq, {threads} thread{'s' * (threads > 1)}"] = System(
            [python, __file__, "--serve", str(threads)], WORLDS
        )
    if has_module(JAX_PYTHON, "gymnax"):
        command = [JAX_PYTHON, str(peers / "gymnax_worlds.py"), str(COUNT), str(GYMNAX_VECTOR_STEPS)]
        found["gymnax, 1 thread"] = System(command, GYMNAX, ONE_THREAD)
        found["gymnax, 2 threads"] = System(command, GYMNAX)
    else:
        print(f"left out: gymnax; python3 -m venv .venv-jax && {JAX_PYTHON} -m pip install gymnax six")
    script = str(peers / "gymnasium_worlds.py")
    if has_module(python, "minatar"):
        found["minatar, one game"] = System([python, script, "1"], GAMES)
        found[f"minatar, SyncVectorEnv of {COUNT}"] = System([python, script, str(COUNT)], GAMES)
    else:
        print("left out: minatar; pip install minatar")
    found["Gymnasium, vector CartPole"] = System([python, script, str(COUNT)], ["CartPole-v1"])
    return found


def serve(threads: int) -> None:
    """Answer each line "WORLD SECONDS" of the standard input with the steps a second of our world."""
    from tensorq.process import import_tensorflow

    import_tensorflow(threads)
    runs: dict[str, Any] = {}
    print(json.dumps({}), flush=True)
    for line in sys.stdin:
        name, seconds = line.split()
        if name not in runs:
            runs[name] = program(name)
            run, state, _ = runs[name]
            run(state, 0)[2].numpy()  # compiles
        run, state, call = runs[name]
        calls, started = 0, time.perf_counter()
        while time.perf_counter() - started < float(seconds):
            call, calls = call + 1, calls + 1
            state, _, total = run(state, call)
            total.numpy()
        print(COUNT * VECTOR_STEPS * calls / (time.perf_counter() - started), flush=True)
        runs[name] = run, state, call


def program(name: str) -> tuple[Any, Any, int]:
    """(a function of a state and a call's number that makes VECTOR_STEPS vector steps, the first state, 0).

    It draws its random numbers as the compiled loop does: in each vector step, those of all environments at once.
    """
    import tensorflow as tf

    from tensorq.core import random, xla
    from tensorq.envs.world import make_world, where_rows

    world = make_world(name)
    widths = (1, world.step_uniforms, world.reset_uniforms)
    actions = int(world.action_space.n)

    def uniforms(counter: Any) -> Any:
        bits = random.random_bits(tf.constant(0), random.ACTING, counter, COUNT * sum(widths))
        return tf.split(tf.reshape(random.to_uniforms(bits), (COUNT, sum(widths))), widths, axis=1)

    @xla.compiled
    def run(state: Any, call: Any) -> Any:
        def vector_step(step: Any, state: Any, age: Any, obs: Any, total: Any) -> Any:
            act_u, step_u, reset_u = uniforms(call * VECTOR_STEPS + step)
            action = tf.cast(act_u[:, 0] * actions, tf.int32)
            state, reward, terminated, truncated = world.step(state, action, step_u)
            age = age + 1
            done = terminated | truncated | (age >= world.max_episode_steps)
            state = tf.nest.map_structure(functools.partial(where_rows, done), world.reset(reset_u), state)
            return step + 1, state, tf.where(done, 0, age), world.observe(state), total + tf.reduce_sum(reward)

        state, age = state
        begin = tf.constant(0), state, age, world.observe(state), tf.constant(0.0)
        _, state, age, obs, total = tf.while_loop(lambda step, *_: step < VECTOR_STEPS, vector_step, begin)
        return (state, age), obs, total

    first = world.reset(uniforms(tf.constant(2**30))[2])
    return lambda state, call: run(state, tf.constant(call)), (first, tf.zeros(COUNT, tf.int32)), 0


def main() -> None:
    """Run the rounds, print the table, write results/worlds.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="seconds of each measurement")
    parser.add_argument("--only", nargs="+", choices=WORLDS, default=WORLDS, metavar="WORLD")
    parser.add_argument("--serve", type=int, metavar="THREADS", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(arguments.serve)
        return
    found = systems()
    runs: dict[str, dict[str, list[float]]] = {world: {} for world in arguments.only}
    for number in range(arguments.rounds):
        for world in arguments.only:
            for name, system in found.items():
                if world in system.worlds:
                    rate = system.measure(world, arguments.seconds)
                    runs[world].setdefault(name, []).append(round(rate))
                    print(f"round {number + 1}: {world:<34}{name:<34}{rate:>12,.0f} steps/s", flush=True)
    versions = {key: value for system in found.values() for key, value in system.versions.items()}
    for system in found.values():
        system.close()
    table = [summary(world, results) for world, results in runs.items()]
    print(
        f"\n{'steps/s, the faster number of threads':<40}{'tensorq':>12}{'gymnax':>12}{'Gymnasium':>12}{'ratios':>16}"
    )
    for row in table:
        ratios = " ".join(f"{row[key]:.1f}x" for key in ("times_gymnax", "times_gymnasium") if row[key])
        rates = "".join(f"{row[key] or 0:>12,.0f}" for key in ("tensorq", "gymnax", "gymnasium"))
        print(f"{row['world']:<40}{rates}{ratios:>16}")
    result = {"environments": COUNT, "rounds": arguments.rounds, "seconds": arguments.seconds, "versions": versions}
    print(write("worlds.json", {**result, "table": table, "runs": runs}))


def summary(world: str, results: dict[str, list[float]]) -> dict[str, Any]:
    """Medians over the rounds, and how many times as fast ours is as each peer; of each, the fastest way counts."""
    medians = {name: statistics.median(rates) for name, rates in results.items()}

    def best(*beginnings: str) -> float | None:
        return max((rate for name, rate in medians.items() if name.startswith(beginnings)), default=None)

    ours, gymnax, gymnasium = best("tensorq"), best("gymnax"), best("minatar", "Gymnasium")
    return {
        "world": world,
        "tensorq": ours,
        "gymnax": gymnax,
        "gymnasium": gymnasium,
        "times_gymnax": ours and gymnax and round(ours / gymnax, 2),
        "times_gymnasium": ours and gymnasium and round(ours / gymnasium, 2),
        "medians": medians,
    }


if __name__ == "__main__":
    main()
