"""What each difference between the blog post's code and DQN as published costs on CartPole-v1, over 30 seeds.

The baseline is preset blog as tensorq runs it: the post's hyperparameters, none of its slips. One family of variants
puts the post's slips back, one at a time and all together (the post as written); the other replaces hyperparameters by
those of Mnih et al. 2015, every count of steps or updates divided by 100: the post begins to learn after 500 steps, the
paper after 50 000. Every run trains to the end of 200 episodes (the post's budget) and of 50 000 steps.

Appends a row a run, and goes on where it was interrupted; then writes the table. Twenty minutes.

python benchmarks/blog_differences.py [--seeds 30] [--output results/blog_differences.csv]
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from measure import RESULTS, write
from tensorq.config import Config
from tensorq.envs.description import describe
from tensorq.evaluation.statistics import bootstrap_interval
from tensorq.networks.build import build_network
from tensorq.presets import resolve
from tensorq.process import import_tensorflow

import_tensorflow(1)
import tensorflow as tf  # noqa: E402  # quietly, and with one thread

from tensorq.agents.dqn import DQN  # noqa: E402
from tensorq.core import random  # noqa: E402
from tensorq.core.types import Batch, Tensor  # noqa: E402
from tensorq.envs.cartpole import CartPole  # noqa: E402
from tensorq.loops.compiled import CompiledLoop, LoopState, Record  # noqa: E402
from tensorq.loops.compiled_learning import FromReplay  # noqa: E402
from tensorq.replay.device import DeviceReplay, DeviceReplayState  # noqa: E402

EPISODES, STEPS, EVALUATION_PERIOD_STEPS, LAST_EPISODES, SOLVED_RETURN = 200, 50_000, 2_500, 20, 475.0
LIMIT, DROP, RANDOM, DISTINCT = SLIPS = (
    "a time limit counts as terminal",
    "the first transition of each episode is dropped",
    "the first action of each episode is random",
    "minibatches are drawn without replacement",
)
# The paper anneals over 1 000 000 steps, copies every 10 000 updates, updates every 4 steps and keeps 1 000 000.
PAPER: dict[str, dict[str, Any]] = {
    "epsilon anneals over 10 000 steps": {"epsilon_anneal_steps": 10_000},
    "the error is clipped (Huber)": {"loss": "huber"},
    "the target is copied every 100 updates": {"target_sync_updates": 100},
    "one update every 4 steps": {"replay_ratio": 0.25, "update_period_steps": 4},
    "a replay of 10 000": {"replay_capacity": 10_000},
}
ALL_PAPER = {name: value for settings in PAPER.values() for name, value in settings.items()}
BASELINE = "preset blog"
# name -> (the post's slips, settings)
VARIANTS: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    BASELINE: ((), {}),
    **{slip: ((slip,), {}) for slip in SLIPS},
    "the post as written: all of the above": (SLIPS, {}),
    **{name: ((), settings) for name, settings in PAPER.items()},
    # Alone, the clipped error is not what the paper did: its target stood still for long.
    "a clipped error and a copy every 100 updates": ((), {"loss": "huber", "target_sync_updates": 100}),
    "all of the paper's": ((), ALL_PAPER),
    "all of the paper's but the clipped error": ((), ALL_PAPER | {"loss": "mse"}),
}
MEASURES = (
    "steps_of_200_episodes", "last_20_of_200_episodes", "greedy_after_200_episodes",
    "last_20_of_50000_steps", "greedy_after_50000_steps", "greedy_mean_over_50000_steps",
)  # fmt: skip


class MortalCartPole(CartPole):
    """CartPole that counts its own steps and calls the time limit a termination."""

    def reset(self, u: Tensor) -> Tensor:
        """A fifth column counts the steps."""
        return tf.pad(super().reset(u), [[0, 0], [0, 1]])

    def observe(self, state: Tensor) -> Tensor:
        """The count is not seen."""
        return super().observe(state[:, :4])

    def step(self, state: Tensor, action: Tensor, u: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """CartPole's, and the end at the limit."""
        cart, reward, terminated, truncated = super().step(state[:, :4], action, u)
        age = state[:, 4] + 1
        return tf.concat([cart, age[:, None]], axis=1), reward, terminated | (age >= self.max_episode_steps), truncated


class DistinctReplay(DeviceReplay):
    """Replay whose batches hold no transition twice, as random.sample's."""

    def sample(self, state: DeviceReplayState, bits: Tensor, importance_exponent: Tensor) -> tuple[Batch, Tensor]:
        """The first B different ones of 2 B draws: there are as many, for B = 64 of 500 or more."""
        count = int(bits.shape[0])
        draws = random.random_bits(bits[0], random.REPLAY, bits[1], 2 * count)
        index = random.to_indices(draws, tf.minimum(state.written, self.capacity))
        earlier = np.tri(2 * count, k=-1, dtype=bool)
        repeated = tf.reduce_any((index[:, None] == index) & earlier, axis=1)
        order = tf.argsort(tf.cast(repeated, tf.int32), stable=True)[:count]
        return super().sample(state, tf.gather(draws, order), importance_exponent)


class PostAgent(DQN):
    """DQN that can be told to act at random."""

    random_now: Tensor | None = None  # [N] bool; set by the loop while it is traced

    def act(
        self, params: Tensor, obs: Tensor, epsilon: Tensor, u: Tensor, noise_u: Tensor, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """DQN's, at random where that is demanded."""
        if self.random_now is not None:
            epsilon = tf.where(self.random_now, 1.0, epsilon)
        return super().act(params, obs, epsilon, u, noise_u, mask)


class PostLoop(CompiledLoop):
    """The compiled loop, one environment, with some of the post's slips."""

    agent: PostAgent

    def __init__(self, config: Config, slips: tuple[str, ...], replay_path: Path) -> None:
        self.slips, environment = slips, describe(config.env)
        self._spaces = environment.observation_space, int(environment.action_space.n)
        agent = PostAgent(config, build_network(*self._spaces, config))
        world: Any = MortalCartPole() if LIMIT in slips else CartPole()
        super().__init__(config, agent, world, replay_path)
        if DISTINCT in slips:
            replay = DistinctReplay(
                config, np.float32, world.observation_space.shape, cut_after_steps=world.max_episode_steps
            )
            self.learning = FromReplay(config, agent, replay, replay_path)
            self._advance = self._compiled_program()

    def begin(self, seed: int) -> None:
        """Start anew with another seed and the same programs."""
        self.config = dataclasses.replace(self.config, seed=seed)
        self.agent.network = build_network(*self._spaces, self.config)
        self._state, self.steps, self.updates = self._initial_state(), 0, 0
        self._set_memory(self.learning.init())

    def _vector_step(self, row: Tensor, state: LoopState, record: Record) -> tuple[LoopState, Record]:
        first = state.age == 0
        self.agent.random_now = first if RANDOM in self.slips else None
        state, record = super()._vector_step(row, state, record)
        if DROP in self.slips:  # uncounted, its row is the next step's to overwrite
            written = state.memory.written - tf.cast(first[0], tf.int64)
            state = state._replace(memory=state.memory._replace(written=written))
        return state, record


def run(loop: PostLoop, seed: int) -> dict[str, float]:
    """Train one seed to both budgets."""
    loop.begin(seed)
    returns: list[float] = []
    greedy: list[float] = []
    result: dict[str, float] = {}
    while loop.steps < STEPS or len(returns) < EPISODES:
        stop = loop.steps - loop.steps % EVALUATION_PERIOD_STEPS + EVALUATION_PERIOD_STEPS
        report = loop.advance(stop, max(0, EPISODES - len(returns)), lambda: False)
        returns += [episode.total_return for episode in report.episodes]
        last = float(np.mean(returns[-LAST_EPISODES:]))
        if len(returns) >= EPISODES and "steps_of_200_episodes" not in result:
            values = (loop.steps, last, loop.evaluate(lambda: False).mean)
            result |= dict(zip(MEASURES[:3], values, strict=True))
        if loop.steps <= STEPS and loop.steps % EVALUATION_PERIOD_STEPS == 0:
            greedy.append(loop.evaluate(lambda: False).mean)
        if loop.steps == STEPS:
            result |= dict(zip(MEASURES[3:], (last, greedy[-1], float(np.mean(greedy))), strict=True))
    return result


def read(path: Path) -> dict[str, dict[int, dict[str, float]]]:
    """variant -> seed -> measures, of a CSV file that may not exist yet."""
    rows: dict[str, dict[int, dict[str, float]]] = {name: {} for name in VARIANTS}
    if path.exists():
        with path.open() as file:
            for row in csv.DictReader(file):
                rows[row["variant"]][int(row["seed"])] = {name: float(row[name]) for name in MEASURES}
    return rows


def summary(name: str, runs: dict[int, dict[str, float]], baseline: dict[int, dict[str, float]]) -> dict[str, Any]:
    """Means over seeds with 95 % bootstrap intervals, and differences from the baseline, seed by seed."""

    def mean(values: np.ndarray) -> dict[str, Any]:
        return {"mean": round(float(values.mean()), 1), "interval": [round(x, 1) for x in bootstrap_interval(values)]}

    result: dict[str, Any] = {"variant": name, "seeds": len(runs)}
    for measure in MEASURES:
        values = np.array([runs[seed][measure] for seed in runs])
        result[measure] = mean(values)
        if measure.startswith("greedy_after"):
            result[measure]["solved_seeds"] = int((values >= SOLVED_RETURN).sum())
        if name != BASELINE:
            result[measure]["difference"] = mean(values - np.array([baseline[seed][measure] for seed in runs]))
    return result


def main() -> None:
    """Run what is missing, then print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--output", type=Path, default=RESULTS / "blog_differences.csv")
    arguments = parser.parse_args()
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    rows, fresh = read(arguments.output), not arguments.output.exists()
    with arguments.output.open("a", newline="") as file:
        writer = csv.DictWriter(file, ("variant", "seed", *MEASURES))
        if fresh:
            writer.writeheader()
        for name, (slips, settings) in VARIANTS.items():
            missing = [seed for seed in range(arguments.seeds) if seed not in rows[name]]
            if not missing:
                continue
            with tempfile.TemporaryDirectory() as folder:
                loop = PostLoop(resolve("CartPole-v1", "blog", **settings), slips, Path(folder) / "replay.bin")
                for seed in missing:
                    rows[name][seed] = {measure: round(value, 2) for measure, value in run(loop, seed).items()}
                    writer.writerow({"variant": name, "seed": seed, **rows[name][seed]})
                    file.flush()
                    print(name, seed, rows[name][seed], flush=True)
    table = [summary(name, runs, rows[BASELINE]) for name, runs in rows.items()]
    for row in table:
        cells = [f"{row[name]['mean']:>9,.1f} {row[name]['interval']}" for name in MEASURES]
        print(f"{row['variant']:<48}", *cells)
    print(write(arguments.output.with_suffix(".json").name, {"table": table}))


if __name__ == "__main__":
    main()
