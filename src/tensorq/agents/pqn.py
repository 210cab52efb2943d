"""PQN: parallelised Q-learning without replay and without a target network (Gallici et al. 2025)."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import tensorflow as tf

from tensorq.agents.agent import Agent
from tensorq.agents.metrics import metrics_of
from tensorq.agents.settings import PQNSettings
from tensorq.core.targets import greedy, lambda_returns, legal, take
from tensorq.core.types import AgentState, Metrics, Rollout, Tensor, Update
from tensorq.core.xla import has_gpu, in_xla_on_cpu
from tensorq.networks.network import Network

if TYPE_CHECKING:
    from tensorq.config import Config


class PQN(Agent):
    """Learns from the newest steps of many environments; layer normalisation keeps this stable."""

    def __init__(self, config: Config, network: Network) -> None:
        super().__init__(config, network)
        self.settings = config.part(PQNSettings)
        self.has_target_network = self.plays_by == "target_params"  # the averages are in its place, if there are any

    def targets(self, params: Tensor, rollout: Rollout) -> Tensor:
        """Q(lambda) targets [T, N], by the same parameters that acted."""
        next_q = legal(self._next_q_values(params, rollout), rollout.next_mask)
        next_value, ended = tf.reduce_max(next_q, axis=-1), rollout.ended
        if self.settings.cut_traces:
            best = tf.cast(greedy(next_q), rollout.action.dtype)
            ended |= tf.concat([rollout.action[1:] != best[:-1], ended[-1:]], axis=0)
        return lambda_returns(rollout.reward, rollout.discount, next_value, ended, self.settings.trace_decay)

    def _next_q_values(self, params: Tensor, rollout: Rollout) -> Tensor:
        """Q-values [T, N, A] of the next observations, or anything after a termination.

        If the Q-values by which the agent acted are known, they are those of all but the last row, and of steps after
        which a time limit began another episode. A GPU rates all observations at once, which is faster there. In XLA on
        a CPU, convolutions of all T * N at once would write more than its caches hold.
        """
        obs, kept = rollout.next_obs, None if has_gpu() else rollout.q_values
        if kept is None and self.network.convolutions and in_xla_on_cpu():
            return tf.map_fn(functools.partial(self.q_values, params), obs, fn_output_signature=tf.float32)
        if kept is None:
            q_values = self.q_values(params, tf.reshape(obs, (-1, *obs.shape[2:])))
            return tf.reshape(q_values, (*obs.shape[:2], q_values.shape[-1]))
        known = tf.concat([kept[1:], tf.zeros_like(kept[:1])], axis=0)
        cut = rollout.ended & (rollout.discount > 0)
        missing = tf.concat([cut[:-1], tf.ones_like(cut[:1])], axis=0)

        def row(given: tuple[Tensor, Tensor, Tensor]) -> Tensor:
            obs, missing, known = given
            rated = tf.cond(tf.reduce_any(missing), lambda: self.q_values(params, obs), lambda: known)
            return tf.where(missing[:, None], rated, known)

        return tf.map_fn(row, (obs, missing, known), fn_output_signature=tf.float32)

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
        return self._averaged(self.step(state, gradients)), metrics

    def _averaged(self, state: AgentState) -> AgentState:
        """The state with its parameters added to their average, at first an arithmetic mean (Polyak, Juditsky 1992)."""
        if not self.settings.averaging_rate:
            return state
        rate = tf.maximum(self.settings.averaging_rate, 1.0 / tf.cast(state.updates, tf.float32))
        averages = state.target_params + rate * (state.params - state.target_params)
        if scaling := 2 * self.network.normalized:  # the last ones are no weights, but the observations' statistics
            averages = tf.concat([averages[:-scaling], state.params[-scaling:]], axis=0)
        return state._replace(target_params=averages)
