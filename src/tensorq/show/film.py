"""A run's agent playing one greedy episode, filmed."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from tensorq.agents.trained import TrainedAgent
from tensorq.envs.calls import Warn, close_or_warn, reset_once, step_once
from tensorq.envs.host import MASK, seeds_for
from tensorq.envs.spaces import check_mask
from tensorq.errors import TensorqError
from tensorq.evaluation.load import read_kept
from tensorq.process import default_variable
from tensorq.runs.saved import SavedRun
from tensorq.show.video import Frame, Pixels, frame_stride, record

DEFAULT_FRAMES_PER_SECOND = 30
MAX_STEPS = 2_000  # of a clip: a greedy agent may play for ever
SHORT_CLIP_SECONDS = 5  # of the one that every training leaves
# What actions are called, where the environment does not say so itself; versions do not differ in it.
ACTION_NAMES = {
    "CartPole": ("left", "right"),
    "MountainCar": ("left", "coast", "right"),
    "Acrobot": ("pull", "coast", "push"),
    "LunarLander": ("coast", "left", "main", "right"),
    "FrozenLake": ("left", "down", "right", "up"),
    "FrozenLake8x8": ("left", "down", "right", "up"),
    "CliffWalking": ("up", "right", "down", "left"),
    "CliffWalkingSlippery": ("up", "right", "down", "left"),
    "Taxi": ("south", "north", "east", "west", "pick up", "drop off"),
}


@default_variable("SDL_VIDEODRIVER", "dummy")  # pygame draws without a screen
def film(
    run: SavedRun,
    output: Path | None = None,
    *,
    plain: bool = False,
    which: str = "best",
    seed: int | None = None,
    short: bool = False,
    warn: Warn = warnings.warn,
) -> Path:
    """Write a .gif or .mp4 of one greedy episode in Gymnasium's own environment, no screen needed.

    Args:
        run: the run, with the functions that it needs; its environment is made with render_mode="rgb_array".
        output: the file to write; by default video.gif in the run's folder.
        plain: leave out the Q-values beside the picture.
        which: the agent, "best" or "last".
        seed: of the episode; by default the first of those that `tensorq evaluate` plays.
        short: end the clip after SHORT_CLIP_SECONDS, if the episode is not over by then.
        warn: called with one line where the environment raises as it is closed.
    """
    if seed is not None and (isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0):
        raise TensorqError(f"seed: received {seed!r}, expected a whole number of at least 0.")
    output = output or run.files.video_path
    agent, env = read_kept(run, which).agent(), run.environment_maker(render_mode="rgb_array")()
    if not isinstance(env, gym.Env) or env.render_mode != "rgb_array":
        close_or_warn(env, warn)
        why = "has no render_mode='rgb_array': make it with that"
        if not isinstance(env, gym.Env):
            why = "is a VectorEnv, and a video shows one: give one of its environments, as make_env= or --env"
        raise TensorqError(f"the environment function's environment {why}")
    try:
        run.environment.require_same(run.path, env.observation_space, env.action_space)
    except TensorqError:
        close_or_warn(env, warn)
        raise
    fps = int(env.metadata.get("render_fps") or DEFAULT_FRAMES_PER_SECOND)
    stride = frame_stride(output, fps)
    first_seed = seeds_for(0, 0, 1, evaluation=True)[0] if seed is None else int(seed)
    try:
        max_steps = SHORT_CLIP_SECONDS * fps if short else MAX_STEPS
        frames = _frames(env, agent, first_seed, stride, max_steps)
        names: Sequence[str] | None = ACTION_NAMES.get(env.spec.name if env.spec else "")
        if names is None and hasattr(env.unwrapped, "get_action_meanings"):
            names = env.unwrapped.get_action_meanings()
        if names is None and isinstance(actions := env.action_space, gym.spaces.Discrete):
            names = [str(action) for action in range(int(actions.start), int(actions.start + actions.n))]
        return record(frames, output, fps=fps / stride, plain=plain, action_names=names)
    finally:
        close_or_warn(env, warn)


def _frames(env: gym.Env, agent: TrainedAgent, seed: int, stride: int, max_steps: int) -> Iterator[Frame]:
    """Every stride-th state of an episode with the action that follows it, and the last state, which none follows."""
    obs, info = reset_once(env, seed)
    total, step, done = 0.0, 0, False
    while not done:
        mask = check_mask(info[MASK], env.action_space) if MASK in info else None
        if step % stride == 0:
            q_values = agent.q_values(obs)
            if mask is not None:
                q_values = np.where(mask, q_values, -np.inf)
            yield Frame(_render(env), q_values, int(q_values.argmax()), total, step)
        obs, reward, terminated, truncated, info = step_once(env, agent.act(obs, mask))
        total, step = total + float(reward), step + 1
        done = terminated or truncated or step >= max_steps
    yield Frame(_render(env), agent.q_values(obs), None, total, step)


def _render(env: gym.Env) -> Pixels:
    name = env.spec.id if env.spec else str(env)
    try:
        image: Any = env.render()
    except gym.error.DependencyNotInstalled as error:
        raise TensorqError(f"drawing {name} needs another package: {error}") from error
    if not isinstance(image, np.ndarray):
        expected = "an image, a uint8 array of shape (height, width, 3)"
        raise TensorqError(f"rendering {name} gave {type(image).__name__}, expected {expected}.")
    return image
