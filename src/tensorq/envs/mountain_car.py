"""MountainCar-v0 as a compiled world: the under-powered car of Moore (1990), with Gymnasium's constants."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import tensorflow as tf

from tensorq.core.types import Tensor

FORCE, GRAVITY = 0.001, 0.0025
LEFT_END, RIGHT_END, GOAL = -1.2, 0.6, 0.5
MAX_SPEED = 0.07


class MountainCar:
    """State and observation are (position, velocity). Each step costs 1 until the car is on the right hill."""

    max_episode_steps = 200
    solved_return = -110.0
    reset_uniforms = 1
    step_uniforms = 0

    def __init__(self) -> None:
        low, high = np.array([LEFT_END, -MAX_SPEED], np.float32), np.array([RIGHT_END, MAX_SPEED], np.float32)
        self.observation_space = gym.spaces.Box(low, high, dtype=np.float32)
        self.action_space = gym.spaces.Discrete(3)

    def reset(self, u: Tensor) -> Tensor:
        """First states: at rest in the valley, between -0.6 and -0.4."""
        position = 0.2 * tf.cast(u, tf.float64) - 0.6
        return tf.concat([position, tf.zeros_like(position)], axis=1)

    def observe(self, state: Tensor) -> Tensor:
        """The observation is the whole state."""
        return tf.cast(state, tf.float32)

    def step(self, state: Tensor, action: Tensor, u: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Push left, not at all or right (Sutton and Barto 2018, example 10.1); the left end is a wall."""
        position, velocity = tf.unstack(state, axis=1)
        velocity = velocity + FORCE * tf.cast(action - 1, tf.float64) - GRAVITY * tf.cos(3 * position)
        velocity = tf.clip_by_value(velocity, -MAX_SPEED, MAX_SPEED)
        position = tf.clip_by_value(position + velocity, LEFT_END, RIGHT_END)
        velocity = tf.where((position <= LEFT_END) & (velocity < 0), tf.zeros_like(velocity), velocity)
        reward = -tf.ones_like(position, tf.float32)
        terminated = (position >= GOAL) & (velocity >= 0)
        return tf.stack([position, velocity], axis=1), reward, terminated, tf.zeros_like(terminated)
