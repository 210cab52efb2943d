"""Greedy episodes in a compiled world, many at once in one XLA program."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import tensorflow as tf

from tensorq.agents.agent import Agent, make_agent
from tensorq.config import Config
from tensorq.core import random, xla
from tensorq.core.targets import greedy
from tensorq.core.types import Tensor
from tensorq.envs.seen import Seen
from tensorq.envs.world import World
from tensorq.errors import TensorqError
from tensorq.evaluation.play import Episodes
from tensorq.networks.settings import frame_stack

if TYPE_CHECKING:
    from tensorq.networks.network import Network

MOST_AT_ONCE = 200  # unseen episodes; those that have ended wait for the longest one
# Calls of programs are short, so that a signal does not wait long for one to end.
MAX_STEPS_PER_CALL = 20_000


class Playing(NamedTuple):
    """Everything that changes while N episodes are played."""

    step: Tensor  # int32 scalar, steps made
    world: Any  # the states of the N environments, a tensor or a tuple of tensors
    stack: Any  # [N, K, ...], the last K observations, if frame_stack K is above 1; otherwise ()
    alive: Tensor  # [N] bool
    total_return: Tensor  # [N]
    length: Tensor  # [N] int32


class CompiledEpisodes:
    """Plays one greedy episode in each of N environments at once."""

    def __init__(self, config: Config, agent: Agent, world: World, params: Tensor, count: int, stream: int) -> None:
        """Compile the program.

        Args:
            config: the settings of the run.
            agent: the agent, without its parameters.
            world: the world.
            params: [P], of which only the shape matters.
            count: N.
            stream: the random stream, as in core.random.
        """
        self._agent, self._world, self._count, self._stream = agent, world, count, stream
        self._seen = Seen(world, frame_stack(config))
        self._limit = min(world.max_episode_steps, config.evaluation_max_episode_steps)
        self._most_uniforms = max(world.reset_uniforms, world.step_uniforms)
        self._steps_per_call = -(-MAX_STEPS_PER_CALL // count)
        self.unplayed = self._begin(tf.zeros((count, world.reset_uniforms)))
        number = tf.TensorSpec((), tf.int64)
        self._play = xla.compiled(self.program).get_concrete_function(self.unplayed, number, params, number)

    def play(
        self, seed: int, params: Tensor, counter: int, before_call: Callable[[], None] = lambda: None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Play the episodes.

        Args:
            seed, counter: the episodes depend on them, on the stream and on N.
            params: [P].
            before_call: called before each call of the program; what it raises ends the play.

        Returns:
            Returns [N], lengths [N] int32, and which episodes [N] were cut before their time limit.
        """
        playing, numbers = self.unplayed, (tf.constant(seed, tf.int64), tf.constant(counter, tf.int64))
        while playing.step < self._limit and playing.alive.numpy().any():
            before_call()
            playing = self._play(playing, numbers[0], params, numbers[1])
        total_return, length, alive = (part.numpy() for part in (playing.total_return, playing.length, playing.alive))
        return total_return, length, alive & (self._limit < self._world.max_episode_steps)

    def program(self, playing: Playing, seed: Tensor, params: Tensor, counter: Tensor) -> Playing:
        """Play on for some steps, or until every episode has ended. The episodes begin if no step was made before."""
        count, most, world, seen = self._count, self._most_uniforms, self._world, self._seen

        def uniforms(step: Tensor, width: int) -> Tensor:
            # No evaluation is longer than 2^20 steps, and all rows have the same width, so no two share a number.
            place = counter * 2**20 + tf.cast(step, tf.int64)
            bits = random.random_bits(seed, self._stream, place, count * most)
            return tf.reshape(random.to_uniforms(bits), (count, most))[:, :width]

        def body(now: Playing) -> tuple[Playing]:
            action = greedy(self._agent.q_values(params, seen.obs(now.stack, now.world)), seen.mask(now.world))
            step = now.step + 1
            state, reward, terminated, truncated = world.step(now.world, action, uniforms(step, world.step_uniforms))
            return (
                Playing(
                    step=step,
                    world=state,
                    stack=seen.next_stack(now.stack, state),
                    alive=now.alive & ~(terminated | truncated),
                    total_return=now.total_return + tf.where(now.alive, reward, 0.0),
                    length=now.length + tf.cast(now.alive, tf.int32),
                ),
            )

        begins = tf.equal(playing.step, 0)
        first = self._begin(uniforms(tf.constant(0), world.reset_uniforms))
        playing = tf.nest.map_structure(lambda new, old: tf.where(begins, new, old), first, playing)
        stop = tf.minimum(playing.step + self._steps_per_call, self._limit)
        (playing,) = tf.while_loop(lambda now: (now.step < stop) & tf.reduce_any(now.alive), body, (playing,))
        return playing

    def _begin(self, reset_uniforms: Tensor) -> Playing:
        state, count = self._world.reset(reset_uniforms), self._count
        return Playing(
            step=tf.constant(0),
            world=state,
            stack=self._seen.first_stack(state),
            alive=tf.ones(count, tf.bool),
            total_return=tf.zeros(count),
            length=tf.zeros(count, tf.int32),
        )


def play_unseen(config: Config, world: World, network: Network, params: np.ndarray, episodes: int) -> Episodes:
    """Play greedy episodes in a world, with random numbers that training and selection do not use.

    They depend on the number of episodes. More than MOST_AT_ONCE are played in groups of so many. Raises TensorqError
    if parameters are not finite.
    """
    if not np.isfinite(params).all():
        raise TensorqError("the agent's Q-values are not finite, because its weights are not.")
    count = min(episodes, MOST_AT_ONCE)
    stored = tf.constant(params)
    group = CompiledEpisodes(config, make_agent(config, network), world, stored, count, random.UNSEEN)
    groups = [group.play(0, stored, number) for number in range(-(-episodes // count))]
    returns, lengths, cut = (np.concatenate(column)[:episodes] for column in zip(*groups, strict=True))
    return Episodes(returns.astype(np.float64), lengths, int(cut.sum()))
