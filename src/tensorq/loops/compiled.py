"""The compiled loop: act, step, store, sample and learn in one XLA program.

Its state is passed as tensors, its memory is in variables.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tensorq.agents.agent import Agent
from tensorq.agents.metrics import METRICS
from tensorq.agents.settings import ExplorationSettings
from tensorq.config import Config
from tensorq.core import random, xla
from tensorq.core.types import AgentState, Tensor, Transition
from tensorq.envs.seen import Seen
from tensorq.envs.world import World, where_rows
from tensorq.evaluation.compiled import MAX_STEPS_PER_CALL, CompiledEpisodes
from tensorq.evaluation.play import Episodes
from tensorq.loops.compiled_learning import leaves, make_learning
from tensorq.loops.loop import KEPT, UNREPORTED, Episode, Interrupted, NotFinite, Report, Tensors
from tensorq.loops.rollout import UpdateSums
from tensorq.networks.settings import frame_stack


class LoopState(NamedTuple):
    """Everything that changes while training, but for the memory between calls."""

    seed: Tensor  # int64 scalar; constant; it is here so that one program works for every seed
    agent: AgentState
    memory: Any  # of self.learning; () outside of the program
    world: Any  # the states of N environments, a tensor or a tuple of tensors
    age: Tensor  # [N] int32, steps since reset
    total_return: Tensor  # [N], rewards since reset
    steps: Tensor  # int64 scalar, environment steps
    episodes: Tensor  # int64 scalar, episodes finished
    stack: Any = ()  # [N, K, ...], the last K observations of each episode, if frame_stack K is above 1


class Record(NamedTuple):
    """The report of one call of the program. Where no episode ended, the length is 0."""

    lengths: Tensor  # [vector steps, N] int32
    returns: Tensor  # [vector steps, N]
    sums: UpdateSums
    must_grow: Tensor  # bool scalar, whether the memory must grow before the next step


class CompiledLoop:
    """Trains on a compiled world. It has two programs: one trains, one evaluates."""

    def __init__(self, config: Config, agent: Agent, world: World, replay_path: Path) -> None:
        self.config, self.agent, self.world = config, agent, world
        self._exploration, self._seen = config.part(ExplorationSettings), Seen(world, frame_stack(config))
        self.steps = self.updates = 0
        # Stops are at most log_period_steps apart.
        self._vector_steps = math.ceil(min(config.log_period_steps, MAX_STEPS_PER_CALL) / config.num_envs)
        self._state = self._initial_state()
        self.learning: Any = make_learning(config, agent, world, world.observe(self._state.world).dtype, replay_path)
        self.memory = tf.nest.map_structure(tf.Variable, self.learning.init())
        self.metric_names = tuple(METRICS)
        self._unreported = np.zeros(len(METRICS) + 1)  # sums of metrics, and updates, since the last report
        self._advance = self._compiled_program()
        episodes = config.num_evaluation_episodes("compiled")
        params = agent.kept_params(self._state.agent)
        self._selection = CompiledEpisodes(config, agent, world, params, episodes, random.EVALUATION)

    def _compiled_program(self) -> Any:
        program = xla.compiled(self._program)
        return program.get_concrete_function(self._state, *[tf.TensorSpec((), tf.int64)] * 2)

    def _initial_state(self) -> LoopState:
        count = self.config.num_envs
        bits = random.random_bits(self.config.seed, random.INITIAL, 0, count * self.world.reset_uniforms)
        u = tf.reshape(random.to_uniforms(bits), (count, self.world.reset_uniforms))
        zero, first = tf.constant(0, tf.int64), self.world.reset(u)
        return LoopState(
            seed=tf.constant(self.config.seed, tf.int64),
            agent=self.agent.init(),
            memory=(),
            world=first,
            age=tf.zeros(count, tf.int32),
            total_return=tf.zeros(count),
            steps=zero,
            episodes=zero,
            stack=self._seen.first_stack(first),
        )

    # --- the programs -------------------------------------------------------------------------------------------

    def _program(self, state: LoopState, stop_steps: Tensor, stop_episodes: Tensor) -> tuple[LoopState, Record]:
        """Make vector steps until stop_steps or stop_episodes is reached."""
        shape = (self._vector_steps, self.config.num_envs)
        # Read once, and assigned once at the end: so XLA writes into the memory in place. It would copy a tensor that
        # goes in and comes out.
        memory: Any = tf.nest.map_structure(lambda part: part.read_value(), self.memory)
        state = state._replace(memory=memory)
        record = Record(tf.zeros(shape, tf.int32), tf.zeros(shape), UpdateSums.none(), tf.constant(False))

        def unfinished(row: Tensor, state: LoopState, record: Record) -> Tensor:
            return (state.steps < stop_steps) & (state.episodes < stop_episodes) & ~record.must_grow

        def body(row: Tensor, state: LoopState, record: Record) -> tuple[Tensor, LoopState, Record]:
            state, record = self._vector_step(row, state, record)
            agent, memory, sums = self.learning.learn(state.seed, state.agent, state.memory, state.steps, record.sums)
            record = record._replace(sums=sums, must_grow=self.learning.must_grow(memory))
            return row + 1, state._replace(agent=agent, memory=memory), record

        _, state, record = tf.while_loop(unfinished, body, (tf.constant(0), state, record))
        tf.nest.map_structure(lambda part, value: part.assign(value), self.memory, state.memory)
        return state._replace(memory=()), record

    def _vector_step(self, row: Tensor, state: LoopState, record: Record) -> tuple[LoopState, Record]:
        """Act, step and store once in each environment, and reset those whose episode has ended."""
        config, world, count = self.config, self.world, self.config.num_envs
        widths = (2, world.step_uniforms, world.reset_uniforms)
        bits = random.random_bits(state.seed, random.ACTING, state.steps, count * sum(widths))
        act_u, step_u, reset_u = tf.split(tf.reshape(random.to_uniforms(bits), (count, sum(widths))), widths, axis=1)

        epsilon = tf.cast(self._exploration.epsilon_at(state.steps, tf.minimum), tf.float32)
        epsilon *= self._exploration.epsilon_factors(count)
        obs = self._seen.obs(state.stack, state.world)
        noise_u = random.to_uniforms(random.random_bits(state.seed, random.NOISE, state.steps, self.agent.act_uniforms))
        mask = self._seen.mask(state.world)
        action, q_values = self.agent.act(state.agent.params, obs, epsilon, act_u, noise_u, mask)
        next_world, reward, terminated, truncated = world.step(state.world, action, step_u)
        age, total_return = state.age + 1, state.total_return + reward
        done = terminated | truncated | (age >= world.max_episode_steps)
        if config.stagger is not None:
            done |= tf.equal(state.steps // count + 1, config.stagger)
        next_stack = self._seen.next_stack(state.stack, next_world)
        next_obs, next_mask = self._seen.obs(next_stack, next_world), self._seen.mask(next_world)
        # After a time limit the target keeps the value of the next state. It has none after a termination, and in a
        # next state without a legal action.
        over = terminated if next_mask is None else terminated | ~tf.reduce_any(next_mask, axis=1)
        discount = config.gamma * (1.0 - tf.cast(over, tf.float32))
        step = Transition(
            obs, action, reward, discount, next_obs, done, state.age, mask, next_mask, q_values=q_values
        )  # fmt: skip
        record = record._replace(
            lengths=xla.with_block(record.lengths, row, tf.where(done, age, 0)),
            returns=xla.with_block(record.returns, row, total_return),
        )
        first = world.reset(reset_u)
        begun = functools.partial(tf.nest.map_structure, functools.partial(where_rows, done))
        return state._replace(
            agent=self.agent.observe(state.agent, obs),
            memory=self.learning.add(state.memory, step),
            world=begun(first, next_world),
            age=tf.where(done, 0, age),
            total_return=tf.where(done, 0.0, total_return),
            steps=state.steps + count,
            episodes=state.episodes + tf.reduce_sum(tf.cast(done, tf.int64)),
            stack=begun(self._seen.first_stack(first), next_stack),
        ), record

    # --- what the trainer calls ---------------------------------------------------------------------------------

    def advance(self, stop_steps: int, max_episodes: int | None, interrupted: Callable[[], bool]) -> Report:
        """Train until stop_steps, or until max_episodes more episodes have ended; raises NotFinite and Interrupted."""
        stop_episodes = int(self._state.episodes) + max_episodes if max_episodes else np.iinfo(np.int64).max
        episodes: list[Episode] = []
        while self.steps < stop_steps and int(self._state.episodes) < stop_episodes:
            if interrupted():
                raise Interrupted(episodes)
            updates_before, stop = self.updates, min(stop_steps, self.steps + self._vector_steps * self.config.num_envs)
            self._state, record = self._advance(
                self._state, tf.constant(stop, tf.int64), tf.constant(stop_episodes, tf.int64)
            )
            episodes += self._finished(record)
            self.steps, self.updates = int(self._state.steps), int(self._state.agent.updates)
            if record.must_grow:
                self._set_memory(self.learning.grown(self.memory))
            if (bad_update := int(record.sums.bad_update)) >= 0:
                raise NotFinite(bad_update, self.steps)
            sums = (float(record.sums.values[name]) for name in METRICS)
            self._unreported += (*sums, self.updates - updates_before)
        report = Report(episodes, self.metric_names, self._unreported.copy())
        self._unreported[:] = 0
        return report

    def _finished(self, record: Record) -> list[Episode]:
        """The finished episodes in a record, whose steps begin after self.steps."""
        lengths, returns, count = record.lengths.numpy(), record.returns.numpy(), self.config.num_envs
        return [
            Episode(self.steps + (int(row) + 1) * count, int(env), int(lengths[row, env]), float(returns[row, env]))
            for row, env in np.argwhere(lengths)
        ]

    def evaluate(self, interrupted: Callable[[], bool]) -> Episodes:
        """Play greedily in the compiled world; raises Interrupted."""

        def look() -> None:
            if interrupted():
                raise Interrupted

        params = self.agent.kept_params(self._state.agent)
        returns, lengths, cut = self._selection.play(self.config.seed, params, self.steps, look)
        return Episodes(returns, lengths, int(cut.sum()))

    def boundary(self) -> None:
        """Nothing to do: a compiled world's state can be saved anywhere."""

    def _set_memory(self, memory: Any) -> None:
        """Give the memory these values; what has its variable's value already is that variable."""
        old, new = tf.nest.flatten(self.memory), tf.nest.flatten(memory)
        if all(part.shape == value.shape for part, value in zip(old, new, strict=True)):
            for part, value in zip(old, new, strict=True):
                if value is not part:
                    part.assign(value)
            return
        parts = [part if value is part else tf.Variable(value) for part, value in zip(old, new, strict=True)]
        self.memory = tf.nest.pack_sequence_as(self.memory, parts)
        self._advance = self._compiled_program()

    def save(self) -> Tensors:
        """Every tensor of the state, by name, and what the memory needs."""
        tensors = {name: tensor.numpy() for name, tensor in leaves("", self._state)}
        return {**tensors, UNREPORTED: self._unreported.copy(), **self.learning.save(self.memory)}

    def restore(self, tensors: Tensors) -> bool:
        """Restore a checkpoint, exactly."""
        self._set_memory(self.learning.restore(self.memory, tensors))
        names = [name for name, _ in leaves("", self._state)]
        self._state = tf.nest.pack_sequence_as(self._state, [tf.constant(tensors[name]) for name in names])
        self.steps, self.updates = int(self._state.steps), int(self._state.agent.updates)
        self._unreported = tensors[UNREPORTED].copy()
        return True

    def kept(self) -> Tensors:
        """See Loop."""
        state = self._state.agent._replace(params=self.agent.kept_params(self._state.agent))
        return {name: tensor.numpy() for name, tensor in leaves("agent.", state) if name.startswith(KEPT)}

    def close(self) -> None:
        """Nothing to release."""
