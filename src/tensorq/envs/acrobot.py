"""Acrobot-v1 as a compiled world: the two-link pendulum of Sutton (1996), with Gymnasium's constants."""

from __future__ import annotations

import math

import gymnasium as gym
import numpy as np
import tensorflow as tf

from tensorq.core.cosine import cos, sin
from tensorq.core.types import Tensor

LENGTH, CENTRE, MASS, INERTIA = 1.0, 0.5, 1.0, 1.0  # m, m, kg, kg m^2, of each link
GRAVITY, TIMESTEP = 9.8, 0.2  # m/s^2, s
MAX_SPEED_1, MAX_SPEED_2 = 4 * math.pi, 9 * math.pi  # rad/s


class Acrobot:
    """State is (angle 1, angle 2, both velocities). Each step costs 1 until the tip is one link above the pivot."""

    max_episode_steps = 500
    solved_return = -100.0
    reset_uniforms = 4
    step_uniforms = 0

    def __init__(self) -> None:
        high = np.array([1, 1, 1, 1, MAX_SPEED_1, MAX_SPEED_2], np.float32)
        self.observation_space = gym.spaces.Box(-high, high, dtype=np.float32)
        self.action_space = gym.spaces.Discrete(3)

    def reset(self, u: Tensor) -> Tensor:
        """First states: all four numbers within 0.1 of 0, where the pendulum hangs still."""
        return 0.2 * tf.cast(u, tf.float64) - 0.1

    def observe(self, state: Tensor) -> Tensor:
        """Cosine and sine of both angles, and both velocities."""
        angle_1, angle_2, speed_1, speed_2 = tf.unstack(state, axis=1)
        seen = [cos(angle_1), sin(angle_1), cos(angle_2), sin(angle_2), speed_1, speed_2]
        return tf.cast(tf.stack(seen, axis=1), tf.float32)

    def step(self, state: Tensor, action: Tensor, u: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """One step of the classical Runge-Kutta method, with a torque of -1, 0 or 1 N m on the second joint."""
        torque = tf.cast(action - 1, tf.float64)
        half = TIMESTEP / 2
        slope_1 = _derivative(state, torque)
        slope_2 = _derivative(state + half * slope_1, torque)
        slope_3 = _derivative(state + half * slope_2, torque)
        slope_4 = _derivative(state + TIMESTEP * slope_3, torque)
        state = state + TIMESTEP / 6.0 * (slope_1 + 2 * slope_2 + 2 * slope_3 + slope_4)
        angle_1, angle_2, speed_1, speed_2 = tf.unstack(state, axis=1)
        angle_1, angle_2 = _wrap(angle_1), _wrap(angle_2)
        speed_1 = tf.clip_by_value(speed_1, -MAX_SPEED_1, MAX_SPEED_1)
        speed_2 = tf.clip_by_value(speed_2, -MAX_SPEED_2, MAX_SPEED_2)
        terminated = -cos(angle_1) - cos(angle_1 + angle_2) > LENGTH
        reward = tf.where(terminated, 0.0, -1.0)
        return tf.stack([angle_1, angle_2, speed_1, speed_2], axis=1), reward, terminated, tf.zeros_like(terminated)


def _wrap(angle: Tensor) -> Tensor:
    """The same angle, between -pi and pi."""
    return angle - 2 * math.pi * tf.math.ceil((angle - math.pi) / (2 * math.pi))


def _derivative(state: Tensor, torque: Tensor) -> Tensor:
    """Velocities and accelerations: the equations of motion of Sutton and Barto (1998), section 11.3."""
    angle_1, angle_2, speed_1, speed_2 = tf.unstack(state, axis=1)
    coupling = MASS * LENGTH * CENTRE
    inertia_2 = MASS * CENTRE**2 + INERTIA
    d1 = MASS * CENTRE**2 + MASS * LENGTH**2 + 2 * coupling * cos(angle_2) + inertia_2 + INERTIA
    d2 = inertia_2 + coupling * cos(angle_2)
    phi2 = MASS * CENTRE * GRAVITY * cos(angle_1 + angle_2 - math.pi / 2)
    phi1 = (
        -coupling * tf.square(speed_2) * sin(angle_2)
        - 2 * coupling * speed_2 * speed_1 * sin(angle_2)
        + (MASS * CENTRE + MASS * LENGTH) * GRAVITY * cos(angle_1 - math.pi / 2)
        + phi2
    )
    numerator = torque + d2 / d1 * phi1 - coupling * tf.square(speed_1) * sin(angle_2) - phi2
    acceleration_2 = numerator / (inertia_2 - tf.square(d2) / d1)
    acceleration_1 = -(d2 * acceleration_2 + phi1) / d1
    return tf.stack([speed_1, speed_2, acceleration_1, acceleration_2], axis=1)
