"""The host loop: Python steps Gymnasium environments, and one compiled function learns from these steps."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tensorq.agents.agent import Agent
from tensorq.agents.metrics import METRICS
from tensorq.agents.settings import ExplorationSettings
from tensorq.agents.trained import greedy
from tensorq.config import Config
from tensorq.core import random
from tensorq.core.host_random import CounterRandom, to_noise, to_uniforms
from tensorq.core.types import Tensor
from tensorq.envs.calls import EnvironmentMaker, closed_on_error
from tensorq.envs.host import Repeatable, Transitions, make_host_environments
from tensorq.envs.spaces import obs_layout
from tensorq.evaluation.play import Episodes, Selection
from tensorq.loops.host_learning import Step, make_learning
from tensorq.loops.loop import (
    ENVIRONMENT_FAILURES,
    UNREPORTED,
    Episode,
    Interrupted,
    Report,
    Tensors,
    interruptible,
)

NoisyQFunction = Callable[..., np.ndarray]  # (observations [N, ...], noise [Z] or None) -> Q-values [N, A]


class HostLoop:
    """Trains on Gymnasium environments. `numpy_q` makes a Q-function in NumPy from parameters, if there is one."""

    def __init__(
        self,
        config: Config,
        agent: Agent,
        make: EnvironmentMaker,
        replay_path: Path,
        numpy_q: Callable[[np.ndarray], NoisyQFunction] | None,
    ) -> None:
        self.config, self.agent = config, agent
        self._exploration = config.part(ExplorationSettings)
        self.steps = 0
        self._envs = make_host_environments(make, config.num_envs)
        with closed_on_error(self._envs):
            self._selection = Selection(config, make, self._envs if config.single_environment else None)
            count = self._envs.num_envs
            self._num_actions = int(self._envs.action_space.n)
            self.learning = make_learning(config, agent, self._envs, replay_path)
            self._act_random = CounterRandom(config.seed, random.ACTING, 2 * count)
            self._noise_random = CounterRandom(config.seed, random.NOISE, agent.act_uniforms)
            self._q_values = numpy_q(self.learning.agent.params) if numpy_q else self._acting_function()

            self._vector_steps = 0  # the counter of random numbers: steps do not grow if every environment only resets
            self._age = np.zeros(count, np.int64)
            self._total_return = np.zeros(count)
            self._ended, self._any_ended = np.zeros(count, bool), False
            self.metric_names = tuple(METRICS)
            self._unreported = np.zeros(len(METRICS) + 1)  # sums of metrics, and updates, since the last report
            self._repeatable = Repeatable(self._envs, config.seed)

    @property
    def updates(self) -> int:
        """The number of updates made."""
        return self.learning.agent.updates

    # --- acting --------------------------------------------------------------------------------------

    def _acting_function(self) -> NoisyQFunction:
        """A function for Q-values of the current parameters in TensorFlow, for networks without a NumPy version."""
        agent, stored = self.agent, self.learning.agent

        def rate(obs: Tensor, noise: Tensor) -> Tensor:
            return agent.q_values(stored.params_tensor(), obs, noise if noise.shape[0] else None)

        function = tf.function(rate, jit_compile=True, autograph=False)
        dtype, shape = obs_layout(self._envs.observation_space)
        nothing = np.zeros(0, np.float32)
        compiled: dict[tuple[int, int], Any] = {}

        def q_values(obs: np.ndarray, noise: np.ndarray | None = None) -> np.ndarray:
            noise = nothing if noise is None else noise
            sizes = len(obs), len(noise)
            if sizes not in compiled:  # one for training, one for evaluation
                compiled[sizes] = function.get_concrete_function(
                    tf.TensorSpec((len(obs), *shape), dtype), tf.TensorSpec(noise.shape, tf.float32)
                )
            result: np.ndarray = compiled[sizes](tf.constant(obs), tf.constant(noise)).numpy()
            return result

        return q_values

    # --- what the trainer calls -----------------------------------------------------------------------------------

    def advance(self, stop_steps: int, max_episodes: int | None, interrupted: Callable[[], bool]) -> Report:
        """Train until stop_steps, or until max_episodes more episodes have ended; raises NotFinite and Interrupted."""
        config, envs = self.config, self._envs
        episodes: list[Episode] = []
        while self.steps < stop_steps and (not max_episodes or len(episodes) < max_episodes):
            if interrupted():
                raise Interrupted(episodes)
            obs, mask = envs.obs, envs.mask
            actions = self._act(obs, mask)
            try:
                step = self._repeatable.step(actions)
            except ENVIRONMENT_FAILURES as failure:
                raise Interrupted(episodes) from failure
            over = step.terminated if step.next_mask is None else step.terminated | ~step.next_mask.any(axis=1)
            self._live(step)
            if self.learning.agent.statistics is not None:
                self.learning.agent.observe(obs[step.valid])
            self.learning.add(Step(obs, mask, actions, config.gamma * ~over, self._ended, step))
            self.steps += int(np.count_nonzero(step.valid))
            self._vector_steps += 1
            for index in np.flatnonzero(self._ended) if self._any_ended else ():
                length, total = int(self._age[index]), float(self._total_return[index])
                episodes.append(Episode(self.steps, int(index), length, total))
            updates_before = self.updates
            sums = self.learning.learn(self.steps)
            if self.updates > updates_before:
                self._unreported += (*sums, self.updates - updates_before)
        report = Report(episodes, self.metric_names, self._unreported.copy())
        self._unreported[:] = 0
        return report

    def _live(self, step: Transitions) -> None:
        """Add a step to lengths and returns. Those of an episode that ends here are kept until the next step."""
        if self._any_ended:
            self._age[self._ended], self._total_return[self._ended] = 0, 0.0
        self._age += step.valid
        self._total_return += step.reward * step.valid
        self._ended = (step.terminated | step.truncated) & step.valid
        self._any_ended = True in self._ended.tolist()  # for few environments, a fifth of the time of any()

    def _forget_episodes(self) -> None:
        """Reset lengths and returns, because new episodes begin in all environments."""
        self._age[:], self._total_return[:], self._any_ended = 0, 0.0, False

    def _act(self, obs: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
        """Epsilon-greedy actions [N]; each row explores independently, as in core.exploration.epsilon_greedy."""
        u = to_uniforms(self._act_random.row(self._vector_steps)).reshape(-1, 2)
        explore = u[:, 0] < self._exploration.epsilon_at(self.steps)
        if mask is None:
            actions = (u[:, 1] * self._num_actions).astype(np.int32)
        else:
            place = mask.cumsum(axis=1)  # numbers the legal actions, from 1
            actions = (place > np.floor(u[:, 1:] * place[:, -1:])).argmax(axis=1).astype(np.int32)
        if False in explore.tolist():
            noise = None
            if self.agent.act_uniforms:
                noise = to_noise(self._noise_random.row(self._vector_steps))
            actions = np.where(explore, actions, greedy(self._q_values(obs, noise), mask))
        return actions

    def evaluate(self, interrupted: Callable[[], bool]) -> Episodes:
        """Play greedily in separate environments, or in the only one; a boundary must follow then."""
        return self._selection.play(interruptible(self._q_values, interrupted), self.steps)

    def boundary(self) -> None:
        """End all episodes and reseed from (seed, step), so that checkpoints do not hold more and more actions."""
        self._repeatable.begin(self.steps)
        self._forget_episodes()
        self.learning.cut()

    def save(self) -> Tensors:
        """The agent, its stored experience, the counters, and the actions that restore the environments."""
        return {
            "steps": np.array(self.steps, np.int64),
            "vector_steps": np.array(self._vector_steps, np.int64),
            UNREPORTED: self._unreported.copy(),
            **self._repeatable.save(),
            **self.learning.save(),
        }

    def restore(self, tensors: Tensors) -> bool:
        """Restore a checkpoint. Returns False if replaying the saved actions did not reproduce the observations."""
        self.learning.restore(tensors)
        self.steps, self._vector_steps = int(tensors["steps"]), int(tensors["vector_steps"])
        self._unreported = tensors[UNREPORTED].copy()
        self._forget_episodes()
        exact = self._repeatable.restore(tensors, self._live)
        if not exact:
            self.boundary()
        return exact

    def kept(self) -> Tensors:
        """See Loop."""
        return self.learning.agent.kept()

    def close(self) -> None:
        """Close all environments and files, even if one of them raises."""
        with contextlib.ExitStack() as stack:
            for part in (self._envs, self._selection, self.learning):
                stack.callback(part.close)
