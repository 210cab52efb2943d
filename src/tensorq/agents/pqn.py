"""PQN: parallelised Q-learning without replay and without a target network (Gallici et al. 2025)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import tensorflow as tf

from tensorq.agents.agent import Agent
from tensorq.agents.metrics import metrics_of
from tensorq.agents.settings import PQNSettings
from tensorq.core.targets import greedy, lambda_returns, legal, take
from tensorq.core.types import AgentState, Metrics, Rollout, Tensor, Update
from tensorq.networks.network import Network

if TYPE_CHECKING:
    from tensorq.config import Config


class PQN(Agent):
    """Learns from the newest steps of many environments; layer normalisation keeps this stable."""

    has_target_network = False

    def __init__(self, config: Config, network: Network) -> None:
        super().__init__(config, network)
        self.settings = config.part(PQNSettings)

    def targets(self, params: Tensor, rollout: Rollout) -> Tensor:
        """Q(lambda) targets [T, N], by the same parameters that acted."""
        flat = tf.reshape(rollout.next_obs, (-1, *rollout.next_obs.shape[2:]))
        mask = None if rollout.next_mask is None else tf.reshape(rollout.next_mask, (-1, rollout.next_mask.shape[-1]))
        next_q, shape = legal(self.q_values(params, flat), mask), rollout.reward.shape
        next_value, ended = tf.reshape(tf.reduce_max(next_q, axis=-1), shape), rollout.ended
        if self.settings.cut_traces:
            best = tf.cast(tf.reshape(greedy(next_q), shape), rollout.action.dtype)
            ended |= tf.concat([rollout.action[1:] != best[:-1], ended[-1:]], axis=0)
        return lambda_returns(rollout.reward, rollout.discount, next_value, ended, self.settings.trace_decay)

    def update(
        self, state: AgentState, obs: Tensor, action: Tensor, target: Tensor, weight: Tensor
    ) -> tuple[AgentState, Metrics]:
        """One gradient step on B steps of a rollout and their targets; a step of weight 0 is left out."""
        with tf.GradientTape() as tape:
            tape.watch(state.params)
            taken = take(self.network.outputs(state.params, obs), action)
            losses = self.head.losses(taken, None, target[:, None], tf.ones_like(taken))
            loss = tf.reduce_mean(weight * losses)
        gradients = tape.gradient(loss, state.params)
        metrics = metrics_of(Update(loss, taken[:, 0], target - taken[:, 0], gradients))
        return self.step(state, gradients), metrics
