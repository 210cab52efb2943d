"""Learning a table of Q-values in the host loop: every step is one update. No TensorFlow here."""

from __future__ import annotations

import math

import numpy as np

from tensorq.agents.qtable import QTable, epsilon_greedy, table_states, td_error
from tensorq.agents.settings import LearningRateSettings
from tensorq.config import Config
from tensorq.core.types import Transition
from tensorq.envs.host import HostEnvironments
from tensorq.loops.loop import NotFinite, Tensors


class TableLearner:
    """Learns a table [S, A] in float64, from the step of one environment after the other.

    It works on lists, because a few numbers are read from a list in a tenth of the time of an array.
    """

    metric_names = ("loss", "mean_q")

    def __init__(self, config: Config, envs: HostEnvironments) -> None:
        self._rate = config.part(LearningRateSettings)
        space, num_actions = envs.observation_space, int(envs.action_space.n)
        num_states, self._first_state = table_states(space)
        self.q_values = QTable(np.full(num_states * num_actions, config.initial_value, np.float64), space, num_actions)
        self._table, self.updates = self.q_values.table, 0
        self._step: Transition | None = None  # not learned from yet

    def act(
        self, obs: np.ndarray, mask: np.ndarray | None, epsilon: float | np.ndarray, u: np.ndarray, vector_step: int
    ) -> np.ndarray:
        """See Policy."""
        rows = self._table[obs - self._first_state].tolist()
        masks = _lists(mask, len(rows))
        epsilons = epsilon.tolist() if isinstance(epsilon, np.ndarray) else [epsilon] * len(rows)
        actions = [
            epsilon_greedy(row, each, coin, choice, legal)
            for row, each, (coin, choice), legal in zip(rows, epsilons, u.tolist(), masks, strict=True)
        ]
        return np.array(actions, np.int32)

    def add(self, step: Transition) -> None:
        """Keep the step for `learn`."""
        self._step = step

    def learn(self, steps: int) -> list[float]:
        """One update for each environment's step. Returns the sums of squared TD errors and of Q-values."""
        step, table = self._step, self._table
        assert step is not None
        states, next_states = (step.obs - self._first_state).tolist(), (step.next_obs - self._first_state).tolist()
        actions, rewards, discounts = step.action.tolist(), step.reward.tolist(), step.discount.tolist()
        masks, valid = _lists(step.next_mask, len(states)), step.valid.tolist()
        squares = values = 0.0
        for row in zip(valid, states, actions, rewards, discounts, next_states, masks, strict=True):
            is_step, state, action, reward, discount, next_state, mask = row
            if not is_step:
                continue
            value = table.item(state, action)
            error = td_error(value, reward, discount, table[next_state].tolist(), mask)
            squares, values = squares + error * error, values + value
            if not math.isfinite(squares):
                raise NotFinite(self.updates + 1, steps)
            table[state, action] = value + self._rate.learning_rate_at(self.updates) * error
            self.updates += 1
        return [squares, values]

    def cut(self) -> None:
        """Nothing to do: every step has been learned from."""

    def save(self) -> Tensors:
        """The table, and how many updates were made."""
        return {**self.kept(), "agent.updates": np.array(self.updates, np.int64)}

    def restore(self, tensors: Tensors) -> None:
        """Restore what `save` returned."""
        self._table[:] = tensors["agent.params"].reshape(self._table.shape)
        self.updates = int(tensors["agent.updates"])

    def kept(self) -> Tensors:
        """The table, flat [S * A]."""
        return {"agent.params": self._table.flatten()}


def _lists(mask: np.ndarray | None, count: int) -> list[list[bool] | None]:
    """A mask [N, A] as a list for each of N environments, each None if there is no mask."""
    return [None] * count if mask is None else mask.tolist()
