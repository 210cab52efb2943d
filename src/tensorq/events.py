"""What the trainer tells whoever watches a run. An observer is a callable that takes one event."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tensorq.config import Config

RECENT_EPISODES = 100  # whose mean is Progress.mean_return


@dataclass(frozen=True)
class Message:
    """A line for the person who waits: what is being loaded, or a warning."""

    text: str


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
    """The state of a run after some more steps; None where there is nothing to say yet."""

    steps: int
    updates: int
    episodes: int
    epsilon: float
    learning_rate: float
    loss: float | None
    mean_q: float | None
    mean_return: float | None
    evaluation_return: float | None
    best_return: float | None
    new_returns: Sequence[float]
    seconds: float
    steps_per_second: float


@dataclass(frozen=True)
class Finished:
    """The run is over and everything it leaves is on disk."""

    run_dir: Path
    result: dict[str, Any]


Event = Message | Started | Progress | Finished
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
        self.tell(Message(f"warning: {text}"))
