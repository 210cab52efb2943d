"""The errors a user can cause, which the command line prints as one line, exiting with code 2; and what was meant."""

from __future__ import annotations

import difflib
import traceback
from collections.abc import Iterable

# What Stable-Baselines3, CleanRL, Keras and papers call these settings.
CALLED_ELSEWHERE = {
    "buffer_size": "replay_capacity", "learning_starts": "learning_starts_steps", "lr": "learning_rate",
    "max_grad_norm": "max_gradient_norm", "memory_size": "replay_capacity", "n_envs": "num_envs",
    "net_arch": "hidden_sizes", "quiet": "progress", "tau": "target_sync_rate", "timesteps": "steps",
    "exploration_fraction": "epsilon_anneal_steps", "exploration_final_eps": "epsilon_final",
    "exploration_initial_eps": "epsilon_start", "target_network_frequency": "target_sync_updates",
    "target_update_interval": "target_sync_updates", "total_timesteps": "steps", "train_freq": "update_period_steps",
    "train_frequency": "update_period_steps", "verbose": "progress",
}  # fmt: skip


class TensorqError(ValueError):
    """Something the user can put right: the message says what was received, expected, and how to fix it."""


def similar(word: str, known: Iterable[str]) -> list[str]:
    """Those of the known names that the user may have meant, at most three, the likeliest first."""
    names = list(known)
    if (name := CALLED_ELSEWHERE.get(word)) in names:
        return [name]
    return difflib.get_close_matches(word, names, n=3, cutoff=0.5)


def nearest(word: str, known: Iterable[str]) -> str:
    """The end of an error message: what the user may have meant."""
    names = list(known)
    close = similar(word, names)
    return f"did you mean {' or '.join(close)}?" if close else f"known: {', '.join(sorted(names))}."


def where_raised(error: BaseException) -> str:
    """An exception in a line: its kind, what it says, and the file and line that raised it."""
    frame, what = traceback.extract_tb(error.__traceback__)[-1], " ".join(str(error).split())
    return f"{type(error).__name__}{what and f': {what}'} ({frame.filename}, line {frame.lineno})"
