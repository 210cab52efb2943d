"""tensorq: deep Q-learning on TensorFlow.

    import tensorq as tq
    run = tq.train("CartPole-v1", steps=50_000, seed=1)
    run.evaluate(episodes=100).returns.mean()

The public names are loaded when they are first used: `import tensorq` is quick and imports no TensorFlow.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from tensorq import layers
    from tensorq.agents.trained import TrainedAgent
    from tensorq.api import Run, flatten_space, load, open_run, resume, train
    from tensorq.config import Config
    from tensorq.envs.check import check_world
    from tensorq.envs.gym_view import GymView
    from tensorq.envs.world import register_world
    from tensorq.errors import TensorqError
    from tensorq.events import StopTraining
    from tensorq.heads import register_head
    from tensorq.many.run import Runs, resume_many, train_many
    from tensorq.networks.encoders import register_encoder
    from tensorq.observers.tensorboard import TensorBoard
    from tensorq.presets import register_preset
    from tensorq.search.run import Search, resume_tune, tune
    from tensorq.settings import Part, Range, setting
    from tensorq.stopped import Stopped, StoppedRuns

_HOMES = {
    "Config": "tensorq.config",
    "Range": "tensorq.settings",
    "Run": "tensorq.api",
    "Runs": "tensorq.many.run",
    "Search": "tensorq.search.run",
    "StopTraining": "tensorq.events",
    "Stopped": "tensorq.stopped",
    "StoppedRuns": "tensorq.stopped",
    "TensorBoard": "tensorq.observers.tensorboard",
    "TensorqError": "tensorq.errors",
    "TrainedAgent": "tensorq.agents.trained",
    "GymView": "tensorq.envs.gym_view",
    "Part": "tensorq.settings",
    "check_world": "tensorq.envs.check",
    "flatten_space": "tensorq.api",
    "register_encoder": "tensorq.networks.encoders",
    "register_head": "tensorq.heads",
    "register_preset": "tensorq.presets",
    "register_world": "tensorq.envs.world",
    "setting": "tensorq.settings",
    "load": "tensorq.api",
    "open_run": "tensorq.api",
    "resume": "tensorq.api",
    "resume_many": "tensorq.many.run",
    "resume_tune": "tensorq.search.run",
    "train": "tensorq.api",
    "train_many": "tensorq.many.run",
    "tune": "tensorq.search.run",
}
__all__ = [
    "Config", "GymView", "Part", "Range", "Run", "Runs", "Search", "StopTraining", "Stopped", "StoppedRuns",
    "TensorBoard", "TensorqError", "TrainedAgent", "check_world", "flatten_space", "layers", "load", "open_run",
    "register_encoder", "register_head", "register_preset", "register_world", "resume", "resume_many",
    "resume_tune", "setting", "train", "train_many", "tune",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    if name == "layers":
        return importlib.import_module("tensorq.layers")
    raise AttributeError(f"module 'tensorq' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
