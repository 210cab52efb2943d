"""Playing greedily, without learning. No TensorFlow here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tensorq.agents.trained import QFunction, greedy
from tensorq.config import SOLVED_EPISODES, Config
from tensorq.envs.calls import EnvironmentMaker
from tensorq.envs.host import HostEnvironments, make_host_environments, seeds_for
from tensorq.networks.settings import frame_stack

SELECTION_ENVS = 5  # environments for greedy evaluations during training


class Episodes(NamedTuple):
    """The results of greedy episodes."""

    returns: np.ndarray  # [episodes], raw
    lengths: np.ndarray  # [episodes], in environment steps
    unfinished: int  # episodes cut at the step limit, scored as they stood

    @property
    def mean(self) -> float:
        """The mean return."""
        return float(self.returns.mean())

    def __repr__(self) -> str:
        cut = f", {self.unfinished} of them cut at the step limit" if self.unfinished else ""
        return (
            f"<Episodes: mean return {self.mean:.6g} over {len(self.returns)}{cut}, "
            f"worst {self.returns.min():.6g}, best {self.returns.max():.6g}>"
        )


def play_episodes(envs: HostEnvironments, q_values: QFunction, seeds: Sequence[int], max_steps: int) -> Episodes:
    """Play one greedy episode for each seed, num_envs at a time.

    Args:
        envs: the environments, which are reset for each group of episodes.
        q_values: gives the Q-values; of equally good actions, the first is taken.
        seeds: one for each episode. Episode i does not depend on num_envs, except in vector environments that take one
            seed for all rows.
        max_steps: an episode is cut after so many steps and scored as it stands, as a greedy agent can loop for ever.
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


class Selection:
    """Evaluates an agent during training: greedy episodes in separate environments, on seeds used for nothing else."""

    def __init__(self, config: Config, make: EnvironmentMaker, shared: HostEnvironments | None = None) -> None:
        """`make` makes environments. With single_environment, `shared` is training's own, whose episode then ends."""
        self._config, self._make = config, make
        self._shared = shared is not None
        self._envs = shared  # if None, made when needed, and kept: some take long to make

    def play(self, q_values: QFunction, steps: int) -> Episodes:
        """Play some greedy episodes after `steps` environment steps.

        If their mean reaches config.stop_return, more are played, up to SOLVED_EPISODES, and all of them count.
        """
        config = self._config
        episodes = config.num_evaluation_episodes("host")
        if self._envs is None:
            count = min(SELECTION_ENVS, episodes)
            self._envs = make_host_environments(self._make, count, frame_stack(config))
        seeds = seeds_for(config.seed, 2**32 + steps, max(episodes, SOLVED_EPISODES))
        most_steps, rest = config.evaluation_max_episode_steps, seeds[episodes:]
        few = play_episodes(self._envs, q_values, seeds[:episodes], most_steps)
        if config.stop_return is None or not rest or few.mean < config.stop_return:
            return few
        more = play_episodes(self._envs, q_values, rest, most_steps)
        returns, lengths = np.append(few.returns, more.returns), np.append(few.lengths, more.lengths)
        return Episodes(returns, lengths, few.unfinished + more.unfinished)

    def close(self) -> None:
        """Close the environments."""
        if self._envs is not None and not self._shared:
            self._envs.close()
