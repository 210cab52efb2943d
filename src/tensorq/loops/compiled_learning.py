"""How the compiled loop stores experience and learns: from replay, or from whole rollouts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tensorflow as tf

from tensorq.agents.dqn import DQN
from tensorq.agents.pqn import PQN
from tensorq.config import Config
from tensorq.core import random
from tensorq.core.types import AgentState, Tensor, Transition
from tensorq.envs.world import World
from tensorq.loops.loop import REPLAY_BLOCKS, Tensors
from tensorq.loops.rollout import UpdateSums, learn_rollout
from tensorq.networks.settings import frame_stack
from tensorq.replay.device import DeviceReplay, DeviceReplayState
from tensorq.replay.device_rollout import DeviceRollout, DeviceRolloutState
from tensorq.replay.settings import ReplaySettings
from tensorq.runs.replay_file import ReplayFile


class FromReplay:
    """For DQN: batches are drawn from a large replay, with replay_ratio updates per step after learning has started."""

    def __init__(self, config: Config, agent: DQN, replay: DeviceReplay, path: Path) -> None:
        self._settings, self._agent, self.replay = config.part(ReplaySettings), agent, replay
        self._file = ReplayFile(path, replay.step_dtype, replay.end_dtype, replay.length)
        self.init, self.grown, self.must_grow = replay.init, replay.grown, replay.must_grow
        self._stacked = frame_stack(config) > 1

    def add(self, memory: DeviceReplayState, step: Transition) -> DeviceReplayState:
        """Store a step of each environment."""
        return self.replay.add(memory, step.newest_frames() if self._stacked else step)

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
            bits = random.random_bits(seed, random.REPLAY, count, self._settings.batch_size)
            u = random.to_uniforms(random.random_bits(seed, random.LEARNING, count, self._agent.update_uniforms))
            exponent = tf.cast(self._settings.importance_exponent_at(count, tf.minimum), tf.float64)
            batch, places = self.replay.sample(memory._replace(tree=tree), bits, exponent)
            agent, metrics = self._agent.update(agent, batch, u)
            tree = self.replay.prioritise(tree, places, metrics.td_error)
            return agent, tree, sums.after(metrics, agent.updates)

        agent, tree, sums = tf.while_loop(behind, update, (agent, memory.tree, sums))
        return agent, memory._replace(tree=tree), sums

    def save(self, memory: DeviceReplayState) -> Tensors:
        """Where the replay's steps are in the replay file, and what else a checkpoint needs of it."""
        cursor = self._file.save(self.replay.new(memory, *self._file.saved))
        return {**self.replay.save(memory), REPLAY_BLOCKS: cursor}

    def restore(self, memory: DeviceReplayState, tensors: Tensors) -> DeviceReplayState:
        """The memory of which `save` returned this."""
        return self.replay.restore(
            memory, tensors, self._file.restore(tensors[REPLAY_BLOCKS], int(tensors["replay.written"]))
        )


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
            lambda: learn_rollout(config, self._agent, seed, agent, memory.rollout(), sums, batches),
            lambda: (agent, sums),
        )
        return agent, memory, sums

    def must_grow(self, memory: DeviceRolloutState) -> Tensor:
        """Never: a rollout has its length from the start."""
        return tf.constant(False)

    def grown(self, memory: DeviceRolloutState) -> DeviceRolloutState:
        """The memory as it is."""
        return memory

    def save(self, memory: DeviceRolloutState) -> Tensors:
        """The rollout, by name."""
        return {name: tensor.numpy() for name, tensor in leaves("memory.", memory)}

    def restore(self, memory: DeviceRolloutState, tensors: Tensors) -> DeviceRolloutState:
        """The rollout of which `save` returned this."""
        values = [tf.cast(tensors[name], part.dtype) for name, part in leaves("memory.", memory)]
        restored: DeviceRolloutState = tf.nest.pack_sequence_as(memory, values)
        return restored


def make_learning(
    config: Config, agent: Any, world: World, obs_dtype: Any, replay_path: Path
) -> FromReplay | FromRollouts:
    """Make the learning that belongs to the agent, for observations of this dtype."""
    masked_actions = int(world.action_space.n) if hasattr(world, "action_mask") else 0
    frames, dtype, shape = frame_stack(config), obs_dtype.as_numpy_dtype, world.observation_space.shape
    if isinstance(agent, PQN):
        stack = shape if frames == 1 else (frames, *shape)
        # With normalised observations they are rated again, because each step changes the statistics. A GPU does not
        # read them either, but keeps them, so that checkpoints are alike on every device.
        kept = 0 if agent.network.normalized else int(world.action_space.n)
        return FromRollouts(config, agent, DeviceRollout(config, dtype, stack, masked_actions, kept))
    replay = DeviceReplay(config, dtype, shape, masked_actions, frames, world.max_episode_steps)
    return FromReplay(config, agent, replay, replay_path)


def leaves(prefix: str, value: Any) -> list[tuple[str, Tensor]]:
    """The leaves of nested tuples, with dotted names or positions, in tf.nest's order."""
    if not isinstance(value, tuple):
        return [(prefix[:-1], value)]
    names = getattr(value, "_fields", range(len(value)))
    return [leaf for name, part in zip(names, value, strict=True) for leaf in leaves(f"{prefix}{name}.", part)]
