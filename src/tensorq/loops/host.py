"""The host loop: a collector steps Gymnasium environments in Python, and a learner learns from the steps.

No TensorFlow here.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Protocol

import numpy as np

from tensorq.agents.trained import QFunction
from tensorq.config import Config
from tensorq.core.types import Transition
from tensorq.envs.calls import EnvironmentMaker, closed_on_error
from tensorq.envs.host import HostEnvironments, make_host_environments
from tensorq.evaluation.play import Episodes, Selection
from tensorq.loops.collector import Collector, Policy
from tensorq.loops.loop import ENVIRONMENT_FAILURES, UNREPORTED, Episode, Interrupted, Report, Tensors, interruptible
from tensorq.networks.settings import frame_stack


class Learner(Protocol):
    """What learns from the steps of a collector, and acts by what it has learned."""

    @property
    def metric_names(self) -> tuple[str, ...]:
        """The metrics that it reports."""
        ...

    @property
    def q_values(self) -> QFunction:
        """Q-values without noise, for greedy episodes."""
        ...

    @property
    def act(self) -> Policy:
        """Epsilon-greedy actions."""
        ...

    @property
    def updates(self) -> int:
        """The number of updates made."""
        ...

    def add(self, step: Transition) -> None:
        """Store a step of each environment."""
        ...

    def learn(self, steps: int) -> list[float]:
        """Run every update that is due after `steps` steps. Returns the sums of metrics [M]; raises NotFinite."""
        ...

    def cut(self) -> None:
        """Cut all episodes here."""
        ...

    def save(self) -> Tensors:
        """Everything that is needed to go on exactly."""
        ...

    def restore(self, tensors: Tensors) -> None:
        """Restore what `save` returned."""
        ...

    def kept(self) -> Tensors:
        """See Loop."""
        ...


class HostLoop:
    """Trains on Gymnasium environments."""

    def __init__(
        self, config: Config, make: EnvironmentMaker, make_learner: Callable[[HostEnvironments], Learner]
    ) -> None:
        """Make the environments, and the learner for them."""
        self.config, self.steps = config, 0
        self._envs = make_host_environments(make, config.num_envs, frame_stack(config), config.stagger)
        with closed_on_error(self._envs):
            self._selection = Selection(config, make, self._envs if config.single_environment else None)
            self.learner = make_learner(self._envs)
            self.collector = Collector(config, self._envs)
        self.metric_names = self.learner.metric_names
        self._unreported = np.zeros(len(self.metric_names) + 1)  # sums of metrics, and updates, since the last report

    @property
    def updates(self) -> int:
        """The number of updates made."""
        return self.learner.updates

    def advance(self, stop_steps: int, max_episodes: int | None, interrupted: Callable[[], bool]) -> Report:
        """Train until stop_steps, or until max_episodes more episodes have ended; raises NotFinite and Interrupted."""
        episodes: list[Episode] = []
        while self.steps < stop_steps and (not max_episodes or len(episodes) < max_episodes):
            if interrupted():
                raise Interrupted(episodes)
            try:
                step, count, finished = self.collector.collect(self.learner.act, self.steps)
            except ENVIRONMENT_FAILURES as failure:
                raise Interrupted(episodes) from failure
            self.learner.add(step)
            self.steps += count
            episodes += finished
            updates_before = self.updates
            sums = self.learner.learn(self.steps)
            if self.updates > updates_before:
                self._unreported += (*sums, self.updates - updates_before)
        report = Report(episodes, self.metric_names, self._unreported.copy())
        self._unreported[:] = 0
        return report

    def evaluate(self, interrupted: Callable[[], bool]) -> Episodes:
        """Play greedily in separate environments, or in the only one; a boundary must follow then."""
        return self._selection.play(interruptible(self.learner.q_values, interrupted), self.steps)

    def boundary(self) -> None:
        """End all episodes and reseed from (seed, step), so that checkpoints do not hold more and more actions."""
        self.collector.boundary(self.steps)
        self.learner.cut()

    def save(self) -> Tensors:
        """The learner, the counters, and the actions that restore the environments."""
        own = {"steps": np.array(self.steps, np.int64), UNREPORTED: self._unreported.copy()}
        return {**own, **self.collector.save(), **self.learner.save()}

    def restore(self, tensors: Tensors) -> bool:
        """Restore a checkpoint. Returns False if replaying the saved actions did not reproduce the observations."""
        self.learner.restore(tensors)
        self.steps, self._unreported = int(tensors["steps"]), tensors[UNREPORTED].copy()
        exact = self.collector.restore(tensors)
        if not exact:
            self.boundary()
        return exact

    def kept(self) -> Tensors:
        """See Loop."""
        return self.learner.kept()

    def close(self) -> None:
        """Close all environments, even if one of them raises."""
        with contextlib.ExitStack() as stack:
            for part in (self._envs, self._selection):
                stack.callback(part.close)
