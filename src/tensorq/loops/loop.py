"""The interface of all loops for the trainer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from tensorq.agents.trained import QFunction
from tensorq.errors import TensorqError
from tensorq.evaluation.play import Episodes

Tensors = dict[str, np.ndarray]
# Exceptions that end an environment's step or reset: an error, or a request to end the process (a closed window).
ENVIRONMENT_FAILURES = (TensorqError, KeyboardInterrupt, SystemExit)
UNREPORTED = "unreported"  # name of a saved tensor [M + 1]: sums of metrics, and updates, since the last report
REPLAY_BLOCKS = "replay.blocks"  # name of the saved tensor that says where the replay is in replay.bin
KEPT = "agent.params", "agent.statistics."  # name prefixes of the tensors that a run keeps of its best agent
LEARNED_PARAMS = "agent.learned_params"  # name of a saved tensor, if parameters for acting are kept apart
CALL_RESULT = "call.result"  # name of a saved tensor: what an overlapped call of updates has returned, or nothing
OF_ANY_LENGTH = (
    CALL_RESULT,
    REPLAY_BLOCKS,
    "replay.priorities",
    "rollout.",
    "boundary.actions",
)  # name prefixes of saved tensors whose length varies


class Episode(NamedTuple):
    """A finished training episode."""

    steps: int  # environment steps of the run when it ended
    env_index: int
    length: int  # in environment steps
    total_return: float  # sum of raw rewards


class Report(NamedTuple):
    """The episodes and metrics between two stops."""

    episodes: list[Episode]
    metric_names: tuple[str, ...]
    sums: np.ndarray  # [M + 1]: the sum of each metric, and the number of updates

    @property
    def metrics(self) -> dict[str, float | None]:
        """The metrics by name, as means over the updates; None if there were no updates."""
        *sums, made = self.sums.tolist()
        return {name: each / made if made else None for name, each in zip(self.metric_names, sums, strict=True)}


class NotFinite(TensorqError):
    """The loss is infinite or NaN."""

    def __init__(self, updates: int, steps: int) -> None:
        super().__init__(
            f"the loss is not finite at update {updates} (about step {steps}). Likely causes: learning_rate too high, "
            "rewards that are huge or not a number, observations that are not finite."
        )


class Interrupted(Exception):
    """The user asked to stop, or an environment failed; its error is then the __cause__.

    The loop is between two steps and can be saved. `episodes` are finished episodes that are in no report yet.
    """

    def __init__(self, episodes: Sequence[Episode] = ()) -> None:
        self.episodes = episodes


def interruptible(q_values: QFunction, interrupted: Callable[[], bool]) -> QFunction:
    """A function with the same Q-values that raises Interrupted as soon as `interrupted` says so."""

    def rate(obs: np.ndarray) -> np.ndarray:
        if interrupted():
            raise Interrupted
        return q_values(obs)

    return rate


class Loop(Protocol):
    """A run that can be trained up to a step, evaluated, saved and restored."""

    steps: int
    metric_names: tuple[str, ...]  # the metrics in its reports

    @property
    def updates(self) -> int:
        """The number of updates made."""
        ...

    def advance(self, stop_steps: int, max_episodes: int | None, interrupted: Callable[[], bool]) -> Report:
        """Train until `stop_steps` environment steps, or until max_episodes more episodes have ended.

        Raises Interrupted if `interrupted` says so or an environment fails, and NotFinite.
        """
        ...

    def evaluate(self, interrupted: Callable[[], bool]) -> Episodes:
        """Play greedily, with other environments and seeds than training.

        Raises Interrupted if `interrupted` says so, and any error of an environment.
        """
        ...

    def boundary(self) -> None:
        """End the episodes of environments whose state cannot be saved. Every run does so every reset_period_steps."""
        ...

    def save(self) -> Tensors:
        """Everything that is needed to resume exactly."""
        ...

    def restore(self, tensors: Tensors) -> bool:
        """Restore a checkpoint. Returns False if replaying the saved actions did not reproduce the observations."""
        ...

    def kept(self) -> Tensors:
        """The tensors that a run keeps of its best agent: parameters [P] and the statistics of observations."""
        ...

    def close(self) -> None:
        """Release all environments and files, even if one of them raises."""
        ...


def require_fitting(tensors: Tensors, fresh: Tensors, path: Path) -> None:
    """Raise TensorqError unless a checkpoint has the names and shapes that a fresh loop of these settings saves."""

    def shape(there: Tensors, name: str) -> str:
        return "nothing" if name not in there else f"shape {there[name].shape[name.startswith(OF_ANY_LENGTH) :]}"

    for name in {**fresh, **tensors}:
        found, expected = shape(tensors, name), shape(fresh, name)
        if found != expected:
            raise TensorqError(
                f"{path} does not fit config.json: for {name}, received {found}, expected {expected}. Put back the "
                "config.json and the network that the run was started with, or train anew."
            )
