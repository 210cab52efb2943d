"""Games of the Arcade Learning Environment (ids ALE/...), as Gymnasium preprocesses them. No TensorFlow here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tensorq.errors import TensorqError
from tensorq.extras import extra_command, missing_modules

if TYPE_CHECKING:
    import gymnasium

# What a run on a game has unless its preset or its user says otherwise (Mnih et al. 2015). Resets are so rare that few
# games are cut: two of the longest games fit between them.
GAME_SETTINGS: dict[str, Any] = {"frame_stack": 4, "encoder": "nature", "reset_period_steps": 54_000}
_RAW_FRAMES_PER_SECOND = 60
_MOST_RAW_FRAMES = 108_000  # of a game, half an hour
_OWN = "for other observations give a function that makes the environment, which is used as it is"


def is_game(env: str) -> bool:
    """Whether an id, perhaps MODULE:ID, is that of a game."""
    return env.rpartition(":")[2].startswith("ALE/")


def time_limit(env_args: Mapping[str, Any]) -> int:
    """The steps after which a game ends, for keywords of make_game: its own limit if they have none."""
    limit = env_args.get("max_episode_steps")
    frames = env_args.get("max_num_frames_per_episode", _MOST_RAW_FRAMES)
    return frames // env_args.get("frameskip", 4) if limit is None else limit


def make_game(env: str, *, frameskip: Any = 4, max_episode_steps: Any = None, **keywords: Any) -> gymnasium.Env:
    """Make a game, wrapped once in AtariPreprocessing: grey pictures of 84x84, and a start of up to 30 idle frames.

    Raises TensorqError if the atari extra is not installed, and for keywords that contradict the wrapper.

    Args:
        env: its id, ALE/NAME-v5, or MODULE:ID.
        frameskip: raw frames of one step; the picture is the maximum of the last two.
        max_episode_steps: the time limit in these steps; None for the game's own, of 108 000 raw frames.
        keywords: more of gymnasium.make. If nothing else is given, -v5 repeats the last action with probability 0.25.
    """
    if missing_modules("atari"):
        raise TensorqError(f"environment {env!r} needs the atari extra: {extra_command('atari')}")
    if isinstance(frameskip, bool) or not isinstance(frameskip, int) or frameskip < 1:
        raise TensorqError(
            f"env_args (--env-arg): received frameskip {frameskip!r} for {env}, expected a whole number of at least 1: "
            "the raw frames of a step."
        )
    if "obs_type" in keywords:
        raise TensorqError(f"env_args (--env-arg): {env} takes no obs_type, its pictures are grey: {_OWN}.")
    import ale_py
    import gymnasium as gym

    ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Warning)  # else each game prints two lines
    # The wrapper reads the screen itself; the environment's own pictures, of every raw frame, cost least in grey.
    game = gym.make(env, **{**keywords, "frameskip": 1, "obs_type": "grayscale"})
    found: gym.Env = gym.wrappers.AtariPreprocessing(game, frame_skip=frameskip)
    if max_episode_steps is not None:
        found = gym.wrappers.TimeLimit(found, max_episode_steps)
    found.metadata = {**game.metadata, "render_fps": max(_RAW_FRAMES_PER_SECOND // frameskip, 1)}
    return found
