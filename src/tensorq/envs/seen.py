"""What an agent sees of a compiled world."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tensorq.core.types import Tensor
from tensorq.envs.world import World


class Seen:
    """The world's observations, or stacks [N, K, ...] of the last K of them, oldest first; and its action masks.

    An episode's first observation is repeated, as by Gymnasium's FrameStackObservation.
    """

    def __init__(self, world: World, frame_stack: int) -> None:
        """K is `frame_stack`; if it is 1, stacks are (), nothing."""
        self._world, self._frame_stack = world, frame_stack

    def first_stack(self, state: Any) -> Any:
        """The stacks of episodes that begin with these states."""
        if self._frame_stack == 1:
            return ()
        return tf.repeat(self._world.observe(state)[:, None], self._frame_stack, axis=1)

    def next_stack(self, stack: Any, state: Any) -> Any:
        """The stacks that end with the observations of the next states."""
        if self._frame_stack == 1:
            return ()
        return tf.concat([stack[:, 1:], self._world.observe(state)[:, None]], axis=1)

    def obs(self, stack: Any, state: Any) -> Tensor:
        """What the agent sees in these states: the stacks, or the observations."""
        return self._world.observe(state) if self._frame_stack == 1 else stack

    def mask(self, state: Any) -> Tensor | None:
        """The legal actions [N, A], if the world has an action mask."""
        mask = getattr(self._world, "action_mask", None)
        return mask(state) if mask else None
