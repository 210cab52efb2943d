"""Errors that a user can correct, which the command prints as one line with exit code 2; suggestions for names."""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterable

# What Stable-Baselines3, CleanRL, Keras and papers call these settings and presets.
CALLED_ELSEWHERE = {
    "buffer_size": "replay_capacity", "ddqn": "double", "discount": "gamma", "discount_factor": "gamma",
    "exploration_final_eps": "epsilon_final", "exploration_fraction": "epsilon_anneal_steps",
    "exploration_initial_eps": "epsilon_start", "hidden_layers": "hidden_sizes", "hidden_units": "hidden_sizes",
    "lr": "learning_rate", "max_grad_norm": "max_gradient_norm", "memory_size": "replay_capacity",
    "n_envs": "num_envs", "net_arch": "hidden_sizes", "quiet": "progress", "reward_threshold": "stop_return",
    "tau": "target_sync_rate",
    "target_network_frequency": "target_sync_updates", "target_update_interval": "target_sync_updates",
    "timesteps": "steps", "total_timesteps": "steps", "train_freq": "update_period_steps",
    "train_frequency": "update_period_steps", "verbose": "progress",
}  # fmt: skip
_MOST_GUESSES, _UNLIKE = 3, 5

_COLOURS = r"\x1b\[[0-9;]*m"  # terminal colours, which Keras puts into its errors


class TensorqError(ValueError):
    """An error that the user can correct: the message says what was received, expected, and how to fix it."""


def similar(word: str, known: Iterable[str]) -> list[str]:
    """Return the known names that come closest to the word, at most three; none if no name is close.

    A name is close when one letter differs, or two in words of six letters and more; else when one of the two begins
    the other; else when one consists of whole parts of the other, as `capacity` does of `replay_capacity`.
    """
    names = list(known)
    if (name := CALLED_ELSEWHERE.get(word)) in names:
        return [name]
    ranks = {name: _rank(word.lower().replace("-", "_"), name.lower().replace("-", "_")) for name in names}
    best = min(ranks.values(), default=_UNLIKE)
    return [name for name in names if ranks[name] == best < _UNLIKE][:_MOST_GUESSES]


def _rank(word: str, name: str) -> int:
    """How far a name is from a word: letters that differ, 3 or 4 for the longer or shorter name, else _UNLIKE."""
    distance = _letters_apart(word, name)
    if distance < len(word) and distance <= (2 if len(word) > 5 else 1):
        return distance
    if len(word) < 3:
        return _UNLIKE
    if name.startswith(word) or (word.startswith(name) and 2 * len(name) > len(word)):
        return 3
    return 4 if f"_{word}_" in f"_{name}_" or f"_{name}_" in f"_{word}_" else _UNLIKE


def _letters_apart(first: str, second: str) -> int:
    """How many letters to insert, drop, change or swap with a neighbour (optimal string alignment; Damerau 1964)."""
    before: list[int] = []
    row = list(range(len(second) + 1))
    for i, letter in enumerate(first, start=1):
        before, above, row = row, before, [i]  # the last row, the one above it, and the new one
        for j, other in enumerate(second, start=1):
            row.append(min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (letter != other)))
            if i > 1 and j > 1 and (letter, other) == (second[j - 2], first[i - 2]):
                row[j] = min(row[j], above[j - 2] + 1)
    return row[-1]


def nearest(word: str, known: Iterable[str], otherwise: str = "") -> str:
    """The end of an error message: names that the user may have meant, or else all names."""
    names = list(known)
    if close := similar(word, names):
        return f"did you mean {' or '.join(close)}?"
    return otherwise or f"known: {', '.join(sorted(names))}."


def where_raised(error: BaseException) -> str:
    """An exception in a line: its kind, what it says, and the file and line that raised it."""
    frame, what = traceback.extract_tb(error.__traceback__)[-1], " ".join(re.sub(_COLOURS, "", str(error)).split())
    what = what if len(what) <= 300 else f"{what[:300]}..."
    return f"{type(error).__name__}{what and f': {what}'} ({frame.filename}, line {frame.lineno})"
