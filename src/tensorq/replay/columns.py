"""What a replay stores of a step, and what a batch has of a transition. No TensorFlow here."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tensorq.replay.priorities import TREE_BYTES
from tensorq.replay.settings import ReplaySettings

NEVER = np.iinfo(np.int64).min  # number of an end that never was
MEMORY_BYTES = 24  # at most, of a step besides its observation and mask, in the memory of either loop


class New(NamedTuple):
    """Steps and ends of cut episodes that came to a replay. Both are counted from the start of the run."""

    first: int  # number of the first step
    steps: np.ndarray  # of step_dtype
    first_end: int  # number of the first end
    ends: np.ndarray  # of end_dtype


def step_dtype(obs_dtype: np.dtype, obs_shape: tuple[int, ...], masked_actions: int = 0) -> np.dtype:
    """The columns of a step. `masked_actions` is the number of actions if they are masked, else 0."""
    return np.dtype(
        [
            ("obs", obs_dtype, obs_shape),
            ("mask", np.bool_, (masked_actions,)),
            ("action", np.int32),
            ("reward", np.float32),
            ("over", np.bool_),  # whether nothing that comes later counts
            ("back", np.int32),  # how many steps before this one its episode's previous step came; 0 for the first
        ]
    )


def end_dtype(steps: np.dtype) -> np.dtype:
    """The columns of an observation at which an episode was cut; `number` is that of the episode's last step."""
    fields: Any = steps.fields
    return np.dtype([("obs", fields["obs"][0]), ("mask", fields["mask"][0]), ("number", np.int64)])


def batch_columns(steps: np.dtype, frame_stack: int, prioritised: bool) -> dict[str, np.dtype]:
    """The columns of a batch; frame_stack observations take the place of one if it is above 1.

    `numbers` are an action, and the bits of a reward and of a discount.
    """
    fields: Any = steps.fields
    obs, mask = fields["obs"][0], fields["mask"][0]
    if frame_stack > 1:
        obs = np.dtype((obs.base, (frame_stack, *obs.shape)))
    found = {"obs": obs, "next_obs": obs, "numbers": np.dtype((np.int32, (3,)))}
    if mask.itemsize:
        found |= {"mask": mask, "next_mask": mask}
    return found | ({"weight": np.dtype(np.float32)} if prioritised else {})


def bytes_per_step(settings: ReplaySettings, steps: np.dtype) -> int:
    """The memory that a step takes in the replay."""
    fields: Any = steps.fields
    observed = sum(fields[name][0].itemsize for name in ("obs", "mask"))
    return observed + MEMORY_BYTES + (TREE_BYTES if settings.priority_exponent else 0)


def blocks_beside(capacity: int, num_envs: int, cut_after_steps: int) -> int:
    """How many blocks of num_envs next observations the compiled replay needs, if only a time limit cuts episodes.

    At most, each environment is cut at steps of its own. One block more is of the newest steps, and one is free.
    """
    steps = capacity // num_envs
    return min(steps, num_envs * (steps // cut_after_steps + 1)) + 2


def next_rows(back: np.ndarray, written: int, length: int, end_numbers: np.ndarray, newest: np.ndarray) -> np.ndarray:
    """The rows [length] of next observations, below 0 ~row beside, after a replay was read from its file.

    Args:
        back: [length] int32, the column of this name.
        written: how many steps came.
        length: the number of rows.
        end_numbers: [N + ends], the numbers of cut episodes' last steps, by their rows beside.
        newest: [N], the number of each running episode's newest step, or -1.
    """
    oldest = max(0, written - length)
    found, numbers = np.arange(length), np.arange(oldest, written)
    rows, before = numbers % length, numbers - back[numbers % length]
    later = (before < numbers) & (before >= oldest)
    found[before[later] % length] = rows[later]
    for last in (newest, end_numbers):  # the first rows beside belong to running episodes
        beside = np.flatnonzero(last >= oldest)
        found[last[beside] % length] = ~beside
    return found
