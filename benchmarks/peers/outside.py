"""The time between an environment's steps: what a library does itself. Of Gymnasium alone, for every library."""

from __future__ import annotations

import statistics
import time
from typing import Any

import gymnasium


class Outside(gymnasium.Wrapper):  # type: ignore[type-arg, unused-ignore]
    """Notes the seconds inside each step, and those between its end and the next one's beginning."""

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        super().__init__(env)
        self.inside: list[float] = []
        self.outside: list[float] = []  # before each step; NaN after a reset
        self._left = float("nan")

    def reset(self, **keywords: Any) -> Any:
        """Begin an episode; what is done from the last step to the first one is not counted."""
        found = self.env.reset(**keywords)
        self._left = float("nan")
        return found

    def step(self, action: Any) -> Any:
        """Act once."""
        began = time.perf_counter()
        self.outside.append(began - self._left)
        found = self.env.step(action)
        self._left = time.perf_counter()
        self.inside.append(self._left - began)
        return found

    def result(self, steps: int, period: int) -> dict[str, float]:
        """Milliseconds a step over the last `steps` steps, as medians over groups of `period` steps.

        Every group has one learning phase, because they come once in `period` steps; groups with a reset are left out.
        """

        def median(seconds: list[float]) -> float:
            means = [sum(seconds[start : start + period]) / period for start in range(0, steps, period)]
            return round(1e3 * statistics.median(mean for mean in means if mean == mean), 3)  # NaN is no mean

        return {
            "outside_milliseconds": median(self.outside[-steps:]),
            "inside_milliseconds": median(self.inside[-steps:]),
        }
