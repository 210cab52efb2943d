"""Train Stable-Baselines3's DQN on tensorq's Snake: `python sb3_snake.py [--steps 20000]`.

It shows that other libraries can train on tensorq's worlds by their Gymnasium ids; the run is far too short to learn
the game. SB3 knows no action masks: where its agent turns back into the snake's neck, which is illegal, the world goes
straight on. Writes results/sb3_snake.json. Needs both libraries, and so TensorFlow and PyTorch, in one environment:
python3 -m venv .venv-sb3 && .venv-sb3/bin/pip install torch==2.13.0 stable-baselines3 .
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from stable_baselines3 import DQN
from stable_baselines3.common.env_checker import check_env

sys.path.append(str(Path(__file__).parents[1]))
from measure import write  # noqa: E402

ENV = "tensorq.worlds:tensorq/Snake6x6-v0"
TEST_EPISODES, FIRST_TEST_SEED = 100, 2**30


def play(model: DQN) -> dict[str, float]:
    """The mean return of greedy episodes, how many actions were illegal, and the share of games that were cut."""
    env: Any = gymnasium.make(ENV)
    total, illegal, steps, cut = 0.0, 0, 0, 0
    for episode in range(TEST_EPISODES):
        obs, info = env.reset(seed=FIRST_TEST_SEED + episode)
        over = False
        while not over:
            action = int(model.predict(obs, deterministic=True)[0])
            illegal, steps = illegal + (not info["action_mask"][action]), steps + 1
            obs, reward, terminated, truncated, info = env.step(action)
            total, cut, over = total + float(reward), cut + truncated, terminated or truncated
    return {
        "mean_return": total / TEST_EPISODES,
        "illegal_actions": round(illegal / steps, 3),
        "cut_episodes": cut / TEST_EPISODES,
    }


def main() -> None:
    """Train, play before and after, print and write one JSON object."""
    parser = argparse.ArgumentParser(description="Train Stable-Baselines3's DQN on tensorq's Snake.")
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    env: Any = gymnasium.make(ENV)
    check_env(env)
    model = DQN(
        "MlpPolicy",  # SB3's convolutions want at least 36x36 pixels
        env,
        learning_rate=5e-4,
        buffer_size=20_000,
        learning_starts=1000,
        batch_size=64,
        gamma=0.98,
        train_freq=4,
        gradient_steps=2,
        target_update_interval=500,
        exploration_fraction=0.5,
        exploration_final_eps=0.05,
        policy_kwargs={"net_arch": [256, 256]},
        seed=arguments.seed,
        device="cpu",
    )
    before, started = play(model), time.perf_counter()
    model.learn(arguments.steps)
    seconds = time.perf_counter() - started
    random_obs = np.stack([env.observation_space.sample() for _ in range(4)])
    assert model.predict(random_obs)[0].shape == (4,)  # batches of observations, too
    result = {
        "env": ENV,
        "steps": arguments.steps,
        "greedy_before": before,
        "greedy_after": play(model),
        "steps_per_second": round(arguments.steps / seconds, 1),
        "versions": {name: metadata.version(name) for name in ("stable-baselines3", "torch")},
    }
    print(json.dumps(result))
    print(write("sb3_snake.json", result))


if __name__ == "__main__":
    main()
