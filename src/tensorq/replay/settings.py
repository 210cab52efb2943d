"""The settings of replay."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tensorq.core.schedules import linear
from tensorq.errors import TensorqError
from tensorq.settings import Part, setting

if TYPE_CHECKING:
    from tensorq.config import Config

# With this exponent, TD errors from 1e-6 to 1e6 have priorities from 1e-12 to 1e12. A float64 holds their sum.
MOST_PRIORITY_EXPONENT = 2
MOST_STEPS = 1_000  # of a window; with more, a run would seem to hang


@dataclass(frozen=True)
class ReplaySettings(Part):
    """Settings of replay, with uniform draws or by priority."""

    subject = "replay"
    searched = {"batch_size": (32, 64, 128, 256), "n_step": (1, 3, 5, 10)}

    batch_size: int = setting(64, "Transitions in one update.", at_least=1, idle=True)
    replay_capacity: int = setting(100_000, "Transitions kept for replay.", at_least=1, idle=True)
    n_step: int = setting(
        1,
        "Number of rewards in a target, before the value of the next state; fewer if the episode ends (Sutton 1988).",
        at_least=1,
        at_most=MOST_STEPS,
    )
    priority_exponent: float = setting(
        0.0,
        "How strongly replay prefers transitions of large TD error; 0 draws uniformly (Schaul 2016).",
        at_least=0,
        at_most=MOST_PRIORITY_EXPONENT,
    )
    importance_exponent: float = setting(
        0.4, "Initial exponent of importance weights, which correct for priorities.", at_least=0, at_most=1, idle=True
    )
    importance_exponent_final: float = setting(
        1.0, "Importance exponent after importance_anneal_updates; 1 corrects fully.", at_least=0, at_most=1, idle=True
    )
    importance_anneal_updates: int = setting(
        50_000, "Updates over which the importance exponent anneals linearly.", at_least=0, idle=True
    )

    def importance_exponent_at(self, updates: Any, minimum: Callable[..., Any] = min) -> Any:
        """The importance exponent of the next update after `updates` updates; see schedules.linear."""
        first, final = self.importance_exponent, self.importance_exponent_final
        return linear(first, final, self.importance_anneal_updates, updates, minimum)

    def check(self, config: Config) -> None:
        """Refuse sizes with which the agent could not learn from the replay."""
        if self.batch_size > self.replay_capacity:
            raise TensorqError(
                f"batch_size {self.batch_size} is larger than replay_capacity {self.replay_capacity}: "
                "lower the one or raise the other."
            )
        if self.n_step * config.num_envs > self.replay_capacity:
            raise TensorqError(
                f"n_step {self.n_step} in num_envs {config.num_envs} environments spans more than replay_capacity "
                f"{self.replay_capacity}: lower the one or raise the other."
            )
