"""How well Stable-Baselines3's DQN learns CartPole: `python sb3_learning.py --seeds 0 1 2 --output FILE.csv`.

The hyperparameters are the RL Zoo's for DQN on CartPole-v1. One seed is trained after another; then the final agent
(and with `--keep-best` the best of 20 greedy evaluations made while training) plays 100 greedy episodes of Gymnasium's
CartPole-v1. A row is written and flushed per seed, and seeds that the file already has are skipped. `train_seconds`
leaves out the evaluations that `--keep-best` makes; `process_seconds` is what a process that trains this one seed needs
from its start to the end of training: the imports, the training and those evaluations. Needs stable-baselines3.
"""

from __future__ import annotations

import time

PROCESS_STARTED = time.perf_counter()

import argparse  # noqa: E402
import csv  # noqa: E402
import json  # noqa: E402
import tempfile  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import gymnasium  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
from stable_baselines3 import DQN  # noqa: E402
from stable_baselines3.common.callbacks import EvalCallback  # noqa: E402
from stable_baselines3.common.env_util import make_vec_env  # noqa: E402

IMPORT_SECONDS = time.perf_counter() - PROCESS_STARTED
ENV, SETTING = "CartPole-v1", "Stable-Baselines3"
COLUMNS = ["env", "setting", "seed", "steps", "best_return", "final_return", "train_seconds", "process_seconds"]
TEST_EPISODES, FIRST_TEST_SEED = 100, 2**30
SELECTION_EPISODES, SELECTION_EVERY_STEPS, FIRST_SELECTION_SEED = 20, 2500, 2**29
HYPERPARAMETERS: dict[str, Any] = {
    "learning_rate": 2.3e-3,
    "batch_size": 64,
    "buffer_size": 100_000,
    "learning_starts": 1000,
    "gamma": 0.99,
    "target_update_interval": 10,
    "train_freq": 256,
    "gradient_steps": 128,
    "exploration_fraction": 0.16,
    "exploration_final_eps": 0.04,
    "policy_kwargs": {"net_arch": [256, 256]},
}


class TimedEvalCallback(EvalCallback):  # type: ignore[misc, unused-ignore]
    """SB3's evaluation while training, which also counts the seconds it takes."""

    seconds = 0.0

    def _on_step(self) -> bool:
        started = time.perf_counter()
        go_on = bool(super()._on_step())
        self.seconds += time.perf_counter() - started
        return go_on


def mean_greedy_return(model: DQN) -> float:
    """Mean return of 100 greedy episodes on the test seeds, all played side by side."""
    environments: list[Any] = [gymnasium.make(ENV) for _ in range(TEST_EPISODES)]
    observations = [env.reset(seed=FIRST_TEST_SEED + i)[0] for i, env in enumerate(environments)]
    returns, active = np.zeros(TEST_EPISODES), list(range(TEST_EPISODES))
    while active:
        actions, _ = model.predict(np.stack([observations[i] for i in active]), deterministic=True)
        still_active = []
        for i, action in zip(active, actions, strict=True):
            observations[i], reward, terminated, truncated, _ = environments[i].step(int(action))
            returns[i] += float(reward)
            if not (terminated or truncated):
                still_active.append(i)
        active = still_active
    return float(returns.mean())


def train(seed: int, steps: int, keep_best: bool) -> dict[str, float | int | str]:
    """Train one seed and return its row."""
    model = DQN("MlpPolicy", gymnasium.make(ENV), seed=seed, device="cpu", **HYPERPARAMETERS)
    with tempfile.TemporaryDirectory() as folder:
        callback = None
        if keep_best:
            # One environment per episode: twenty times fewer calls of the network than playing them in turn.
            worlds = make_vec_env(ENV, SELECTION_EPISODES, seed=FIRST_SELECTION_SEED + 1000 * seed)
            callback = TimedEvalCallback(
                worlds,
                n_eval_episodes=SELECTION_EPISODES,
                eval_freq=SELECTION_EVERY_STEPS,
                best_model_save_path=folder,
                verbose=0,
            )
        started = time.perf_counter()
        model.learn(steps, callback=callback)
        seconds = time.perf_counter() - started
        best: float | str = ""
        if (Path(folder) / "best_model.zip").exists():
            best = mean_greedy_return(DQN.load(Path(folder) / "best_model.zip", device="cpu"))
    train_seconds = seconds - (callback.seconds if callback else 0.0)
    final = mean_greedy_return(model)
    values = [ENV, SETTING, seed, steps, best, final, round(train_seconds, 2), round(IMPORT_SECONDS + seconds, 2)]
    return dict(zip(COLUMNS, values, strict=True))


def main() -> None:
    """Train the seeds that the file lacks, a row each, and print one JSON line."""
    parser = argparse.ArgumentParser(description="How well Stable-Baselines3's DQN learns CartPole.")
    parser.add_argument("--seeds", type=int, nargs="+", required=True)
    parser.add_argument("--steps", type=int, default=50_000, help="environment steps per seed")
    parser.add_argument("--output", type=Path, required=True, help="the CSV file to write or to continue")
    parser.add_argument("--keep-best", action="store_true", help="also test the best agent met while training")
    parser.add_argument("--threads", type=int, default=1, help="PyTorch threads")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    rows: list[dict[str, Any]] = []
    if arguments.output.exists():
        with arguments.output.open(newline="") as file:
            rows = list(csv.DictReader(file))
    done = {int(row["seed"]) for row in rows}
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    with arguments.output.open("a", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        if file.tell() == 0:
            writer.writeheader()
        for seed in arguments.seeds:
            if seed in done:
                continue
            rows.append(train(seed, arguments.steps, arguments.keep_best))
            done.add(seed)
            writer.writerow(rows[-1])
            file.flush()
    finals = [float(row["final_return"]) for row in rows]
    bests = [float(row["best_return"]) for row in rows if row["best_return"] != ""]
    result = {
        "name": "stable-baselines3 learning",
        "seeds": len(rows),
        "solved_final": sum(value >= 475 for value in finals),
        "solved_best": sum(value >= 475 for value in bests) if bests else None,
        "median_train_seconds": round(float(np.median([float(row["train_seconds"]) for row in rows])), 1),
        "median_process_seconds": round(float(np.median([float(row["process_seconds"]) for row in rows])), 1),
        "output": str(arguments.output),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
