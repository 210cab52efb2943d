"""The events of a run, which the trainer sends to observers. An observer is a callable that takes one event."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tensorq.errors import TensorqError, where_raised

if TYPE_CHECKING:
    from tensorq.config import Config

RECENT_EPISODES = 100  # Progress.mean_return is the mean of so many


@dataclass(frozen=True)
class Message:
    """A line of text for the user."""

    text: str
    kind: Literal["note", "warning", "activity"] = "note"  # an activity: what the run does at the moment


@dataclass(frozen=True)
class Started:
    """Training begins, or continues, at `steps_done` environment steps."""

    config: Config
    run_dir: Path
    loop: str
    solved_return: float | None
    steps_done: int
    needs: tuple[str, ...] = ()  # the functions that a resume needs: make_env, network, features
    named: str | None = ""  # the option that commands need, " --env MODULE:ID" or ""; None if they cannot be used


@dataclass(frozen=True)
class Progress:
    """The state of a run after some more steps."""

    steps: int
    updates: int
    episodes: int
    metrics: Mapping[str, float | None]  # the other columns of metrics.csv; None if there is no value yet
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
    is_best: bool  # whether its agent is now kept as the best


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
    """The observers of one run. Each gets every event, one event at a time, even if several threads send them."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        self._observers, self._telling = observers, threading.Lock()
        self.stop_reason: str | None = None  # the text of the first StopTraining

    def tell(self, event: Event) -> None:
        """Give an event to every observer; StopTraining is remembered until the run can end.

        Raises TensorqError if an observer raises anything else.
        """
        with self._telling:
            for observer in self._observers:
                try:
                    observer(event)
                except StopTraining as stop:
                    self.stop_reason = self.stop_reason or str(stop) or "an observer stopped the run"
                except Exception as error:  # any exception: the observer is not ours
                    name = getattr(observer, "__qualname__", type(observer).__qualname__)
                    raise TensorqError(f"the observer {name} raised {where_raised(error)}.") from error

    def warn(self, text: str) -> None:
        """Give a warning to every observer."""
        self.tell(Message(text, "warning"))
