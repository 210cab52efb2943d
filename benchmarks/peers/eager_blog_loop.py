"""Time an eager DQN loop with the blog post's hyperparameters: `python eager_blog_loop.py [--steps 1500] [--seed 0]`.

What the post does, written anew: a Keras model called eagerly to act, a deque of transitions, a minibatch by
`random.sample`, an eager gradient tape, Keras's Adam, and `set_weights` every 20 steps. Like the post it stores the end
of an episode as terminal whatever its cause; unlike the post it stores the first transition of each episode too (the
cost of a step is the same). Needs tensorflow and gymnasium. The clock starts 50 updates after learning has started.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import time
from collections import deque
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import gymnasium
import keras
import numpy as np
import tensorflow as tf

REPLAY_CAPACITY = 32_000
BATCH_SIZE = 64
LEARNING_STARTS_STEPS = 500
WARM_UP_STEPS = 50
EPSILON_START, EPSILON_FINAL, EPSILON_ANNEAL_STEPS = 1.0, 0.1, 100
TARGET_SYNC_STEPS = 20
GAMMA = 0.99
LEARNING_RATE = 0.001

Transition = tuple[np.ndarray, int, float, np.ndarray, bool]


def build_network() -> keras.Model:
    """The post's network: 4 inputs, 256 hidden units, 2 Q-values."""
    layers = [keras.Input((4,)), keras.layers.Flatten(), keras.layers.Dense(256, "relu"), keras.layers.Dense(2)]
    return keras.Sequential(layers)


def update(online: keras.Model, target: keras.Model, optimizer: Any, transitions: list[Transition]) -> None:
    """One gradient step on one minibatch, every operation run as it is met."""
    observations, actions, rewards, next_observations, ends = zip(*transitions, strict=True)
    obs = tf.convert_to_tensor(observations, tf.float32)
    taken = tf.one_hot(tf.convert_to_tensor(actions, tf.int32), 2)
    next_obs = tf.convert_to_tensor(next_observations, tf.float32)
    alive = 1.0 - tf.convert_to_tensor(ends, tf.float32)
    goal = tf.convert_to_tensor(rewards, tf.float32) + GAMMA * alive * tf.reduce_max(target(next_obs), axis=1)
    with tf.GradientTape() as tape:
        predicted = tf.reduce_sum(online(obs) * taken, axis=1)
        loss = tf.reduce_mean(tf.square(goal - predicted))
    gradients = tape.gradient(loss, online.trainable_weights)
    optimizer.apply_gradients(zip(gradients, online.trainable_weights, strict=True))


def run(timed_steps: int, seed: int) -> tuple[float, list[float]]:
    """Train, and return the seconds that the last `timed_steps` steps took and the returns of all episodes."""
    keras.utils.set_random_seed(seed)
    environment: Any = gymnasium.make("CartPole-v1")
    environment.action_space.seed(seed)
    online, target = build_network(), build_network()
    target.set_weights(online.get_weights())
    optimizer = keras.optimizers.Adam(LEARNING_RATE)
    replay: deque[Transition] = deque(maxlen=REPLAY_CAPACITY)
    returns, episode_return = [], 0.0
    obs, _ = environment.reset(seed=seed)
    untimed_steps = LEARNING_STARTS_STEPS + WARM_UP_STEPS
    started = time.perf_counter()
    for step in range(1, untimed_steps + timed_steps + 1):
        epsilon = EPSILON_START - (EPSILON_START - EPSILON_FINAL) * min(1.0, (step - 1) / EPSILON_ANNEAL_STEPS)
        if random.random() <= epsilon:
            action = int(environment.action_space.sample())
        else:
            action = int(tf.argmax(online(tf.expand_dims(obs, 0))[0]).numpy())
        next_obs, reward, terminated, truncated, _ = environment.step(action)
        replay.append((obs, action, float(reward), next_obs, terminated or truncated))
        obs, episode_return = next_obs, episode_return + float(reward)
        if terminated or truncated:
            returns.append(episode_return)
            obs, _ = environment.reset()
            episode_return = 0.0
        if len(replay) >= LEARNING_STARTS_STEPS:
            update(online, target, optimizer, random.sample(replay, BATCH_SIZE))
            if step % TARGET_SYNC_STEPS == 0:
                target.set_weights(online.get_weights())
        if step == untimed_steps:
            started = time.perf_counter()
    return time.perf_counter() - started, returns


def main() -> None:
    """Run and print one JSON line."""
    parser = argparse.ArgumentParser(description="Time an eager DQN loop with the blog post's hyperparameters.")
    parser.add_argument("--steps", type=int, default=1500, help="environment steps to time, one update each")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    seconds, returns = run(arguments.steps, arguments.seed)
    result = {
        "name": "eager blog loop",
        "steps_per_second": round(arguments.steps / seconds, 2),
        "microseconds_per_step": round(seconds / arguments.steps * 1e6, 1),
        "steps": arguments.steps,
        "mean_return_last_10": round(float(np.mean(returns[-10:])), 1) if returns else None,
        "versions": {
            "tensorflow": tf.__version__,
            "keras": keras.__version__,
            "gymnasium": gymnasium.__version__,
        },
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
