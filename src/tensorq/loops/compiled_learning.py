"""How the compiled loop stores experience and learns: from replay, or from whole rollouts."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tensorq.agents.dqn import DQN
from tensorq.agents.pqn import PQN
from tensorq.config import Config
from tensorq.core import random
from tensorq.core.types import AgentState, Rollout, Tensor
from tensorq.loops.rollout import UpdateSums, learn_rollout
from tensorq.replay.device import DeviceReplay, DeviceReplayState
from tensorq.replay.device_rollout import DeviceRollout, DeviceRolloutState
from tensorq.replay.settings import ReplaySettings


class FromReplay:
    """For DQN: batches are drawn from a large replay, with replay_ratio updates per step after learning has started."""

    def __init__(self, config: Config, agent: DQN, memory: DeviceReplay) -> None:
        self._replay, self._agent, self._memory = config.part(ReplaySettings), agent, memory
        self.init, self.add = memory.init, memory.add

    def learn(
        self, seed: Tensor, agent: AgentState, memory: DeviceReplayState, steps: Tensor, sums: UpdateSums
    ) -> tuple[AgentState, DeviceReplayState, UpdateSums]:
        """Run every update that is due: DQNSettings.updates_owed says how many, here as part of the program."""
        settings = self._agent.settings
        past = tf.maximum(steps - settings.learning_starts_steps, 0)
        past = past // settings.update_period_steps * settings.update_period_steps
        owed = tf.cast(settings.replay_ratio * tf.cast(past, tf.float64), tf.int64)

        def behind(agent: AgentState, tree: Any, sums: UpdateSums) -> Tensor:
            return agent.updates < owed

        def update(agent: AgentState, tree: Any, sums: UpdateSums) -> tuple[AgentState, Any, UpdateSums]:
            count = agent.updates
            bits = random.random_bits(seed, random.REPLAY, count, self._replay.batch_size)
            u = random.to_uniforms(random.random_bits(seed, random.LEARNING, count, self._agent.update_uniforms))
            exponent = tf.cast(self._replay.importance_exponent_at(count, tf.minimum), tf.float64)
            batch, places = self._memory.sample(memory._replace(tree=tree), bits, exponent)
            agent, metrics = self._agent.update(agent, batch, u)
            tree = self._memory.prioritise(tree, places, metrics.td_error)
            return agent, tree, sums.after(metrics, agent.updates)

        agent, tree, sums = tf.while_loop(behind, update, (agent, memory.tree, sums))
        return agent, memory._replace(tree=tree), sums


class FromRollouts:
    """For PQN: a full rollout is learned from for some epochs, in shuffled batches, and then thrown away."""

    def __init__(self, config: Config, agent: PQN, memory: DeviceRollout) -> None:
        self._config, self._agent, self._memory = config, agent, memory
        self.init, self.add = memory.init, memory.add

    def learn(
        self, seed: Tensor, agent: AgentState, memory: DeviceRolloutState, steps: Tensor, sums: UpdateSums
    ) -> tuple[AgentState, DeviceRolloutState, UpdateSums]:
        """Make all updates of a rollout if it is full, else none."""
        config = self._config
        settings = self._agent.settings
        batches = tf.constant(config.num_envs * settings.rollout_length // settings.batch_size, tf.int64)
        agent, sums = tf.cond(
            self._memory.full(memory),
            lambda: learn_rollout(config, self._agent, seed, agent, Rollout(*memory.columns), sums, batches),
            lambda: (agent, sums),
        )
        return agent, memory, sums


def make_learning(
    config: Config, agent: Any, obs_shape: tuple[int, ...], masked_actions: int
) -> FromReplay | FromRollouts:
    """Make the learning that belongs to the agent."""
    if isinstance(agent, PQN):
        return FromRollouts(config, agent, DeviceRollout(config, obs_shape, masked_actions))
    return FromReplay(config, agent, DeviceReplay(config, obs_shape, masked_actions))
