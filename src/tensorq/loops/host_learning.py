"""How the host loop stores experience and learns: from replay, or from whole rollouts."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tensorq.agents.agent import Agent
from tensorq.agents.dqn import DQN
from tensorq.agents.metrics import METRICS
from tensorq.agents.pqn import PQN
from tensorq.agents.settings import OptimizerSettings
from tensorq.agents.trained import greedy
from tensorq.config import Config
from tensorq.core import random, xla
from tensorq.core.host_random import CounterRandom, to_noise
from tensorq.core.types import Rollout, Tensor, Transition
from tensorq.envs.host import HostEnvironments
from tensorq.envs.spaces import obs_layout, plain_observation_space
from tensorq.loops.loop import CALL_RESULT, REPLAY_BLOCKS, NotFinite, Tensors
from tensorq.loops.rollout import UpdateSums, learn_rollout
from tensorq.loops.stored_agent import StoredAgent
from tensorq.networks.settings import frame_stack
from tensorq.replay.host import HostReplay
from tensorq.replay.settings import ReplaySettings
from tensorq.runs.replay_file import ReplayFile

NoisyQFunction = Callable[..., np.ndarray]  # (observations [N, ...], noise [Z] or None) -> Q-values [N, A]
NumpyQ = Callable[[np.ndarray], NoisyQFunction]  # from parameters [P], which change in place
ALIGNMENT = 64  # bytes
_NONE = [0.0] * len(METRICS)  # sums of metrics before the first update
_LOSS = [*METRICS].index("loss")
CALL_UPDATES = "call.updates"


class Call(NamedTuple):
    """A call of the compiled updates, perhaps still running, whose result has not been taken."""

    result: np.ndarray | Future[np.ndarray]
    updates: int


class DeepLearner:
    """Acts by a deep agent. What it learns from is in its subclasses.

    With overlap_learning, a call runs in a thread of its own until the next one is due, or its results are saved.
    """

    metric_names = tuple(METRICS)

    def __init__(self, config: Config, agent: Agent, envs: HostEnvironments, numpy_q: NumpyQ | None) -> None:
        """Store the agent's first state. `numpy_q` makes a Q-function in NumPy from parameters, if there is one."""
        in_xla = not agent.network.convolutions or xla.has_gpu()  # oneDNN's convolutions on a CPU are outside it
        self._compile = functools.partial(xla.compiled, jit=in_xla)
        overlap = config.part(OptimizerSettings).overlap_learning
        self._config, self.agent = config, StoredAgent(agent, joined=in_xla, overlap=overlap)
        self._thread = ThreadPoolExecutor(1, "learning") if overlap else None
        self._running: Call | None = None
        self._num_actions, self._act_uniforms = int(envs.action_space.n), agent.act_uniforms
        self._noise_random = CounterRandom(config.seed, random.NOISE, agent.act_uniforms)
        self._act_by = numpy_q(self.agent.params) if numpy_q else self._compiled(agent, envs, self.agent.params_tensor)
        self._play_by = self._act_by
        if (average := self.agent.average) is not None:
            self._play_by = numpy_q(average) if numpy_q else self._compiled(agent, envs, self.agent.average_tensor)

    @property
    def updates(self) -> int:
        """The number of updates made."""
        return self.agent.updates

    @property
    def q_values(self) -> NoisyQFunction:
        """Q-values for greedy episodes."""
        self.agent.refresh_average()
        return self._play_by

    def _compiled(self, agent: Agent, envs: HostEnvironments, params: Callable[[], Tensor]) -> NoisyQFunction:
        """A function for Q-values of current parameters in TensorFlow, for networks without a NumPy version."""

        def rate(obs: Tensor, noise: Tensor) -> Tensor:
            return agent.q_values(params(), obs, noise if noise.shape[0] else None)

        function = self._compile(rate)
        dtype, shape = obs_layout(envs.observation_space)
        nothing = np.zeros(0, np.float32)
        compiled: dict[tuple[int, int], Any] = {}

        def q_values(obs: np.ndarray, noise: np.ndarray | None = None) -> np.ndarray:
            noise = nothing if noise is None else noise
            sizes = len(obs), len(noise)
            if sizes not in compiled:  # one for training, one for evaluation
                compiled[sizes] = function.get_concrete_function(
                    tf.TensorSpec((len(obs), *shape), dtype), tf.TensorSpec(noise.shape, tf.float32)
                )
            result: np.ndarray = compiled[sizes](tf.constant(obs), tf.constant(noise)).numpy()
            return result

        return q_values

    def act(
        self, obs: np.ndarray, mask: np.ndarray | None, epsilon: float | np.ndarray, u: np.ndarray, vector_step: int
    ) -> np.ndarray:
        """See Policy; a row explores as in core.exploration.epsilon_greedy."""
        explore = u[:, 0] < epsilon
        if mask is None:
            actions = (u[:, 1] * self._num_actions).astype(np.int32)
        else:
            place = mask.cumsum(axis=1)  # numbers the legal actions, from 1
            actions = (place > np.floor(u[:, 1:] * place[:, -1:])).argmax(axis=1).astype(np.int32)
        if False in explore.tolist():
            noise = to_noise(self._noise_random.row(vector_step)) if self._act_uniforms else None
            actions = np.where(explore, actions, greedy(self._act_by(obs, noise), mask)).astype(np.int32)
        return actions

    def add(self, step: Transition) -> None:
        """Add the observations acted on to the statistics, if the agent normalises."""
        if self.agent.statistics is not None:
            self.agent.observe(step.obs[step.valid])

    def learn(self, steps: int) -> list[float]:
        """Run every update that is due after `steps` steps. Returns the sums of metrics; raises NotFinite.

        With overlap_learning, the last call goes on, and what the one before has found is returned and acted by.
        """
        sums = _NONE
        while self._is_due(steps):
            sums = _sum(sums, self._finish(steps))
            call, updates = self._prepare(steps)
            self._running = Call(self._thread.submit(call) if self._thread else call(), updates)
        return sums if self._thread else _sum(sums, self._finish(steps))

    def _is_due(self, steps: int) -> bool:
        """Whether there are updates to make after `steps` steps, besides those that run."""
        raise NotImplementedError

    def _prepare(self, steps: int) -> tuple[Callable[[], np.ndarray], int]:
        """A call that makes the next updates, from copies, and how many; what it returns is for StoredAgent.take."""
        raise NotImplementedError

    def _take(self, rest: np.ndarray, updates: int, steps: int) -> list[float]:
        """The sums of metrics in what a call has found; raises NotFinite."""
        raise NotImplementedError

    def _finish(self, steps: int) -> list[float]:
        if self._running is None:
            return _NONE
        result, updates = self._settled(self._running)
        self._running = None
        return self._take(self.agent.take(result, updates), updates, steps)

    def _settled(self, call: Call) -> tuple[np.ndarray, int]:
        """The result of a call, when it has ended."""
        return call.result.result() if isinstance(call.result, Future) else call.result, call.updates

    def save(self) -> Tensors:
        """The agent, and with overlap_learning what a call has found that is not acted by yet."""
        if self._thread is None:
            return self.agent.save()
        result, updates = self._settled(self._running) if self._running else (np.zeros(0, np.float32), 0)
        return {**self.agent.save(), CALL_RESULT: result.copy(), CALL_UPDATES: np.array(updates, np.int64)}

    def restore(self, tensors: Tensors) -> None:
        """Restore what `save` returned."""
        if self._running is not None:
            self._settled(self._running)
        updates = int(tensors.get(CALL_UPDATES, 0))
        self.agent.restore(tensors, updates)
        self._running = Call(tensors[CALL_RESULT].copy(), updates) if updates else None

    def kept(self) -> Tensors:
        """See Loop."""
        return self.agent.kept()


class FromReplay(DeepLearner):
    """For DQN: batches are drawn from a large replay, with replay_ratio updates per step after the start."""

    def __init__(
        self, config: Config, dqn: DQN, envs: HostEnvironments, numpy_q: NumpyQ | None, replay_path: Path
    ) -> None:
        super().__init__(config, dqn, envs, numpy_q)
        self._settings, self._dqn, self._seed = config.part(ReplaySettings), dqn, config.seed
        self._num_envs, self._batch_size = config.num_envs, self._settings.batch_size
        masked = int(envs.action_space.n) if envs.mask is not None else 0
        frame = obs_layout(plain_observation_space(envs.native_observation_space))
        self._stacked = frame_stack(config) > 1
        self.replay = HostReplay(config, envs.num_envs, *frame, masked, frame_stack(config))
        self._file = ReplayFile(replay_path, self.replay.step_dtype, self.replay.end_dtype, self.replay.length)
        self._places: np.ndarray | None = None  # of the last batches, if there are priorities
        self._updates_per_call = dqn.settings.updates_per_call(config.num_envs)
        self._batch_random = CounterRandom(config.seed, random.REPLAY, self._updates_per_call * self._batch_size)
        shape = self._updates_per_call, self._batch_size * self.replay.transition_bytes
        rows = tf.TensorSpec(shape, tf.uint8)
        program = self._compile(self._updates)
        self._call = _direct_call(program.get_concrete_function(rows))

    def add(self, step: Transition) -> None:
        """Store a step of each environment in the replay."""
        super().add(step)
        self.replay.add(step.newest_frames() if self._stacked else step)

    def _is_due(self, steps: int) -> bool:
        begun = self.agent.updates + (self._running.updates if self._running else 0)
        return self._dqn.settings.updates_owed(steps, self._num_envs) - begun >= self._updates_per_call

    def _prepare(self, steps: int) -> tuple[Callable[[], np.ndarray], int]:
        count, updates = self._updates_per_call, self.agent.updates
        bits = self._batch_random.row(updates // count).reshape(count, self._batch_size)
        rows, self._places = self.replay.sample(bits, self._settings.importance_exponent_at(updates))
        batches = bytes_tensor(rows)
        return lambda: self._call(batches).numpy(), count

    def _take(self, rest: np.ndarray, updates: int, steps: int) -> list[float]:
        sizes = len(METRICS), updates
        values, td_errors = rest[: math.prod(sizes)].reshape(sizes), rest[math.prod(sizes) :]
        sums: list[float] = values.sum(axis=1).tolist()
        if not math.isfinite(sums[_LOSS]):
            first = self.agent.updates - updates + 1
            raise NotFinite(first + int(np.flatnonzero(~np.isfinite(values[_LOSS]))[0]), steps)
        if self._places is not None:
            self.replay.prioritise(self._places, td_errors.reshape(updates, self._batch_size))
        return sums

    def _updates(self, batches: Tensor) -> Tensor:
        """Updates on batches [K, bytes]. Returns one vector for StoredAgent.take: each of the metrics [K].

        With priorities, the TD errors [K, B] follow.
        """
        count, dqn = self._updates_per_call, self._dqn
        first = (*[tf.zeros(count)] * len(METRICS), tf.zeros((count, self._batch_size)))

        def body(index: Tensor, state: Any, *found: Tensor) -> tuple[Any, ...]:
            bits = random.random_bits(self._seed, random.LEARNING, state.updates, dqn.update_uniforms)
            state, metrics = dqn.update(state, self.replay.unpack(batches[index]), random.to_uniforms(bits))
            here = tf.one_hot(index, count)
            new = (*(here * metrics.values[name] for name in METRICS), here[:, None] * metrics.td_error)
            return index + 1, state, *(old + more for old, more in zip(found, new, strict=True))

        carry: tuple[Any, ...] = (tf.constant(0), self.agent.state(), *first)
        carry = body(*carry) if count == 1 else tf.while_loop(lambda index, *_: index < count, body, carry)
        _, state, *values, td_errors = carry
        if self._settings.priority_exponent:
            values += [tf.reshape(td_errors, [-1])]
        return self.agent.assign(state, values)

    def cut(self) -> None:
        """Cut all episodes here."""
        self.replay.cut()

    def save(self) -> Tensors:
        """The agent, and where the replay's steps are in the replay file."""
        return {
            **super().save(),
            **self.replay.save(),
            REPLAY_BLOCKS: self._file.save(self.replay.new(*self._file.saved)),
        }

    def restore(self, tensors: Tensors) -> None:
        """Restore what `save` returned."""
        blocks = self._file.restore(tensors[REPLAY_BLOCKS], int(tensors["replay.written"]))
        self.replay.restore(tensors, blocks)
        super().restore(tensors)


class FromRollouts(DeepLearner):
    """For PQN: a full rollout is learned from for some epochs, in shuffled batches, and then thrown away."""

    def __init__(self, config: Config, pqn: PQN, envs: HostEnvironments, numpy_q: NumpyQ | None) -> None:
        super().__init__(config, pqn, envs, numpy_q)
        self._pqn = pqn
        shape, (dtype, obs_shape) = (pqn.settings.rollout_length, envs.num_envs), obs_layout(envs.observation_space)
        zeros, obs = np.zeros(shape, np.float32), np.zeros((*shape, *obs_shape), dtype)
        masks = [np.zeros((*shape, int(envs.action_space.n)), bool)] if envs.mask is not None else []
        # In the order of Rollout's fields.
        self._columns = [obs, zeros.astype(np.int32), zeros.copy(), zeros.copy(), obs.copy(), zeros > 0, zeros, *masks]
        self._row = 0
        specs = [tf.TensorSpec(column.shape, column.dtype) for column in self._columns]
        program = self._compile(self._round)
        self._call = program.get_concrete_function(tf.TensorSpec((), tf.int64), *specs)

    def add(self, step: Transition) -> None:
        """Write a step of each environment into the next row."""
        super().add(step)
        given = (
            step.obs, step.action, step.reward, step.discount, step.next_obs, step.ended | ~step.valid, step.valid,
            step.next_mask,
        )  # fmt: skip
        for column, new in zip(self._columns, given, strict=False):
            column[self._row] = new
        self._row += 1

    def _is_due(self, steps: int) -> bool:
        return self._row == self._pqn.settings.rollout_length

    def _prepare(self, steps: int) -> tuple[Callable[[], np.ndarray], int]:
        self._row = 0
        # Rows that only reset are not learned from: a rollout has as many batches as its valid steps fill. Steps that
        # are left over count towards the next rollout, so updates and schedules keep pace with environment steps.
        valid = int(self._columns[Rollout._fields.index("weight")].sum())
        batch_size = self._pqn.settings.batch_size
        batches = steps // batch_size - (steps - valid) // batch_size
        columns = [column.copy() for column in self._columns] if self._thread else self._columns
        given = tf.constant(batches, tf.int64), *map(tf.constant, columns)
        return lambda: self._call(*given).numpy(), self._pqn.settings.rollout_epochs * batches

    def _take(self, rest: np.ndarray, updates: int, steps: int) -> list[float]:
        *sums, bad_update = rest.tolist()
        if bad_update >= 0:
            raise NotFinite(self.agent.updates - updates + int(bad_update), steps)
        return sums

    def _round(self, batches: Tensor, *columns: Tensor) -> Tensor:
        """Learn from a rollout. Returns one vector for `take`: sums of metrics, the first bad update or -1."""
        seed, state = tf.constant(self._config.seed, tf.int64), self.agent.state()
        before = state.updates
        rollout, sums = Rollout(*columns), UpdateSums.none()
        state, found = learn_rollout(self._config, self._pqn, seed, state, rollout, sums, batches)
        bad = tf.where(found.bad_update < 0, found.bad_update, found.bad_update - before)
        found_sums = [found.values[name] for name in METRICS]
        return self.agent.assign(state, [tf.stack([*found_sums, tf.cast(bad, tf.float32)])])

    def cut(self) -> None:
        """Cut all episodes here."""
        self._columns[Rollout._fields.index("ended")][: self._row][-1:] = True

    def save(self) -> Tensors:
        """The agent, and the rows of the rollout so far."""
        columns = dict(zip(Rollout._fields, self._columns, strict=False))
        rollout = {f"rollout.{name}": column[: self._row].copy() for name, column in columns.items()}
        return {**super().save(), **rollout}

    def restore(self, tensors: Tensors) -> None:
        """Restore what `save` returned."""
        super().restore(tensors)
        self._row = len(tensors["rollout.reward"])
        for name, column in zip(Rollout._fields, self._columns, strict=False):
            column[: self._row] = tensors[f"rollout.{name}"]


def make_learner(
    config: Config, agent: Agent, numpy_q: NumpyQ | None, replay_path: Path, envs: HostEnvironments
) -> FromReplay | FromRollouts:
    """Make the learner that belongs to the agent."""
    if isinstance(agent, PQN):
        return FromRollouts(config, agent, envs, numpy_q)
    assert isinstance(agent, DQN)
    return FromReplay(config, agent, envs, numpy_q, replay_path)


def _sum(one: list[float], other: list[float]) -> list[float]:
    return [each + more for each, more in zip(one, other, strict=True)]


def bytes_tensor(array: np.ndarray) -> Tensor:
    """An array of uint8 as a tensor, on memory of its own; tf.constant takes 25 us more.

    TensorFlow does not check that the memory begins where its operations expect it, at a multiple of 64 bytes.
    """
    room = np.empty(array.size + ALIGNMENT, np.uint8)
    start = -room.__array_interface__["data"][0] % ALIGNMENT
    aligned = room[start : start + array.size].reshape(array.shape)
    aligned[...] = array
    return tf.experimental.dlpack.from_dlpack(aligned.__dlpack__())


def _direct_call(function: Any) -> Callable[[Tensor], Tensor]:
    """Call a concrete function of one tensor without binding its signature each time, which saves 55 us of 155.

    This is a private function of TensorFlow; if a version does not have it, the function is called as usual.
    """
    call = getattr(getattr(function, "_inference_function", None), "call_preflattened", None)
    if call is None:
        return function
    captured = list(function.captured_inputs)
    return lambda argument: call([argument, *captured])
