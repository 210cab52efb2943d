"""How the host loop stores experience and learns: from replay, or from whole rollouts."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tensorq.agents.agent import Agent
from tensorq.agents.dqn import DQN
from tensorq.agents.metrics import METRICS
from tensorq.agents.pqn import PQN
from tensorq.config import Config
from tensorq.core import random
from tensorq.core.host_random import CounterRandom
from tensorq.core.statistics import EPSILON, Statistics
from tensorq.core.types import AgentState, Batch, OptimizerState, Rollout, Tensor
from tensorq.envs.host import HostEnvironments, Transitions
from tensorq.envs.spaces import obs_layout
from tensorq.loops.loop import NotFinite, Tensors
from tensorq.loops.rollout import UpdateSums, learn_rollout
from tensorq.replay.host import HostReplay, row_dtype, slack_rows
from tensorq.replay.settings import ReplaySettings

COUNT_BASE = 2**24
_NONE = [0.0] * len(METRICS)  # sums of metrics before the first update
_LOSS = [*METRICS].index("loss")
STATE_NAMES = (
    "agent.params", "agent.target_params", "agent.optimizer.first_moment", "agent.optimizer.second_moment"
)  # fmt: skip


class Step(NamedTuple):
    """One step of N environments, with the observations and masks before it."""

    obs: np.ndarray  # [N, ...]
    mask: np.ndarray | None  # [N, A] bool
    actions: np.ndarray  # [N] int32
    discount: np.ndarray  # [N], gamma * (1 - terminated)
    ended: np.ndarray  # [N] bool, whether it was a valid step and the last of its episode
    transitions: Transitions


class StoredAgent:
    """An agent's state in one tf.Variable, because each variable and each output adds some 30 us to a call."""

    def __init__(self, agent: Agent) -> None:
        state = agent.init()
        self._sizes = [len(part) for part in _numbers(state)]
        self.vector = tf.Variable(tf.concat(_numbers(state), axis=0))
        self.params: np.ndarray = np.array(state.params)  # for acting in NumPy; updated in place
        self.updates = 0
        self._normalized = agent.network.normalized
        self.statistics = Statistics(*(np.array(part) for part in state.statistics)) if self._normalized else None

    def observe(self, obs: np.ndarray) -> None:
        """Add observations [N, ...] to the statistics, as Agent.observe does."""
        if self.statistics is None or not len(obs):
            return
        rows = obs.reshape(len(obs), -1).astype(np.float64)
        self.statistics = self.statistics.after(rows.mean(axis=0), rows.var(axis=0), len(rows))
        scaling = np.concatenate([self.statistics.mean, 1 / np.sqrt(self.statistics.variance + EPSILON)])
        place = slice(self._sizes[0] - 2 * self._normalized, self._sizes[0])
        self.params[place] = scaling
        self.vector[place].assign(scaling.astype(np.float32))

    def state(self) -> AgentState:
        """The state, split from the vector."""
        params, target_params, first, second, count = tf.split(self.vector.read_value(), self._sizes)
        low, high = tf.unstack(tf.cast(count, tf.int64))
        return AgentState(params, target_params, OptimizerState(first, second), low + high * COUNT_BASE)

    def params_tensor(self) -> Tensor:
        """The online network's parameters [P], in a graph."""
        return self.vector.read_value()[: self._sizes[0]]

    def assign(self, state: AgentState) -> None:
        """Store this state; called in a graph."""
        self.vector.assign(tf.concat(_numbers(state), axis=0))

    def take(self, result: np.ndarray, updates: int) -> np.ndarray:
        """Update the parameters from the first numbers of a call's result, and return the rest."""
        size = self._sizes[0]
        self.params[:] = result[:size]
        self.updates += updates
        return result[size:]

    def kept(self) -> Tensors:
        """The parameters, and the statistics that normalise observations."""
        parts = {} if self.statistics is None else self.statistics._asdict()
        statistics = {f"agent.statistics.{name}": np.array(part, np.float64) for name, part in parts.items()}
        return {"agent.params": self.params.copy(), **statistics}

    def save(self) -> Tensors:
        """The whole state, by name."""
        parts = {name: part.numpy() for name, part in zip(STATE_NAMES, _numbers(self.state()), strict=False)}
        return {**parts, **self.kept(), "agent.updates": np.array(self.updates, np.int64)}

    def restore(self, tensors: Tensors) -> None:
        """Restore what `save` returned."""
        self.updates = int(tensors["agent.updates"])
        high, low = divmod(self.updates, COUNT_BASE)
        parts = [tensors[name] for name in STATE_NAMES]
        self.vector.assign(np.concatenate([*parts, np.array([low, high], np.float32)]))
        self.params[:] = tensors["agent.params"]
        if self.statistics is not None:
            self.statistics = Statistics(*(tensors[f"agent.statistics.{name}"] for name in Statistics._fields))


class FromReplay:
    """For DQN: batches are drawn from a large replay on disk, with replay_ratio updates per step after the start."""

    def __init__(self, config: Config, dqn: DQN, envs: HostEnvironments, replay_path: Path) -> None:
        self._replay_settings, self._dqn, self._seed = config.part(ReplaySettings), dqn, config.seed
        self._num_envs, self._batch_size = config.num_envs, self._replay_settings.batch_size
        self.agent = StoredAgent(dqn)
        count, masked = envs.num_envs, int(envs.action_space.n) if envs.mask is not None else 0
        self.row_dtype = row_dtype(self._replay_settings, *obs_layout(envs.observation_space), masked)
        self.replay = HostReplay(replay_path, config, count, slack_rows(config, count), self.row_dtype)
        self._updates_per_call = dqn.settings.updates_per_call(config.num_envs)
        self._batch_random = CounterRandom(config.seed, random.REPLAY, self._updates_per_call * self._batch_size)
        rows = tf.TensorSpec((self._updates_per_call, self._batch_size, self.row_dtype.itemsize), tf.uint8)
        program = tf.function(self._updates, jit_compile=True, autograph=False)
        self._call = _direct_call(program.get_concrete_function(rows))

    def add(self, step: Step) -> None:
        """Store a step in the replay."""
        made = step.transitions
        self.replay.add(
            step.obs, step.actions, made.reward, step.discount, made.next_obs, made.valid, step.ended, step.mask,
            made.next_mask,
        )  # fmt: skip

    def learn(self, steps: int) -> list[float]:
        """Run every update that is due after `steps` steps. Returns the sums of metrics; raises NotFinite."""
        owed, sums = self._dqn.settings.updates_owed(steps, self._num_envs), _NONE
        while owed - self.agent.updates >= self._updates_per_call:
            sums = [old + more for old, more in zip(sums, self._learn_once(steps), strict=True)]
        return sums

    def _learn_once(self, steps: int) -> list[float]:
        count, updates = self._updates_per_call, self.agent.updates
        shape = (count, self._batch_size)
        bits = self._batch_random.row(updates // count).reshape(shape)
        rows, places = self.replay.sample(bits, self._replay_settings.importance_exponent_at(updates))
        rest = self.agent.take(self._call(tf.constant(rows)).numpy(), count)
        values, td_errors = rest[: len(METRICS) * count].reshape(len(METRICS), count), rest[len(METRICS) * count :]
        losses = values[_LOSS]
        if not math.isfinite(float(losses.sum())):
            raise NotFinite(updates + int(np.flatnonzero(~np.isfinite(losses))[0]) + 1, steps)
        if places is not None:
            self.replay.prioritise(places, td_errors.reshape(shape))
        return [float(each.sum()) for each in values]

    def _updates(self, batches: Tensor) -> Tensor:
        """Updates on batches [K, B, row bytes]. Returns one vector: new parameters [P], then each of the metrics [K].

        With priorities, the TD errors [K, B] follow.
        """
        count, dqn = self._updates_per_call, self._dqn
        first = (*[tf.zeros(count)] * len(METRICS), tf.zeros((count, self._batch_size)))

        def body(index: Tensor, state: Any, *found: Tensor) -> tuple[Any, ...]:
            bits = random.random_bits(self._seed, random.LEARNING, state.updates, dqn.update_uniforms)
            state, metrics = dqn.update(state, self.unpack(batches[index]), random.to_uniforms(bits))
            here = tf.one_hot(index, count)
            new = (*(here * metrics.values[name] for name in METRICS), here[:, None] * metrics.td_error)
            return index + 1, state, *(old + more for old, more in zip(found, new, strict=True))

        carry: tuple[Any, ...] = (tf.constant(0), self.agent.state(), *first)
        carry = body(*carry) if count == 1 else tf.while_loop(lambda index, *_: index < count, body, carry)
        _, state, *values, td_errors = carry
        self.agent.assign(state)
        parts = [state.params, *values]
        if self._replay_settings.priority_exponent:
            parts += [tf.reshape(td_errors, [-1])]
        return tf.concat(parts, axis=0)

    def unpack(self, rows: Tensor) -> Batch:
        """Rows as bytes [B, row bytes] to a Batch."""
        count = self._batch_size
        fields: Any = self.row_dtype.fields

        def field(name: str) -> Tensor:
            dtype, offset = fields[name][:2]
            base, shape = dtype.subdtype or (dtype, ())
            part = rows[:, offset : offset + dtype.itemsize]
            if base.itemsize > 1:  # bitcast needs the bytes of a number in the last axis
                part = tf.reshape(part, (count, -1, base.itemsize))
            numbers = tf.cast(part, tf.bool) if base.kind == "b" else tf.bitcast(part, base)
            return tf.reshape(numbers, (count, *shape))

        present = {name: field(name) for name in fields}
        return Batch(**{"weight": tf.ones(count), **present})

    def cut(self) -> None:
        """Cut all episodes here."""
        self.replay.cut()

    def save(self) -> Tensors:
        """The agent, and the positions of the rows in the replay file."""
        return {**self.agent.save(), **self.replay.save()}

    def restore(self, tensors: Tensors) -> None:
        """Restore what `save` returned."""
        self.replay.restore(tensors)
        self.agent.restore(tensors)

    def close(self) -> None:
        """Release the replay file."""
        self.replay.close()


class FromRollouts:
    """For PQN: a full rollout is learned from for some epochs, in shuffled batches, and then thrown away."""

    def __init__(self, config: Config, pqn: PQN, envs: HostEnvironments) -> None:
        self._config, self._pqn = config, pqn
        self.agent = StoredAgent(pqn)
        shape, (dtype, obs_shape) = (pqn.settings.rollout_length, envs.num_envs), obs_layout(envs.observation_space)
        zeros, obs = np.zeros(shape, np.float32), np.zeros((*shape, *obs_shape), dtype)
        masks = [np.zeros((*shape, int(envs.action_space.n)), bool)] if envs.mask is not None else []
        # In the order of Rollout's fields.
        self._columns = [obs, zeros.astype(np.int32), zeros.copy(), zeros.copy(), obs.copy(), zeros > 0, zeros, *masks]
        self._row = 0
        specs = [tf.TensorSpec(column.shape, column.dtype) for column in self._columns]
        program = tf.function(self._round, jit_compile=True, autograph=False)
        self._call = program.get_concrete_function(tf.TensorSpec((), tf.int64), *specs)

    def add(self, step: Step) -> None:
        """Write a step of each environment into the next row."""
        made = step.transitions
        given = (
            step.obs, step.actions, made.reward, step.discount, made.next_obs, step.ended | ~made.valid, made.valid,
            made.next_mask,
        )  # fmt: skip
        for column, new in zip(self._columns, given, strict=False):
            column[self._row] = new
        self._row += 1

    def learn(self, steps: int) -> list[float]:
        """Make all updates of a rollout if it is full, else none. Returns the sums of metrics."""
        if self._row < self._pqn.settings.rollout_length:
            return _NONE
        self._row = 0
        # Rows that only reset are not learned from: a rollout has as many batches as its valid steps fill. Steps that
        # are left over count towards the next rollout, so updates and schedules keep pace with environment steps.
        valid = int(self._columns[Rollout._fields.index("weight")].sum())
        batch_size = self._pqn.settings.batch_size
        batches = steps // batch_size - (steps - valid) // batch_size
        count = self._pqn.settings.rollout_epochs * batches
        given = tf.constant(batches, tf.int64), *map(tf.constant, self._columns)
        rest = self.agent.take(self._call(*given).numpy(), count)
        *sums, bad_update = rest.tolist()
        if bad_update >= 0:
            raise NotFinite(self.agent.updates - count + int(bad_update), steps)
        return sums

    def _round(self, batches: Tensor, *columns: Tensor) -> Tensor:
        """Learn from a rollout. Returns one vector: new parameters [P], sums of metrics, the first bad update or -1."""
        seed, state = tf.constant(self._config.seed, tf.int64), self.agent.state()
        before = state.updates
        rollout, sums = Rollout(*columns), UpdateSums.none()
        state, found = learn_rollout(self._config, self._pqn, seed, state, rollout, sums, batches)
        self.agent.assign(state)
        bad = tf.where(found.bad_update < 0, found.bad_update, found.bad_update - before)
        found_sums = [found.values[name] for name in METRICS]
        return tf.concat([state.params, [*found_sums, tf.cast(bad, tf.float32)]], axis=0)

    def cut(self) -> None:
        """Cut all episodes here."""
        self._columns[Rollout._fields.index("ended")][: self._row][-1:] = True

    def save(self) -> Tensors:
        """The agent, and the rows of the rollout so far."""
        columns = dict(zip(Rollout._fields, self._columns, strict=False))
        rollout = {f"rollout.{name}": column[: self._row].copy() for name, column in columns.items()}
        return {**self.agent.save(), **rollout}

    def restore(self, tensors: Tensors) -> None:
        """Restore what `save` returned."""
        self.agent.restore(tensors)
        self._row = len(tensors["rollout.reward"])
        for name, column in zip(Rollout._fields, self._columns, strict=False):
            column[: self._row] = tensors[f"rollout.{name}"]

    def close(self) -> None:
        """Nothing to release."""


def make_learning(config: Config, agent: Agent, envs: HostEnvironments, replay_path: Path) -> FromReplay | FromRollouts:
    """Make the learning that belongs to the agent."""
    if isinstance(agent, PQN):
        return FromRollouts(config, agent, envs)
    assert isinstance(agent, DQN)
    return FromReplay(config, agent, envs, replay_path)


def _numbers(state: AgentState) -> list[Tensor]:
    """An agent's state as float vectors: parameters first, the update count last, as two digits exact in float32."""
    count = tf.stack([state.updates % COUNT_BASE, state.updates // COUNT_BASE])
    return [state.params, state.target_params, *state.optimizer, tf.cast(count, tf.float32)]


def _direct_call(function: Any) -> Callable[[Tensor], Tensor]:
    """Call a concrete function of one tensor without binding its signature each time, which saves 55 us of 155.

    This is a private function of TensorFlow; if a version does not have it, the function is called as usual.
    """
    call = getattr(getattr(function, "_inference_function", None), "call_preflattened", None)
    if call is None:
        return function
    captured = list(function.captured_inputs)
    return lambda argument: call([argument, *captured])
