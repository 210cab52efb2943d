"""Q-learning with a table against the known optimum: seeds trained as a user trains them, their policies rated exactly.

An environment's own table of probabilities, `env.unwrapped.P`, gives without any playing
- the optimum over the time limit, by value iteration over as many steps as the limit has: no policy earns more;
- the best policy that does not look at the clock, as a table's greedy policy does not: the best of those that
  discounted value iteration finds for discounts near 1, rated over the time limit;
- the expected return of a trained agent's greedy policy within the time limit.
A seed has reached the optimum when that return is at most 0.01 * max(1, |best|) below the second, for the kept best
agent and for the final one alike. Settings were found on seeds from 1000 up.

python benchmarks/qtable.py [--seeds 10] [--first-seed 0] [--envs FrozenLake-v1 ...]
"""

from __future__ import annotations

import argparse
import csv
import json
import resource
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

import tensorq as tq
from measure import write
from tensorq.presets import resolve

TENSORQ = str(Path(sys.executable).parent / "tensorq")
ENVS = ("FrozenLake-v1", "FrozenLake8x8-v1", "CliffWalking-v1", "Taxi-v4")
DISCOUNTS = (0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9995, 0.9999)
TOLERANCE = 0.01
COLUMNS = ("env", "seed", "steps", "best_value", "final_value", "optimum", "reached", "seconds", "process_cpu_seconds")


@dataclass(frozen=True)
class Model:
    """What an environment does: chances [S, A, S] of going on to a state, rewards [S, A], where it begins [S]."""

    chances: np.ndarray
    rewards: np.ndarray
    first: np.ndarray
    masks: np.ndarray  # [S, A] bool, the legal actions
    horizon: int

    def value(self, policy: np.ndarray) -> float:
        """The expected return of actions [S] within the time limit."""
        states = np.arange(len(policy))
        chances, rewards = self.chances[states, policy], self.rewards[states, policy]
        values = np.zeros(len(policy))
        for _ in range(self.horizon):
            values = rewards + chances @ values
        return float(self.first @ values)

    def optimum(self) -> float:
        """The highest expected return within the time limit, of a policy that may look at the clock."""
        values = np.zeros(len(self.first))
        for _ in range(self.horizon):
            values = (self.rewards + self.chances @ values).max(axis=1)
        return float(self.first @ values)

    def best_stationary(self) -> float:
        """The expected return within the time limit of the best policy found that looks at the state alone."""
        return max(self.value(self._discounted(discount)) for discount in DISCOUNTS)

    def _discounted(self, discount: float) -> np.ndarray:
        """The optimal actions [S] for discounted returns, by value iteration."""
        values, change = np.zeros(len(self.first)), np.inf
        while change > 1e-12:
            q_values = self.rewards + discount * (self.chances @ values)
            change = np.abs(q_values.max(axis=1) - values).max()
            values = q_values.max(axis=1)
        actions: np.ndarray = (q_values >= values[:, None] - 1e-9).argmax(axis=1)
        return actions


def read_model(name: str, horizon: int) -> Model:
    """The model in an environment of Gymnasium's toy_text."""
    env: Any = gym.make(name).unwrapped
    num_states, num_actions = int(env.observation_space.n), int(env.action_space.n)
    chances, rewards = np.zeros((num_states, num_actions, num_states)), np.zeros((num_states, num_actions))
    for state, actions in env.P.items():
        for action, outcomes in actions.items():
            for chance, following, reward, terminated in outcomes:
                rewards[state, action] += chance * reward
                chances[state, action, following] += chance * (not terminated)
    masks = np.ones((num_states, num_actions), bool)
    if hasattr(env, "action_mask"):
        masks = np.array([env.action_mask(state) for state in range(num_states)], bool)
    return Model(chances, rewards, np.asarray(env.initial_state_distrib), masks, horizon)


def train(name: str, seed: int, model: Model, best: float) -> dict[str, object]:
    """One seed, through the command line, and what its two agents are worth."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        command = [TENSORQ, "train", name, "--preset", "qtable", "--seed", str(seed), "--run-dir", str(run), "--quiet"]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        result = json.loads((run / "result.json").read_text())
        values = [greedy_value(tq.load(run, which), model) for which in ("best", "last")]
    reached = min(values) >= best - TOLERANCE * max(1, abs(best))
    return {
        "env": name,
        "seed": seed,
        "best_value": round(values[0], 6),
        "final_value": round(values[1], 6),
        "optimum": round(best, 6),
        "reached": int(reached),
        "steps": result["steps"],
        "seconds": result["seconds"],
        # Of the whole process, start and pictures included; others who use the machine hardly change it.
        "process_cpu_seconds": round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 2),
    }


def greedy_value(agent: tq.TrainedAgent, model: Model) -> float:
    """The exact expected return of an agent's greedy policy, illegal actions left out."""
    return model.value(agent.act(np.arange(len(model.first)), model.masks))


def summary(name: str, model: Model, best: float, rows: list[dict[str, object]]) -> dict[str, object]:
    """A line of the table."""
    column = {key: np.array([float(str(row[key])) for row in rows]) for key in COLUMNS if key != "env"}
    return {
        "env": name,
        "seeds": len(rows),
        "reached": int(column["reached"].sum()),
        "time_limit_steps": model.horizon,
        "optimum_over_the_time_limit": round(model.optimum(), 4),
        "best_stationary": round(best, 4),
        "kept_best_mean": round(float(column["best_value"].mean()), 4),
        "kept_best_worst": round(float(column["best_value"].min()), 4),
        "final_mean": round(float(column["final_value"].mean()), 4),
        "final_worst": round(float(column["final_value"].min()), 4),
        "training_steps": int(column["steps"].max()),
        "median_seconds": round(float(np.median(column["seconds"])), 2),
        "median_process_cpu_seconds": round(float(np.median(column["process_cpu_seconds"])), 2),
    }


def main() -> None:
    """Train, rate, and write the table and a row for each seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--envs", nargs="*", default=ENVS)
    arguments = parser.parse_args()
    table, everything = [], []
    for name in arguments.envs:
        spec = gym.spec(name)
        # CliffWalking has no time limit; evaluation cuts its episodes.
        limit = spec.max_episode_steps or resolve(name, "qtable").evaluation_max_episode_steps
        model = read_model(name, limit)
        best, rows = model.best_stationary(), []
        for seed in range(arguments.first_seed, arguments.first_seed + arguments.seeds):
            rows.append(train(name, seed, model, best))
            print(rows[-1], flush=True)
        table.append(summary(name, model, best, rows))
        everything += rows
    print(json.dumps(table, indent=2))
    output = write("qtable.json", {"tolerance": TOLERANCE, "table": table})
    with output.with_suffix(".csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(everything)
    print(output)


if __name__ == "__main__":
    main()
