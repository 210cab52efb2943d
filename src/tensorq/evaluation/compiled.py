"""Greedy episodes in a compiled world, all at once in one XLA program."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

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

MOST_AT_ONCE = 200  # episodes; Ctrl-C waits until they have ended


def play_at_once(
    config: Config,
    agent: Agent,
    world: World,
    episodes: int,
    stream: int,
    seed: Tensor,
    params: Tensor,
    counter: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Play one greedy episode in each of some environments, in a program.

    Args:
        config: the settings of the run.
        agent: the agent, without its parameters.
        world: the world.
        episodes: how many.
        stream: the random stream, as in core.random.
        seed, counter: int64 scalars; the episodes depend on them, on the stream and on the number of episodes.
        params: [P].

    Returns:
        Returns [episodes], lengths [episodes] int32, and which episodes [episodes] were cut before their time limit.
    """
    seen, limit = Seen(world, frame_stack(config)), min(world.max_episode_steps, config.evaluation_max_episode_steps)
    most = max(world.reset_uniforms, world.step_uniforms)

    def uniforms(step: Tensor, width: int) -> Tensor:
        # No evaluation is longer than 2^20 steps, and all rows have the same width, so no two share a number.
        bits = random.random_bits(seed, stream, counter * 2**20 + step, episodes * most)
        return tf.reshape(random.to_uniforms(bits), (episodes, most))[:, :width]

    def body(step: Tensor, state: Any, stack: Any, alive: Tensor, total: Tensor, length: Tensor) -> tuple[Any, ...]:
        action = greedy(agent.q_values(params, seen.obs(stack, state)), seen.mask(state))
        state, reward, terminated, truncated = world.step(state, action, uniforms(step, world.step_uniforms))
        total, length = total + tf.where(alive, reward, 0.0), length + tf.cast(alive, tf.int32)
        alive &= ~(terminated | truncated)
        return step + 1, state, seen.next_stack(stack, state), alive, total, length

    zero = tf.constant(0, tf.int64)
    first = world.reset(uniforms(zero, world.reset_uniforms))
    alive, total, length = tf.ones(episodes, tf.bool), tf.zeros(episodes), tf.zeros(episodes, tf.int32)
    _, _, _, alive, total, length = tf.while_loop(
        lambda step, state, stack, alive, *_: (step <= limit) & tf.reduce_any(alive),
        body,
        (zero + 1, first, seen.first_stack(first), alive, total, length),
    )
    return total, length, alive & (limit < world.max_episode_steps)


def play_unseen(config: Config, world: World, network: Network, params: np.ndarray, episodes: int) -> Episodes:
    """Play greedy episodes in a world, with random numbers that training and selection do not use.

    They depend on the number of episodes. More than MOST_AT_ONCE are played in groups of so many. Raises TensorqError
    if parameters are not finite.
    """
    if not np.isfinite(params).all():
        raise TensorqError("the agent's Q-values are not finite, because its weights are not.")
    group = min(episodes, MOST_AT_ONCE)
    program = functools.partial(play_at_once, config, make_agent(config, network), world, group, random.UNSEEN)
    scalar, stored = tf.TensorSpec((), tf.int64), tf.constant(params)
    play = xla.compiled(program).get_concrete_function(scalar, stored, scalar)
    numbers = [tf.constant(index, tf.int64) for index in range(-(-episodes // group))]
    groups = [play(tf.constant(0, tf.int64), stored, number) for number in numbers]
    returns, lengths, cut = (np.concatenate(column)[:episodes] for column in zip(*groups, strict=True))
    return Episodes(returns.astype(np.float64), lengths, int(cut.sum()))
