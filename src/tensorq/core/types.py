"""The data types that the parts exchange. They name tensors, but they do not import TensorFlow."""

from __future__ import annotations

from typing import Any, NamedTuple

Tensor = Any  # a tf.Tensor; TensorFlow is not imported here, and has no types to check against


class Batch(NamedTuple):
    """B transitions to learn from.

    `discount` is gamma^k * (1 - terminated), with k the true length of the transition's window. Learning therefore
    needs to know neither k, nor termination, nor truncation.
    """

    obs: Tensor  # [B, ...]
    action: Tensor  # [B] int32
    reward: Tensor  # [B], the discounted sum over the window
    discount: Tensor  # [B]
    next_obs: Tensor  # [B, ...], the true observation at the end of the window
    weight: Tensor  # [B], importance weights; 1 under uniform sampling
    mask: Tensor | None = None  # [B, A] bool, the legal actions at obs; None if all are
    next_mask: Tensor | None = None  # [B, A] bool, the legal actions at next_obs


class Transition(NamedTuple):
    """One step of N environments."""

    obs: Tensor  # [N, ...]
    action: Tensor  # [N] int32
    reward: Tensor  # [N]
    discount: Tensor  # [N], gamma * (1 - terminated)
    next_obs: Tensor  # [N, ...]
    ended: Tensor  # [N] bool, whether it was the last step of its episode
    age: Tensor  # [N] int32, the episode's number of steps before this one
    mask: Tensor | None = None  # [N, A] bool, the legal actions at obs
    next_mask: Tensor | None = None  # [N, A] bool
    valid: Tensor = None  # [N] bool, False for rows that are resets and no experience; None if all are steps
    q_values: Tensor | None = None  # [N, A] at obs, by which the actions were chosen; None if they are not known

    def newest_frames(self) -> Transition:
        """The same step with the newest observation of each stack, for observations that are stacks [N, K, ...]."""
        return self._replace(obs=self.obs[:, -1], next_obs=self.next_obs[:, -1])


class Rollout(NamedTuple):
    """T successive steps of N environments."""

    obs: Tensor  # [T, N, ...]
    action: Tensor  # [T, N] int32
    reward: Tensor  # [T, N]
    discount: Tensor  # [T, N], gamma * (1 - terminated)
    next_obs: Tensor  # [T, N, ...], the true final observation if an episode ended
    ended: Tensor  # [T, N] bool, whether the step was the last of its episode
    weight: Tensor  # [T, N], 0 for a row that is a reset and no experience
    next_mask: Tensor | None = None  # [T, N, A] bool, the legal actions at next_obs
    q_values: Tensor | None = None  # [T, N, A] at obs, by the parameters that learn; None if they are not known


class OptimizerState(NamedTuple):
    """The optimizer's memory: Adam's two moment estimates, or RMSProp's means of g and g^2; P numbers each."""

    first_moment: Tensor  # [P]
    second_moment: Tensor  # [P]


class AgentState(NamedTuple):
    """Everything that learning changes. Parameters are one flat vector of P numbers, as few large tensors cost little.

    If observations are normalised, the last parameters are their means and factors, which no gradient changes. So any
    copy of the parameters, also the target network's, normalises with the statistics of its own time.
    """

    params: Tensor  # [P]
    target_params: Tensor  # [P], the target network's; averages of params if PQN has them, else [0]
    optimizer: OptimizerState
    updates: Tensor  # int64 scalar
    statistics: Any = ()  # core.statistics.Statistics of the observations acted on, if the agent normalises


class Update(NamedTuple):
    """The results of one update, from which its metrics are computed."""

    loss: Tensor  # scalar, weighted mean over the batch
    q_taken: Tensor  # [B], the online network's Q of the actions taken
    td_error: Tensor  # [B], expected target minus Q of the action taken, before weighting
    gradients: Tensor  # [P], before they are clipped


class Metrics(NamedTuple):
    """The metrics and TD errors of one update."""

    values: dict[str, Tensor]  # scalars by their names in metrics.csv; one of them is the loss
    td_error: Tensor  # [B], as in Update
