"""DQN: deep Q-learning with replay and a target network (Mnih et al. 2015), as pure functions of its state.

Double and Munchausen DQN are switches here, with their formulas in core/. The other variants are in the parts that an
agent is built of: distributions in the head, dueling and noise in the network, n-step and priorities in the replay.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import tensorflow as tf

from tensorq.agents.agent import Agent
from tensorq.agents.metrics import metrics_of
from tensorq.agents.settings import DQNSettings
from tensorq.core import targets
from tensorq.core.exploration import noise
from tensorq.core.types import AgentState, Batch, Metrics, Tensor, Update
from tensorq.heads.head import mean
from tensorq.networks.network import Network
from tensorq.replay.settings import ReplaySettings

if TYPE_CHECKING:
    from tensorq.config import Config


class DQN(Agent):
    """Learns from batches of replayed transitions."""

    def __init__(self, config: Config, network: Network) -> None:
        super().__init__(config, network)
        self.settings = config.part(DQNSettings)
        # The parts of update's u: for the online and for the target network first noise, of which each number takes two
        # uniforms (Box-Muller), then fractions.
        fractions = config.part(ReplaySettings).batch_size * self.head.num_fractions
        self._update_widths = [2 * network.num_noise] * 2 + [fractions] * 2

    @property
    def update_uniforms(self) -> int:
        """The number of uniforms that `update` needs."""
        return sum(self._update_widths)

    def update(self, state: AgentState, batch: Batch, u: Tensor) -> tuple[AgentState, Metrics]:
        """One gradient step on a batch, then a move of the target network if due. `u` has [update_uniforms] numbers."""
        online_u, target_u, fractions_u, target_fractions_u = tf.split(u, self._update_widths)
        online_noise, target_noise = noise(online_u), noise(target_u)
        fractions, target_fractions = None, None
        if self.head.num_fractions:
            shape = (batch.action.shape[0], self.head.num_fractions)
            fractions, target_fractions = tf.reshape(fractions_u, shape), tf.reshape(target_fractions_u, shape)

        points, probabilities = self._target(state, batch, online_noise, target_noise, target_fractions)
        with tf.GradientTape() as tape:
            tape.watch(state.params)
            outputs = self.network.outputs(state.params, batch.obs, online_noise, fractions)
            taken = targets.take(outputs, batch.action)
            losses = self.head.losses(taken, fractions, points, probabilities)
            loss = tf.reduce_mean(batch.weight * losses)
        gradients = tape.gradient(loss, state.params)
        q_taken = self.head.q_values(taken[:, None, :])[:, 0]
        update = Update(loss, q_taken, mean(points, probabilities) - q_taken, gradients)
        return self._move_target(self.step(state, gradients)), metrics_of(update)

    def _target(
        self, state: AgentState, batch: Batch, online_noise: Tensor, target_noise: Tensor, fractions: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Points and probabilities [B, M] of the return to learn; with Munchausen [B, A * M]."""
        settings = self.settings
        outputs = self.network.outputs(state.target_params, batch.next_obs, target_noise, fractions)
        distribution = self.head.distribution(outputs)
        # The target network rates the next action. In double Q-learning the online network chooses it.
        if settings.double:
            next_q = self.q_values(state.params, batch.next_obs, online_noise)
        elif fractions is None:
            next_q = self.head.q_values(outputs)  # TensorFlow without XLA would compute the network twice
        else:
            next_q = self.q_values(state.target_params, batch.next_obs, target_noise)
        if not settings.munchausen:
            action = targets.greedy(next_q, batch.next_mask)
            return targets.greedy_target(batch.reward, batch.discount, *distribution, action)
        temperature = settings.munchausen_temperature
        q_now = self.q_values(state.target_params, batch.obs, target_noise)
        log_taken = targets.take(targets.log_policy(q_now, temperature, batch.mask), batch.action)
        bonus = targets.munchausen_bonus(log_taken, settings.munchausen_scale, temperature, settings.munchausen_clip)
        log_policy = targets.log_policy(next_q, temperature, batch.next_mask)
        return targets.soft_target(batch.reward + bonus, batch.discount, *distribution, log_policy, temperature)

    def _move_target(self, state: AgentState) -> AgentState:
        """A move of the target network if due."""
        rate, params = self.settings.target_sync_rate, state.params
        # A hard copy every target_sync_updates, as Nature DQN; at a rate below 1 Polyak averaging (Lillicrap 2016).
        due = state.updates % self.settings.target_sync_updates == 0
        moved = params if rate == 1 else state.target_params + rate * (params - state.target_params)
        return state._replace(target_params=tf.where(due, moved, state.target_params))
