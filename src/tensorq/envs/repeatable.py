"""Environments whose state can be saved, although Gymnasium cannot save it: their actions are repeated.

No TensorFlow here.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tensorq.envs.host import HostEnvironments, Transitions, seeds_for


class Repeatable:
    """Environments whose state is saved as the last boundary, where episodes began, and all actions since then."""

    def __init__(self, envs: HostEnvironments, seed: int) -> None:
        self.envs = envs
        self._seed = seed
        self.begin(0)

    def begin(self, steps: int) -> None:
        """Make a boundary after `steps`: all episodes end, and new ones begin, seeded by (seed, steps)."""
        self.envs.reset(seeds_for(self._seed, steps, self.envs.num_envs))
        self._began_at, self._actions, self._obs = steps, bytearray(), self.envs.obs

    def step(self, actions: np.ndarray) -> Transitions:
        """Act once in each environment. If one raises, the step does not count: `save` has only the steps before."""
        made = self.envs.step(actions)
        self._actions += actions.astype(np.int32).tobytes()
        self._obs = self.envs.obs
        return made

    def save(self) -> dict[str, np.ndarray]:
        """The tensors that restore the environments, and the observations that show whether this worked."""
        return {
            "boundary.steps": np.array(self._began_at, np.int64),
            "boundary.actions": np.frombuffer(bytes(self._actions), np.int32).reshape(-1, self.envs.num_envs),
            "boundary.obs": self._obs.copy(),
        }

    def restore(self, tensors: dict[str, np.ndarray], live: Callable[[Transitions], object]) -> bool:
        """Repeat the saved actions and call `live` for each step. Returns False if other observations result."""
        self.begin(int(tensors["boundary.steps"]))
        for actions in tensors["boundary.actions"]:
            live(self.step(actions))
        return np.array_equal(self.envs.obs, tensors["boundary.obs"])
