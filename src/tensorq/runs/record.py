"""The progress and outcome of a run, written into each checkpoint and, at the end, into result.json."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tensorq.config import SOLVED_EPISODES
from tensorq.process import process_seconds


@dataclass
class RunRecord:
    """One run's counts, times and evaluations so far."""

    steps: int = 0
    updates: int = 0
    episodes: int = 0
    settled_steps: int = 0  # the last stop at which all work that was due is done
    stopped: str | None = None  # why the run ended before its steps or episodes
    best: dict[str, Any] | None = None  # the kept agent's steps, mean_return and episodes
    final_return: float | None = None  # of the last greedy evaluation
    seconds: float = 0.0  # spent training
    elapsed_seconds: float = 0.0  # from the start of the command or call, over all resumes
    seconds_to_solved: float | None = None
    steps_to_solved: int | None = None
    refill_steps: int = 0  # steps that filled new replays in place of freed ones

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, Any]) -> RunRecord:
        """Read the record from a checkpoint. In older checkpoints, all work that was due at their steps was done."""
        names = {field.name for field in dataclasses.fields(cls)}
        found = cls(**{name: metadata[name] for name in names & metadata.keys()})
        found.settled_steps = metadata.get("settled_steps", found.steps)
        if found.best is not None:
            found.best = {name: found.best[name] for name in ("steps", "mean_return", "episodes") if name in found.best}
            if not math.isfinite(found.best["mean_return"]):  # older versions kept such agents
                found.best = None
        return found

    def evaluated(self, mean_return: float, episodes: int) -> bool:
        """Store a greedy evaluation of the present agent. Returns whether this agent is the best so far.

        An agent whose mean return is not finite is never the best.
        """
        self.final_return = mean_return
        if not math.isfinite(mean_return) or (self.best is not None and mean_return < self.best["mean_return"]):
            return False
        self.best = {"steps": self.steps, "mean_return": mean_return, "episodes": episodes}
        return True

    def note_solved(self, goal: float | None) -> None:
        """Remember when the kept agent solved the environment for the first time."""
        if self.seconds_to_solved is None and self.solved(goal):
            self.seconds_to_solved, self.steps_to_solved = self.elapsed_seconds, self.steps

    def solved(self, goal: float | None) -> bool | None:
        """Whether the kept agent solves the environment; None if there is no goal, or were too few episodes."""
        if self.best is None or goal is None or self.best["episodes"] < SOLVED_EPISODES:
            return None
        return bool(self.best["mean_return"] >= goal)

    def to_metadata(self) -> dict[str, Any]:
        """The record as a checkpoint's metadata."""
        return dataclasses.asdict(self)

    def result(self, goal: float | None) -> dict[str, Any]:
        """The content of result.json when the run is over."""
        return {
            "finished": True,
            "stopped": self.stopped,
            "steps": self.steps,
            "updates": self.updates,
            "episodes": self.episodes,
            "seconds": round(self.seconds, 3),
            "steps_per_second": round(self.steps / max(self.seconds, 1e-9), 1),
            "best": self.best,
            "final": {"steps": self.steps, "mean_return": self.final_return},
            "solved_return": goal,
            "solved": self.solved(goal),
            "seconds_to_solved": self.seconds_to_solved,
            "steps_to_solved": self.steps_to_solved,
            "process_seconds": round(process_seconds(), 3),
        }
