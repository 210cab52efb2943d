"""Freeing the replays of finished runs: they take most of a run's disk space, and only a resume needs them.

A freed checkpoint says so in its metadata, and has no tensors of the replay. A resume fills a new replay first.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tensorq.config import Config
from tensorq.errors import TensorqError
from tensorq.replay.settings import ReplaySettings
from tensorq.runs import checkpoint, directory
from tensorq.runs.checkpoint import Checkpoints
from tensorq.runs.directory import RunDirectory
from tensorq.runs.saved import SavedRun

# In a checkpoint's metadata: whether its replay was freed, and the steps that new replays have taken to fill so far.
FREED, REFILL = "replay_freed", "refill_steps"
# How the names of a replay's tensors begin; "memory." in checkpoints of the earlier form.
REPLAY_TENSORS = ("replay.", "memory.")
# Tensors of checkpoints whose replay has an earlier form, of whole transitions; in the compiled and the host loop.
OLD_REPLAY_TENSORS = ("memory.rows", "replay.growing")


def replay_bytes(run: SavedRun) -> int:
    """Bytes that `free_replay` would free: those of replay.bin, and of the replays within checkpoints."""
    if not _has_replay(run):
        return 0
    path = run.files.replay_path
    total = path.stat().st_size if path.is_file() else 0
    for _, tensors, _ in _checkpoints(run.files):
        total += sum(tensor.nbytes for name, tensor in tensors.items() if name.startswith(REPLAY_TENSORS))
    return total


def free_replay(run: SavedRun) -> None:
    """Drop a finished run's replay; raises TensorqError for other runs, and if a process trains the run."""
    with directory.open(run.path) as files:
        if directory.read_result(run.path) is None or not _has_replay(run):
            raise TensorqError(f"{run.path} has no replay to free: only finished runs that learn from replay have one.")
        for path, tensors, metadata in _checkpoints(files):
            kept = {name: tensor for name, tensor in tensors.items() if not name.startswith(REPLAY_TENSORS)}
            if len(kept) < len(tensors):
                checkpoint.save(path, kept, {**metadata, FREED: True})
        files.replay_path.unlink(missing_ok=True)  # last: a crash before this leaves a run that can be resumed


def after_freeing(config: Config, metadata: Mapping[str, Any], run_dir: Path) -> tuple[Config, int, int]:
    """How a run continues from a checkpoint: the config for its loop, the new REFILL, and the steps to fill now.

    learning_starts_steps grows by the steps that fill a new replay: no update is due during them, and none is made
    later in their place. Raises TensorqError if the run would end before anything is learned.
    """
    begins, refill_steps, filling = config.learning_starts_steps, metadata.get(REFILL, 0), 0
    if metadata.get(FREED):
        steps, filling = metadata["steps"], max(begins, config.batch_size)
        if config.steps <= steps + filling:
            raise TensorqError(
                f"the replay of {run_dir} {why_lost(metadata)}: {filling:,} steps fill a new one before anything is "
                f"learned, so give steps (--steps) above {steps + filling}."
            )
        refill_steps += max(min(steps - begins - refill_steps, 0) + filling, 0)
    if refill_steps:
        config = config.replace(learning_starts_steps=begins + refill_steps)
    return config, refill_steps, filling


def why_lost(metadata: Mapping[str, Any]) -> str:
    """Why a checkpoint has no replay, as the end of a sentence about the replay."""
    return "was freed" if metadata[FREED] is True else str(metadata[FREED])


def without_old_replay(
    found: tuple[dict[str, np.ndarray], dict[str, Any], Path],
) -> tuple[dict[str, np.ndarray], dict[str, Any], Path]:
    """A checkpoint; if its replay has the form of an earlier version of tensorq, it counts as freed."""
    tensors, metadata, path = found
    if not any(name in tensors for name in OLD_REPLAY_TENSORS):
        return found
    kept = {name: tensor for name, tensor in tensors.items() if not name.startswith(REPLAY_TENSORS)}
    return kept, {**metadata, FREED: "has the form of an earlier version of tensorq"}, path


def with_empty_replay(
    tensors: dict[str, np.ndarray], metadata: Mapping[str, Any], fresh: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """A checkpoint's tensors; if its replay was freed, the replay's tensors come from a fresh loop."""
    if not metadata.get(FREED):
        return tensors
    return {**{name: tensor for name, tensor in fresh.items() if name.startswith(REPLAY_TENSORS)}, **tensors}


def _checkpoints(files: RunDirectory) -> Iterator[tuple[Path, dict[str, np.ndarray], dict[str, Any]]]:
    """The path, tensors and metadata of each checkpoint; a damaged one is left out, and so as it is."""
    for path in Checkpoints(files.checkpoints_path).step_paths():
        with contextlib.suppress(TensorqError):
            yield path, *checkpoint.load(path)


def _has_replay(run: SavedRun) -> bool:
    """Whether a run learns from replay. PQN's rollout has tensors of the same names, but is small."""
    return run.config.find(ReplaySettings) is not None
