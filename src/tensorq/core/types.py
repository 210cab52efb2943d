"""The values that pass between the parts. They name tensors and import no TensorFlow."""

from __future__ import annotations

from typing import Any, NamedTuple

Tensor = Any  # a tf.Tensor; TensorFlow is not imported here, and has no types to check against


class Batch(NamedTuple):
    """Transitions to learn from, B of them.

    `discount` is gamma^k * (1 - terminated), k the true length of the transition's window: whoever learns
    needs to know neither k, nor termination, nor truncation.
    """

    obs: Tensor  # [B, ...]
    action: Tensor  # [B] int32
    reward: Tensor  # [B], the discounted sum over the window
    discount: Tensor  # [B]
    next_obs: Tensor  # [B, ...], the true observation at the end of the window
    weight: Tensor  # [B], importance weights; 1 under uniform sampling
    mask: Tensor | None = None  # [B, A] bool, the legal actions at obs; None where all are
    next_mask: Tensor | None = None  # [B, A] bool, the legal actions at next_obs


class Transition(NamedTuple):
    """One step of N environments."""

    obs: Tensor  # [N, ...]
    action: Tensor  # [N] int32
    reward: Tensor  # [N]
    discount: Tensor  # [N], gamma * (1 - terminated)
    next_obs: Tensor  # [N, ...]
    ended: Tensor  # [N] bool, whether it was the episode's last
    age: Tensor  # [N] int32, steps that the episode had before this one
    mask: Tensor | None = None  # [N, A] bool, the legal actions at obs
    next_mask: Tensor | None = None  # [N, A] bool


class Rollout(NamedTuple):
    """T steps of N environments in the order in which they were made."""

    obs: Tensor  # [T, N, ...]
    action: Tensor  # [T, N] int32
    reward: Tensor  # [T, N]
    discount: Tensor  # [T, N], gamma * (1 - terminated)
    next_obs: Tensor  # [T, N, ...], the true final observation where an episode ended
    ended: Tensor  # [T, N] bool, whether the step was an episode's last
    weight: Tensor  # [T, N], 0 for what is not experience
    next_mask: Tensor | None = None  # [T, N, A] bool, the legal actions at next_obs


class OptimizerState(NamedTuple):
    """The optimizer's memory: Adam's two moment estimates, or RMSProp's means of g and g^2; P numbers each."""

    first_moment: Tensor  # [P]
    second_moment: Tensor  # [P]


class AgentState(NamedTuple):
    """All that learning changes. Parameters are one flat vector of P numbers: few, large tensors are cheap to carry.

    Where observations are normalised, the last of them are means and factors, which no gradient reaches: so whoever has
    the parameters, the target network too, sees observations as they were seen then.
    """

    params: Tensor  # [P]
    target_params: Tensor  # [P]; [0] for an agent without a target network
    optimizer: OptimizerState
    updates: Tensor  # int64 scalar
    statistics: Any = ()  # of the observations acted on, where the agent normalises them: core.statistics.Statistics


class Update(NamedTuple):
    """What one update computes, of which its metrics are made."""

    loss: Tensor  # scalar, weighted mean over the batch
    q_taken: Tensor  # [B], online Q of the actions taken
    td_error: Tensor  # [B], expected target minus Q of the action taken, before weighting
    gradients: Tensor  # [P], before they are clipped


class Metrics(NamedTuple):
    """What one update reports."""

    values: dict[str, Tensor]  # scalars by their names in metrics.csv; one of them is the loss
    td_error: Tensor  # [B], of Update
