"""Time the same DQN as one jitted JAX `lax.scan`: `python jax_scan.py [--iterations 20000] [--chunk 2000]`.

CartPole, replay, network, Adam and target network in jax.numpy with the blog post's hyperparameters: one environment,
one update per step, state donated. Each choice is the fastest of those tried (microseconds an iteration, one Zen core):
all random numbers of a chunk in one draw (45; a key split per iteration 48-53 with threefry, rbg and unsafe_rbg alike),
one thread (45; two 53-57), the two-unit layer as a product and a sum (42; as a matrix product 45), `where` for the sync
of the target (`cond` and nested scans 45-46), weights in a list (one flat vector 46-48). Unrolling the scan, fast-math
and 512-bit vectors changed nothing. Needs jax.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from functools import partial
from typing import NamedTuple

# XLA's thread pool costs more than it gives on arrays this small; it must be set before jax starts.
os.environ.setdefault("NPROC", "1")
os.environ.setdefault("PJRT_NPROC", "1")
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")

import jax
import jax.numpy as jnp
from jax import lax

REPLAY_CAPACITY, BATCH_SIZE, HIDDEN, GAMMA, LEARNING_RATE, TARGET_SYNC_UPDATES = 32_000, 64, 256, 0.99, 1e-3, 20
EPSILON_FINAL, EPSILON_ANNEAL_STEPS, MAX_EPISODE_STEPS = 0.1, 100, 500
UNIFORMS = 6 + BATCH_SIZE  # the epsilon coin, the random action, a reset state, and the minibatch's rows
Weights = list[jax.Array]


class State(NamedTuple):
    """All that one iteration hands to the next."""

    step: jax.Array
    weights: Weights
    target: Weights
    mean: Weights
    square: Weights
    replay: jax.Array  # a row: 4 of the observation, the action, 4 of the next observation, the discount
    obs: jax.Array
    age: jax.Array
    finished: jax.Array  # the sum of all returns, and the number of episodes


def q_values(weights: Weights, obs: jax.Array) -> jax.Array:
    """Two Q-values for each observation."""
    w1, b1, w2, b2 = weights
    hidden = jax.nn.relu(obs @ w1 + b1)
    return jnp.stack([jnp.sum(hidden * w2[0], -1), jnp.sum(hidden * w2[1], -1)], -1) + b2


def cartpole(obs: jax.Array, action: jax.Array) -> tuple[jax.Array, jax.Array]:
    """One Euler step of the cart and pole, and whether it ended the episode."""
    x, x_dot, theta, theta_dot = obs
    sine, cosine = jnp.sin(theta), jnp.cos(theta)
    push = (jnp.where(action == 1, 10.0, -10.0) + 0.05 * theta_dot**2 * sine) / 1.1
    theta_acc = (9.8 * sine - cosine * push) / (0.5 * (4 / 3 - 0.1 * cosine**2 / 1.1))
    x_acc = push - 0.05 * theta_acc * cosine / 1.1
    obs = obs + 0.02 * jnp.stack([x_dot, x_acc, theta_dot, theta_acc])
    return obs, (jnp.abs(obs[0]) > 2.4) | (jnp.abs(obs[2]) > 0.20943951)


def iteration(state: State, uniforms: jax.Array) -> tuple[State, None]:
    """Act, step, store, sample, learn."""
    step, weights, target, mean, square, replay, obs, age, finished = state
    epsilon = jnp.maximum(EPSILON_FINAL, 1 - (1 - EPSILON_FINAL) * step / EPSILON_ANNEAL_STEPS)
    greedy = jnp.argmax(q_values(weights, obs)).astype(jnp.int32)
    action = jnp.where(uniforms[0] < epsilon, (uniforms[1] * 2).astype(jnp.int32), greedy)
    next_obs, terminated = cartpole(obs, action)
    age = age + 1
    done = terminated | (age >= MAX_EPISODE_STEPS)
    discount = jnp.where(terminated, 0.0, GAMMA)  # a time limit is not a terminal state
    row = jnp.concatenate([obs, action[None].astype(jnp.float32), next_obs, discount[None]])
    replay = lax.dynamic_update_slice(replay, row[None], (step % REPLAY_CAPACITY, 0))
    finished = finished + jnp.where(done, jnp.stack([age.astype(jnp.float32), jnp.float32(1)]), 0.0)
    obs, age = jnp.where(done, 0.1 * uniforms[2:6] - 0.05, next_obs), jnp.where(done, 0, age)

    step = step + 1
    index = (uniforms[6:] * jnp.minimum(step, REPLAY_CAPACITY)).astype(jnp.int32)
    batch = replay.at[index].get(mode="promise_in_bounds")
    goal = 1.0 + batch[:, 9] * q_values(target, batch[:, 5:9]).max(1)

    def loss(weights: Weights) -> jax.Array:
        taken = jax.nn.one_hot(batch[:, 4].astype(jnp.int32), 2)
        return jnp.mean((goal - jnp.sum(q_values(weights, batch[:, :4]) * taken, 1)) ** 2)

    gradients = jax.grad(loss)(weights)
    rate = LEARNING_RATE * jnp.sqrt(1 - 0.999**step) / (1 - 0.9**step)
    mean = [0.9 * m + 0.1 * g for m, g in zip(mean, gradients, strict=True)]
    square = [0.999 * s + 0.001 * g * g for s, g in zip(square, gradients, strict=True)]
    weights = [w - rate * m / (jnp.sqrt(s) + 1e-7) for w, m, s in zip(weights, mean, square, strict=True)]
    target = [jnp.where(step % TARGET_SYNC_UPDATES == 0, w, t) for w, t in zip(weights, target, strict=True)]
    return State(step, weights, target, mean, square, replay, obs, age, finished), None


@partial(jax.jit, static_argnums=2, donate_argnums=0)
def run_chunk(state: State, key: jax.Array, iterations: int) -> State:
    """Many iterations, all their random numbers drawn at once."""
    uniforms = jax.random.uniform(jax.random.fold_in(key, state.step), (iterations, UNIFORMS))
    final: State = lax.scan(iteration, state, uniforms)[0]
    return final


def initial_state(key: jax.Array) -> State:
    """Glorot weights, an empty replay, a freshly reset environment."""
    keys = jax.random.split(key, 3)
    glorot = jax.nn.initializers.glorot_uniform()
    w1, w2 = glorot(keys[0], (4, HIDDEN), jnp.float32), glorot(keys[1], (HIDDEN, 2), jnp.float32).T
    weights = [w1, jnp.zeros(HIDDEN), w2, jnp.zeros(2)]
    target, mean, square = [w.copy() for w in weights], *([jnp.zeros_like(w) for w in weights] for _ in range(2))
    obs = jax.random.uniform(keys[2], (4,), minval=-0.05, maxval=0.05)
    replay = jnp.zeros((REPLAY_CAPACITY, 10))
    return State(jnp.int32(0), weights, target, mean, square, replay, obs, jnp.int32(0), jnp.zeros(2))


def main() -> None:
    """Run and print one JSON line."""
    parser = argparse.ArgumentParser(description="Time the same DQN as one jitted JAX scan.")
    parser.add_argument("--iterations", type=int, default=20_000, help="iterations to time, after a first chunk")
    parser.add_argument("--chunk", type=int, default=2000, help="iterations a call")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    key = jax.random.key(arguments.seed)
    started = time.perf_counter()
    state = run_chunk(initial_state(key), key, arguments.chunk)
    state.finished.block_until_ready()
    compile_seconds = time.perf_counter() - started
    chunk_seconds, finished = [], [state.finished.tolist()]
    for _ in range(max(1, arguments.iterations // arguments.chunk)):
        started = time.perf_counter()
        state = run_chunk(state, key, arguments.chunk)
        state.finished.block_until_ready()
        chunk_seconds.append(time.perf_counter() - started)
        finished.append(state.finished.tolist())
    seconds, iterations = sum(chunk_seconds), len(chunk_seconds) * arguments.chunk

    def mean_return(first: int, last: int) -> float:
        total, episodes = (end - start for start, end in zip(finished[first], finished[last], strict=True))
        return float(round(total / max(1.0, episodes), 1))

    result = {
        "name": "jax scan",
        "steps_per_second": round(iterations / seconds, 1),
        "microseconds_per_iteration": round(seconds / iterations * 1e6, 2),
        "microseconds_per_iteration_fastest_chunk": round(min(chunk_seconds) / arguments.chunk * 1e6, 2),
        "mean_return": mean_return(0, -1),
        "best_chunk_mean_return": max(mean_return(i, i + 1) for i in range(len(chunk_seconds))),
        "steps": iterations,
        "compile_and_first_chunk_seconds": round(compile_seconds, 2),
        "versions": {"jax": jax.__version__},
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
