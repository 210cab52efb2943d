"""Playing greedily, without learning. No TensorFlow here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tensorq.agents.trained import QFunction, greedy
from tensorq.envs.host import HostEnvironments


class Episodes(NamedTuple):
    """What was played."""

    returns: np.ndarray  # [episodes], raw
    lengths: np.ndarray  # [episodes], in environment steps
    unfinished: int  # episodes cut at the step limit, scored as they stood

    @property
    def mean(self) -> float:
        """The mean return."""
        return float(self.returns.mean())


def play_episodes(envs: HostEnvironments, q_values: QFunction, seeds: Sequence[int], max_steps: int) -> Episodes:
    """One greedy episode for each seed, num_envs at a time.

    Args:
        envs: where to play; reset for each group of episodes.
        q_values: rates actions; the first of the best is taken.
        seeds: of the environments, one an episode: episode i is the same whatever num_envs is, but in vector
            environments that take one seed for all.
        max_steps: a greedy agent can loop for ever, so an episode is cut here and scored as it stands.
    """
    count = envs.num_envs
    returns, lengths, unfinished = np.zeros(len(seeds)), np.zeros(len(seeds), np.int64), 0
    for first in range(0, len(seeds), count):
        group = list(seeds[first : first + count])
        wanted = len(group)
        envs.reset(group + group[:1] * (count - wanted))
        alive = np.arange(count) < wanted
        total, length = np.zeros(count), np.zeros(count, np.int64)
        while alive.any() and length.max() < max_steps:
            step = envs.step(greedy(q_values(envs.obs), envs.mask))
            total += step.reward * alive
            length += alive
            alive &= ~(step.terminated | step.truncated)
        unfinished += int(alive.sum())
        returns[first : first + wanted], lengths[first : first + wanted] = total[:wanted], length[:wanted]
    return Episodes(returns, lengths, unfinished)
