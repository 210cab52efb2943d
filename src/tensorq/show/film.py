"""A run's agent playing one greedy episode, filmed."""

from __future__ import annotations

import copy
import warnings
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from PIL import Image

from tensorq.agents.trained import TrainedAgent
from tensorq.envs.calls import Warn, call, close_or_warn, environment_name, reset_once, step_once
from tensorq.envs.host import MASK, seeds_for
from tensorq.envs.spaces import check_mask, plain_action_space
from tensorq.errors import TensorqError
from tensorq.evaluation.load import read_kept
from tensorq.networks.settings import frame_stack
from tensorq.process import default_variable
from tensorq.runs.saved import SavedRun
from tensorq.show.video import Frame, frame_stride, record

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
        seed: of the episode; by default the first of those that `tensorq evaluate` plays in Gymnasium.
        short: end the clip after SHORT_CLIP_SECONDS, if the episode is not over by then.
        warn: called with one line where the environment raises as it is closed.
    """
    if seed is not None and (isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0):
        raise TensorqError(f"seed: received {seed!r}, expected a whole number of at least 0.")
    output = output or run.files.video_path
    agent, frames = read_kept(run, which).agent(), frame_stack(run.config)
    env = run.environment_maker(render_mode="rgb_array")()
    try:
        if not isinstance(env, gym.Env):
            why = "is a VectorEnv, and a video shows one: give one of its environments, as make_env= or --env"
            raise TensorqError(f"the environment function's environment {why}")
        if env.render_mode != "rgb_array":
            why = "has no render_mode='rgb_array': make it with that"
            raise TensorqError(f"the environment function's environment {why}")
        run.environment.require_same(run.path, env.observation_space, env.action_space)
        fps = int(env.metadata.get("render_fps") or DEFAULT_FRAMES_PER_SECOND)
        stride = frame_stride(output, fps)
        first_seed = seeds_for(0, 0, 1, evaluation=True)[0] if seed is None else int(seed)
        shown = _frames(env, agent, frames, first_seed, stride, SHORT_CLIP_SECONDS * fps if short else MAX_STEPS)
        return record(shown, output, fps=fps / stride, plain=plain, action_names=_action_names(env))
    finally:
        close_or_warn(env, warn)


def _action_names(env: gym.Env) -> Sequence[Any]:
    if env.spec and env.spec.name in ACTION_NAMES:
        return ACTION_NAMES[env.spec.name]
    if hasattr(env.unwrapped, "get_action_meanings"):
        return env.unwrapped.get_action_meanings()
    actions = plain_action_space(env.action_space)
    return range(int(actions.start), int(actions.start + actions.n))


def _frames(
    env: gym.Env, agent: TrainedAgent, frame_stack: int, seed: int, stride: int, max_steps: int
) -> Iterator[Frame]:
    """Every stride-th state of an episode with the action that follows it, and the last state, which none follows."""
    first, info = reset_once(env, seed)
    stack = deque([copy.deepcopy(first)] * frame_stack, frame_stack)  # copies: some environments change their arrays
    obs = first if frame_stack == 1 else np.stack(stack)
    total, step, done = 0.0, 0, False
    while not done:
        mask = check_mask(info[MASK], env.action_space) if MASK in info else None
        if step % stride == 0:
            q_values = agent.q_values(obs)
            if mask is not None:
                q_values = np.where(mask, q_values, -np.inf)
            yield Frame(_render(env), q_values, int(q_values.argmax()), total, step)
        newest, reward, terminated, truncated, info = step_once(env, agent.act(obs, mask))
        stack.append(copy.deepcopy(newest))
        obs = newest if frame_stack == 1 else np.stack(stack)
        total, step = total + float(reward), step + 1
        done = terminated or truncated or step >= max_steps
    yield Frame(_render(env), agent.q_values(obs), None, total, step)


def _render(env: gym.Env) -> Image.Image:
    image = call(env, "render")
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.shape[2:] != (3,) or not image.size:
        received = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        expected = "an image, a uint8 array of shape (height, width, 3)"
        raise TensorqError(f"rendering {environment_name(env)} gave {received}, expected {expected}.")
    return Image.fromarray(image)
