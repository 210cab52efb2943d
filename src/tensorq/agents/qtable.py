"""Q-learning with a table (Watkins 1989; Sutton and Barto 2018, section 6.5). NumPy alone, no TensorFlow."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import compress

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from tensorq.errors import TensorqError
from tensorq.networks.encoders.mlp import state_rows

FloatArray = npt.NDArray[np.float64]


def td_error(
    value: float, reward: float, discount: float, next_values: Sequence[float], next_mask: Sequence[bool] | None = None
) -> float:
    """The TD error of one step: target minus value.

        target = reward + discount * max of next_values over the legal actions
        table[state, action] += learning rate * (target - table[state, action])

    is the whole of Q-learning. The target takes the best next action, not the one that exploration takes next, so the
    table learns the values of the greedy policy, whatever is tried meanwhile. A step that the time limit truncates
    keeps its discount, because the limit is not a property of the state.

    Args:
        value: table[state, action].
        reward: the reward of the step.
        discount: gamma, or 0 if the step terminated the episode.
        next_values: [A], the table's row of the next state, before any reset.
        next_mask: [A], the actions that are legal in the next state; None if all are.
    """
    legal = next_values if next_mask is None else list(compress(next_values, next_mask))
    return reward + discount * (max(legal) if legal and discount else 0.0) - value


def epsilon_greedy(
    q_values: Sequence[float], epsilon: float, coin: float, choice: float, mask: Sequence[bool] | None = None
) -> int:
    """A random action if coin < epsilon, else the best one, or a random one of several best; always a legal one.

    Rows begin with equal values. If ties were not broken at random, the first action would be taken again and again.

    Args:
        q_values: [A], of one state.
        epsilon: in [0, 1].
        coin, choice: uniforms in [0, 1).
        mask: [A], the legal actions; None if all are. No action is legal in a state that is only followed by a reset.
    """
    actions: Sequence[int] = range(len(q_values))
    if mask is not None:
        actions = list(compress(actions, mask)) or actions
    if coin >= epsilon:
        best = max(q_values[action] for action in actions)
        actions = [action for action in actions if q_values[action] == best]
    return actions[int(choice * len(actions))]


class QTable:
    """A table of Q-values on a run's flat parameters, with a row for each state and a column for each action."""

    def __init__(self, params: FloatArray, observation_space: gym.Space, num_actions: int) -> None:
        """Store the table [S * A]; raises TensorqError if its size does not fit the environment."""
        num_states, self._first_state = table_states(observation_space)
        if params.shape != (num_states * num_actions,):
            raise TensorqError(
                f"{params.size} Q-values are stored, but the environment has {num_states} states with {num_actions} "
                "actions each."
            )
        self.table = params.reshape(num_states, num_actions)

    def __call__(self, obs: np.ndarray) -> np.ndarray:
        """Q-values [N, A] of states [N]."""
        return self.table[state_rows(obs, self._first_state, len(self.table))]


def table_states(observation_space: gym.Space) -> tuple[int, int]:
    """(number of states, first state) of a Discrete space; raises TensorqError for any other space."""
    if not isinstance(observation_space, gym.spaces.Discrete):
        raise TensorqError(
            f"observation space {type(observation_space).__name__}: a table of Q-values needs Discrete observations, "
            "one row for each. For other observations use a network: preset dqn."
        )
    return int(observation_space.n), int(observation_space.start)
