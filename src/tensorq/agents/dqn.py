"""DQN: deep Q-learning with replay and a target network (Mnih et al. 2015), as pure functions of its state."""

from __future__ import annotations

import tensorflow as tf

from tensorq.config import Config
from tensorq.core import losses
from tensorq.core.exploration import epsilon_greedy
from tensorq.core.optimizers import adam, clip_by_norm
from tensorq.core.schedules import linear
from tensorq.core.targets import take, td_target
from tensorq.core.types import AgentState, Batch, Metrics, OptimizerState, Tensor
from tensorq.networks.network import Network

LOSSES = {"mse": losses.squared, "huber": losses.huber}


class DQN:
    """Holds settings and a network, and no state: what learning changes is in AgentState."""

    def __init__(self, config: Config, network: Network) -> None:
        self.config = config
        self.network = network

    def init(self) -> AgentState:
        """The state before the first update; online and target network are equal."""
        params = tf.constant(self.network.initial_params())
        zeros = tf.zeros_like(params)
        return AgentState(params, params, OptimizerState(zeros, zeros), tf.constant(0, tf.int64))

    def act(self, params: Tensor, obs: Tensor, epsilon: Tensor, u: Tensor) -> Tensor:
        """Epsilon-greedy actions [N] int32 for observations [N, ...], from uniforms u [N, 2]."""
        return epsilon_greedy(self.network.q_values(params, obs), epsilon, u)

    def update(self, state: AgentState, batch: Batch) -> tuple[AgentState, Metrics]:
        """One gradient step on a batch, then a move of the target network if it is due."""
        config, q_values = self.config, self.network.q_values
        target = td_target(
            batch.reward,
            batch.discount,
            q_values(state.target_params, batch.next_obs),
            q_values(state.params, batch.next_obs) if config.double else None,
        )
        with tf.GradientTape() as tape:
            tape.watch(state.params)
            q_taken = take(q_values(state.params, batch.obs), batch.action)
            loss = tf.reduce_mean(batch.weight * LOSSES[config.loss](target - q_taken))
        gradients = tape.gradient(loss, state.params)
        if config.max_gradient_norm:
            gradients = clip_by_norm(gradients, config.max_gradient_norm)

        updates = state.updates + 1
        params, optimizer = adam(
            state.params, gradients, state.optimizer, updates, self.learning_rate(state.updates), config.adam_epsilon
        )
        # Nature DQN's hard copy every C updates, or Polyak averaging (Lillicrap 2016) with a rate below 1.
        due = updates % config.target_sync_updates == 0
        moved = (
            params
            if config.target_sync_rate == 1
            else (state.target_params + config.target_sync_rate * (params - state.target_params))
        )
        target_params = tf.where(due, moved, state.target_params)
        return AgentState(params, target_params, optimizer, updates), Metrics(loss, tf.reduce_mean(q_taken))

    def learning_rate(self, updates: Tensor) -> Tensor:
        """The step size of the update that follows `updates` others."""
        config = self.config
        if not config.learning_rate_anneal_updates:
            return tf.constant(config.learning_rate, tf.float32)
        length = config.learning_rate_anneal_updates
        rate = linear(config.learning_rate, config.learning_rate_final, length, updates, tf.minimum)
        return tf.cast(rate, tf.float32)
