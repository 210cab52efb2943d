"""Learning from a rollout, for both loops."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import tensorflow as tf

from tensorq.agents.metrics import METRICS
from tensorq.agents.pqn import PQN
from tensorq.core import random
from tensorq.core.types import AgentState, Metrics, Rollout, Tensor

if TYPE_CHECKING:
    from tensorq.config import Config


class UpdateSums(NamedTuple):
    """Sums over the updates of one call of the program."""

    values: dict[str, Tensor]  # sums of metrics, by name
    bad_update: Tensor  # int64 scalar, the first update whose loss was not finite, or -1

    @staticmethod
    def none() -> UpdateSums:
        """The sums before the first update."""
        return UpdateSums({name: tf.constant(0.0) for name in METRICS}, tf.constant(-1, tf.int64))

    def after(self, metrics: Metrics, updates: Tensor) -> UpdateSums:
        """The sums after one more update, number `updates`."""
        first_bad = (self.bad_update < 0) & ~tf.math.is_finite(metrics.values["loss"])
        bad_update = tf.where(first_bad, updates, self.bad_update)
        return UpdateSums({name: old + metrics.values[name] for name, old in self.values.items()}, bad_update)


def learn_rollout(
    config: Config, pqn: PQN, seed: Tensor, agent: AgentState, rollout: Rollout, sums: UpdateSums, batches: Tensor
) -> tuple[AgentState, UpdateSums]:
    """Learn from the steps of a rollout, rollout_epochs times, in shuffled batches, in both loops.

    `batches`, an int64 scalar, is how many batches of an epoch are learned from: all, unless there are rows with
    weight 0, which come last in the order.
    """
    settings = pqn.settings
    size = config.num_envs * settings.rollout_length
    target = pqn.targets(agent.params, rollout)
    columns = (rollout.obs, rollout.action, target, rollout.weight)
    flat = [tf.reshape(column, (size, *column.shape[2:])) for column in columns]
    first = agent.updates

    def update(index: Tensor, agent: AgentState, order: Tensor, sums: UpdateSums) -> tuple[Any, ...]:
        agent, metrics = pqn.update(agent, *(tf.gather(column, order[index]) for column in flat))
        return index + 1, agent, order, sums.after(metrics, agent.updates)

    def epoch(number: Tensor, agent: AgentState, sums: UpdateSums) -> tuple[Any, ...]:
        # The random counter of an epoch is the number of updates before it, in both loops.
        bits = random.random_bits(seed, random.REPLAY, first + number * batches, size)
        keys = random.to_uniforms(bits) + (1 - tf.reshape(rollout.weight, [-1]))
        order = tf.reshape(tf.argsort(keys), (size // settings.batch_size, settings.batch_size))
        carry = (zero, agent, order, sums)
        _, agent, _, sums = tf.while_loop(lambda index, *_: index < batches, update, carry)
        return number + 1, agent, sums

    zero = tf.constant(0, tf.int64)
    _, agent, sums = tf.while_loop(lambda number, *_: number < settings.rollout_epochs, epoch, (zero, agent, sums))
    return agent, sums
