"""A corridor: action 1 goes on, action 0 goes back, the far end pays 1. A door may fall shut at any step."""

import gymnasium as gym
import numpy as np
import tensorflow as tf


class Corridor:
    """A state is the place [N] int32, and how warm it is there [N], which means nothing."""

    max_episode_steps = 30
    reset_uniforms = 1
    step_uniforms = 2

    def __init__(self, length: int = 6) -> None:
        self.length = length
        self.observation_space = gym.spaces.Box(0, 1, (2,), np.float32)
        self.action_space = gym.spaces.Discrete(2)
        self.solved_return = 0.9 - 0.01 * length

    def reset(self, u):
        """At the near end, or one step in."""
        return tf.cast(2 * u[:, 0], tf.int32), tf.zeros_like(u[:, 0])

    def observe(self, state):
        """Both, the place as a share of the length."""
        place, warmth = state
        return tf.stack([tf.cast(place, tf.float32) / self.length, warmth], axis=1)

    def step(self, state, action, u):
        """A step costs 0.01; one in a hundred is the last because a door falls shut."""
        place = tf.clip_by_value(state[0] + 2 * action - 1, 0, self.length)
        at_end = place == self.length
        return (place, u[:, 0]), tf.where(at_end, 1.0, -0.01), at_end, u[:, 1] > 0.99

    def render(self, state):
        """A square where one is."""
        picture = np.full((40, 40 * (self.length + 1), 3), 230, np.uint8)
        left = 40 * int(state[0][0])
        picture[:, left : left + 40] = (200, 60, 30)
        return picture
