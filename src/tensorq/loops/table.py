"""The loop for tables: Python steps Gymnasium environments, and every step is one update. No TensorFlow here."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable

import numpy as np

from tensorq.agents.qtable import QTable, epsilon_greedy, table_states, td_error
from tensorq.agents.settings import ExplorationSettings, LearningRateSettings
from tensorq.config import Config
from tensorq.core import host_random
from tensorq.envs.calls import EnvironmentMaker, closed_on_error
from tensorq.envs.host import Repeatable, Transitions, make_host_environments
from tensorq.evaluation.play import Episodes, Selection
from tensorq.loops.loop import (
    ENVIRONMENT_FAILURES,
    UNREPORTED,
    Episode,
    Interrupted,
    NotFinite,
    Report,
    Tensors,
    interruptible,
)


class TableLoop:
    """Trains a table of Q-values [S, A] in float64. It learns from the step of one environment after the other."""

    def __init__(self, config: Config, make: EnvironmentMaker) -> None:
        self.config = config
        self.metric_names: tuple[str, ...] = ("loss", "mean_q")
        self._rate, self._exploration = config.part(LearningRateSettings), config.part(ExplorationSettings)
        self.steps = self.updates = 0
        self._envs = make_host_environments(make, config.num_envs)
        with closed_on_error(self._envs):
            self._selection = Selection(config, make, self._envs if config.single_environment else None)
            space, num_actions = self._envs.observation_space, int(self._envs.action_space.n)
            num_states, self._first_state = table_states(space)
            self._q = QTable(np.full(num_states * num_actions, config.initial_value, np.float64), space, num_actions)
            count = self._envs.num_envs
            self._random = host_random.CounterRandom(config.seed, host_random.ACTING, 2 * count)
            self._vector_steps = 0  # the counter of random numbers: steps do not grow if every environment only resets
            self._forget_episodes()
            self._unreported = np.zeros(3)  # squared TD errors, Q-values and updates since the last report
            self._repeatable = Repeatable(self._envs, config.seed)

    def advance(self, stop_steps: int, max_episodes: int | None, interrupted: Callable[[], bool]) -> Report:
        """Train until stop_steps, or until max_episodes more episodes have ended; raises NotFinite and Interrupted."""
        config, envs, table = self.config, self._envs, self._q.table
        episodes: list[Episode] = []
        while self.steps < stop_steps and (not max_episodes or len(episodes) < max_episodes):
            if interrupted():
                raise Interrupted(episodes)
            states = (envs.obs - self._first_state).tolist()
            actions = self._act(states)
            try:
                step = self._repeatable.step(np.array(actions))
            except ENVIRONMENT_FAILURES as failure:
                raise Interrupted(episodes) from failure
            self._vector_steps += 1
            squares = values = 0.0
            updates_before = self.updates
            # Lists, because a few numbers are read from a list in a tenth of the time of an array.
            next_states = (step.next_obs - self._first_state).tolist()
            masks = [None] * len(states) if step.next_mask is None else step.next_mask.tolist()
            rewards, terminated, truncated = step.reward.tolist(), step.terminated.tolist(), step.truncated.tolist()
            for index, valid in enumerate(step.valid.tolist()):
                if not valid:
                    continue
                state, action, next_state = states[index], actions[index], next_states[index]
                value, discount = table.item(state, action), 0.0 if terminated[index] else config.gamma
                error = td_error(value, rewards[index], discount, table[next_state].tolist(), masks[index])
                squares, values = squares + error * error, values + value
                if not math.isfinite(squares):
                    raise NotFinite(self.updates + 1, self.steps + 1)
                table[state, action] = value + self._rate.learning_rate_at(self.updates) * error
                self.updates += 1
                self.steps += 1
                if episode := self._count(index, rewards[index], terminated[index] or truncated[index]):
                    episodes.append(episode)
            self._unreported += (squares, values, self.updates - updates_before)
        report = Report(episodes, self.metric_names, self._unreported.copy())
        self._unreported[:] = 0
        return report

    def _forget_episodes(self) -> None:
        """Reset lengths and returns, because new episodes begin in all environments."""
        count = self._envs.num_envs
        self._age, self._total_return = [0] * count, [0.0] * count

    def _count(self, index: int, reward: float, done: bool) -> Episode | None:
        """Add a step and its reward to an environment's episode. Returns the episode if it has ended."""
        self._age[index] += 1
        self._total_return[index] += reward
        if not done:
            return None
        episode = Episode(self.steps, index, self._age[index], self._total_return[index])
        self._age[index], self._total_return[index] = 0, 0.0
        return episode

    def _live(self, step: Transitions) -> None:
        """Count the steps that environments repeat when a run is restored."""
        done = step.terminated | step.truncated
        for index in np.flatnonzero(step.valid):
            self._count(int(index), float(step.reward[index]), bool(done[index]))

    def _act(self, states: list[int]) -> list[int]:
        """Epsilon-greedy actions [N]; each environment explores independently."""
        table, epsilon = self._q.table, self._exploration.epsilon_at(self.steps)
        masks = [None] * len(states) if self._envs.mask is None else self._envs.mask.tolist()
        uniforms = iter(host_random.to_uniforms(self._random.row(self._vector_steps)).tolist())
        return [
            epsilon_greedy(table[state].tolist(), epsilon, next(uniforms), next(uniforms), mask)
            for state, mask in zip(states, masks, strict=True)
        ]

    def evaluate(self, interrupted: Callable[[], bool]) -> Episodes:
        """Play greedily in separate environments, or in the only one; a boundary must follow then."""
        return self._selection.play(interruptible(self._q, interrupted), self.steps)

    def boundary(self) -> None:
        """End all episodes and reseed from (seed, step), so that checkpoints do not hold more and more actions."""
        self._repeatable.begin(self.steps)
        self._forget_episodes()

    def save(self) -> Tensors:
        """The table, the counters, and the actions that restore the environments."""
        return {
            **self.kept(),
            "agent.updates": np.array(self.updates, np.int64),
            "steps": np.array(self.steps, np.int64),
            "vector_steps": np.array(self._vector_steps, np.int64),
            UNREPORTED: self._unreported.copy(),
            **self._repeatable.save(),
        }

    def restore(self, tensors: Tensors) -> bool:
        """Restore a checkpoint. Returns False if replaying the saved actions did not reproduce the observations."""
        self._q.table[:] = tensors["agent.params"].reshape(self._q.table.shape)
        self.steps, self.updates = int(tensors["steps"]), int(tensors["agent.updates"])
        self._vector_steps = int(tensors["vector_steps"])
        self._unreported = tensors[UNREPORTED].copy()
        self._forget_episodes()
        exact = self._repeatable.restore(tensors, self._live)
        if not exact:
            self.boundary()
        return exact

    def kept(self) -> Tensors:
        """The table, flat [S * A]."""
        return {"agent.params": self._q.table.flatten()}

    def close(self) -> None:
        """Close all environments, even if one of them raises."""
        with contextlib.ExitStack() as stack:
            for part in (self._envs, self._selection):
                stack.callback(part.close)
