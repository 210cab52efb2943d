"""What both loops offer to the trainer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from tensorq.agents.trained import QFunction
from tensorq.errors import TensorqError
from tensorq.evaluation.play import Episodes

Tensors = dict[str, np.ndarray]
# What ends an environment's step or reset: an error, or its wish that the process should end (a window was closed).
ENVIRONMENT_FAILURES = (TensorqError, KeyboardInterrupt, SystemExit)
UNREPORTED = "unreported"  # in what a loop saves: sums of metrics, and updates, [M + 1] since the last report
KEPT = "agent.params", "agent.statistics."  # how the names begin of what a run keeps of its best agent
OF_ANY_LENGTH = "replay.", "rollout.", "boundary.actions"  # in what a loop saves: what grows as a run goes on


class Episode(NamedTuple):
    """A finished training episode."""

    steps: int  # environment steps of the run when it ended
    env_index: int
    length: int  # in environment steps
    total_return: float  # sum of raw rewards


class Report(NamedTuple):
    """What happened between two stops."""

    episodes: list[Episode]
    metric_names: tuple[str, ...]
    sums: np.ndarray  # [M + 1]: each of the metrics, and updates

    @property
    def metrics(self) -> dict[str, float | None]:
        """The metrics by name, as means over the updates made; None where there were none."""
        *sums, made = self.sums.tolist()
        return {name: each / made if made else None for name, each in zip(self.metric_names, sums, strict=True)}


class NotFinite(TensorqError):
    """A loss that is infinite or not a number."""

    def __init__(self, updates: int, steps: int) -> None:
        super().__init__(
            f"the loss is not finite at update {updates} (about step {steps}). Likely causes: learning_rate too high, "
            "rewards that are huge or not a number, observations that are not finite."
        )


class Interrupted(Exception):
    """The user asked to stop, or an environment failed, which is the cause then.

    The loop is between two steps and can be saved; `episodes` are those that no report has told of yet.
    """

    def __init__(self, episodes: Sequence[Episode] = ()) -> None:
        self.episodes = episodes


def interruptible(q_values: QFunction, interrupted: Callable[[], bool]) -> QFunction:
    """The same Q-values for as long as nobody asks to stop; then it raises Interrupted."""

    def rate(obs: np.ndarray) -> np.ndarray:
        if interrupted():
            raise Interrupted
        return q_values(obs)

    return rate


class Loop(Protocol):
    """A run that can be carried on to a step, evaluated, saved and restored."""

    steps: int
    metric_names: tuple[str, ...]  # of what it reports of updates

    @property
    def updates(self) -> int:
        """Updates made."""
        ...

    def advance(self, stop_steps: int, max_episodes: int | None, interrupted: Callable[[], bool]) -> Report:
        """Train to `stop_steps` environment steps, or to the end of max_episodes more episodes.

        Raises Interrupted where `interrupted` says so or an environment fails, and NotFinite.
        """
        ...

    def evaluate(self, interrupted: Callable[[], bool]) -> Episodes:
        """Play greedily on environments and seeds apart from training's.

        Raises Interrupted where `interrupted` says so, and what an environment raises.
        """
        ...

    def boundary(self) -> None:
        """Before each periodic save, in every run: end episodes of environments whose state cannot be saved."""
        ...

    def save(self) -> Tensors:
        """Everything that is needed to go on exactly."""
        ...

    def restore(self, tensors: Tensors) -> bool:
        """Restore a checkpoint. Returns False if replaying the saved actions did not reproduce the observations."""
        ...

    def kept(self) -> Tensors:
        """What a run keeps of its best agent: the parameters [P], and what they were normalised by."""
        ...

    def close(self) -> None:
        """Release environments and files: all of them, whichever raises."""
        ...


def require_fitting(tensors: Tensors, fresh: Tensors, path: Path) -> None:
    """Raise TensorqError unless a checkpoint holds what a loop of these settings, just begun, would save."""

    def shape(there: Tensors, name: str) -> str:
        return "nothing" if name not in there else f"shape {there[name].shape[name.startswith(OF_ANY_LENGTH) :]}"

    for name in {**fresh, **tensors}:
        found, expected = shape(tensors, name), shape(fresh, name)
        if found != expected:
            raise TensorqError(
                f"{path} does not go with config.json: for {name}, received {found}, expected {expected}. Put back the "
                "config.json and the network that the run was started with, or train anew."
            )
