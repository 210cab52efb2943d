"""One timing of tensorq's loops with the blog post's hyperparameters; prints one JSON line.

python benchmarks/ours.py compiled [--num-envs 1] [--changes '{"double": true}'] | host | floor
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from tensorq.config import Config
from tensorq.envs.description import describe
from tensorq.loops.build import build_loop
from tensorq.presets import resolve
from tensorq.process import import_tensorflow

WARM_UP_STEPS, STEPS = 2_000, {"compiled": 20_000, "host": 8_000}


def blog(**changes: Any) -> Config:
    """The post's hyperparameters; with several environments, one update a vector step."""
    return resolve("CartPole-v1", "blog", steps=10_000_000, episodes=0, **changes)


def time_loop(kind: str, num_envs: int, changes: dict[str, Any]) -> dict[str, Any]:
    """Steps a second after learning has started and everything is compiled."""
    import_tensorflow(1)
    plan = {"num_envs": num_envs, "replay_ratio": 1 / num_envs, "log_period_steps": 1_000 * num_envs, "loop": kind}
    config = blog(**plan | changes)
    with tempfile.TemporaryDirectory() as folder:
        loop = build_loop(config, describe(config.env), None, Path(folder) / "replay.bin")
        loop.advance(WARM_UP_STEPS * num_envs, None, lambda: False)
        steps, updates, started = loop.steps, loop.updates, time.perf_counter()
        report = loop.advance(steps + STEPS[kind] * num_envs, None, lambda: False)
        seconds = time.perf_counter() - started
        steps, updates = loop.steps - steps, loop.updates - updates
        loop.close()
    return {
        "name": f"tensorq {kind} loop, {num_envs} environment{'s' * (num_envs > 1)}",
        "steps_per_second": round(steps / seconds, 1),
        "microseconds_per_iteration": round(seconds / updates * 1e6, 2),
        "mean_return": round(float(np.mean([episode.total_return for episode in report.episodes])), 1),
    }


def time_floor() -> dict[str, Any]:
    """The matrix products of one iteration alone, in NumPy on one thread: act, target, forward and backward pass."""
    batch, inputs, hidden, actions = 64, 4, 256, 2
    generator = np.random.default_rng(0)
    x, h, q = (generator.random((batch, size), np.float32) for size in (inputs, hidden, actions))
    one, w1, w2 = (generator.random(shape, np.float32) for shape in ((1, inputs), (inputs, hidden), (hidden, actions)))
    repeats = 20_000
    started = time.perf_counter()
    for _ in range(repeats):
        (one @ w1) @ w2  # act
        x @ w1, h @ w2  # the target network on next observations
        x @ w1, h @ w2  # the online network on observations
        h.T @ q, q @ w2.T, x.T @ h  # gradients of w2, the hidden layer and w1
    seconds = (time.perf_counter() - started) / repeats
    flops = 2 * (3 * batch * (inputs * hidden + hidden * actions) + batch * hidden * actions + inputs * hidden)
    return {"name": "matrix products alone", "microseconds_per_iteration": round(seconds * 1e6, 2), "flops": flops}


def main() -> None:
    """Time what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["compiled", "host", "floor"])
    parser.add_argument("--num-envs", type=int, default=1)
    parser.add_argument("--changes", type=json.loads, default={}, help="fields of Config, as JSON")
    arguments = parser.parse_args()
    what, num_envs = arguments.what, arguments.num_envs
    print(json.dumps(time_floor() if what == "floor" else time_loop(what, num_envs, arguments.changes)))


if __name__ == "__main__":
    main()
