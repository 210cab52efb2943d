"""The base of all deep agents: network, acting, and a step of the optimizer, as pure functions of AgentState."""

from __future__ import annotations

import pkgutil
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from tensorq.agents.settings import Algorithm, LearningRateSettings, OptimizerSettings
from tensorq.core import xla
from tensorq.core.exploration import epsilon_greedy, noise
from tensorq.core.optimizers import OPTIMIZERS, clip_by_norm
from tensorq.core.statistics import EPSILON, FIRST_COUNT, Statistics
from tensorq.core.types import AgentState, OptimizerState, Tensor
from tensorq.heads.head import Head, midpoints
from tensorq.networks.network import Network
from tensorq.networks.numpy_network import ACTING_FRACTIONS

if TYPE_CHECKING:
    from tensorq.config import Config


class Agent:
    """Holds settings and a network, but no state: AgentState has everything that learning changes."""

    has_target_network = True

    def __init__(self, config: Config, network: Network) -> None:
        self.network = network
        self.head = config.part(Head)
        self.step = xla.fused(self._step)
        self.plays_by = config.part(Algorithm).plays_by
        self.rate, self._optimizer = config.part(LearningRateSettings), config.part(OptimizerSettings)

    @property
    def act_uniforms(self) -> int:
        """The number of uniforms that `act` needs for its noise."""
        return 2 * self.network.num_noise

    def init(self) -> AgentState:
        """The state before the first update, in which online and target network are equal."""
        params = tf.constant(self.network.initial_params())
        zeros = tf.zeros_like(params)
        target_params = params if self.has_target_network else params[:0]
        statistics: Any = ()
        if count := self.network.normalized:
            mean = tf.zeros(count, tf.float64)
            statistics = Statistics(mean, tf.ones_like(mean), tf.constant(FIRST_COUNT, tf.float64))
        return AgentState(params, target_params, OptimizerState(zeros, zeros), tf.constant(0, tf.int64), statistics)

    def kept_params(self, state: AgentState) -> Tensor:
        """The parameters [P] by which greedy episodes are played, and which a run keeps of its best agent."""
        params: Tensor = getattr(state, self.plays_by)
        return params

    def observe(self, state: AgentState, obs: Tensor) -> AgentState:
        """The state with observations [N, ...] added to its statistics, if observations are normalised."""
        count = self.network.normalized
        if not count:
            return state
        rows = tf.cast(tf.reshape(obs, (-1, count)), tf.float64)
        statistics = state.statistics.after(
            tf.reduce_mean(rows, axis=0), tf.math.reduce_variance(rows, axis=0), tf.constant(rows.shape[0], tf.float64)
        )
        scaling = tf.concat([statistics.mean, 1.0 / tf.sqrt(statistics.variance + EPSILON)], axis=0)
        params = tf.concat([state.params[: -2 * count], tf.cast(scaling, tf.float32)], axis=0)
        return state._replace(params=params, statistics=statistics)

    def q_values(self, params: Tensor, obs: Tensor, noise: Tensor | None = None) -> Tensor:
        """Q-values [N, A] of observations [N, ...]; without noise, noisy layers use their means."""
        fractions = midpoints(ACTING_FRACTIONS)[None] if self.head.num_fractions else None
        return self.head.q_values(self.network.outputs(params, obs, noise, fractions, mean=True))

    def act(
        self, params: Tensor, obs: Tensor, epsilon: Tensor, u: Tensor, noise_u: Tensor, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Epsilon-greedy actions [N] int32, and Q-values [N, A], for observations [N, ...] and parameters [P].

        epsilon, u and mask as for core.exploration.epsilon_greedy. noise_u has [act_uniforms] uniforms for the noise of
        noisy layers, which all rows share.
        """
        q_values = self.q_values(params, obs, noise(noise_u))
        return epsilon_greedy(q_values, epsilon, u, mask), q_values

    def _step(self, state: AgentState, gradients: Tensor) -> AgentState:
        """The state after one step of the optimizer against gradients [P]; the target network stays as it was."""
        settings, updates = self._optimizer, state.updates
        if settings.max_gradient_norm:
            gradients = clip_by_norm(gradients, settings.max_gradient_norm)
        rate = tf.cast(self.rate.learning_rate_at(updates, tf.minimum), tf.float32)
        move = OPTIMIZERS[settings.optimizer]
        params, optimizer = move(
            state.params, gradients, state.optimizer, updates + 1, rate, settings.optimizer_epsilon
        )
        return state._replace(params=params, optimizer=optimizer, updates=updates + 1)


def make_agent(config: Config, network: Network) -> Any:
    """Make the agent of a run's algorithm."""
    return pkgutil.resolve_name(config.part(Algorithm).agent)(config, network)
