"""The host loop: Python steps Gymnasium environments, one compiled function learns from what they give."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tensorq.agents.dqn import DQN
from tensorq.agents.trained import greedy
from tensorq.config import Config
from tensorq.core import random
from tensorq.core.host_random import CounterRandom, to_noise, to_uniforms
from tensorq.core.types import AgentState, Batch, OptimizerState, Tensor
from tensorq.envs.host import EnvironmentMaker, make_host_environments, obs_layout, seeds_for
from tensorq.evaluation.play import play_episodes
from tensorq.loops.loop import Episode, Interrupted, NotFinite, Report, Tensors
from tensorq.replay.host import HostReplay, row_dtype

EVALUATION_ENVS = 5
CHECKPOINTS_KEPT = 2
STATE_NAMES = (
    "agent.params",
    "agent.target_params",
    "agent.optimizer.first_moment",
    "agent.optimizer.second_moment",
)
COUNT_BASE = 2**24
NoisyQFunction = Callable[..., np.ndarray]  # (observations [N, ...], noise [Z] or None) -> Q-values [N, A]


class HostLoop:
    """Trains on Gymnasium environments. `numpy_q` turns parameters into Q-values in NumPy, for networks that can."""

    exact_anywhere = False

    def __init__(
        self,
        config: Config,
        agent: DQN,
        make: EnvironmentMaker,
        replay_path: Path,
        numpy_q: Callable[[np.ndarray], NoisyQFunction] | None,
    ) -> None:
        self.config, self.agent = config, agent
        self.steps = self.updates = 0
        self._make = make
        self._envs = make_host_environments(make, config.num_envs)
        count, space = self._envs.num_envs, self._envs.observation_space
        self._num_actions = int(self._envs.action_space.n)
        self._row_dtype = row_dtype(config, *obs_layout(space), self._num_actions if self._envs.mask is not None else 0)
        slack = (CHECKPOINTS_KEPT + 1) * (config.checkpoint_period_steps + count)
        self.replay = HostReplay(replay_path, config, count, slack, self._row_dtype)
        self._act_random = CounterRandom(config.seed, random.ACTING, 2 * count)
        self._noise_random = CounterRandom(config.seed, random.NOISE, agent.act_uniforms)
        # Updates that come due together are made in one call: the cost is the call, not the arithmetic.
        together = int(config.replay_ratio * max(config.update_period_steps, count))
        self._updates_per_call = min(max(together, 1), 64)
        self._batch_random = CounterRandom(config.seed, random.REPLAY, self._updates_per_call * config.batch_size)

        # A call costs some 30 us for each variable and output: so the state is one vector, and the result another.
        state = agent.init()
        self._sizes = [len(part) for part in _numbers(state)]
        self._vector = tf.Variable(tf.concat(_numbers(state), axis=0))
        self._params: np.ndarray = np.array(state.params)  # what acting in NumPy looks at, renewed in place
        rows = tf.TensorSpec((self._updates_per_call, config.batch_size, self._row_dtype.itemsize), tf.uint8)
        learn = tf.function(self._updates, jit_compile=True, autograph=False)
        self._learn = _direct_call(learn.get_concrete_function(rows))
        self._numpy_q = numpy_q
        self._q_values = self._acting_function()

        self._vector_steps = 0  # counts random numbers: steps do not grow where every environment only resets
        self._age = np.zeros(count, np.int64)
        self._total_return = np.zeros(count)
        self.boundary()

    # --- acting and learning --------------------------------------------------------------------------------------

    def _acting_function(self) -> NoisyQFunction:
        """Q-values of the present parameters: in NumPy where the network allows, else through TensorFlow."""
        if self._numpy_q is not None:
            return self._numpy_q(self._params)
        agent, vector, size = self.agent, self._vector, self._sizes[0]

        def rate(obs: Tensor, noise: Tensor) -> Tensor:
            return agent.q_values(vector.read_value()[:size], obs, noise if noise.shape[0] else None)

        function = tf.function(rate, jit_compile=True, autograph=False)
        dtype, shape = obs_layout(self._envs.observation_space)
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

    def _unpack(self, rows: Tensor) -> Batch:
        """Rows as bytes [B, row bytes] to a Batch."""
        count = self.config.batch_size
        fields: Any = self._row_dtype.fields

        def field(name: str) -> Tensor:
            dtype, offset = fields[name][:2]
            base, shape = dtype.subdtype or (dtype, ())
            part = rows[:, offset : offset + dtype.itemsize]
            if base.itemsize > 1:  # bitcast takes the bytes of a number from a last axis of their own
                part = tf.reshape(part, (count, -1, base.itemsize))
            numbers = tf.cast(part, tf.bool) if base.kind == "b" else tf.bitcast(part, base)
            return tf.reshape(numbers, (count, *shape))

        present = {name: field(name) for name in fields}
        return Batch(**{"weight": tf.ones(count), **present})

    def _state(self) -> AgentState:
        """The agent's state, cut from the vector that holds it."""
        params, target_params, first, second, count = tf.split(self._vector.read_value(), self._sizes)
        low, high = tf.unstack(tf.cast(count, tf.int64))
        return AgentState(params, target_params, OptimizerState(first, second), low + high * COUNT_BASE)

    def _updates(self, batches: Tensor) -> Tensor:
        """Updates on batches [K, B, row bytes]; returns new parameters [P], losses [K], mean Q-values [K] as one.

        With priorities, the TD errors [K, B] follow.
        """
        count, config, agent = self._updates_per_call, self.config, self.agent
        first = (tf.zeros(count), tf.zeros(count), tf.zeros((count, config.batch_size)))

        def body(index: Tensor, state: Any, *found: Tensor) -> tuple[Any, ...]:
            bits = random.random_bits(config.seed, random.LEARNING, state.updates, agent.update_uniforms)
            state, metrics = agent.update(state, self._unpack(batches[index]), random.to_uniforms(bits))
            here = tf.one_hot(index, count)
            new = (here * metrics.loss, here * metrics.mean_q, here[:, None] * metrics.td_error)
            return index + 1, state, *(old + more for old, more in zip(found, new, strict=True))

        carry: tuple[Any, ...] = (tf.constant(0), self._state(), *first)
        carry = body(*carry) if count == 1 else tf.while_loop(lambda index, *_: index < count, body, carry)
        _, state, losses, means, td_errors = carry
        self._vector.assign(tf.concat(_numbers(state), axis=0))
        parts = [state.params, losses, means] + ([tf.reshape(td_errors, [-1])] if config.priority_exponent else [])
        return tf.concat(parts, axis=0)

    # --- what the trainer calls -----------------------------------------------------------------------------------

    def advance(self, stop_steps: int, max_episodes: int | None, interrupted: Callable[[], bool]) -> Report:
        """Train to stop_steps or the end of max_episodes more episodes; raises NotFinite and Interrupted."""
        config, envs = self.config, self._envs
        episodes: list[Episode] = []
        loss_sum = q_sum = 0.0
        updates_before = self.updates
        while self.steps < stop_steps and (not max_episodes or len(episodes) < max_episodes):
            if interrupted():
                raise Interrupted
            obs, mask = envs.obs.copy(), None if envs.mask is None else envs.mask.copy()
            actions = self._act(obs, mask)
            step = envs.step(actions)
            discount, ended = config.gamma * ~step.terminated, (step.terminated | step.truncated) & step.valid
            self.replay.add(obs, actions, step.reward, discount, step.next_obs, step.valid, ended, mask, step.next_mask)
            self.steps += int(np.count_nonzero(step.valid))
            self._vector_steps += 1
            self._age += step.valid
            self._total_return += step.reward * step.valid
            for index in np.flatnonzero(ended) if ended.any() else ():
                length, total = int(self._age[index]), float(self._total_return[index])
                episodes.append(Episode(self.steps, int(index), length, total))
                self._age[index], self._total_return[index] = 0, 0.0
            owed = config.updates_owed(self.steps)
            while owed - self.updates >= self._updates_per_call:
                losses, means = self._learn_once()
                loss_sum, q_sum = loss_sum + losses, q_sum + means
        made = self.updates - updates_before
        return Report(episodes, loss_sum / made if made else None, q_sum / made if made else None)

    def _act(self, obs: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
        """Epsilon-greedy actions [N], each row with its own coin, as core.exploration.epsilon_greedy."""
        u = to_uniforms(self._act_random.row(self._vector_steps)).reshape(-1, 2)
        explore = u[:, 0] < self.config.epsilon_at(self.steps)
        if mask is None:
            actions = (u[:, 1] * self._num_actions).astype(np.int32)
        else:
            place = mask.cumsum(axis=1)  # of each legal action among them, from 1
            actions = (place > np.floor(u[:, 1:] * place[:, -1:])).argmax(axis=1).astype(np.int32)
        if not explore.all():
            noise = None
            if self.agent.act_uniforms:
                noise = to_noise(self._noise_random.row(self._vector_steps))
            actions = np.where(explore, actions, greedy(self._q_values(obs, noise), mask))
        return actions

    def _learn_once(self) -> tuple[float, float]:
        """One call of the compiled updates; returns the sums of losses and of mean Q-values."""
        bits = self._batch_random.row(self.updates // self._updates_per_call)
        size, count = self._sizes[0], self._updates_per_call
        shape = (count, self.config.batch_size)
        rows, places = self.replay.sample(bits.reshape(shape), self.config.importance_exponent_at(self.updates))
        result = self._learn(tf.constant(rows)).numpy()
        params, losses, means, td_errors = np.split(result, [size, size + count, size + 2 * count])
        if places is not None:
            self.replay.prioritise(places, td_errors.reshape(shape))
        loss_sum = float(losses.sum())
        self.updates += count
        if not math.isfinite(loss_sum):
            bad = int(np.flatnonzero(~np.isfinite(losses))[0])
            raise NotFinite(self.updates - count + bad + 1, self.steps)
        if self._numpy_q is not None:
            self._params[:] = params
        return loss_sum, float(means.sum())

    def evaluate(self) -> np.ndarray:
        """Returns [episodes] of greedy play in environments of its own."""
        config = self.config
        episodes = config.num_evaluation_episodes("host")
        envs = make_host_environments(self._make, min(EVALUATION_ENVS, episodes))
        try:
            seeds = seeds_for(config.seed, 2**32 + self.steps, episodes)
            return play_episodes(envs, self._q_values, seeds, config.evaluation_max_episode_steps).returns
        finally:
            envs.close()

    def boundary(self) -> None:
        """End all episodes and reseed from (seed, step): an environment's inner state cannot be saved."""
        self._envs.reset(seeds_for(self.config.seed, self.steps, self._envs.num_envs))
        self._age[:], self._total_return[:] = 0, 0.0
        self.replay.cut()

    def save(self) -> Tensors:
        """The agent, the counters, and where in the replay file the rows are."""
        return {
            **{name: part.numpy() for name, part in zip(STATE_NAMES, _numbers(self._state()), strict=False)},
            "agent.updates": np.array(self.updates, np.int64),
            "steps": np.array(self.steps, np.int64),
            "vector_steps": np.array(self._vector_steps, np.int64),
            **self.replay.save(),
        }

    def restore(self, tensors: Tensors) -> None:
        """Become what was saved."""
        self.replay.restore(tensors)
        high, low = divmod(int(tensors["agent.updates"]), COUNT_BASE)
        self._vector.assign(
            np.concatenate([*(tensors[name] for name in STATE_NAMES), np.array([low, high], np.float32)])
        )
        self._params[:] = tensors["agent.params"]
        self.steps, self.updates = int(tensors["steps"]), int(tensors["agent.updates"])
        self._vector_steps = int(tensors["vector_steps"])
        self.boundary()

    def params(self) -> np.ndarray:
        """The online network's parameters [P]."""
        return self._state().params.numpy()

    def close(self) -> None:
        """Close the environments and the replay file."""
        self._envs.close()
        self.replay.close()


def _numbers(state: AgentState) -> list[Tensor]:
    """An agent's state as float vectors, the parameters first, the count as two digits that float32 holds exactly."""
    count = tf.stack([state.updates % COUNT_BASE, state.updates // COUNT_BASE])
    return [state.params, state.target_params, *state.optimizer, tf.cast(count, tf.float32)]


def _direct_call(function: Any) -> Callable[[Tensor], Tensor]:
    """Call a concrete function of one tensor without binding its signature each time: 55 us of 155.

    TensorFlow offers this to itself only; where a version does not have it, the function is called as usual.
    """
    call = getattr(getattr(function, "_inference_function", None), "call_preflattened", None)
    if call is None:
        return function
    captured = list(function.captured_inputs)
    return lambda argument: call([argument, *captured])
