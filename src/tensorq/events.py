"""What the trainer tells whoever watches a run. An observer is a callable that takes one event."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from tensorq.config import Config

RECENT_EPISODES = 100  # whose mean is Progress.mean_return


@dataclass(frozen=True)
class Message:
    """A line for the person who waits."""

    text: str
    kind: Literal["note", "warning", "activity"] = "note"  # an activity is what is being done just now


@dataclass(frozen=True)
class Started:
    """Training begins, or goes on, at `steps_done` environment steps."""

    config: Config
    run_dir: Path
    loop: str
    solved_return: float | None
    steps_done: int
    needs: tuple[str, ...] = ()  # which of make_env and network, functions, Python goes on with the run by
    named: str | None = ""  # the option by which commands do, " --env MODULE:ID" or none; None where they cannot


@dataclass(frozen=True)
class Progress:
    """The state of a run after some more steps."""

    steps: int
    updates: int
    episodes: int
    metrics: Mapping[str, float | None]  # the other columns of metrics.csv; None where there is nothing to say yet
    best_return: float | None
    new_returns: Sequence[float]
    seconds: float
    steps_per_second: float

    def __getattr__(self, name: str) -> float | None:
        """A metric, so that `progress.loss` is `progress.metrics["loss"]`."""
        if name.startswith("_") or name not in self.metrics:
            raise AttributeError(name)
        return self.metrics[name]


@dataclass(frozen=True)
class Evaluated:
    """A greedy evaluation was played."""

    steps: int
    mean_return: float
    episodes: int
    is_best: bool  # whether its agent is the one that is kept now


@dataclass(frozen=True)
class Saved:
    """A checkpoint is on disk."""

    steps: int
    path: Path


@dataclass(frozen=True)
class Finished:
    """The run is over and everything it leaves is on disk."""

    run_dir: Path
    result: dict[str, Any]


Event = Message | Started | Progress | Evaluated | Saved | Finished
Observer = Callable[[Event], None]


class StopTraining(Exception):
    """Raised by an observer to end the run: `train` finishes it and returns it, and result.json has the reason."""


class Audience:
    """The observers of one run. Each gets every event, one event at a time, whichever thread tells it."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        self._observers, self._telling = observers, threading.Lock()
        self.stop_reason: str | None = None  # of the first StopTraining that an observer raised

    def tell(self, event: Event) -> None:
        """Give every observer an event; a StopTraining is kept until the run can end."""
        with self._telling:
            for observer in self._observers:
                try:
                    observer(event)
                except StopTraining as stop:
                    self.stop_reason = self.stop_reason or str(stop) or "an observer stopped the run"

    def warn(self, text: str) -> None:
        """Give every observer a warning."""
        self.tell(Message(text, "warning"))
