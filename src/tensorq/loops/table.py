"""The table's loop: Python steps Gymnasium environments, and every step is one update. No TensorFlow here."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from tensorq.agents.qtable import QTable, epsilon_greedy, table_states, td_error
from tensorq.config import Config
from tensorq.core import host_random
from tensorq.envs.host import EnvironmentMaker, HostEnvironments, make_host_environments, seeds_for
from tensorq.errors import TensorqError
from tensorq.evaluation.play import play_episodes
from tensorq.loops.loop import Episode, Interrupted, NotFinite, Report, Tensors

EVALUATION_ENVS = 5


class TableLoop:
    """Trains a table of Q-values [S, A] in float64; environments learn in turn, each from its own step."""

    exact_anywhere = False

    def __init__(self, config: Config, make: EnvironmentMaker) -> None:
        self.config = config
        self.steps = self.updates = 0
        self._make = make
        self._envs = make_host_environments(make, config.num_envs)
        self._evaluation_envs: HostEnvironments | None = None
        space, num_actions = self._envs.observation_space, int(self._envs.action_space.n)
        num_states, self._first_state = table_states(space)
        self._q = QTable(np.full(num_states * num_actions, config.initial_value, np.float64), space, num_actions)
        count = self._envs.num_envs
        self._random = host_random.CounterRandom(config.seed, host_random.ACTING, 2 * count)
        self._vector_steps = 0  # counts random numbers: steps do not grow where every environment only resets
        self._age, self._total_return = [0] * count, [0.0] * count
        self.boundary()

    def advance(self, stop_steps: int, max_episodes: int | None, interrupted: Callable[[], bool]) -> Report:
        """Train to stop_steps or the end of max_episodes more episodes; raises NotFinite and Interrupted."""
        config, envs, table = self.config, self._envs, self._q.table
        episodes: list[Episode] = []
        squares = values = 0.0
        updates_before = self.updates
        while self.steps < stop_steps and (not max_episodes or len(episodes) < max_episodes):
            if interrupted():
                raise Interrupted
            states = (envs.obs - self._first_state).tolist()
            actions = self._act(states)
            step = envs.step(np.array(actions))
            self._vector_steps += 1
            # Lists: a handful of numbers is read from one in a tenth of the time that an array takes.
            next_states = (step.next_obs - self._first_state).tolist()
            masks = [None] * len(states) if step.next_mask is None else step.next_mask.tolist()
            rewards, terminated, truncated = step.reward.tolist(), step.terminated.tolist(), step.truncated.tolist()
            for index, valid in enumerate(step.valid.tolist()):
                if not valid:
                    continue
                state, action, next_state = states[index], actions[index], next_states[index]
                if not 0 <= next_state < len(table):
                    raise TensorqError(
                        f"the environment gave the observation {step.next_obs[index]}, which its observation space "
                        f"{envs.observation_space} does not contain."
                    )
                value, discount = table.item(state, action), 0.0 if terminated[index] else config.gamma
                error = td_error(value, rewards[index], discount, table[next_state].tolist(), masks[index])
                if not math.isfinite(error):
                    raise NotFinite(self.updates + 1, self.steps + 1)
                table[state, action] = value + config.learning_rate_at(self.updates) * error
                squares, values = squares + error * error, values + value
                self.updates += 1
                self.steps += 1
                self._age[index] += 1
                self._total_return[index] += rewards[index]
                if terminated[index] or truncated[index]:
                    episodes.append(Episode(self.steps, index, self._age[index], self._total_return[index]))
                    self._age[index], self._total_return[index] = 0, 0.0
        made = self.updates - updates_before
        return Report(episodes, squares / made if made else None, values / made if made else None)

    def _act(self, states: list[int]) -> list[int]:
        """Epsilon-greedy actions [N], each environment with its own coin."""
        table, epsilon = self._q.table, self.config.epsilon_at(self.steps)
        masks = [None] * len(states) if self._envs.mask is None else self._envs.mask.tolist()
        uniforms = iter(host_random.to_uniforms(self._random.row(self._vector_steps)).tolist())
        return [
            epsilon_greedy(table[state].tolist(), epsilon, next(uniforms), next(uniforms), mask)
            for state, mask in zip(states, masks, strict=True)
        ]

    def evaluate(self) -> np.ndarray:
        """Returns [episodes] of greedy play in environments of its own."""
        config = self.config
        episodes = config.num_evaluation_episodes("host")
        if self._evaluation_envs is None:
            self._evaluation_envs = make_host_environments(self._make, min(EVALUATION_ENVS, episodes))
        seeds = seeds_for(config.seed, 2**32 + self.steps, episodes)
        return play_episodes(self._evaluation_envs, self._q, seeds, config.evaluation_max_episode_steps).returns

    def boundary(self) -> None:
        """End all episodes and reseed from (seed, step): an environment's inner state cannot be saved."""
        self._envs.reset(seeds_for(self.config.seed, self.steps, self._envs.num_envs))
        count = self._envs.num_envs
        self._age, self._total_return = [0] * count, [0.0] * count

    def save(self) -> Tensors:
        """The table and the counters."""
        return {
            "agent.params": self.params(),
            "agent.updates": np.array(self.updates, np.int64),
            "steps": np.array(self.steps, np.int64),
            "vector_steps": np.array(self._vector_steps, np.int64),
        }

    def restore(self, tensors: Tensors) -> None:
        """Become what was saved."""
        self._q.table[:] = tensors["agent.params"].reshape(self._q.table.shape)
        self.steps, self.updates = int(tensors["steps"]), int(tensors["agent.updates"])
        self._vector_steps = int(tensors["vector_steps"])
        self.boundary()

    def params(self) -> np.ndarray:
        """The table, flat [S * A]."""
        return self._q.table.flatten()

    def close(self) -> None:
        """Close the environments."""
        self._envs.close()
        if self._evaluation_envs is not None:
            self._evaluation_envs.close()
