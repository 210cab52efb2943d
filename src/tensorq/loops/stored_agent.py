"""An agent's state between calls of TensorFlow: in variables for learning, and as parameters to act by."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from tensorq.agents.agent import Agent
from tensorq.core.statistics import EPSILON, Statistics
from tensorq.core.types import AgentState, OptimizerState, Tensor
from tensorq.loops.loop import LEARNED_PARAMS, Tensors

COUNT_BASE = 2**24
STATE_NAMES = (
    "agent.params", "agent.target_params", "agent.optimizer.first_moment", "agent.optimizer.second_moment"
)  # fmt: skip


class StoredAgent:
    """An agent's state in one tf.Variable, because each variable and each output adds some 30 us to a call.

    With joined=False each part has a variable of its own, and calls do not return parameters: for millions of
    parameters outside XLA, this takes less time than the copies. With overlap=True, parameters for acting are kept
    apart, and stay as they are from a call to its `take`.
    """

    def __init__(self, agent: Agent, joined: bool = True, overlap: bool = False) -> None:
        state = agent.init()
        self._sizes, self._joined = [len(part) for part in _numbers(state)], joined
        self._variables = [tf.Variable(part) for part in self._stored(_numbers(state))]
        self.params: np.ndarray = np.array(state.params)  # for acting in NumPy; if joined, updated in place
        self._acting = tf.Variable(state.params) if overlap else None
        self.average: np.ndarray | None = np.array(state.target_params) if agent.plays_by == "target_params" else None
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
        self._variables[0][place].assign(scaling.astype(np.float32))

    def _stored(self, parts: list[Tensor]) -> list[Tensor]:
        """The values of the variables for these parts of a state."""
        return [tf.concat(parts, axis=0)] if self._joined else parts

    def state(self) -> AgentState:
        """The state, from the variables."""
        parts = [variable.read_value() for variable in self._variables]
        params, target_params, first, second, count = tf.split(parts[0], self._sizes) if self._joined else parts
        low, high = tf.unstack(tf.cast(count, tf.int64))
        return AgentState(params, target_params, OptimizerState(first, second), low + high * COUNT_BASE)

    def params_tensor(self) -> Tensor:
        """The parameters to act by [P], in a graph."""
        if self._acting is not None:
            return self._acting.read_value()
        stored = self._variables[0].read_value()
        return stored[: self._sizes[0]] if self._joined else stored

    def average_tensor(self) -> Tensor:
        """The averaged parameters [P], in a graph."""
        return self.state().target_params

    def refresh_average(self) -> None:
        """Bring `average` up to date, if there are averaged parameters."""
        if self.average is not None:
            self.average[:] = self.state().target_params.numpy()

    def assign(self, state: AgentState, found: list[Tensor]) -> Tensor:
        """Store this state, in a graph. Returns what a call returns for `take`: `found` as one vector, after [P]."""
        for variable, value in zip(self._variables, self._stored(_numbers(state)), strict=True):
            variable.assign(value)
        return tf.concat([state.params, *found] if self._joined else found, axis=0)

    def take(self, result: np.ndarray, updates: int) -> np.ndarray:
        """Update the parameters from the first numbers of a call's result, and return the rest."""
        self.updates += updates
        if not self._joined:
            if self._acting is not None:
                self._acting.assign(self._variables[0].read_value())
            return result
        size = self._sizes[0]
        self.params[:] = result[:size]
        if self._acting is not None:
            self._acting.assign(self.params.copy())
        return result[size:]

    def kept(self) -> Tensors:
        """The parameters to play greedily by, and the statistics that normalise observations."""
        self.refresh_average()
        params = self._acting_params() if self.average is None else self.average.copy()
        return {"agent.params": params, **self._saved_statistics()}

    def _acting_params(self) -> np.ndarray:
        acting = self._variables[0] if self._acting is None else self._acting
        params: np.ndarray = self.params.copy() if self._joined else acting.numpy()
        return params

    def _saved_statistics(self) -> Tensors:
        parts = {} if self.statistics is None else self.statistics._asdict()
        return {f"agent.statistics.{name}": np.array(part, np.float64) for name, part in parts.items()}

    def save(self) -> Tensors:
        """The whole state, by name."""
        parts = {name: part.numpy() for name, part in zip(STATE_NAMES, _numbers(self.state()), strict=False)}
        if self._acting is not None:
            parts[LEARNED_PARAMS] = parts["agent.params"]
        own = {"agent.params": self._acting_params(), "agent.updates": np.array(self.updates, np.int64)}
        return {**parts, **own, **self._saved_statistics()}

    def restore(self, tensors: Tensors, untaken: int = 0) -> None:
        """Restore what `save` returned between a call of `untaken` updates and its `take`."""
        self.updates = int(tensors["agent.updates"])
        high, low = divmod(self.updates + untaken, COUNT_BASE)
        learned = tensors.get(LEARNED_PARAMS, tensors["agent.params"])
        parts = [learned, *(tensors[name] for name in STATE_NAMES[1:]), np.array([low, high], np.float32)]
        for variable, value in zip(self._variables, self._stored(parts), strict=True):
            variable.assign(value)
        self.params[:] = tensors["agent.params"]
        if self._acting is not None:
            self._acting.assign(tensors["agent.params"])
        if self.statistics is not None:
            self.statistics = Statistics(*(tensors[f"agent.statistics.{name}"] for name in Statistics._fields))


def _numbers(state: AgentState) -> list[Tensor]:
    """An agent's state as float vectors: parameters first, the update count last, as two digits exact in float32."""
    count = tf.stack([state.updates % COUNT_BASE, state.updates // COUNT_BASE])
    return [state.params, state.target_params, *state.optimizer, tf.cast(count, tf.float32)]
