"""Q-learning with a table (Watkins 1989; Sutton and Barto 2018, section 6.5). NumPy alone, no TensorFlow."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import compress

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from tensorq.errors import TensorqError
from tensorq.networks.numpy_network import state_rows

FloatArray = npt.NDArray[np.float64]


def td_error(
    value: float, reward: float, discount: float, next_values: Sequence[float], next_mask: Sequence[bool] | None = None
) -> float:
    """How far the value of a state and action is from what one step from there has shown: target minus value.

        target = reward + discount * max of next_values over the legal actions
        table[state, action] += learning rate * (target - table[state, action])

    is the whole of Q-learning. The target takes the best next action, not the one that exploration takes next, so the
    table becomes that of the greedy policy whatever is tried meanwhile. A step that the time limit ended keeps its
    discount: the limit is not a property of the state.

    Args:
        value: table[state, action].
        reward: what the step gave.
        discount: gamma, or 0 where the step ended the task itself.
        next_values: [A], the table's row of the state that followed, before any reset.
        next_mask: [A], the actions that are legal there; None where all are.
    """
    legal = next_values if next_mask is None else list(compress(next_values, next_mask))
    return reward + discount * (max(legal) if legal and discount else 0.0) - value


def epsilon_greedy(
    q_values: Sequence[float], epsilon: float, coin: float, choice: float, mask: Sequence[bool] | None = None
) -> int:
    """A random action where coin < epsilon, else the best, or a random one of several best; legal ones only.

    Rows begin with equal values: an agent that took the first of them would not leave the first action's way.

    Args:
        q_values: [A], of one state.
        epsilon: in [0, 1].
        coin, choice: uniforms in [0, 1).
        mask: [A], the legal actions; None where all are. None legal: a state that only a reset follows.
    """
    actions: Sequence[int] = range(len(q_values))
    if mask is not None:
        actions = list(compress(actions, mask)) or actions
    if coin >= epsilon:
        best = max(q_values[action] for action in actions)
        actions = [action for action in actions if q_values[action] == best]
    return actions[int(choice * len(actions))]


class QTable:
    """Q-values looked up in the flat parameters of a run: states by rows, actions by columns."""

    def __init__(self, params: FloatArray, observation_space: gym.Space, num_actions: int) -> None:
        """Take the table [S * A]; raises TensorqError where it does not fit the environment."""
        num_states, self._first_state = table_states(observation_space)
        if params.shape != (num_states * num_actions,):
            raise TensorqError(
                f"{params.size} Q-values are stored, the environment has {num_states} states with {num_actions} "
                "actions each."
            )
        self.table = params.reshape(num_states, num_actions)

    def __call__(self, obs: np.ndarray) -> np.ndarray:
        """Q-values [N, A] of states [N]."""
        found: np.ndarray = self.table[state_rows(obs, self._first_state, len(self.table))]
        return found


def table_states(observation_space: gym.Space) -> tuple[int, int]:
    """(number of states, the first) of a Discrete space; raises TensorqError for any other."""
    if not isinstance(observation_space, gym.spaces.Discrete):
        raise TensorqError(
            f"observation space {type(observation_space).__name__}: a table of Q-values needs Discrete observations, "
            "one row for each; a network learns from others: use preset dqn."
        )
    return int(observation_space.n), int(observation_space.start)
