"""Steps a second of gymnax's worlds: `python gymnax_worlds.py COUNT VECTOR_STEPS`. Needs gymnax.

Each line "WORLD SECONDS" of the standard input, with tensorq's id of the world, is answered with the steps a second of
COUNT environments, `jax.vmap(env.step)` with its automatic resets, in one jitted scan of VECTOR_STEPS with random
actions. The last observations are carried from step to step, as in tensorq's program.
"""

from __future__ import annotations

import json
import re
import sys
import time
from importlib import metadata
from typing import Any

import gymnax
import jax
import jax.numpy as jnp
from jax import lax

COUNT, VECTOR_STEPS = int(sys.argv[1]), int(sys.argv[2])


def program(world: str) -> tuple[Any, Any]:
    """(a compiled function of a state and a key, the first state)."""
    game = re.fullmatch(r"tensorq/MinAtar-(\w+)-v1", world)
    env, params = gymnax.make(f"{game[1]}-MinAtar" if game else world)

    def vector_step(carry: Any, key: Any) -> tuple[Any, None]:
        state, _, total = carry
        act_key, step_key = jax.random.split(key)
        action = jax.random.randint(act_key, (COUNT,), 0, env.num_actions)
        keys = jax.random.split(step_key, COUNT)
        obs, state, reward, *_ = jax.vmap(env.step, (0, 0, 0, None))(keys, state, action, params)
        return (state, obs, total + reward.sum()), None

    @jax.jit
    def run(state: Any, key: Any) -> Any:
        state, obs = state
        keys = jax.random.split(key, VECTOR_STEPS)
        (state, obs, total), _ = lax.scan(vector_step, (state, obs, jnp.float32(0)), keys)
        return (state, obs), total

    obs, state = jax.vmap(env.reset, (0, None))(jax.random.split(jax.random.key(0), COUNT), params)
    # Weak types would become strong in the first call, so that the second one compiled again.
    return run, jax.tree.map(lambda part: jnp.asarray(part, part.dtype), (state, obs))


def main() -> None:
    """Answer until the input ends."""
    print(json.dumps({name: metadata.version(name) for name in ("gymnax", "jax")}), flush=True)
    runs: dict[str, Any] = {}
    key = jax.random.key(1)
    for line in sys.stdin:
        world, seconds = line.split()
        if world not in runs:
            run, state = program(world)
            state, total = run(state, key)  # compiles
            total.block_until_ready()
            runs[world] = run, state
        run, state = runs[world]
        calls, started = 0, time.perf_counter()
        while time.perf_counter() - started < float(seconds):
            key, now = jax.random.split(key)
            state, total = run(state, now)
            total.block_until_ready()
            calls += 1
        print(COUNT * VECTOR_STEPS * calls / (time.perf_counter() - started), flush=True)
        runs[world] = run, state


if __name__ == "__main__":
    main()
