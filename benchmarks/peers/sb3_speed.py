"""Time Stable-Baselines3's DQN with the blog post's hyperparameters: `python sb3_speed.py [--steps 6000]`.

One environment, one update per step, on the CPU. Two things cannot be set and differ from the post: SB3's loss is Huber
(its cost is the same) and its Adam's epsilon is PyTorch's. `--threads best` measures with one PyTorch thread, then with
PyTorch's own choice, and reports the faster. Needs stable-baselines3. The clock starts 200 updates after learning has.
"""

from __future__ import annotations

import argparse
import json
import time

import gymnasium
import stable_baselines3
import torch
from stable_baselines3 import DQN
from stable_baselines3.common.callbacks import BaseCallback

LEARNING_STARTS_STEPS = 500
WARM_UP_STEPS = 200
EPSILON_ANNEAL_STEPS = 100


class Stopwatch(BaseCallback):  # type: ignore[misc, unused-ignore]
    """Notes when the first timed step begins and when the last one ends."""

    def __init__(self, first_step: int, last_step: int) -> None:
        """Time from the end of `first_step` to the end of `last_step`."""
        super().__init__()
        self.first_step, self.last_step = first_step, last_step
        self.started = self.seconds = 0.0

    def _on_step(self) -> bool:
        # Called between the environment's step and the update, so the difference holds whole iterations.
        if self.num_timesteps == self.first_step:
            self.started = time.perf_counter()
        elif self.num_timesteps == self.last_step:
            self.seconds = time.perf_counter() - self.started
        return True


def measure(timed_steps: int, threads: int, seed: int) -> float:
    """Environment steps (and updates) a second with this many PyTorch threads."""
    torch.set_num_threads(threads)
    untimed_steps = LEARNING_STARTS_STEPS + WARM_UP_STEPS
    total_steps = untimed_steps + timed_steps
    model = DQN(
        "MlpPolicy",
        gymnasium.make("CartPole-v1"),
        learning_rate=1e-3,
        buffer_size=32_000,
        learning_starts=LEARNING_STARTS_STEPS,
        batch_size=64,
        gamma=0.99,
        train_freq=1,
        gradient_steps=1,
        target_update_interval=20,
        exploration_initial_eps=1.0,
        exploration_final_eps=0.1,
        exploration_fraction=EPSILON_ANNEAL_STEPS / total_steps,
        max_grad_norm=1e9,
        policy_kwargs={"net_arch": [256], "activation_fn": torch.nn.ReLU},
        seed=seed,
        device="cpu",
    )
    stopwatch = Stopwatch(untimed_steps, total_steps)
    model.learn(total_steps, callback=stopwatch, log_interval=1_000_000)
    return timed_steps / stopwatch.seconds


def main() -> None:
    """Run and print one JSON line."""
    parser = argparse.ArgumentParser(description="Time Stable-Baselines3's DQN with the blog post's hyperparameters.")
    parser.add_argument("--steps", type=int, default=6000, help="environment steps to time, one update each")
    parser.add_argument("--threads", default="best", help="best, default, or a number of PyTorch threads")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    default_threads = torch.get_num_threads()
    if arguments.threads == "best":
        candidates = sorted({1, default_threads})
    else:
        candidates = [default_threads if arguments.threads == "default" else int(arguments.threads)]
    speeds = {threads: measure(arguments.steps, threads, arguments.seed) for threads in candidates}
    best = max(speeds, key=lambda threads: speeds[threads])
    result = {
        "name": "stable-baselines3",
        "steps_per_second": round(speeds[best], 1),
        "microseconds_per_step": round(1e6 / speeds[best], 1),
        "steps": arguments.steps,
        "threads": best,
        "steps_per_second_by_threads": {str(threads): round(speed, 1) for threads, speed in speeds.items()},
        "versions": {
            "stable-baselines3": stable_baselines3.__version__,
            "torch": torch.__version__,
            "gymnasium": gymnasium.__version__,
        },
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
