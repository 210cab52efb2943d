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
    reward: Tensor  # [B]
    discount: Tensor  # [B]
    next_obs: Tensor  # [B, ...], the true final observation where an episode ended
    weight: Tensor  # [B], importance weights; 1 under uniform sampling


class OptimizerState(NamedTuple):
    """Adam's memory: the two moment estimates, P numbers each."""

    first_moment: Tensor  # [P]
    second_moment: Tensor  # [P]


class AgentState(NamedTuple):
    """All that learning changes. Parameters are one flat vector of P numbers: few, large tensors are cheap to carry."""

    params: Tensor  # [P]
    target_params: Tensor  # [P]
    optimizer: OptimizerState
    updates: Tensor  # int64 scalar


class Metrics(NamedTuple):
    """What one update reports."""

    loss: Tensor  # scalar, weighted mean over the batch
    mean_q: Tensor  # scalar, mean online Q of the actions taken
