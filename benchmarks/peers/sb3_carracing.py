"""Time Stable-Baselines3's DQN on CarRacing outside of the environment: `python sb3_carracing.py [--steps 1000]`.

The same settings as benchmarks/carracing.py, on the CPU, with NatureCNN and one hidden layer of 512. Needs
stable-baselines3 and gymnasium[box2d]. Prints one JSON line.
"""

from __future__ import annotations

import argparse
import json
import resource

import gymnasium
import stable_baselines3
import torch
from outside import Outside
from stable_baselines3 import DQN


def main() -> None:
    """Train, and print the medians of the last steps."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=1000, help="environment steps to time")
    parser.add_argument("--untimed-steps", type=int, default=1200, help="steps before, without updates in all but 200")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    env = Outside(gymnasium.make("CarRacing-v3", continuous=False))
    model = DQN(
        "CnnPolicy",
        env,
        learning_rate=1e-4,
        buffer_size=10_000,
        learning_starts=arguments.untimed_steps - 200,
        batch_size=32,
        gamma=0.99,
        train_freq=4,
        gradient_steps=1,
        target_update_interval=4_000,
        exploration_initial_eps=0.05,
        exploration_final_eps=0.05,
        max_grad_norm=10,
        seed=arguments.seed,
        device="cpu",
    )
    model.learn(arguments.untimed_steps + arguments.steps, log_interval=1_000_000)
    parameters = sum(each.numel() for each in model.q_net.parameters())
    result = {
        "name": "stable-baselines3",
        **env.result(arguments.steps, 4),
        "threads": arguments.threads,
        "parameters": parameters,
        "largest_resident_mebibytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "versions": {
            "stable-baselines3": stable_baselines3.__version__,
            "torch": torch.__version__,
            "gymnasium": gymnasium.__version__,
        },
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
