"""CartPole-v1 as a compiled world: the cart-pole of Barto, Sutton and Anderson (1983), with Gymnasium's constants."""

from __future__ import annotations

import math

import gymnasium as gym
import numpy as np
import tensorflow as tf

from tensorq.core.types import Tensor

GRAVITY, CART_MASS, POLE_MASS, HALF_LENGTH = 9.8, 1.0, 0.1, 0.5  # m/s^2, kg, kg, m
TOTAL_MASS = CART_MASS + POLE_MASS
FORCE, TIMESTEP = 10.0, 0.02  # N, s
POSITION_LIMIT, ANGLE_LIMIT = 2.4, 12 * 2 * math.pi / 360  # m, rad


class CartPole:
    """State and observation are (position, velocity, angle, angular velocity); every step earns 1."""

    max_episode_steps = 500
    solved_return = 475.0
    reset_uniforms = 4
    step_uniforms = 0

    def __init__(self) -> None:
        high = np.array([2 * POSITION_LIMIT, np.inf, 2 * ANGLE_LIMIT, np.inf], np.float32)
        self.observation_space = gym.spaces.Box(-high, high, dtype=np.float32)
        self.action_space = gym.spaces.Discrete(2)

    def reset(self, u: Tensor) -> Tensor:
        """First states: all four numbers within 0.05 of zero."""
        return 0.1 * tf.cast(u, tf.float64) - 0.05

    def observe(self, state: Tensor) -> Tensor:
        """The observation is the whole state."""
        return tf.cast(state, tf.float32)

    def step(self, state: Tensor, action: Tensor, u: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """One Euler step of equations 23 and 24 of Florian (2007), friction left out; action 1 pushes right."""
        x, x_dot, theta, theta_dot = tf.unstack(state, axis=1)
        force = tf.where(action == 1, tf.constant(FORCE, tf.float64), -FORCE)
        sin, cos = tf.sin(theta), tf.cos(theta)
        push = (force + POLE_MASS * HALF_LENGTH * tf.square(theta_dot) * sin) / TOTAL_MASS
        theta_acceleration = (GRAVITY * sin - cos * push) / (
            HALF_LENGTH * (4.0 / 3.0 - POLE_MASS * tf.square(cos) / TOTAL_MASS)
        )
        x_acceleration = push - POLE_MASS * HALF_LENGTH * theta_acceleration * cos / TOTAL_MASS
        x, x_dot = x + TIMESTEP * x_dot, x_dot + TIMESTEP * x_acceleration
        theta, theta_dot = theta + TIMESTEP * theta_dot, theta_dot + TIMESTEP * theta_acceleration
        terminated = (tf.abs(x) > POSITION_LIMIT) | (tf.abs(theta) > ANGLE_LIMIT)
        return (
            tf.stack([x, x_dot, theta, theta_dot], axis=1),
            tf.ones_like(x, tf.float32),
            terminated,
            tf.zeros_like(terminated),
        )
