"""Collecting experience: actions in Gymnasium environments, and what followed them. No TensorFlow here."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tensorq.agents.settings import ExplorationSettings
from tensorq.config import Config
from tensorq.core import host_random
from tensorq.core.host_random import CounterRandom, to_uniforms
from tensorq.core.types import Transition
from tensorq.envs.host import HostEnvironments, Transitions
from tensorq.envs.repeatable import Repeatable
from tensorq.loops.loop import Episode, Tensors

# (observations [N, ...], masks [N, A] or None, epsilon or [N] of them, uniforms [N, 2], the number of vector steps
# before this one) -> epsilon-greedy actions [N] int32. Each row explores independently: its first uniform decides
# whether it explores.
Policy = Callable[[np.ndarray, np.ndarray | None, float | np.ndarray, np.ndarray, int], np.ndarray]


class Collector:
    """Steps environments in this process. It counts lengths and returns of their episodes, and can repeat its steps."""

    def __init__(self, config: Config, envs: HostEnvironments) -> None:
        self._gamma, self._exploration, self._envs = config.gamma, config.part(ExplorationSettings), envs
        count = envs.num_envs
        factors = self._exploration.epsilon_factors(count)
        self._epsilon_factors = np.array(factors) if isinstance(factors, list) else factors
        self._random = CounterRandom(config.seed, host_random.ACTING, 2 * count)
        self._vector_steps = 0  # the counter of random numbers: steps do not grow if every environment only resets
        self._age, self._total_return = np.zeros(count, np.int32), np.zeros(count)
        self._ended, self._any_ended = np.zeros(count, bool), False
        self._repeatable = Repeatable(envs, config.seed)

    def collect(self, policy: Policy, steps: int) -> tuple[Transition, int, list[Episode]]:
        """Act once in each environment, after `steps` steps of the run.

        Returns the steps, with the true last observation where an episode ended, the number of those that are
        experience, and the episodes that ended. If an environment raises, nothing has changed.
        """
        obs, mask = self._envs.obs, self._envs.mask
        u = to_uniforms(self._random.row(self._vector_steps)).reshape(-1, 2)
        epsilon = self._exploration.epsilon_at(steps) * self._epsilon_factors
        actions = policy(obs, mask, epsilon, u, self._vector_steps)
        made = self._repeatable.step(actions)
        self._vector_steps += 1
        over = made.terminated if made.next_mask is None else made.terminated | ~made.next_mask.any(axis=1)
        age = self._live(made)
        count = int(np.count_nonzero(made.valid))
        finished = [
            Episode(steps + count, index, int(self._age[index]), float(self._total_return[index]))
            for index in (np.flatnonzero(self._ended).tolist() if self._any_ended else ())
        ]
        step = Transition(
            obs, actions, made.reward, self._gamma * ~over, made.next_obs, self._ended, age, mask, made.next_mask,
            made.valid,
        )  # fmt: skip
        return step, count, finished

    def _live(self, made: Transitions) -> np.ndarray:
        """Add a step to lengths and returns, and return the lengths before it.

        Those of an episode that ends here are kept until the next step.
        """
        if self._any_ended:
            self._age[self._ended], self._total_return[self._ended] = 0, 0.0
        age = self._age
        self._age, reward, self._ended = age + made.valid, made.reward, made.terminated | made.truncated
        if False in made.valid.tolist():
            reward, self._ended = reward * made.valid, self._ended & made.valid
        self._total_return += reward
        self._any_ended = True in self._ended.tolist()  # for few environments, a fifth of the time of any()
        return age

    def boundary(self, steps: int) -> None:
        """End all episodes after `steps` steps of the run, and begin new ones, reseeded from (seed, steps)."""
        self._repeatable.begin(steps)
        self._forget_episodes()

    def _forget_episodes(self) -> None:
        self._age[:], self._total_return[:], self._any_ended = 0, 0.0, False

    def save(self) -> Tensors:
        """The counter of random numbers, and the actions since the last boundary, which restore the environments."""
        return {"vector_steps": np.array(self._vector_steps, np.int64), **self._repeatable.save()}

    def restore(self, tensors: Tensors) -> bool:
        """Repeat the saved actions. Returns False if they did not reproduce the observations."""
        self._vector_steps = int(tensors["vector_steps"])
        self._forget_episodes()
        return self._repeatable.restore(tensors, self._live)
